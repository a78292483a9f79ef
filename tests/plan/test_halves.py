"""Ways to halve a plan: what is proposed, planned anew, really costs at most half."""

from pathlib import Path

import pytest

from nbsp_ray.plan.halves import needed, ways_to_halve
from nbsp_ray.plan.price import price
from nbsp_ray.store import Store
from nbsp_ray.sweepfile import load_sweep


def cost_of(tmp_path: Path, *overrides: str) -> float:
    plan = load_sweep("tradeoff", overrides).plan(None)
    return price(plan, Store(tmp_path), list(plan.phases)).cpu_hours


def test_each_way_costs_at_most_half_and_one_value_more_would_not(tmp_path: Path) -> None:
    plan = load_sweep("tradeoff").plan(None)
    ways = list(ways_to_halve(plan, price(plan, Store(tmp_path), list(plan.phases)).seconds))
    # Five seeds leave two, four pairs two, and nine counts (with the shared first phases) four.
    assert ways == [
        "pairs=drawer-open:drawer-close,drawer-close:drawer-open",
        "seeds=0-1",
        "skill_neurons=0.0,0.2,0.4,1.0",
    ]
    whole = cost_of(tmp_path)
    assert [cost_of(tmp_path, way) / whole for way in ways] == pytest.approx([0.5, 0.4, 100 / 200], abs=0.01)
    assert cost_of(tmp_path, "seeds=0-2") > whole / 2
    assert cost_of(tmp_path, "skill_neurons=0.0,0.05,0.1,0.2,0.3") > whole / 2


def test_what_trials_rest_on_is_needed_with_them() -> None:
    plan = load_sweep("toy", ["methods=base,ewc,ancl", "seeds=0"]).plan(None)
    base, *_ = plan.trials
    assert needed(plan, [base]) == set(base.phases)
    helped = next(trial for trial in plan.trials if plan.phases[trial.phases[-1]].spec.auxiliary)
    assert needed(plan, [helped]) > set(helped.phases)


def test_thousands_of_seeds_are_halved_as_few_are(tmp_path: Path) -> None:
    """By looking at as many parts as the number of seeds has digits, each of one look at the phases."""
    plan = load_sweep("toy", ["seeds=0-999", "methods=base"]).plan(None)
    ways = list(ways_to_halve(plan, dict.fromkeys(plan.phases, 1.0)))
    assert ways == ["seeds=0-499"]
