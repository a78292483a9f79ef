"""What a large results root costs: planning, and the status of a sweep of which nothing, or all, is done.

    python perf/store_scale.py [--trials 10000] [--done 3000] [--root s3://bucket/prefix]

CPU seconds, which other work on the machine does not change much; phases are written as a sweep commits them, but with
networks of a few numbers. Half a minute. With a root in an object store, minutes: what a status reads of these phases
is copied there, and requests are counted.
"""

import argparse
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from fsspec.asyn import sync_wrapper

from nbsp_ray.plan.price import price
from nbsp_ray.specs import Plan
from nbsp_ray.status import is_complete, sweep_status
from nbsp_ray.store import Store
from nbsp_ray.store.objects import ObjectFiles
from nbsp_ray.sweepfile import load_sweep


def plan_of(trials: int) -> Plan:
    """A sweep of the paper's with as many seeds as make so many trials."""
    per_seed = len(load_sweep("paper_metaworld", ["seeds=0"]).plan(Store("nowhere")).trials)
    return load_sweep("paper_metaworld", [f"seeds=0-{-(-trials // per_seed) - 1}"]).plan(Store("nowhere"))


def fill(store: Store, plan: Plan, phases: int) -> Plan:
    """Commit that many phases of a plan; the plan of these alone."""
    os.fsync = lambda descriptor: None  # The disk is not what is measured.
    for phase in list(plan.phases.values())[:phases]:
        folder = store.phase(phase.key)
        folder.write_spec(phase.spec.model_dump(mode="json"))
        folder.commit(
            result={"env_steps": 1_000_000, "env_steps_per_second": 100.0, "digest": "0" * 64},
            manifest={},
            curve=[],
            agent={"weights": np.zeros(1)},
            prepared={},
            replay=[np.zeros((1, 1))] if phase.keep_buffer else None,
            sample=None,
        )
        for record in phase.evaluations:
            folder.write_evaluation(record, {"success": [1] * 50, "success_rate": 1.0}, None)
    return Plan(plan.name, plan.title, dict(list(plan.phases.items())[:phases]), ())


def copy_there(store: Store, root: str) -> None:
    """What lists and reads of a status find, side by side; of each phase's own files its specification alone."""
    there = ObjectFiles(root)
    names = [*store.files.walk("results"), *store.files.walk("evaluations")]
    names += [f"phases/{key}/spec.json" for key in store.phases()]
    for begin in range(0, len(names), 500):
        there._fs.pipe({there._at(name): store.files.read(name) for name in names[begin : begin + 500]})
    there.write("store.json", store.files.read("store.json") or b"")


def asked_of(root: str, done: Plan) -> None:
    """What statuses of it ask of the object store: the first on a machine, and the next."""
    from s3fs import S3FileSystem

    counts, call = Counter[str](), S3FileSystem._call_s3

    def counted(self: S3FileSystem, method: str, *args: Any, **options: Any) -> Any:
        counts[method] += 1
        return call(self, method, *args, **options)

    S3FileSystem._call_s3 = counted
    S3FileSystem.call_s3 = sync_wrapper(counted)
    for which in ("first", "next"):
        counts.clear()
        began = time.monotonic()
        found = timed(
            f"the {which} status of {len(done.phases):,} phases in {root}", lambda: sweep_status(done, Store(root))
        )
        assert len(found.done) == len(done.phases)
        print(f"| (its seconds, and requests) | {time.monotonic() - began:.1f}; {dict(counts)} |", flush=True)


def timed(what: str, act: Callable[[], Any]) -> Any:
    began = time.process_time()
    answer = act()
    print(f"| {what} | {time.process_time() - began:.2f} |", flush=True)
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--done", type=int, default=3_000)
    parser.add_argument("--root", help="a place in an object store, that is empty")
    asked = parser.parse_args()
    print("| what | CPU seconds |\n|---|---|")
    plan = timed(f"a plan of {asked.trials:,} trials", lambda: plan_of(asked.trials))
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder), create=True)
        keys = list(plan.phases)
        timed(f"its price ({len(keys):,} phases)", lambda: price(plan, store, keys))
        timed("its status, nothing done", lambda: sweep_status(plan, store))
        done = fill(store, plan, asked.done)
        phases = plan.phases.values()
        timed(f"what is left of it, {asked.done:,} phases done", lambda: [is_complete(one, store) for one in phases])
        timed(f"the status of {asked.done:,} done phases", lambda: sweep_status(done, store))
        timed("which of them are damaged", lambda: store.mend(done.phases))
        timed("the same once more, nothing written since", lambda: store.mend(done.phases))
        if asked.root:
            copy_there(store, asked.root)
            asked_of(asked.root, done)


if __name__ == "__main__":
    main()
