import json

import numpy as np
import pytest
import torch
from phase_files import paths_of
from pixel_toy import pixel_spaces
from safetensors.numpy import load_file
from synthetic_store import find, games_of, learn_first, plan_of, play_first
from toy_phases import run_whole, toy_plan

import analysis
from analysis import export
from analysis.export import policy_weights
from nbsp_ray.agents import load_agent
from nbsp_ray.benchmarks import Continuous, Discrete, Frames, Spaces, Vector, get_benchmark
from nbsp_ray.config.schema import Sac
from nbsp_ray.errors import StoreError
from nbsp_ray.layout import Image, Layout, layouts
from nbsp_ray.learning.agent import Agent
from nbsp_ray.learning.networks import NumpyMlp, forward
from nbsp_ray.store import Store

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
    spaces = Spaces(Vector(OBSERVATIONS), Continuous(ACTIONS))
    whole = Agent(Sac(hidden=HIDDEN), spaces, torch.device("cpu"), np.random.default_rng(0)).arrays()
    monkeypatch.setattr("synthetic_store.AGENT", whole | {"actor": actor[None, None]})
    learn_first(store, plan, trial, 9)
    store.phase(trial.phases[0]).write_spec(plan.phases[trial.phases[0]].spec.model_dump(mode="json"))
    return trial.phases[0]


def test_the_weights_are_those_that_the_policy_uses(actor):
    weights = policy_weights(actor, HIDDEN, Spaces(Vector(OBSERVATIONS), Continuous(ACTIONS)))
    x = y = np.random.default_rng(1).normal(size=OBSERVATIONS).astype(np.float32)
    for layer in ("hidden0", "hidden1"):
        x = np.maximum(weights[f"{layer}.weight"] @ x + weights[f"{layer}.bias"], 0)
    x = weights["output.weight"] @ x + weights["output.bias"]
    assert x == pytest.approx(NumpyMlp(Layout(OBSERVATIONS, HIDDEN, 2 * ACTIONS), actor)(y))


def test_weights_of_another_network_are_refused(actor):
    with pytest.raises(StoreError, match=r"has .* parameters, and a network for 5 observations"):
        policy_weights(actor[:-1], HIDDEN, Spaces(Vector(OBSERVATIONS), Continuous(ACTIONS)))


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
    for name, path in paths_of(store, key).items():
        if name.startswith("evaluations/"):
            path.unlink()
    assert "No final evaluation" in analysis.export_agent(store.root, key, tmp_path)[2].read_text()


def test_an_agent_that_sees_frames_acts_as_here(store, tmp_path, monkeypatch):
    plan, spaces = games_of(), pixel_spaces(6)
    trial = plan.trials[0]
    layout = Layout(
        spaces.observation.stack,
        HIDDEN,
        spaces.action.size,
        Image(spaces.observation.frame, spaces.observation.convolutions),
    )
    actor = layout.initial(1, np.random.default_rng(3))
    whole = Agent(Sac(hidden=HIDDEN), spaces, torch.device("cpu"), np.random.default_rng(0)).arrays()
    monkeypatch.setattr("synthetic_store.AGENT", whole | {"actor": actor[None]})
    play_first(store, plan, trial, [9.3, -5.7])
    store.phase(trial.phases[0]).write_spec(plan.phases[trial.phases[0]].spec.model_dump(mode="json"))
    card = analysis.export_agent(store.root, trial.phases[0], tmp_path / "agent")[2].read_text()
    assert "| Pong | stochastic | of training | 1.8 | 0.75 | 2 |" in card
    assert "4 frames of 84 x 84, convolutions 32 of 8 x 8 every 4" in card
    monkeypatch.chdir(tmp_path / "agent")
    names: dict[str, object] = {}
    exec(card.split("```python\n")[1].split("```")[0], names)
    act = names["act"]
    assert callable(act)
    rng = np.random.default_rng(4)
    for _ in range(5):
        frames = rng.integers(256, size=(4, 84, 84), dtype=np.uint8)
        noise = rng.gumbel(size=6)
        stack, batch = torch.from_numpy(actor)[None], torch.from_numpy(frames)[None, None, None]
        logits = forward(layout, stack, batch)[0, 0, 0].numpy()
        assert act(frames) == int(np.argmax(logits))
        assert act(frames, noise) == int(np.argmax(logits + noise))


@pytest.mark.parametrize(
    "spaces",
    [
        Spaces(Frames((12, 12), 2, ((3, 4, 2), (4, 3, 1))), Continuous(ACTIONS)),
        Spaces(Vector(OBSERVATIONS), Discrete(ACTIONS)),
        Spaces(Vector(OBSERVATIONS), Continuous(ACTIONS)),
    ],
    ids=str,
)
@pytest.mark.parametrize("sac", [Sac(hidden=HIDDEN), Sac(hidden=HIDDEN, layer_norm=True)], ids=["plain", "normalised"])
def test_the_text_of_the_card_acts_as_the_policy_does_whatever_it_sees_and_does(spaces, sac, tmp_path, monkeypatch):
    from safetensors.numpy import save_file

    agent = Agent(sac, spaces, torch.device("cpu"), np.random.default_rng(3))
    save_file(policy_weights(agent.state.actor[0, 0].numpy(), HIDDEN, spaces), tmp_path / "policy.safetensors")
    told, use = export._use(export._policy(spaces, sac), spaces)
    assert str(spaces.observation) in told.text
    assert str(spaces.action) in told.text
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(use.text.split("```python\n")[1].split("```")[0], names)
    act, policy, rng = names["act"], agent.policy(), np.random.default_rng(4)
    assert callable(act)
    for _ in range(3):
        seen = rng.standard_normal(OBSERVATIONS).astype(np.float32)
        if isinstance(spaces.observation, Frames):
            seen = rng.integers(256, size=(2, 12, 12), dtype=np.uint8)
        noise = policy.noise(rng)
        np.testing.assert_allclose(act(seen), policy(seen, None), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(act(seen, noise), policy(seen, noise), rtol=1e-4, atol=1e-5)


def test_an_agent_with_weights_for_each_task_is_exported_for_one(tmp_path):
    plan, store = toy_plan(methods=("packnet",)), Store(tmp_path, create=True)
    for phase in plan.phases.values():
        run_whole(store, phase)
    key = plan.trials[0].phases[1]
    owner = store.phase(key).prepared()["packnet.owner"].reshape(-1)
    last, first = (
        load_file(analysis.export_agent(store.root, key, tmp_path / str(task), task)[0]) for task in (None, "reach")
    )
    spec = plan.phases[key].spec
    layout = layouts(get_benchmark("toy").task_spaces(spec.task), spec.sac.hidden)["actor"]
    later = layout.named(owner > 0)
    for name, weights in first.items():
        np.testing.assert_array_equal(weights, np.where(later[name], 0, last[name]))
    assert any((first[name] != last[name]).any() for name in first)
    film_of_first = load_agent(store, key, task="reach").arrays()["actor"].reshape(-1)
    np.testing.assert_array_equal(layout.named(film_of_first)["output.weight"], first["output.weight"])
    with pytest.raises(StoreError, match=r"has not learnt 'fly'; it has learnt reach, avoid"):
        analysis.export_agent(store.root, key, tmp_path / "no", "fly")
