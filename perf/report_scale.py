"""Time and memory of a report on a large sweep: about 1,000 trials with curves of full length, made up.

    python perf/report_scale.py [--root FOLDER] [--trials 1000]

Prints one JSON object; the limits are 60 s and 2 GB for `load` and `write_report` together. The store is made first, is
not timed, and is kept if --root names a folder.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import analysis
from nbsp_ray.config.schema import Sweep
from nbsp_ray.plan.build import make_plan
from nbsp_ray.specs import Plan, PlannedPhase
from nbsp_ray.store import Store

HORIZON = 500
COUNTS = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
METHODS = ("base", "replay_only", "nbsp", "nbsp_actor", "nbsp_critic", "mask_only")
PAIRS = (
    *(("drawer-open", "drawer-close"), ("drawer-close", "drawer-open")),
    *(("window-open", "window-close"), ("window-close", "window-open")),
)
TRIALS_PER_SEED = len(PAIRS) * (2 + 4 * len(COUNTS))


def sweep_of(trials: int) -> Plan:
    """Four pairs, six methods, four of them with six numbers of skill neurons, and as many seeds as it takes."""
    sweep = Sweep(
        benchmark="metaworld",
        pairs=PAIRS,
        methods=METHODS,
        skill_neurons=COUNTS,
        seeds=tuple(range(max(1, round(trials / TRIALS_PER_SEED)))),
    )
    return make_plan("scale", [sweep])


def make_curve(phase: PlannedPhase, rng: np.random.Generator) -> list[dict[str, object]]:
    """2,000 training episodes and 201 evaluations of each task: a phase of 10^6 env steps that never stops early."""
    spec = phase.spec
    rows: list[dict[str, object]] = []
    for number, success in enumerate(rng.random(spec.learning.env_steps // HORIZON) < 0.8):
        row = {"kind": "training", "env_steps": HORIZON * (number + 1), "episode": number, "task": spec.task}
        rows.append(row | {"success": int(success), "env_return": 1234.5})
    for env_steps in range(0, spec.learning.env_steps + 1, spec.learning.eval_every):
        for task in (*spec.earlier_tasks, spec.task):
            row = {"kind": "evaluation", "env_steps": env_steps, "updates": env_steps, "task": task}
            rows.append(row | {"success": float(rng.integers(11)) / 10, "episodes": 10, "alpha": 0.01})
    return sorted(rows, key=lambda row: int(str(row["env_steps"])))


def fill(store: Store, plan: Plan) -> None:
    """Commit every phase with its final evaluations."""
    neurons = {"selected": 102, "selected_per_layer": [51, 51], "selected_constant": 3, "constant_per_layer": [40, 9]}
    neurons |= {"frozen_parameters": 0.2, "score_lowest": 0.6, "score_highest": 0.9}
    for number, phase in enumerate(plan.phases.values()):
        folder, rng = store.phase(phase.key), np.random.default_rng(number)
        if folder.done():
            continue
        result = {"key": phase.key, "env_steps": phase.spec.learning.env_steps, "updates": 990_000, "seconds": 900.0}
        result |= {"stop_reason": "budget", "env_steps_per_second": 1111.0}
        if any(one["kind"] == "mask" for one in phase.spec.ingredients):
            result |= {"neurons": dict.fromkeys(("actor", "q1", "q2"), neurons), "positive_share": 0.4}
        folder.write_spec(phase.spec.model_dump(mode="json"))
        for record in phase.evaluations.values():
            success = (rng.random(record.episodes) < 0.9).astype(int).tolist()
            folder.write_evaluation(record.id, record.model_dump() | {"success": success}, None)
        folder.commit(
            result=result,
            manifest={"host": "made up", "device": "cpu", "git_commit": None, "versions": {"python": "3.11"}},
            curve=make_curve(phase, rng),
            agent={"actor": np.zeros(1, np.float32)},
            prepared={},
            replay=None,
            sample=None,
        )


class Clock:
    """Time since the last stop: on the wall, and this process's own, which others on the machine do not slow."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.cpu_seconds: dict[str, float] = {}
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def stop(self, name: str) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        self.seconds[name], self.cpu_seconds[name] = round(wall - self._wall, 1), round(cpu - self._cpu, 1)
        self._wall, self._cpu = wall, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--trials", type=int, default=1000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        plan = sweep_of(given.trials)
        store = Store(given.root or Path(folder) / "results", create=True)
        fill(store, plan)
        made = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        clock = Clock()
        results = analysis.load(store.root, plan)
        clock.stop("load")
        paths = analysis.write_report(results, Path(folder) / "report", name="scale", title="Scale")
        clock.stop("write_report")
        page = analysis.write_explorer(results, Path(folder) / "explore.html", name="scale", title="Scale")
        clock.stop("write_explorer")
        sizes = {path.name: round(path.stat().st_size / 1e6, 1) for path in (*paths, page)}
    report = {
        "trials": len(plan.trials),
        "phases": len(plan.phases),
        "curve_rows": len(results.curves),
        "seconds": clock.seconds,
        "cpu_seconds": clock.cpu_seconds,
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 2),
        "peak_gb_before": round(made * 1024 / 1e9, 2),
        "megabytes": {name: size for name, size in sizes.items() if size >= 1},
    }
    sys.stdout.write(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
