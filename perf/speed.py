"""`make perf`: ours beside its peers on this machine, over the machine's own floor, in one run of at most 15 minutes.

    python perf/speed.py [--quick] [--only NAME,NAME] [--startup]

Writes docs/performance.md, and the rates of each round to results/perf/speed.json; with --quick (two minutes, a
smoke test) results/perf/quick.md and quick.json. With --startup, start-up alone is measured anew, which is no ratio of
one round, and the rest is as the last run had it. A contender that fails is a row that says why.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from contenders import ENTRIES, EPISODE, PIXEL_ENTRIES
from pool import ROOT, Pool, Row, compile_ahead, startup
from share import TELLING
from table import write

from nbsp_ray.limits import memory, usable_cores

WIDE, DEFAULT = (256, 256, 256), (256, 256)
FLOORS = {"gemm-fp32": ".venv", "gemm-bf16": ".venv"}
MEGABYTES_EACH = 900
STEPS_BEGIN_BEFORE = 660.0
"""Seconds after which no further round of episodes begins, so that all is over within 15 minutes."""


@dataclass(frozen=True)
class Effort:
    """Slices, rounds, and the seconds after which no further round begins, of each part."""

    slice_seconds: float = 1.0
    rounds: int = 12
    updates_seconds: float = 90
    pixel_slice_seconds: float = 2.0
    pixel_rounds: int = 8
    pixel_seconds: float = 50
    episode_rounds: int = 8
    steps_seconds: float = 200
    starts: int = 3
    startup_seconds: float = 75


QUICK = Effort(0.3, 3, 8, 0.8, 2, 5, 1, 1, 1, 1)


def fits(cores: Sequence[int], contenders: int) -> list[int]:
    """As many cores as there is memory for, with a process of each contender on each."""
    room = memory().available / 2**20 / (MEGABYTES_EACH * contenders)
    return list(cores[: max(1, min(len(cores), int(room)))])


def venvs(entries: Sequence[str]) -> dict[str, str]:
    return {name: (ENTRIES | PIXEL_ENTRIES)[name].venv for name in entries}


def measure(effort: Effort, names: Sequence[str], pixels: Sequence[str], *, quick: bool) -> dict[str, dict[str, Row]]:
    """Every part of the table, by its name."""
    end = time.perf_counter() + STEPS_BEGIN_BEFORE
    cores = usable_cores()
    found: dict[str, dict[str, Row]] = {}
    tell("compiling, where it is not done yet")
    compiled = [name for name in (*names, *pixels) if (ENTRIES | PIXEL_ENTRIES)[name].settings.get("resources.compile")]
    sizes = [WIDE] if quick else [WIDE, DEFAULT]
    telling = [name for name in compiled if name in names and not quick]
    jobs = [(name, hidden, {}) for name in compiled for hidden in (sizes if name in names else [WIDE])]
    jobs += [(name, WIDE, TELLING) for name in telling]
    compile_ahead([(name, venvs([name])[name], hidden, env) for name, hidden, env in jobs], cores)
    for part, hidden in (("updates, wide", WIDE), ("updates, default", DEFAULT))[: 1 if quick else 2]:
        tell(f"{part}: hidden {list(hidden)}")
        with Pool(FLOORS | venvs(names), "updates", hidden, cores[:1]) as pool:
            pool.rounds(effort.rounds, effort.updates_seconds, seconds=effort.slice_seconds)
            if hidden == WIDE:
                pool.profile([name for name in names if name != "sbx" and name not in compiled])
            found[part] = pool.rows
    tell("where the time of compiled updates goes")
    with Pool(venvs(telling), "updates", WIDE, cores[:1], TELLING) as pool:
        pool.profile(telling)
        found["profile"] = pool.rows
    tell("updates on pixels")
    with Pool(FLOORS | venvs(pixels), "updates", WIDE, cores[:1]) as pool:
        pool.rounds(effort.pixel_rounds, effort.pixel_seconds, seconds=effort.pixel_slice_seconds)
        found["updates, pixels"] = pool.rows
    tell("env steps, one process and one for each core")
    hidden, used = (DEFAULT, cores[:1]) if quick else (WIDE, fits(cores, len(names)))
    with Pool(venvs(names), "steps", hidden, used) as pool:
        # Compiling for the first time may have taken minutes: fewer rounds then.
        within = min(effort.steps_seconds, end - time.perf_counter())
        pool.rounds(effort.episode_rounds, within, together=True, env_steps=EPISODE)
        found["steps"] = pool.rows
    tell("start-up")
    found["startup"] = startup(venvs(names), hidden, cores[0], effort.starts, effort.startup_seconds, warm=True)
    return found


def tell(what: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {what}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two minutes; no figure of it means anything")
    parser.add_argument("--only", help="contenders, separated by commas; the reference is always one")
    parser.add_argument("--startup", action="store_true", help="measure start-up alone, keep the rest of the last run")
    given = parser.parse_args()
    load, _, _ = os.getloadavg()
    start, effort = time.perf_counter(), QUICK if given.quick else Effort()
    known: Mapping[str, object] = ENTRIES | PIXEL_ENTRIES
    wanted = set(given.only.split(",")) | {"cleanrl", "cleanrl-pixels"} if given.only else set(known)
    if unknown := wanted - set(known):
        parser.error(f"no contender {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    names, pixels = ([name for name in entries if name in wanted] for entries in (ENTRIES, PIXEL_ENTRIES))
    folder, before = ROOT / "results" / "perf", list[float]()
    if given.startup:
        if not (folder / "speed.json").exists():
            parser.error("there is no last run here: run it without --startup first")
        last = json.loads((folder / "speed.json").read_text())
        before = last.pop("minutes")
        found = {part: {name: Row(**row) for name, row in rows.items()} for part, rows in last.items()}
        cores = usable_cores()
        found["startup"] = startup(venvs(names), WIDE, cores[0], effort.starts, effort.startup_seconds * 2, warm=False)
    else:
        found = measure(effort, names, pixels, quick=given.quick)
    folder.mkdir(parents=True, exist_ok=True)
    minutes = [*before, (time.perf_counter() - start) / 60]
    raw: dict[str, Any] = {part: {name: asdict(row) for name, row in rows.items()} for part, rows in found.items()}
    raw["minutes"] = minutes
    (folder / ("quick.json" if given.quick else "speed.json")).write_text(json.dumps(raw, indent=1))
    path = folder / "quick.md" if given.quick or given.only else ROOT / "docs" / "performance.md"
    write(
        path,
        found,
        processes=max((row.processes for row in found["steps"].values()), default=1),
        minutes=minutes,
        load=load,
        quick=given.quick,
    )
    tell(f"written: {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
