"""The page that `make perf` writes: rates, ratios, floors, targets and where the time goes."""

import platform
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from statistics import median

from contenders import ACTIONS, BATCH, ENTRIES, EPISODE, OBSERVATIONS, PIXEL_ACTIONS, PIXEL_BATCH, PIXEL_ENTRIES
from flops import Products, continuous, discrete
from pool import Row
from share import LOOPS, PRODUCTS

from nbsp_ray.limits import processor, usable_cores

Rows = Mapping[str, Row]
ALL = ENTRIES | PIXEL_ENTRIES
OURS_FP32, OURS_BF16 = ("ours", "ours-compiled"), ("ours-bf16", "ours-bf16-eager")
NOTHING = "-"


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """One for each round that both were in."""
    return [one / other for one, other in zip(above, below, strict=False)]


def spread(values: Sequence[float], digits: int = 2) -> str:
    """`1.64 (1.60-1.71)`: the median, and the least and the most of all rounds."""
    if not values:
        return NOTHING
    return f"{median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def over_floor(rows: Rows, name: str, products: Products, precision: str | None = None) -> list[float]:
    """An update's time over that of its needed FLOPs at the rate of its own precision (or another), of each round."""
    floor = rows[f"gemm-{precision or ALL[name].precision}"].rounds
    return ratios(floor, [rate * products.needed / 1e9 for rate in rows[name].rounds])


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *body)]
    return [*lines, ""]


def failures(rows: Rows, head: int, name: str) -> list[str] | None:
    """A row that says why there is nothing in it, or None."""
    failed = rows[name].failed
    return [ALL[name].name, f"failed: {failed[:160]}".replace("|", "/"), *[""] * (head - 2)] if failed else None


def updates_table(rows: Rows, reference: str, products: Products) -> list[str]:
    head = ["one thread", "updates/s", "ms/update", "times the reference", "over its floor"]
    body = []
    for name in (name for name in rows if name in ALL):
        rates = rows[name].rounds
        body.append(
            failures(rows, len(head), name)
            or [
                ALL[name].name,
                spread(rates, 1),
                f"{1e3 / median(rates):.2f}",
                spread(ratios(rates, rows[reference].rounds)),
                spread(over_floor(rows, name, products)),
            ]
        )
    rates_of = ", ".join(
        f"{rows[f'gemm-{kind}'].rounds and median(rows[f'gemm-{kind}'].rounds):.0f} GFLOP/s in {kind}"
        for kind in ("fp32", "bf16")
    )
    text = (
        f"Needed: {products.needed / 1e9:.3f} GFLOP an update (the reference executes {products.executed / 1e9:.3f}); "
        f"products of 256 x 256 x 256 on one thread: {rates_of}. {len(rows[reference].rounds)} rounds."
    )
    return [text, "", *table(head, body)]


def steps_table(rows: Rows, processes: int) -> list[str]:
    head = [
        *("drawer-close", "env steps/s, 1 process", "times the reference"),
        *(
            f"env steps/s, {processes} processes",
            "times the reference",
            "times its own 1 process",
            "peak memory of one",
        ),
    ]
    body = []
    for name, row in rows.items():
        reference = rows["cleanrl"]
        body.append(
            failures(rows, len(head), name)
            or [
                ALL[name].name,
                spread(row.rounds, 1),
                spread(ratios(row.rounds, reference.rounds)),
                spread(row.together, 1),
                spread(ratios(row.together, reference.together)),
                spread(ratios(row.together, row.rounds)),
                f"{row.megabytes:.0f} MB",
            ]
        )
    return table(head, body)


def startup_table(rows: Rows) -> list[str]:
    head = ["process start to first update", "seconds"]
    return table(
        head, [failures(rows, 2, name) or [ALL[name].name, spread(row.rounds, 1)] for name, row in rows.items()]
    )


def best(
    found: Mapping[str, Rows], names: Sequence[str], of: Callable[[str], Sequence[float]], *, most: bool
) -> float | None:
    """The best median of ours in `names`; None if all failed."""
    medians = [median(values) for name in names if (values := of(name))]
    return (max if most else min)(medians) if medians else None


def targets_table(found: Mapping[str, Rows], products: Products, processes: int) -> list[str]:
    """Each target, what was measured, and whether it is met."""
    wide, steps, starts = found["updates, wide"], found["steps"], found["startup"]
    ours_fp32, ours_bf16 = ([one for one in names if one in wide] for names in (OURS_FP32, OURS_BF16))

    def against(peer: str) -> Callable[[str], Sequence[float]]:
        return lambda name: ratios(wide[name].rounds, wide[peer].rounds if peer in wide else [])

    def floor(name: str) -> Sequence[float]:
        return over_floor(wide, name, products)

    def scaling(name: str) -> Sequence[float]:
        found = ratios(steps[name].together, steps[name].rounds) if processes > 1 else []
        return [ratio * 2 / processes for ratio in found]

    fp32, bf16 = (best(found, names, against("cleanrl"), most=True) for names in (ours_fp32, ours_bf16))
    over = best(found, ours_fp32, floor, most=False)
    # Each way of execution by itself: the one that is fast afterwards is not the one that starts fast.
    eager, compiled = (
        best(found, [name for name in names if name in starts], lambda name: starts[name].rounds, most=True)
        for names in (("ours", "ours-bf16-eager"), ("ours-compiled", "ours-bf16"))
    )
    checks: list[tuple[str, str, float | None, str, float]] = [
        ("must", "fp32 over the reference", fp32, ">=", 1.6),
        ("must", "fp32 over its floor", over, "<=", 1.5),
        ("must", "bf16 over the reference", bf16, ">=", 2.7),
        ("must", "two processes over one", best(found, ours_fp32, scaling, most=True), ">=", 1.9),
        ("must", "start-up of the slower precision, eager, seconds", eager, "<=", 8.0),
        ("must", "start-up of the slower precision, compiled, seconds", compiled, "<=", 8.0),
        ("aim", "fp32 over the reference", fp32, ">=", 1.9),
        ("aim", "fp32 over SBX", best(found, ours_fp32, against("sbx"), most=True), ">=", 1.0),
        ("aim", "fp32 over its floor", over, "<=", 1.35),
        ("aim", "bf16 over the reference", bf16, ">=", 3.0),
    ]
    body = []
    for kind, what, value, sign, limit in checks:
        met = value is not None and (value >= limit if sign == ">=" else value <= limit)
        verdict = "not measured" if value is None else "met" if met else "**missed**"
        reference = over_floor(wide, "cleanrl", products, what.split()[0]) if "over the reference" in what else []
        asks = f"{median(reference) / limit:.2f}" if reference else NOTHING
        if reference and not met and median(reference) < limit:
            verdict += ", and no code could meet it here"
        body.append([kind, what, f"{sign} {limit:g}", NOTHING if value is None else f"{value:.2f}", verdict, asks])
    body.append(["aim", "one trial on a GPU over the reference", ">= 5", NOTHING, "not measured on a GPU", NOTHING])
    head = ["", "target (best of ours, hidden [256, 256, 256])", "wanted", "measured", "", "over the floor, that asks"]
    return table(head, body)


def shares(rows: Rows) -> str:
    """How much of the time products take."""
    found = [
        f"{ALL[name].name} {row.milliseconds[PRODUCTS] / sum(row.milliseconds.values()):.0%}"
        for name, row in rows.items()
        if row.milliseconds
    ]
    return (
        "Share of an update's time inside of matrix products (torch's profiler, whose own cost counts as the rest): "
        + (", ".join(found) + "." if found else "not measured.")
        + " It does not see into JAX."
    )


def where_table(profiled: Rows, rows: Rows, products: Products) -> list[str]:
    """What the milliseconds of a compiled update are spent on, from code that tells the profiler of its parts."""
    kinds = [PRODUCTS, *dict.fromkeys(LOOPS.values())]
    head = ["ms of an update", "all", "floor", *kinds, "outside of the graphs"]
    body = []
    for name, row in profiled.items():
        rates, floor = rows[name].rounds, rows[f"gemm-{ALL[name].precision}"].rounds
        if row.failed or not row.milliseconds or not rates:
            body.append(failures(profiled, len(head), name) or [ALL[name].name, *[NOTHING] * (len(head) - 1)])
            continue
        inside = [row.milliseconds.get(kind, 0.0) for kind in kinds]
        every = 1e3 / median(rates)
        numbers = [every, products.needed / 1e6 / median(floor), *inside, every - sum(inside)]
        body.append([ALL[name].name, *(f"{number:.2f}" for number in numbers)])
    text = (
        "Where the time of a compiled update goes. Its parts were timed apart, so what is outside of the graphs "
        "(drawing batch and noise, calls) also holds what the machine was slower or faster then."
    )
    return [text, "", *table(head, body)] if body else []


def machine() -> str:
    flags = next((line for line in _lines("/proc/cpuinfo") if line.startswith("flags")), "").split()
    wide = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags]
    total = next((line for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), "MemTotal: 0").split()[1]
    cores = len(usable_cores())
    gibibytes = int(total) / 1024**2
    return f"{processor()} ({', '.join(wide)}), {cores} cores, {gibibytes:.0f} GiB, no GPU used, {platform.system()}"


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def write(
    path: Path, found: Mapping[str, Rows], *, processes: int, minutes: Sequence[float], load: float, quick: bool
) -> None:
    """Write the page; `minutes` are the run's, and those of each time that start-up was measured anew since."""
    again = [f"; start-up anew by `python perf/speed.py --startup` in {minutes[-1]:.1f}"] if minutes[1:] else []
    wide, default, pixel = (
        continuous(OBSERVATIONS, ACTIONS, BATCH, (256, 256, 256)),
        continuous(OBSERVATIONS, ACTIONS, BATCH, (256, 256)),
        discrete(PIXEL_ACTIONS, PIXEL_BATCH),
    )
    versions = {name: text for rows in found.values() for row in rows.values() for name, text in row.versions.items()}
    lines = [
        "# Speed, beside the peers",
        "",
        *(["**A smoke run: slices too short to mean anything.**", ""] if quick else []),
        f"Written by `make perf` on {date.today().isoformat()} in {minutes[0]:.1f} minutes{''.join(again)}.",
        f"{machine()}, load {load:.1f} before.",
        ", ".join(f"{name} {text}" for name, text in sorted(versions.items())) + ".",
        "",
        "Every contender has a process of its own, one thread, one core, the same sizes and batch, and takes short "
        "turns with the others. A cell is the median of all rounds, with the least and the most; ratios are taken "
        "within a round. One update is both critics, the actor, alpha and the targets (the actor's and alpha's two "
        "steps come in every second update, or one in each), the sampling of its batch included. A floor is the time "
        "of an update's needed FLOPs (`perf/flops.py`) at the rate of plain matrix products in the same round.",
        "",
        "## Updates, hidden [256, 256, 256], 39 observations, 4 actions, batch 256",
        "",
        *updates_table(found["updates, wide"], "cleanrl", wide),
        shares(found["updates, wide"]),
        "",
        *where_table(found["profile"], found["updates, wide"], wide),
        "## Updates, hidden [256, 256] (the default)",
        "",
        *(["Left out.", ""] if quick else updates_table(found["updates, default"], "cleanrl", default)),
        "## Updates of discrete SAC on 84 x 84 x 4 frames, 6 actions, batch 64",
        "",
        *updates_table(found["updates, pixels"], "cleanrl-pixels", pixel),
        f"## Env steps, end to end, hidden {'[256, 256]' if quick else '[256, 256, 256]'}, one update each",
        "",
        f"Acting, the simulator, storing and learning, in episodes of {EPISODE} env steps; each process on a core of "
        f"its own. {len(found['steps']['cleanrl'].rounds)} rounds.",
        "",
        *steps_table(found["steps"], processes),
        "## Start-up",
        "",
        "`learning_starts: 256`, without Ray, caches warm; imports, the simulator and 256 random env steps are in it.",
        "",
        *startup_table(found["startup"]),
        "## Targets",
        "",
        "The last column is what the target leaves for all that is not a product of matrices, and for what those "
        "products lose where their numbers come from memory: 1.00 would be nothing, and less cannot be had.",
        "",
        *targets_table(found, wide, processes),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines).rstrip() + "\n")
