"""Phases as the store has them at any stage, written without torch or Ray."""

from pathlib import Path
from typing import Any

import numpy as np

from nbsp_ray.config.schema import Sweep
from nbsp_ray.plan.build import make_plan
from nbsp_ray.specs import Plan, PlannedPhase
from nbsp_ray.store import Store

SETTINGS: dict[str, Any] = {
    "benchmark": "toy",
    "pairs": (("reach", "avoid"),),
    "methods": ("base", "replay_only"),
    "seeds": (0, 1),
    "first": {"env_steps": 1_000},
    "second": {"env_steps": 500},
    "evaluation": {"episodes": 4},
}


def small_plan(**changes: Any) -> Plan:
    """Two first phases and four second ones, unless changed."""
    return make_plan("small", [Sweep.model_validate(SETTINGS | changes)])


def firsts(plan: Plan) -> list[PlannedPhase]:
    """The first phases."""
    return [phase for phase in plan.phases.values() if phase.spec.index == 0]


def seconds(plan: Plan) -> list[PlannedPhase]:
    """The second phases."""
    return [phase for phase in plan.phases.values() if phase.spec.index == 1]


def new_store(folder: Path) -> Store:
    """An empty results root."""
    return Store(folder / "results", create=True)


def write_result(
    store: Store, phase: PlannedPhase, *, env_steps: int = 400, speed: float = 100.0, buffer: bool = True
) -> None:
    """Learnt, not evaluated."""
    store.phase(phase.key).commit(
        result={"env_steps": env_steps, "env_steps_per_second": speed},
        manifest={},
        curve=[],
        agent={"weights": np.zeros(1)},
        prepared={},
        replay=[np.zeros((1, 1))] if phase.keep_buffer and buffer else None,
        sample=None,
    )


def write_evaluations(store: Store, phase: PlannedPhase, *, success: float = 0.75) -> None:
    """All evaluations that the plan wants."""
    for record in phase.evaluations:
        store.phase(phase.key).write_evaluation(record, {"success_rate": success}, None)


def write_done(store: Store, phase: PlannedPhase, **result: Any) -> None:
    """All of a phase."""
    write_evaluations(store, phase)
    write_result(store, phase, **result)
