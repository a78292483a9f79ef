"""One real run of discrete SAC: a first phase on a game, its curve beside its budget, and no claim beyond it.

    python perf/atari_learning.py [--game Bowling] [--env-steps 100000] [--seed 0] [--minutes N]

Hours on a CPU. The phase is an ordinary one, in results/perf/atari-learning: the same command goes on where it was
stopped, and writes docs/atari-learning.md and its picture from as much of the curve as there is.
"""

import argparse
import math
import sys
import time
from pathlib import Path
from typing import Any

from ours import first_phase
from pool import ROOT
from table import machine, table

from nbsp_ray.benchmarks import get_benchmark
from nbsp_ray.errors import NbspError
from nbsp_ray.learning.run import PhaseRun
from nbsp_ray.store import Store

CHANGES: dict[str, Any] = {
    "sac.learning_starts": 5_000,
    "sac.precision": "bf16",
    "resources.compile": True,
    "first.eval_every": 10_000,
    "first.eval_episodes": 3,
}
"""What differs from the benchmark's defaults: an early start, and looks at it that suit a short run."""
PARTNERS = {"Bowling": "Pong", "Pong": "Bowling", "DemonAttack": "Carnival", "BankHeist": "Alien"}
"""A sweep needs a second game; it is never played here."""
Rows = list[dict[str, Any]]


def learn(game: str, env_steps: int, seed: int, minutes: float, root: Path) -> tuple[Rows, dict[str, Any] | None]:
    """Learn up to the budget, for some minutes, or until Ctrl-C; the curve, and the result if it is done."""
    changes = CHANGES | {"first.env_steps": env_steps, "seeds": seed}
    planned = first_phase(root, "atari", (game, PARTNERS[game]), changes)
    store = Store(root / "results", create=True)
    run = PhaseRun(store, planned.spec, [], [], planned.resources)
    end = time.monotonic() + 60 * minutes
    try:
        while time.monotonic() < end and not (progress := run.advance(30)).done:
            speed = progress.env_steps_per_second or 0
            sys.stderr.write(f"{progress.env_steps:,} of {env_steps:,} env steps, {speed:.0f} a second\n")
        run.save()
    except KeyboardInterrupt:
        sys.stderr.write("stopped: what was checkpointed is kept, the same command goes on\n")
    folder = store.phase(planned.key)
    return folder.curve(), folder.result()


def draw(game: str, rows: Rows, path: Path) -> None:
    """Every training game as a dot, the mean of the last ten as a line, the evaluations as squares."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib.figure import Figure

    training = [row for row in rows if row["kind"] == "training"]
    evaluations = [row for row in rows if row["kind"] == "evaluation"]
    returns = [row["env_return"] for row in training]
    canvas = Figure(figsize=(6, 3), layout="constrained")
    axes = canvas.subplots()
    steps = [row["env_steps"] for row in training]
    axes.plot(steps, returns, ".", color="0.7", markersize=4, label="one training game")
    means = [sum(returns[max(0, n - 10) : n]) / min(n, 10) for n in range(1, len(returns) + 1)]
    axes.plot(steps, means, color="#0072b2", label="mean of the last 10")
    points = [(row["env_steps"], row["env_return"]) for row in evaluations]
    axes.plot(*zip(*points, strict=True), "s", color="#d55e00", markersize=5, label="evaluation, mean of 3 games")
    axes.set(xlabel="env steps", ylabel="raw return", title=f"{game}, one seed")
    axes.legend(frameon=False, fontsize=8)
    canvas.savefig(path)


def write(game: str, env_steps: int, seed: int, rows: Rows, result: dict[str, Any] | None) -> Path:
    """The page."""
    benchmark, docs = get_benchmark("atari"), ROOT / "docs"
    evaluations = [row for row in rows if row["kind"] == "evaluation"]
    reached = rows[-1]["env_steps"]
    body = []
    for row in evaluations:
        normalised = benchmark.normalised(game, row["env_return"])
        shown = "-" if normalised is None else f"{normalised:.3f}"
        body.append([f"{row['env_steps']:,}", f"{row['updates']:,}", f"{row['env_return']:.1f}", shown])
    spent = f" It took {result['seconds'] / 60:.0f} minutes of learning." if result else ""
    lines = [
        "# Atari: one run of discrete SAC",
        "",
        f"Written by `python perf/atari_learning.py --game {game} --env-steps {env_steps} --seed {seed}`. {machine()}.",
        "",
        f"{game}, seed {seed}, the benchmark's defaults but for "
        + ", ".join(f"`{name}={str(value).lower()}`" for name, value in CHANGES.items())
        + f": {reached:,} of {env_steps:,} env steps (4 frames each), one thread.{spent} The paper's budget is "
        "1,500,000 at least. One seed at a small part of the budget shows that the path learns or does not, and "
        "supports no other claim.",
        "",
        *table(["env steps", "updates", "raw return, mean of 3 games", "normalised"], body),
        f"![Every game and every evaluation](pictures/atari-learning-{game.lower()}.svg)",
    ]
    draw(game, rows, docs / "pictures" / f"atari-learning-{game.lower()}.svg")
    page = docs / "atari-learning.md"
    page.write_text("\n".join(lines) + "\n")
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--game", default="Bowling", choices=PARTNERS)
    parser.add_argument("--env-steps", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop then; 0 writes what there is")
    given = parser.parse_args()
    root = ROOT / "results" / "perf" / "atari-learning"
    root.mkdir(parents=True, exist_ok=True)
    try:
        rows, result = learn(given.game, given.env_steps, given.seed, given.minutes, root)
    except NbspError as error:
        sys.exit(str(error))
    if not any(row["kind"] == "evaluation" for row in rows):
        sys.exit("there is nothing to write yet: run it for longer")
    sys.stderr.write(f"written: {write(given.game, given.env_steps, given.seed, rows, result).relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
