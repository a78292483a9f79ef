import json

import numpy as np
import pytest
from safetensors.numpy import load_file
from synthetic_store import find, learn_first, plan_of

import analysis
from analysis.export import policy_weights
from nbsp_ray.errors import StoreError
from nbsp_ray.learning.networks import Layout, NumpyMlp

OBSERVATIONS, HIDDEN, ACTIONS = 5, (8, 8), 2
"""Of the synthetic store's toy agents."""


@pytest.fixture
def actor():
    parameters = Layout(OBSERVATIONS, HIDDEN, 2 * ACTIONS).parameters
    return np.random.default_rng(0).normal(size=parameters).astype(np.float32)


@pytest.fixture
def key(store, actor, monkeypatch):
    """A finished first phase with that actor."""
    plan = plan_of()
    trial = find(plan, "base", 0)
    monkeypatch.setattr("synthetic_store.AGENT", {"actor": actor[None, None]})
    learn_first(store, plan, trial, 9)
    store.phase(trial.phases[0]).write_spec(plan.phases[trial.phases[0]].spec.model_dump(mode="json"))
    return trial.phases[0]


def test_the_weights_are_those_that_the_policy_uses(actor):
    weights = policy_weights(actor, HIDDEN, ACTIONS)
    x = y = np.random.default_rng(1).normal(size=OBSERVATIONS).astype(np.float32)
    for layer in ("hidden0", "hidden1"):
        x = np.maximum(weights[f"{layer}.weight"] @ x + weights[f"{layer}.bias"], 0)
    x = weights["output.weight"] @ x + weights["output.bias"]
    assert x == pytest.approx(NumpyMlp(Layout(OBSERVATIONS, HIDDEN, 2 * ACTIONS), actor)(y))


def test_weights_of_another_network_are_refused(actor):
    with pytest.raises(StoreError, match="fits no network"):
        policy_weights(actor[:-1], HIDDEN, ACTIONS)


def test_an_agent_is_weights_configuration_and_a_card(store, key, actor, tmp_path):
    paths = analysis.export_agent(store.root, key[:8], tmp_path / "agent")
    assert [path.name for path in paths] == ["policy.safetensors", "config.json", "README.md"]
    assert load_file(paths[0])["hidden0.weight"] == pytest.approx(actor[: 8 * 5].reshape(8, 5))
    config = json.loads(paths[1].read_text())
    assert (config["key"], config["spec"]["task"], config["policy"]["observations"]) == (key, "reach", 5)
    card = paths[2].read_text()
    assert "# An agent that learnt reach\n" in card
    assert "| reach | stochastic | of training | 0.90 [0.60, 0.98] | 10 |" in card
    assert "torch 2.11" in card


def test_the_cards_code_runs(store, key, actor, tmp_path, monkeypatch):
    folder = tmp_path / "agent"
    card = analysis.export_agent(store.root, key, folder)[2].read_text()
    monkeypatch.chdir(folder)
    names: dict[str, object] = {}
    exec(card.split("```python\n")[1].split("```")[0], names)
    observation = np.linspace(-1, 1, OBSERVATIONS, dtype=np.float32)
    mean, log_std = np.split(NumpyMlp(Layout(OBSERVATIONS, HIDDEN, 2 * ACTIONS), actor)(observation), 2)
    noise = np.array([0.3, -0.4], dtype=np.float32)
    act = names["act"]
    assert callable(act)
    assert act(observation) == pytest.approx(np.tanh(mean))
    std = np.exp(-5 + 3.5 * (np.tanh(log_std) + 1))
    assert act(observation, noise) == pytest.approx(np.tanh(mean + std * noise))


def test_bad_keys_are_said(store, key, tmp_path):
    with pytest.raises(StoreError, match="has no phase 'zzz'"):
        analysis.export_agent(store.root, "zzz", tmp_path)
    with pytest.raises(StoreError, match="has no phase ''"):
        analysis.export_agent(store.root, "", tmp_path)
    store.phase("0" * 20).write_spec({})
    with pytest.raises(StoreError, match="is not done"):
        analysis.export_agent(store.root, "0" * 20, tmp_path)
    store.phase("0" * 19 + "1").write_spec({})
    with pytest.raises(StoreError, match="begins 2 keys"):
        analysis.export_agent(store.root, "000", tmp_path)


def test_an_agent_without_evaluations_has_a_card(store, key, tmp_path):
    for path in (store.phase(key).path / "evaluations").iterdir():
        path.unlink()
    assert "No final evaluation" in analysis.export_agent(store.root, key, tmp_path)[2].read_text()
