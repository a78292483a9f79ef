"""A phase in a pack is the phase that it is alone: every method, in any company, stopped and gone on with elsewhere."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from interrupted import what_it_left
from pixel_toy import pixel_plan
from toy_phases import ONE_THREAD, phase_run, phases_of, run_whole, toy_plan

from nbsp_ray.benchmarks import Action, Env, Step
from nbsp_ray.config.schema import Resources
from nbsp_ray.errors import ConfigError
from nbsp_ray.learning.pack import Pack
from nbsp_ray.learning.run import PhaseRun
from nbsp_ray.learning.timing import measure_pack
from nbsp_ray.methods import methods
from nbsp_ray.specs import Plan, PlannedPhase
from nbsp_ray.status import is_complete
from nbsp_ray.store import Store

SHORT: dict[str, Any] = {"first": {"env_steps": 100}, "second": {"env_steps": 120}}
CAPACITY = 200


def ready(plan: Plan, store: Store) -> Iterator[PhaseRun | None]:
    """What may begin, again and again: None where all that is left waits for something."""
    left = dict(plan.phases)
    while left:
        found = next(
            (one for one in left.values() if all(is_complete(plan.phases[key], store) for key in one.spec.needs)), None
        )
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


def test_updates_fall_into_step(plan: Plan, tmp_path: Path) -> None:
    """Lanes that begin at other times come to learn in the same calls, not in two groups for ever."""
    few = toy_plan(methods=("base",), seeds=(0, 1, 2), sac={"updates_per_env_step": 1.0}, **SHORT)
    pack = packed(few, Store(tmp_path / "packed", create=True), slots=3)
    # 51 updates of each first phase and 71 of each second. They are opened one after another, while others learn.
    assert sum(lanes * calls for lanes, calls in pack.calls.items()) == 3 * (51 + 71)
    assert pack.calls[3] >= 90


def test_lanes_of_other_budgets_and_with_targets_copied_now_and_then(tmp_path: Path) -> None:
    """Phases that end at other times and whose targets are at other points; slots are taken over."""
    sac = {"target_period": 3, "policy_frequency": 3, "updates_per_env_step": 1.5, "network": "normalised"}
    plans = [
        toy_plan(
            seeds=(seed,),
            methods=("nbsp", "ewc"),
            sac=sac,
            first={"env_steps": 60 + 15 * seed},
            second={"env_steps": 90},
        )
        for seed in (0, 1, 2)
    ]
    phases = {key: phase for one in plans for key, phase in one.phases.items()}
    plan = Plan("toy", "", phases, tuple(trial for one in plans for trial in one.trials))
    alone, store = (Store(tmp_path / name, create=True) for name in ("alone", "packed"))
    for phase in plan.phases.values():
        run_whole(alone, phase)
    assert packed(plan, store, slots=3).failures == {}
    assert_equal(plan, alone, store)


def test_stopped_and_gone_on_with_in_another_packing(plan: Plan, alone: Store, tmp_path: Path) -> None:
    store, turns = Store(tmp_path / "packed", create=True), 0
    for slots, asked in ((5, 40), (3, 60), (1, 10), (8, 10**9)):
        turns = 0

        def stopped(asked: int = asked) -> bool:
            nonlocal turns
            turns += 1
            return turns > asked

        assert packed(plan, store, slots, stopped=stopped).failures == {}
    assert_equal(plan, alone, store)


def test_a_lane_that_fails_takes_no_other_down(plan: Plan, alone: Store, tmp_path: Path) -> None:
    """One that diverges, and one whose environment raises; what needs them cannot begin, all else is as it was."""
    store = Store(tmp_path / "packed", create=True)
    runs, pack = ready(plan, store), Pack(8, CAPACITY, ONE_THREAD)
    diverging, raising = (find(plan, method) for method in ("nbsp", "agem"))

    def spoilt() -> PhaseRun | None:
        run = next(runs, None)
        if run is not None and run.spec.key() in (diverging.key, raising.key):
            make = run.make_env

            def make_env(task: str, seed: int, *, heldout: bool = False) -> Env:
                env, steps = make(task, seed, heldout=heldout), 0

                def spoilt_step(action: Action) -> Step:
                    nonlocal steps
                    steps += 1
                    if steps == 60 and run.spec.key() == raising.key:
                        raise RuntimeError("the simulator broke")
                    found = type(env).step(env, action)
                    return (
                        found._replace(reward=float("inf")) if steps > 55 and run.spec.key() == diverging.key else found
                    )

                env.step = spoilt_step  # type: ignore[method-assign]
                return env

            run.make_env = make_env
        return run

    pack.run(spoilt)
    assert set(pack.failures) == {diverging.key, raising.key}
    assert "learning has diverged" in str(pack.failures[diverging.key])
    assert str(pack.failures[raising.key]) == "the simulator broke"
    assert_equal(plan, alone, store, but=(diverging, raising))


def find(plan: Plan, method: str) -> PlannedPhase:
    """The second phase of a method."""
    return phases_of(plan, method)[1]


def test_a_pack_is_timed_while_all_its_lanes_learn() -> None:
    """Its lanes together make some env steps in half a second, and leave nothing behind."""
    phase = phases_of(toy_plan(), "base")[1]
    said: list[str] = []
    assert measure_pack(phase.spec, ONE_THREAD, lanes=2, seconds=0.5, tell=said.append) > 1
    assert said[-1] == "timing all of them for 0.5 seconds"


def test_phases_of_another_shape_are_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "packed", create=True)
    one, other = (next(iter(toy_plan(sac={"gamma": gamma}).phases.values())) for gamma in (0.9, 0.8))
    runs = iter([phase_run(store, one), phase_run(store, other)])
    pack = Pack(2, 400, ONE_THREAD)
    pack.run(lambda: next(runs, None))
    assert str(pack.failures[other.key]) == "lanes of a pack have one shape, and this phase has another: sac.gamma"
    assert store.phase(one.key).done()


def test_auto_goes_on_without_a_compiler_and_each_lane_says_so(
    monkeypatch: pytest.MonkeyPatch, plan: Plan, alone: Store, tmp_path: Path
) -> None:
    """Its numbers are those of updates that nobody wanted to be compiled, and its manifest says that they are."""
    monkeypatch.setenv("CXX", "no-such-compiler")
    store, auto = Store(tmp_path / "packed", create=True), Resources(cpus=1, compile="auto")
    firsts = [phase for phase in plan.phases.values() if phase.spec.index == 0]
    runs = iter([phase_run(store, phase) for phase in firsts])
    pack = Pack(2, CAPACITY, auto, compile=True)
    pack.run(lambda: next(runs, None))
    assert pack.failures == {}
    for phase in firsts:
        folder = store.phase(phase.key)
        result, manifest = folder.result(), folder.manifest()
        assert result is not None
        assert manifest is not None
        (note,) = result["notes"]
        assert "not compiled, which costs time only: there is no C++ compiler no-such-compiler" in note
        assert not manifest["compiled"]
        assert what_it_left(store, phase) == what_it_left(alone, phase)
    # Who asks for it is told that it cannot be.
    left = iter([phase_run(Store(tmp_path / "asked", create=True), firsts[0])])
    with pytest.raises(ConfigError, match=r"resources\.compile=true, and the update cannot be compiled"):
        Pack(1, CAPACITY, Resources(compile=True), compile=True).run(lambda: next(left, None))


def test_lanes_of_frames_are_learnt_together_too(pixel_toy: None, tmp_path: Path) -> None:
    """A convolution of several lanes rounds otherwise, so that numbers are near and not equal."""
    plan = pixel_plan(methods=("base", "nbsp", "ewc"))
    alone, store = (Store(tmp_path / name, create=True) for name in ("alone", "packed"))
    for phase in plan.phases.values():
        run_whole(alone, phase)
    pack, runs = Pack(3, 1_000, ONE_THREAD), ready(plan, store)
    pack.run(lambda: next(runs, None))
    assert pack.failures == {}
    for phase in plan.phases.values():
        one, other = (found.phase(phase.key).agent() for found in (alone, store))
        assert one is not None
        assert other is not None
        for name, array in one.items():
            assert np.linalg.norm(other[name]) == pytest.approx(np.linalg.norm(array), rel=0.05, abs=1e-3), name
        assert len(store.phase(phase.key).curve()) == len(alone.phase(phase.key).curve())


@pytest.mark.parametrize("benchmark", ["toy", "stepped_toy"])
def test_lanes_that_act_in_one_launch_act_as_alone(benchmark: str, axes_toys: None, tmp_path: Path) -> None:
    """As on a GPU: the actors of all lanes are asked at once, which rounds otherwise than one in NumPy."""
    plan = toy_plan(benchmark=benchmark, methods=("base",), seeds=(0, 1, 2), **SHORT)
    alone, store = (Store(tmp_path / name, create=True) for name in ("alone", "packed"))
    firsts = [phase for phase in plan.phases.values() if phase.spec.index == 0]
    for phase in firsts:
        run_whole(alone, phase)
    pack, runs = Pack(2, CAPACITY, ONE_THREAD), iter([phase_run(store, phase) for phase in firsts])
    pack._acts_together = True
    pack.run(lambda: next(runs, None))
    assert pack.failures == {}
    for phase in firsts:
        one, other = (found.phase(phase.key).agent() for found in (alone, store))
        assert one is not None
        assert other is not None
        for name, array in one.items():
            np.testing.assert_allclose(other[name], array, rtol=0.02, atol=1e-3, err_msg=name)
