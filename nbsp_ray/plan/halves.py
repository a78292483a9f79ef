"""Ways to halve what a plan costs: fewer values on one of its axes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from nbsp_ray.config.describe import AXES
from nbsp_ray.specs import Plan, Trial
from nbsp_ray.units import span

OF_TRIAL: Mapping[str, Callable[[Trial], Any]] = {
    "pairs": lambda trial: trial.tasks,
    "methods": lambda trial: trial.method,
    "seeds": lambda trial: trial.seed,
    "skill_neurons": lambda trial: trial.skill_neurons,
}


def ways_to_halve(plan: Plan, cost: Mapping[str, float]) -> Iterator[str]:
    """For each axis with several values, `KEY=VALUE` with as many of them as leave at most half of the cost.

    Args:
        plan: With all its phases.
        cost: Of each phase that is left, in any unit.
    """
    half = sum(cost.values()) / 2 * (1 + 1e-9)
    for axis in AXES:
        of = OF_TRIAL[axis]
        values = [value for value in dict.fromkeys(map(of, plan.trials)) if value is not None]
        for keep in range(len(values) - 1, 0, -1):
            kept = _spread(values, keep) if axis == "skill_neurons" else values[:keep]
            trials = [trial for trial in plan.trials if of(trial) is None or of(trial) in kept]
            if sum(cost.get(key, 0.0) for key in needed(plan, trials)) <= half:
                yield f"{axis}={_text(axis, kept)}"
                break


def needed(plan: Plan, trials: Sequence[Trial]) -> set[str]:
    """Keys of all phases that these trials rest on."""
    found = {key for trial in trials for key in trial.phases}
    for key in reversed(list(plan.phases)):
        if key in found:
            found |= set(plan.phases[key].spec.needs)
    return found


def _spread(values: Sequence[Any], keep: int) -> list[Any]:
    """So many of the values, both ends among them where there is room for both."""
    last = len(values) - 1
    return [values[round(last * place / (keep - 1))] for place in range(keep)] if keep > 1 else [values[0]]


def _text(axis: str, values: Sequence[Any]) -> str:
    """As on the command line."""
    if axis == "seeds":
        return span(list(values))
    return ",".join(":".join(value) if axis == "pairs" else str(value) for value in values)
