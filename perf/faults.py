"""`make faults`: a toy sweep under faults at random moments, each ending as the sweep that nothing disturbed.

    python perf/faults.py [--seed N] [--rounds N] [--only NAME,NAME] [--root s3://bucket/prefix]

Minutes. Every round disturbs real processes (or what is under their store) by the seed, starts them again until all is
done, and compares: digests of agents and buffers, every final evaluation, and that nothing was committed twice. With
a root in an object store all but the undisturbed sweep lies there, and no disk is filled. The table that it prints is
the one in docs/faults.md. The exit code is 1 if anything differed.
"""

import argparse
import contextlib
import errno
import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nbsp_ray.config.schema import Sweep
from nbsp_ray.plan.build import make_plan
from nbsp_ray.specs import Plan
from nbsp_ray.store import Files, Store
from nbsp_ray.store import files as files_module
from nbsp_ray.store.objects import ObjectFiles

SWEEP: dict[str, Any] = {
    "benchmark": "toy",
    "pairs": (("reach", "avoid"),),
    "methods": ("base", "nbsp"),
    "seeds": (0,),
    "skill_neurons": (0.2,),
    "sac": {"hidden": (12, 10), "batch_size": 16, "learning_starts": 50},
    "first": {"env_steps": 600, "eval_every": 150, "eval_episodes": 2, "stop": "fixed"},
    "second": {"env_steps": 300, "eval_every": 150, "eval_episodes": 2, "stop": "fixed"},
    "evaluation": {"episodes": 5},
    "resources": {"checkpoint_minutes": 0.002},
}
LONGEST = 600.0
"""Seconds after which a process that should have ended hangs."""
CALLS = ("_write", "_create", "_read", "_names", "_exists", "_remove", "_local")
SIMPLY = str.maketrans(" ()%", "----")
FOLDERS = ("results", "evaluations", "phases")
Root = str | Path


FAILED: list[int] = []
"""The calls to the storage that failed in this process."""


def plan() -> Plan:
    return make_plan("faults", [Sweep.model_validate(SWEEP)])


# What works: a process of its own, with the fault that its environment names


def child(root: Root, fault: str, seed: int) -> int:
    """All phases, one after another, without Ray."""
    from nbsp_ray.local import run_trial  # Torch takes seconds to load, and nothing is disturbed by then.

    rng = random.Random(seed)
    store = Store(root, create=True)
    if fault == "flaky":
        under_store(lambda: rng.random() < 0.2, errno.EIO)
    elif fault == "away":
        begin, end = time.monotonic() + rng.uniform(0.5, 3), time.monotonic() + rng.uniform(10, 20)
        under_store(lambda: begin < time.monotonic() < end, errno.ESTALE)
    elif fault == "full":
        begin, end = time.monotonic() + rng.uniform(0.5, 3), time.monotonic() + rng.uniform(3, 6)
        under_store(lambda: begin < time.monotonic() < end, errno.ENOSPC, only=("_write", "_create"))
    elif fault == "skew":
        skew, clock = rng.uniform(-1, 1) * 86_400 * 30, time.time
        time.time = lambda: clock() + skew
    print("ready", flush=True)
    whole = plan()
    try:
        return 0 if all(run_trial(whole, trial, store, seconds=0.05) for trial in whole.trials) else 3
    finally:
        print(f"calls that failed: {len(FAILED)}", flush=True)


def under_store(fails: Callable[[], bool], number: int, *, only: tuple[str, ...] = CALLS) -> None:
    """Let calls to the storage fail, half of them after they have done what they were to do."""
    for kind, name in itertools.product((Files, ObjectFiles), only):
        act: Callable[..., Any] | None = vars(kind).get(name)
        if act is None:
            continue

        def act_or_fail(*args: Any, act: Callable[..., Any] = act, **options: Any) -> Any:
            failing = fails()
            late = failing and number != errno.ENOSPC and os.urandom(1)[0] % 2
            answer = act(*args, **options) if late or not failing else None
            if failing:
                FAILED.append(number)
                raise OSError(number, os.strerror(number))
            return answer

        setattr(kind, name, act_or_fail)
    files_module.FIRST_WAIT = 0.01


def start(root: Root, fault: str = "none", seed: int = 0, *, with_ray: bool = False) -> "subprocess.Popen[str]":
    how = ["--driver"] if with_ray else ["--child", fault, str(seed)]
    command = [sys.executable, __file__, "--root", str(root), *how]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )


def driver(root: Root) -> int:
    """All phases, through Ray."""
    from nbsp_ray.orchestration.launch import run_plan

    return run_plan(plan(), Store(root, create=True), on_status=lambda status: None, cpus=2).exit_code


# What came of it


@dataclass
class Outcome:
    """Of one fault."""

    disturbed: int = 0
    rounds: int = 0
    differing: list[str] = field(default_factory=list[str])
    seconds: float = 0.0
    notes: dict[str, int] = field(default_factory=dict[str, int])


def left(root: Root) -> dict[str, Any]:
    """What a sweep came to: without times, hosts and random names."""
    store, found = Store(root), dict[str, Any]()
    for key, phase in plan().phases.items():
        folder = store.phase(key)
        result, agent, replay = folder.result() or {}, folder.agent() or {}, folder.replay()
        found[key] = {
            "digest": result.get("digest"),
            "env_steps": result.get("env_steps"),
            "agent": {name: array.tobytes() for name, array in agent.items()},
            "replay": None if replay is None else replay.tobytes(),
            "curve": folder.curve(),
            "evaluations": {record: folder.evaluation(record) for record in phase.evaluations},
        }
    return found


def wrong(root: Root, expected: dict[str, Any]) -> list[str]:
    """In what it differs from the undisturbed one."""
    store, found = Store(root), left(root)
    problems = [
        f"{key}: {part}" for key in expected for part in expected[key] if found[key][part] != expected[key][part]
    ]
    for key in expected:
        names = [name.split(".")[1:] for name in store.files.names("results") if name.startswith(key)]
        commits = [name for name in names if len(name) == 2]
        if len(commits) != 1 + names.count(["0", "damaged", "json"]) + names.count(["1", "damaged", "json"]):
            problems.append(f"{key}: {len(commits)} commits")
    return problems


def end(process: "subprocess.Popen[str]", outcome: Outcome | None = None) -> tuple[int, str]:
    out, err = process.communicate(timeout=LONGEST)
    if outcome is not None:
        outcome.disturbed += int((re.findall(r"calls that failed: (\d+)", out) or ["0"])[0])
    return process.returncode, err


def finish(root: Root, outcome: Outcome) -> None:
    """Start it as often as it takes, undisturbed."""
    code, err = end(start(root))
    if code:
        outcome.differing.append(f"exit code {code}: {err.strip().splitlines()[-1:]}")


# The faults


def killed(root: Root, rng: random.Random, outcome: Outcome, *, with_ray: bool = False) -> None:
    """kill -9 at random moments, until it has been done so often."""
    times = 2 if with_ray else 4
    for _ in range(times):
        process = start(root, with_ray=with_ray)
        assert process.stdout is not None
        if not with_ray:
            process.stdout.readline()
        time.sleep(rng.uniform(8, 25) if with_ray else rng.uniform(0, 3))
        if process.poll() is None:
            outcome.disturbed += 1
            os.kill(process.pid, signal.SIGKILL) if with_ray else os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def stormed(root: Root, rng: random.Random, outcome: Outcome) -> None:
    """SIGTERM, again and again, at whatever moment; the first one saves, a second one stops at once."""
    for _ in range(4):
        process = start(root)
        assert process.stdout is not None
        process.stdout.readline()
        for _ in range(rng.randint(1, 4)):
            time.sleep(rng.uniform(0, 0.8))
            if process.poll() is None:
                outcome.disturbed += 1
                process.send_signal(rng.choice([signal.SIGTERM, signal.SIGUSR1, signal.SIGINT]))
        end(process)


def corrupted(root: Root, rng: random.Random, outcome: Outcome) -> None:
    """A bit flipped, a file cut or gone, whichever it is, of a sweep that is half done or all done."""
    process = start(root)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=rng.uniform(4, 20))
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    files = Store(root, create=True).files
    present = sorted(name for folder in FOLDERS for name in files.walk(folder))
    for name in rng.sample(present, min(3, len(present))):
        data = bytearray(files.read(name) or b"")
        how = rng.choice(["flip", "cut", "gone"])
        if how == "gone" or not data:
            files.remove(name)
        elif how == "cut":
            files.write(name, data[: rng.randrange(len(data))])
        else:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            files.write(name, data)
        outcome.disturbed += 1
    # Whatever it is, of what a later phase reads: all is read once.
    for _ in range(4):
        store, damaged = Store(root, create=True), False
        store.mend(plan().phases)
        for key, phase in plan().phases.items():
            damaged |= check(store, key, list(phase.evaluations))
        if not damaged:
            break
        finish(root, outcome)


def check(store: Store, key: str, records: list[str]) -> bool:
    """Read all of a phase, and set aside what is damaged."""
    from nbsp_ray.errors import DamagedPhaseError

    folder = store.phase(key)
    reads: list[Callable[[], object]] = [folder.agent, folder.prepared, folder.replay, folder.sample, folder.curve]
    reads += [folder.manifest, folder.spec, *(lambda record=record: folder.rollouts(record) for record in records)]
    for read in reads:
        try:
            if folder.done():
                read()
        except DamagedPhaseError as error:
            store.phase(key).set_aside(error)
            return True
    return False


def disturbed_by(fault: str) -> Callable[[Root, random.Random, Outcome], None]:
    """A process with that fault under its store or clock."""

    def run(root: Root, rng: random.Random, outcome: Outcome) -> None:
        outcome.disturbed += fault == "skew"
        code, err = end(start(root, fault, rng.randrange(10**6)), outcome)
        outcome.notes[f"exit {code}"] = outcome.notes.get(f"exit {code}", 0) + 1
        if code and fault != "full":
            outcome.differing.append(f"exit code {code}: {err.strip().splitlines()[-1:]}")

    return run


def two_at_once(root: Root, rng: random.Random, outcome: Outcome, *, with_ray: bool = False) -> None:
    """Two of them in one results root, from the first moment on."""
    both = [start(root, with_ray=with_ray) for _ in range(2)]
    outcome.disturbed += 1
    for process in both:
        code, err = end(process)
        if code:
            outcome.differing.append(f"exit code {code}: {err.strip().splitlines()[-1:]}")


FAULTS: dict[str, Callable[[Root, random.Random, Outcome], None]] = {
    "worker killed": killed,
    "signals": stormed,
    "files damaged": corrupted,
    "storage fails 20 %": disturbed_by("flaky"),
    "storage away": disturbed_by("away"),
    "disk full": disturbed_by("full"),
    "clock skewed": disturbed_by("skew"),
    "two writers": two_at_once,
    "driver killed (Ray)": lambda root, rng, outcome: killed(root, rng, outcome, with_ray=True),
    "two drivers (Ray)": lambda root, rng, outcome: two_at_once(root, rng, outcome, with_ray=True),
}


def rounds_of(name: str, rounds: int, seed: int, folder: str, expected: dict[str, Any]) -> Outcome:
    outcome, began = Outcome(rounds=rounds), time.monotonic()
    for number in range(rounds):
        root = f"{folder}/{seed}-{name.translate(SIMPLY)}-{number}"
        FAULTS[name](root, random.Random(f"{seed}.{name}.{number}"), outcome)
        finish(root, outcome)
        outcome.differing += wrong(root, expected)
    outcome.seconds = time.monotonic() - began
    return outcome


def lines(found: dict[str, Outcome]) -> Iterator[str]:
    yield "| fault | rounds | times disturbed | results differing | committed twice | seconds |"
    yield "|---|---|---|---|---|---|"
    for name, one in found.items():
        twice = sum("commits" in problem for problem in one.differing)
        numbers = (one.rounds, one.disturbed, len(one.differing) - twice, twice, round(one.seconds))
        yield f"| {name} | {' | '.join(map(str, numbers))} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", default=",".join(FAULTS))
    parser.add_argument("--root", help="a folder, or a place in an object store, that is empty")
    parser.add_argument("--child", nargs=2)
    parser.add_argument("--driver", action="store_true")
    asked = parser.parse_args()
    if asked.child:
        return child(asked.root, asked.child[0], int(asked.child[1]))
    if asked.driver:
        return driver(asked.root)
    found: dict[str, Outcome] = {}
    with tempfile.TemporaryDirectory(prefix="nbsp-faults-") as name:
        folder = Path(name)
        finish(folder / "whole", whole := Outcome())
        assert not whole.differing, whole.differing
        expected = left(folder / "whole")
        where = asked.root or str(folder)
        for fault in asked.only.split(","):
            if fault == "disk full" and "://" in where:
                continue
            found[fault] = rounds_of(fault, asked.rounds, asked.seed, where, expected)
            print(json.dumps({fault: vars(found[fault])}), file=sys.stderr, flush=True)
    print("\n".join(lines(found)))
    return int(any(one.differing for one in found.values()))


if __name__ == "__main__":
    sys.exit(main())
