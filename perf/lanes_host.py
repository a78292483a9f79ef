"""What the process that learns spends on a lane's env step, whatever the device: the bound of a pack.

    python perf/lanes_host.py [--lanes 4,16,64] [--seconds 5] [--profile] [--into-docs]

Environments that cost nothing, in processes of their own as ever, and an update that computes nothing: what is left is
to answer wishes, to keep transitions, to draw batches and noise and to lay them where the update reads them. By the
clock of this process, so others may be at work on the machine. Batches, observations and actions are Meta-World's.
"""

import argparse
import cProfile
import pstats
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from contenders import ACTIONS, OBSERVATIONS
from lanes import CAPACITY, TASKS, numbers, planned, put_into_docs

from nbsp_ray.benchmarks import (
    Action,
    Benchmark,
    Continuous,
    Env,
    Observation,
    Spaces,
    Step,
    Vector,
    register_benchmark,
)
from nbsp_ray.learning.lanes import Lanes
from nbsp_ray.learning.opening import OpenPhase
from nbsp_ray.learning.pack import Lane, Pack
from nbsp_ray.learning.run import PhaseRun
from nbsp_ray.learning.sac import Losses
from nbsp_ray.learning.workers import Workers
from nbsp_ray.limits import processor, usable_cpus
from nbsp_ray.store import Store

MARKS = "<!-- host: perf/lanes_host.py --into-docs -->", "<!-- end of the host -->"
SETTLING = 1.0
"""Seconds after the first updates of all lanes that are not counted."""


class IdleEnv(Env):
    """Nothing happens, for 500 env steps."""

    variations, horizon = 100, 500

    def reset(self, variation: int, rng: np.random.Generator) -> Observation:
        """Begin."""
        self._left = self.horizon
        return np.zeros(OBSERVATIONS, np.float32)

    def step(self, action: Action) -> Step:
        """Go on."""
        self._left -= 1
        return Step(np.zeros(OBSERVATIONS, np.float32), 0.0, terminated=False, truncated=not self._left, success=False)


class Idle(Benchmark):
    """Tasks in which nothing happens."""

    name = "idle"
    pairs = (TASKS,)
    defaults: Mapping[str, Any] = {}
    horizon, variations, revision = IdleEnv.horizon, IdleEnv.variations, "1"

    def spaces(self) -> Mapping[str, Spaces]:
        """Meta-World's."""
        return dict.fromkeys(TASKS, Spaces(Vector(OBSERVATIONS), Continuous(ACTIONS)))

    def make_env(self, task: str, seed: int, *, heldout: bool = False) -> Env:
        """Any is as any other."""
        return IdleEnv()


class IdlePack(Pack):
    """Computes no update."""

    def _adopt(self, lane: Lane, opened: OpenPhase) -> None:
        super()._adopt(lane, opened)
        self._acts_together = True  # As on a GPU.
        for stack in self._stacks.values():
            stack._executor = _nothing(stack)


def _nothing(stack: Lanes) -> Any:
    none = torch.zeros(stack.slots)
    return lambda state, due: Losses(none, none, none)


def measure(lanes: int, seconds: float, profile: cProfile.Profile | None) -> float:
    """Microseconds of this process for an env step of a lane."""
    with TemporaryDirectory(prefix="nbsp-ray-host-") as name:
        folder = Path(name)
        store = Store(folder / "results", create=True)
        phases = [planned(folder, seed, (8,), "cpu", Idle.name) for seed in range(lanes)]
        resources = phases[0].resources.model_copy(update={"checkpoint_minutes": 1e6})
        runs = [PhaseRun(store, one.spec, [], [], resources) for one in phases]
        left, benchmark = iter(runs), Idle()
        workers = Workers(benchmark, benchmark.task_spaces(TASKS[0]), 2 * lanes, min(usable_cpus(), lanes))
        pack = IdlePack(lanes, CAPACITY, resources, workers=workers)
        try:
            while min(run.progress().updates for run in runs) < 2 and not pack.failures:
                pack.run(lambda: next(left, None), 0.1)
            pack.run(lambda: None, SETTLING)
            pack.calls.clear()
            start = time.process_time()
            if profile:
                profile.enable()
            pack.run(lambda: None, seconds)
            if profile:
                profile.disable()
            spent = time.process_time() - start
        finally:
            pack.close()
    if pack.failures:
        raise RuntimeError(f"{len(pack.failures)} lanes failed: {next(iter(pack.failures.values()))}")
    return 1e6 * spent / sum(lanes * calls for lanes, calls in pack.calls.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lanes", type=numbers, default=(4, 16, 64))
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--profile", action="store_true", help="where it goes; the numbers are larger then")
    parser.add_argument("--into-docs", action="store_true", help="into docs/performance-lanes.md")
    given = parser.parse_args()
    torch.set_num_threads(1)
    register_benchmark(Idle())
    lines = ["| lanes | us of a lane's env step | bound, env steps/s |", "|---|---|---|"]
    print("\n".join(lines))
    for lanes in given.lanes:
        profile = cProfile.Profile() if given.profile else None
        spent = measure(lanes, given.seconds, profile)
        lines.append(f"| {lanes} | {spent:.0f} | {1e6 / spent:,.0f} |")
        print(lines[-1], flush=True)
        if profile:
            pstats.Stats(profile).sort_stats("tottime").print_stats(40)
    if given.into_docs:
        put_into_docs([*lines, "", f"On {processor()}, torch {torch.__version__}."], MARKS)


if __name__ == "__main__":
    main()
