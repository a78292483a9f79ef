"""The house may change its shape, its numbers may not: digests of short trials of every method, vectors and frames.

`tests/golden/phases.json` holds, for both phases of each trial, a digest of the final agent, of its curve and of its
final evaluations, and the norms of the agent's tensors. Sums are rounded otherwise on another kind of CPU or in another
torch: there the norms are compared with a tolerance, and the test says so.

`python tests/test_golden.py` writes the file anew: only where numbers are meant to move, which the changelog says.
"""

import hashlib
import json
import math
import platform
import sys
import tempfile
import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pixel_toy import BENCHMARK, pixel_plan
from toy_phases import run_whole, toy_plan

from nbsp_ray.benchmarks import benchmarks
from nbsp_ray.methods import methods
from nbsp_ray.specs import Plan
from nbsp_ray.store import Store

pytestmark = pytest.mark.usefixtures("pixel_toy")
GOLDEN = Path(__file__).parent / "golden" / "phases.json"
PLANS = {
    "toy": partial(toy_plan, sac={"updates_per_env_step": 1.0}, first={"env_steps": 300}, second={"env_steps": 200}),
    "pixel_toy": pixel_plan,
}
TOLERANCE = 0.05
"""Of a tensor's norm on another kind of CPU: a difference of rounding grows over some hundred updates."""


def kernels() -> str:
    """What decides how sums of float32 are rounded here: torch, and what the CPU offers to the kernels it chooses from.

    Instructions for bfloat16 are not in it: a Xeon with AMX and one without leave the same digests.
    """
    cpu = Path("/proc/cpuinfo")
    words = cpu.read_text().split() if cpu.exists() else []
    maker = next((word for word in ("GenuineIntel", "AuthenticAMD") if word in words), platform.machine())
    return f"torch {torch.__version__.split('+')[0]}, {torch.backends.cpu.get_cpu_capability()}, {maker}"


def seen(plan: Plan, store: Store) -> dict[str, dict[str, Any]]:
    """What each phase of a plan left, run where it is not there yet."""
    found: dict[str, dict[str, Any]] = {}
    for phase in plan.phases.values():
        folder = store.phase(phase.key)
        if not folder.done():
            run_whole(store, phase)
        agent = folder.agent() or {}
        curve = [[row["env_steps"], row.get("success"), row.get("env_return")] for row in folder.curve()]
        evaluations = {name: folder.evaluation(name) or {} for name in folder.evaluations()}
        played = {name: [one["success"], one["env_return"]] for name, one in evaluations.items()}
        found[phase.label] = {
            "agent": digest(agent),
            "curve": hashlib.sha256(json.dumps(curve).encode()).hexdigest()[:16],
            "evaluations": hashlib.sha256(json.dumps(played, sort_keys=True).encode()).hexdigest()[:16],
            "norms": {name: float(np.linalg.norm(array)) for name, array in sorted(agent.items())},
        }
    return found


def digest(arrays: Mapping[str, Any]) -> str:
    """Over the bytes of all tensors, in the order of their names."""
    sha = hashlib.sha256()
    for name in sorted(arrays):
        sha.update(np.ascontiguousarray(arrays[name]).tobytes())
    return sha.hexdigest()[:16]


@pytest.mark.filterwarnings("default:golden digests were made with")
@pytest.mark.parametrize("method", sorted(methods()))
@pytest.mark.parametrize("benchmark", PLANS)
def test_numbers_are_what_they_were(benchmark: str, method: str, short_trials: Store) -> None:
    golden = json.loads(GOLDEN.read_text())
    found = seen(PLANS[benchmark](methods=(method,)), short_trials)
    expected = {label: golden["phases"][label] for label in found}
    if golden["kernels"] == kernels():
        assert found == expected
        return
    warnings.warn(f"golden digests were made with {golden['kernels']}, this is {kernels()}: norms alone", stacklevel=1)
    for label, phase in expected.items():
        assert found[label]["norms"].keys() == phase["norms"].keys()
        for name, norm in phase["norms"].items():
            assert math.isclose(found[label]["norms"][name], norm, rel_tol=TOLERANCE, abs_tol=1e-3), (label, name)


def write() -> None:
    """Write the golden file from the code as it is."""
    torch.set_num_threads(1)
    benchmarks()[BENCHMARK.name] = BENCHMARK
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "golden", create=True)
        phases: dict[str, Any] = {}
        for make_plan in PLANS.values():
            phases |= seen(make_plan(methods=tuple(sorted(methods()))), store)
    GOLDEN.write_text(json.dumps({"kernels": kernels(), "phases": phases}, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    sys.exit(write())
