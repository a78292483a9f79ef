"""What orchestration costs: `python perf/orchestration.py [--phases 2000] [--minutes 12]`; prints two tables.

1. A sweep of phases that learn nothing, through a real Ray: all that is left is Ray, Tune, the gate and the store. Time
   and memory of the driver a phase, and the whole time.
2. One first phase of Meta-World at the paper's settings, as `run` does it: the share of its worker's time that is not
   learning: between two of Tune's steps, and in checkpoints (one each five minutes).
"""

import argparse
import json
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from nbsp_ray.config.schema import Sweep
from nbsp_ray.learning.run import PhaseRun, Progress
from nbsp_ray.orchestration import trainable
from nbsp_ray.orchestration.launch import run_plan
from nbsp_ray.orchestration.trainable import Trainable
from nbsp_ray.plan.build import make_plan
from nbsp_ray.store import Store
from nbsp_ray.sweepfile import load_sweep

SHARE = "share.json"


class Nothing:
    """A phase that is done at once: only its folder is written, with arrays of one number."""

    def __init__(self, worker: Any) -> None:
        self.job, self.folder = worker._job, worker._folder

    def advance(self, seconds: float) -> Progress:
        for record in self.job.evaluations:
            self.folder.write_evaluation(record.id, {"success_rate": 0.5}, None)
        nothing: dict[str, Any] = {"manifest": {}, "curve": [], "prepared": {}, "sample": None}
        self.folder.commit(
            result={"env_steps": 1, "env_steps_per_second": 1.0},
            agent={"weights": np.zeros(1)},
            replay=[np.zeros((1, 1))] if self.job.keep_buffer else None,
            **nothing,
        )
        return self.progress()

    def progress(self) -> Progress:
        return Progress("done", 1, 1, 0, None, None)

    def save(self) -> None: ...


class LearnsNothing(Trainable):
    def _open(self) -> Any:
        return Nothing(self)


class Timed(Trainable):
    """Counts where the time goes; the first step, which opens the phase, is not counted."""

    steps, saving, within, began, ended = 0, 0.0, 0.0, 0.0, 0.0

    def step(self) -> dict[str, Any]:
        now = time.monotonic()
        result = super().step()
        self.ended = time.monotonic()
        if self.began:
            self.within += self.ended - now
            self.steps += 1
        self.began = self.began or self.ended
        told = {
            "seconds": self.ended - self.began,
            "outside steps": self.ended - self.began - self.within,
            "saving": self.saving,
            "steps": self.steps,
            "env steps": result["env_steps"],
        }
        Path(self._job.root, SHARE).write_text(json.dumps(told))
        return result

    def _open(self) -> PhaseRun:
        run = super()._open()
        save = run.save

        def timed() -> None:
            began = time.monotonic()
            save()
            self.saving += time.monotonic() - began

        run.save = timed  # type: ignore[method-assign]
        return run


def nothing(phases: int, cpus: int) -> None:
    """First table."""
    settings = load_sweep("toy", ["methods=base,replay_only,nbsp"]).sweeps[0]
    seeds = tuple(range(phases // 4))
    plan = make_plan("nothing", [Sweep.model_validate(settings.model_dump() | {"seeds": seeds})])
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "results", create=True)
        before = psutil.Process().memory_info().rss
        cpu = time.process_time()
        began = time.monotonic()
        outcome = run_plan(plan, store, cpus=cpus, on_status=lambda status: None)
        wall, cpu = time.monotonic() - began, time.process_time() - cpu
    assert outcome.done == len(plan.phases), outcome
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    number = len(plan.phases)
    print(f"| phases that learn nothing | {number}, on {cpus} workers |\n|---|---|")
    print(f"| whole time | {wall:.0f} s, {1000 * wall / number:.0f} ms a phase |")
    print(f"| driver's CPU | {cpu:.0f} s, {1000 * cpu / number:.1f} ms a phase |")
    print(f"| driver's memory | {before / 1e6:.0f} MB at first, {peak / 1e6:.0f} at most: "
          f"{(peak - before) / number / 1e3:.0f} kB a phase, Ray included |")  # fmt: skip


def share(minutes: float, more: list[str]) -> None:
    """Second table."""
    sweep = load_sweep("paper_metaworld", ["methods=base", "seeds=0", "pairs=drawer-close:drawer-open", *more])
    plan = sweep.plan(None)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "results", create=True)
        end = time.monotonic() + 60 * minutes

        def stop_in_time(status: Any) -> None:
            if time.monotonic() > end:
                os.kill(os.getpid(), 15)

        run_plan(plan, store, cpus=1, on_status=stop_in_time)
        told = json.loads((store.root / SHARE).read_text())
    total = told["seconds"]
    assert total, f"the phase had not taken its second step after {minutes} minutes"
    print(f"\n| one first phase of Meta-World | {total:.0f} s, {told['env steps']} env steps |\n|---|---|")
    print(f"| between Tune's {told['steps']} steps | {told['outside steps']:.2f} s, "
          f"{100 * told['outside steps'] / total:.2f} % |")  # fmt: skip
    print(f"| in checkpoints | {told['saving']:.2f} s, {100 * told['saving'] / total:.2f} % |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--phases", type=int, default=2000)
    parser.add_argument("--cpus", type=int, default=8)
    parser.add_argument("--minutes", type=float, default=12)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="Settings of the second table's phase.")
    asked = parser.parse_args()
    if asked.phases:
        trainable.Trainable = LearnsNothing  # type: ignore[misc]
        nothing(asked.phases, asked.cpus)
    if asked.minutes:
        trainable.Trainable = Timed  # type: ignore[misc]
        share(asked.minutes, asked.overrides)


if __name__ == "__main__":
    main()
