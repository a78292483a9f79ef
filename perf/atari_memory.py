"""Peak memory of a second phase on Atari with both buffers full, as the operating system counts it.

    python perf/atari_memory.py [--rows 200000] [--folder DIR]

A first phase is written into a store of its own with synthetic frames (what is in them does not change their size), so
that D_pre is full, and so is, from a checkpoint, D. Two processes then do real work: one begins a phase of nbsp
(reading 30,000 scoring steps in games of up to 27,000), plays a game and saves; the other goes on from a full D with
real updates, saves, measures drift, commits and evaluates. Takes 5 GB of disk and 5 minutes.
Mapped files (RssFile) are shared by the trials of one machine.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

PROMISE = 3.6
"""GB, for two buffers of 2 x 10^5 transitions."""
GAMES = (27_000, 2_000, 1_000)
"""Env steps of the games that neurons are scored on, the first as long as one may be."""
LEFT = 400
"""Env steps of the phase that are really learnt with both buffers full."""
CHUNK = 10_000


def chunks(rows: int, width: int) -> Iterator[np.ndarray]:
    """So many rows of noise in views of a few: actions below 6, a life lost every 500 rows."""
    noise = np.random.default_rng(0).integers(0, 256, (CHUNK, width), dtype=np.uint8)
    noise[:, -4:] = 0
    noise[:, -4] = np.arange(CHUNK) % 6
    noise[499::500, -2] = 1
    noise[::500, -1] = 1
    for start in range(0, rows, CHUNK):
        yield noise[: min(CHUNK, rows - start)]


def plan_of(rows: int) -> list[Any]:
    """One trial of nbsp whose buffers hold `rows`."""
    from nbsp_ray.benchmarks import get_benchmark
    from nbsp_ray.config.schema import Sweep
    from nbsp_ray.plan.build import make_plan

    defaults = get_benchmark("atari").defaults
    learning = {"stop": "fixed", "env_steps": max(1_500_000, rows), "eval_every": 10**9, "eval_episodes": 1}
    settings = {
        "benchmark": "atari", "pairs": (("Bowling", "Pong"),), "methods": ("nbsp",), "seeds": (0,),
        "sac": {**defaults["sac"], "buffer_size": rows}, "first": learning, "second": learning,
        "evaluation": {"env_steps": 1_000, "deterministic": False},
    }  # fmt: skip
    plan = make_plan("memory", [Sweep.model_validate(settings)])
    (trial,) = plan.trials
    return [plan.phases[key] for key in trial.phases]


def write_first_phase(root: Path, rows: int) -> None:
    """What a first phase would leave."""
    import torch

    from nbsp_ray.benchmarks.atari import BENCHMARK
    from nbsp_ray.learning.agent import Agent
    from nbsp_ray.learning.frames import NO_TRANSITION, row_width
    from nbsp_ray.store import Store

    first, second = plan_of(rows)
    folder, spaces = Store(root, create=True).phase(first.key), BENCHMARK.spaces()["Bowling"]
    width = row_width(spaces)
    record = second.spec.rollouts.id
    for number, steps in enumerate(GAMES):
        game = np.concatenate([*chunks(steps, width), next(chunks(1, width))])
        game[-1, -1] = NO_TRANSITION
        folder.write_episode(record, number, game)
    folder.write_spec(first.spec.model_dump(mode="json"))
    folder.write_evaluation(record, {"env_return": [20.0, 40.0, 30.0]}, None)
    agent = Agent(first.spec.sac, spaces, torch.device("cpu"), np.random.default_rng(0))
    folder.commit(
        result={"env_steps": first.spec.learning.env_steps}, manifest={}, curve=[], agent=agent.arrays(), prepared={},
        replay=list(chunks(rows, width)), sample=None,
    )  # fmt: skip


def fill_d(root: Path, rows: int) -> None:
    """A checkpoint like the one that is there, much further on and with a full D."""
    from nbsp_ray.store import Store

    _, second = plan_of(rows)
    folder, env_steps = Store(root).phase(second.key), second.spec.learning.env_steps - LEFT
    found = next(folder.checkpoints()).read()
    (_, some), *_ = found.rows
    noise = next(chunks(CHUNK, some.shape[1]))
    updates = int((env_steps - second.spec.sac.learning_starts) * second.spec.sac.updates_per_env_step)
    counters = found.counters | {"env_steps": env_steps, "updates": dict.fromkeys(found.counters["updates"], updates)}
    folder.attempt().save(
        env_steps=env_steps, counters=counters, curve=found.curve, tensors=found.tensors,
        added=env_steps, capacity=rows + 3,
        rows=lambda start, end: np.take(noise, np.arange(start, end), axis=0, mode="wrap"),
    )  # fmt: skip


def memory() -> str:
    """Peak and present resident memory of this process, and how much of the latter is its own or mapped from files."""
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    kilobytes = {words[0]: int(words[1]) for words in lines if words[0] in ("VmHWM:", "VmRSS:", "RssAnon:", "RssFile:")}
    return "  ".join(f"{name[:-1]} {amount * 1024 / 1e9:.2f} GB" for name, amount in kilobytes.items())


def begin(root: Path, rows: int) -> None:
    """Consolidation, a game, a checkpoint."""
    from nbsp_ray.config.schema import Resources
    from nbsp_ray.learning.run import PhaseRun
    from nbsp_ray.store import Store

    _, second = plan_of(rows)
    run = PhaseRun(Store(root), second.spec, [], Resources(compile=False))
    print("  before anything      ", memory(), flush=True)
    run.advance(0)
    print("  scored, a game played", memory(), flush=True)
    run.save()
    print("  saved                ", memory(), flush=True)


def go_on(root: Path, rows: int) -> None:
    """From a checkpoint to the end."""
    from nbsp_ray.config.schema import Resources
    from nbsp_ray.learning.run import PhaseRun
    from nbsp_ray.store import Store

    _, second = plan_of(rows)
    records = list(second.evaluations.values())
    run = PhaseRun(Store(root), second.spec, records, Resources(compile=False))
    progress, stage = run.advance(0), "learning"
    print(f"  resumed, {progress.updates:,} updates  ", memory(), flush=True)
    run.save()
    print("  saved                ", memory(), flush=True)
    while not progress.done:
        progress = run.advance(0)
        if progress.stage != stage:
            stage = progress.stage
            print(f"  {'committed' if stage == 'evaluating' else 'evaluated'}            ", memory(), flush=True)


STEPS = {"write": write_first_phase, "begin": begin, "fill": fill_d, "go-on": go_on}


def main() -> None:
    """Each step in a process of its own, so that one's peak is not another's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000, help="transitions of each buffer")
    parser.add_argument("--folder", type=Path, help="where the store is made and removed (default: a temporary one)")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.step:
        STEPS[wanted.step](wanted.folder, wanted.rows)
        return
    with tempfile.TemporaryDirectory(dir=wanted.folder, ignore_cleanup_errors=True) as root:
        for step in STEPS:
            print(step, flush=True)
            options = ("--rows", str(wanted.rows), "--folder", root, "--step", step)
            subprocess.run([sys.executable, __file__, *options], check=True)
    print(f"VmHWM is the peak; the promise for 200,000 transitions: {PROMISE} GB")


if __name__ == "__main__":
    main()
