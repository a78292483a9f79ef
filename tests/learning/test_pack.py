"""A phase in a pack is the phase that it is alone: every method, in any company, stopped and gone on with elsewhere."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from interrupted import what_it_left
from toy_phases import ONE_THREAD, phase_run, run_whole, toy_plan

from nbsp_ray.learning.pack import Pack
from nbsp_ray.learning.run import PhaseRun
from nbsp_ray.methods import methods
from nbsp_ray.specs import Plan, PlannedPhase
from nbsp_ray.store import Store

SHORT: dict[str, Any] = {"first": {"env_steps": 120}, "second": {"env_steps": 150}}
CAPACITY = 200


def ready(plan: Plan, store: Store) -> Iterator[PhaseRun | None]:
    """What may begin, again and again: None where all that is left waits for something."""
    left = dict(plan.phases)
    while left:
        found = next((one for one in left.values() if all(store.phase(key).done() for key in one.spec.needs)), None)
        if found is not None:
            del left[found.key]
        yield found and phase_run(store, found)


def packed(plan: Plan, store: Store, slots: int, **how: Any) -> Pack:
    """Run a plan in packs of so many lanes."""
    pack, runs = Pack(slots, CAPACITY, ONE_THREAD, **how), ready(plan, store)
    pack.run(lambda: next(runs, None))
    return pack


@pytest.fixture(scope="module")
def plan() -> Plan:
    return toy_plan(methods=tuple(sorted(methods())), **SHORT)


@pytest.fixture(scope="module")
def alone(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("alone"), create=True)
    for phase in plan.phases.values():
        run_whole(store, phase)
    return store


def assert_equal(plan: Plan, alone: Store, store: Store, but: Sequence[PlannedPhase] = ()) -> None:
    for phase in plan.phases.values():
        if phase not in but:
            assert what_it_left(store, phase) == what_it_left(alone, phase), phase.label


def test_every_method_leaves_what_it_leaves_alone(plan: Plan, alone: Store, tmp_path: Path) -> None:
    store = Store(tmp_path / "packed", create=True)
    pack = packed(plan, store, slots=8)
    assert pack.failures == {}
    assert_equal(plan, alone, store)
    assert max(pack.calls) == 8
