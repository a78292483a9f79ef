"""`import nbsp_ray` is a notebook's way in: each name on a real toy trial."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch

import nbsp_ray
from nbsp_ray.errors import PhaseError, StoreError
from nbsp_ray.learning.phase import learn
from nbsp_ray.learning.wishes import alone
from nbsp_ray.specs import Plan
from nbsp_ray.store import Store

SETTINGS = (
    "seeds=0",
    "methods=nbsp",
    "first.env_steps=200",
    "second.env_steps=150",
    "evaluation.episodes=2",
    "sac.learning_starts=50",
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return nbsp_ray.Store(tmp_path_factory.mktemp("front"), create=True)


@pytest.fixture(scope="module")
def plan(store: Store) -> Plan:
    """A trial that has run."""
    plan = nbsp_ray.load_sweep("toy", SETTINGS).plan(store)
    assert nbsp_ray.run_trial(plan, plan.trials[0], store)
    return plan


def test_every_name_is_there_and_is_the_one_of_its_module() -> None:
    assert set(nbsp_ray.__all__) == set(nbsp_ray._HOMES)  # type: ignore[attr-defined]
    for name, module in nbsp_ray._HOMES.items():  # type: ignore[attr-defined]
        assert getattr(nbsp_ray, name) is getattr(import_module(module), name)
        assert name in dir(nbsp_ray)
    with pytest.raises(AttributeError, match="no attribute 'load_sweeps'"):
        nbsp_ray.load_sweeps  # type: ignore[attr-defined]  # noqa: B018


def test_importing_it_loads_nothing() -> None:
    code = "import nbsp_ray, sys; print([n for n in sys.modules if n.split('.')[0] in ('torch', 'numpy', 'pydantic')])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_results_of_a_sweep_in_one_call(store: Store, plan: Plan) -> None:
    results = nbsp_ray.load_results(store.root, "toy", *SETTINGS)
    assert list(results.finals["status"]) == ["done"]
    assert list(results.finals["key_second"]) == [plan.trials[0].phases[1]]
    rows = len(results.curves)
    assert repr(results) == (f"<Results of toy in {store.root}: 1 of 1 trials done, {rows} rows of curves, 2 phases>")
    assert "0 of 3 trials done" in repr(nbsp_ray.load_results(store.root, "toy", *SETTINGS[1:], "seeds=1-3"))


def test_a_loaded_agent_acts_as_the_one_that_was_stored(store: Store, plan: Plan) -> None:
    key = plan.trials[0].phases[1]
    agent = nbsp_ray.load_agent(store, key[:8])
    stored = store.phase(key).agent()
    assert stored is not None
    for name, array in agent.arrays().items():
        np.testing.assert_array_equal(array, stored[name], err_msg=name)
    observation = np.linspace(-1, 1, 5, dtype=np.float32)
    action = agent.policy()(observation, None)
    assert np.shape(action) == (agent.spaces.action.size,)
    assert np.all(np.abs(action) < 1)
    np.testing.assert_array_equal(action, agent.policy()(observation, None))


def test_an_agent_that_is_not_there_is_said(store: Store, plan: Plan) -> None:
    with pytest.raises(StoreError, match="no phase 'ffffffff'"):
        nbsp_ray.load_agent(store, "ffffffff")
    other = nbsp_ray.load_sweep("toy", (*SETTINGS[1:], "seeds=9")).plan(store)
    first = other.trials[0].phases[0]
    nbsp_ray.open_phase(store, other, first)
    with pytest.raises(PhaseError, match=f"{first} is not done, so it has no agent yet"):
        nbsp_ray.load_agent(store, first)


def test_a_phase_opens_where_a_debugger_can_step_and_learns_what_was_stored(store: Store, plan: Plan) -> None:
    key = plan.trials[0].phases[1]
    phase = nbsp_ray.open_phase(store, plan, key)
    start = nbsp_ray.load_agent(store, plan.trials[0].phases[0])
    assert torch.equal(phase.agent.state.actor, start.state.actor), "it starts from the phase before"
    seen = [phase.env_steps for _ in alone(learn(phase))]
    assert seen == sorted(seen)
    assert (seen[-1], phase.env_steps) == (150, 150)
    stored = store.phase(key).agent()
    assert stored is not None
    np.testing.assert_array_equal(phase.agent.arrays()["actor"], stored["actor"])


def test_a_phase_that_needs_another_says_so(tmp_path: Path, plan: Plan) -> None:
    with pytest.raises(PhaseError, match=r"is missing from .*remove that folder and run the sweep again"):
        nbsp_ray.open_phase(Store(tmp_path, create=True), plan, plan.trials[0].phases[1])
