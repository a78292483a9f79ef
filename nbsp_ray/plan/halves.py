"""Ways to halve what a plan costs: fewer values on one of its axes."""

import bisect
from collections import defaultdict
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
        shares = _by_values(plan, cost, of)

        def kept(
            keep: int, axis: str = axis, values: Sequence[Any] = values, shares: Mapping[frozenset[Any], float] = shares
        ) -> tuple[Sequence[Any], float]:
            """So many of the values, and what the trials that have one of them, or none, cost."""
            found = _spread(values, keep) if axis == "skill_neurons" else values[:keep]
            chosen = {None, *found}
            return found, sum(share for of_phase, share in shares.items() if not of_phase.isdisjoint(chosen))

        # More values cost more: halving the range finds the most of them, of ten thousand seeds too.
        keep = bisect.bisect_right(range(1, len(values)), half, key=lambda number: kept(number)[1])
        if keep:
            yield f"{axis}={_text(axis, kept(keep)[0])}"


def _by_values(plan: Plan, cost: Mapping[str, float], of: Callable[[Trial], Any]) -> Mapping[frozenset[Any], float]:
    """What the phases cost that the same values on an axis need, by these values."""
    values: dict[str, set[Any]] = {key: set() for key in plan.phases}
    for trial in plan.trials:
        for key in trial.phases:
            values[key].add(of(trial))
    for key in reversed(list(plan.phases)):
        for need in plan.phases[key].spec.needs:
            values[need] |= values[key]
    found: defaultdict[frozenset[Any], float] = defaultdict(float)
    for key, one in cost.items():
        found[frozenset(values[key])] += one
    return found


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
