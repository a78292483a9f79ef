"""When phases would end on machines that need not be there: by hand, and never against what is certain of schedules."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stored import firsts, seconds, small_plan

from nbsp_ray.orchestration.nodes import Node, slots
from nbsp_ray.orchestration.schedule import in_rounds, schedule
from nbsp_ray.specs import Plan

FIRST, SECOND = 100.0, 10.0


def lasting(plan: Plan) -> dict[str, float]:
    return {key: SECOND if phase.spec.index else FIRST for key, phase in plan.phases.items()}


def machines(number: int, cpus: float = 1, gpus: float = 0) -> list[Node]:
    return [Node("", cpus, gpus, math.inf)] * number


def test_two_machines_by_hand() -> None:
    """Two first phases side by side, and then four second ones, two by two."""
    plan = small_plan()
    found = schedule(plan, lasting(plan), machines(2))
    assert [found.ends[phase.key] for phase in firsts(plan)] == [100, 100]
    assert sorted(found.ends[phase.key] for phase in seconds(plan)) == [110, 110, 120, 120]
    assert (found.at_once, found.seconds) == (2, 120)
    assert [trial.method for trial in found.done_by(110, plan.trials)] == ["base", "base"]
    assert found.done_by(99, plan.trials) == []
    assert len(found.done_by(120, plan.trials)) == 4


def test_rounds_are_one_after_the_other() -> None:
    """On machines enough for all: 100 + 10 for the first phases and one second one, then 10 for the three others."""
    plan = small_plan()
    first_ones, (chosen, *others) = ([phase.key for phase in of(plan)] for of in (firsts, seconds))
    rounds = [{*first_ones, chosen}, set(plan.phases)]
    found = in_rounds(plan, lasting(plan), machines(6), rounds)
    assert (found.ends[chosen], [found.ends[key] for key in others]) == (110, [120] * 3)
    assert (found.at_once, found.seconds) == (3, 120)
    whole = in_rounds(plan, lasting(plan), machines(6), [set(plan.phases)])
    assert whole == schedule(plan, lasting(plan), machines(6))
    left = {key: lasting(plan)[key] for key in others}
    assert in_rounds(plan, left, machines(6), rounds).seconds == 10


def test_one_at_a_time_a_first_phase_is_followed_by_its_own_second_ones() -> None:
    """As `run` does it: what others wait for comes first, so both first phases before any second one."""
    plan = small_plan()
    found = schedule(plan, lasting(plan), machines(1))
    assert [found.ends[phase.key] for phase in firsts(plan)] == [100, 200]
    assert found.seconds == 240


def test_gpus_and_not_cpus_limit_what_asks_for_gpus() -> None:
    plan = small_plan(resources={"gpus": 1})
    assert schedule(plan, lasting(plan), machines(1, cpus=64, gpus=2)).seconds == 120
    quarter = small_plan(resources={"gpus": 0.25})
    assert schedule(quarter, lasting(quarter), machines(1, cpus=64, gpus=1)).at_once == 4
    assert schedule(plan, lasting(plan), machines(1, cpus=64)).seconds == math.inf


def test_what_is_done_takes_no_time_and_memory_limits() -> None:
    plan = small_plan()
    left = {key: taken for key, taken in lasting(plan).items() if plan.phases[key].spec.index}
    assert schedule(plan, left, machines(4)).seconds == 10
    assert schedule(plan, left, machines(4), most=1).seconds == 40
    assert schedule(plan, {}, machines(1)).seconds == 0


@settings(deadline=None)
@given(st.integers(1, 5), st.integers(1, 3), st.lists(st.floats(1, 1_000), min_size=6, max_size=6), st.data())
def test_no_schedule_is_shorter_than_its_work_or_its_chains(
    number: int, cpus: int, times: list[float], data: st.DataObject
) -> None:
    plan = small_plan(resources={"cpus": data.draw(st.integers(1, cpus))})
    taken = dict(zip(plan.phases, times, strict=True))
    nodes = machines(number, cpus=cpus)
    found = schedule(plan, taken, nodes)
    room = slots(plan, list(plan.phases), nodes)
    chains = [sum(taken[key] for key in trial.phases) for trial in plan.trials]
    assert found.seconds >= max(*chains, sum(times) / room) - 1e-6
    assert found.seconds <= sum(times) + 1e-6
    for key, phase in plan.phases.items():
        assert all(found.ends[key] >= found.ends[need] + taken[key] - 1e-6 for need in phase.spec.needs)


@pytest.mark.parametrize("gpus", [0.1, 0.25, 0.3, 0.5, 1.0])
def test_machines_are_filled_as_far_as_slots_are_counted(gpus: float) -> None:
    """Twenty phases of a second, all free to start: they take as many rounds as that number of slots needs."""
    plan = small_plan(seeds=tuple(range(20)), methods=("base",), resources={"gpus": gpus})
    taken = {phase.key: 1.0 for phase in firsts(plan)}
    nodes = machines(2, cpus=32, gpus=1)
    assert schedule(plan, taken, nodes).seconds == math.ceil(20 / slots(plan, list(taken), nodes))


def test_lanes_of_a_pack_share_what_it_asks_for() -> None:
    """On one CPU both first phases side by side, then three of the four second ones, and the last."""
    plan = small_plan(resources={"lanes": 3})
    found = schedule(plan, lasting(plan), machines(1))
    assert [found.ends[phase.key] for phase in firsts(plan)] == [100, 100]
    assert sorted(found.ends[phase.key] for phase in seconds(plan)) == [110, 110, 110, 120]
    assert (found.at_once, schedule(plan, lasting(plan), machines(2)).at_once) == (3, 6)
    auto = small_plan(resources={"lanes": "auto"})
    assert schedule(auto, lasting(auto), machines(1)).seconds == 240, "one lane on a CPU"
    on_gpu = small_plan(resources={"lanes": "auto", "gpus": 1, "cpus": 2})
    assert schedule(on_gpu, lasting(on_gpu), machines(1, cpus=2, gpus=1)).seconds == 110
