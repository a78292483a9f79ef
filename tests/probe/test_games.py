"""A probe of games: ranked by the raw return of whole games, split by whole games, judged by their returns."""

import math

import numpy as np
import pytest
import torch
from pixel_toy import SMALL, BallEnv, PixelToy
from toy_phases import run_whole

from analysis.probe.frames import Probe, effects
from analysis.probe.report import cautions, show_probe
from nbsp_ray.config.schema import Sweep
from nbsp_ray.learning.agent import NETWORKS, Agent
from nbsp_ray.learning.evaluation import EpisodePlan, play
from nbsp_ray.learning.final import read_rollouts
from nbsp_ray.learning.frames import FrameReplay
from nbsp_ray.learning.hooks import Past
from nbsp_ray.learning.networks import forward
from nbsp_ray.learning.scores import measure, values
from nbsp_ray.learning.seeding import Stream, generator
from nbsp_ray.methods.neuron_mask import NeuronMask
from nbsp_ray.probe.measure import probe, spearman
from nbsp_ray.probe.request import Probed, Request, Target, find_targets
from nbsp_ray.store import Store

pytestmark = pytest.mark.usefixtures("pixel_toy")
ALL = ("actor", "q1", "q2")
REQUEST = Request(ALL, (0, 3, 18), episodes=None, draws=2, scores=("paper", "importance"))
NEURONS = 4 + 6 + 8


def quiet(done: int, total: int, what: str) -> None:
    """Nobody listens."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("results"), create=True)


@pytest.fixture(scope="module")
def probed(store: Store, pixel_toy: None) -> list[Probed]:
    targets = find_targets("pixels", [Sweep.model_validate(SMALL)], REQUEST)
    run_whole(store, targets[0].phase)
    return probe(store, targets, REQUEST, quiet)


def whole_agent(store: Store, target: Target) -> Agent:
    agent = Agent(target.phase.spec.sac, PixelToy().task_spaces("catch"), torch.device("cpu"), np.random.default_rng(9))
    agent.restore(store.phase(target.phase.key).agent() or {}, weights_only=True)
    return agent


def test_everything_asked_for_is_measured_once(store: Store, probed: list[Probed]) -> None:
    assert [one.target.kind for one in probed] == ["paper", "importance"]
    for one in probed:
        assert len(one.answers) == 3 * (1 + 2 * 4)
        for cell, answer in one.answers:
            assert len(answer.env_return) == (5 if cell.network == "actor" else 0)
            assert answer.success == ()
            assert (answer.value_change is None) == (cell.network == "actor")
    by_record = {cell.record: answer for one in probed for cell, answer in one.answers}
    kept = list((store.phase(probed[0].target.phase.key).path / "probes").iterdir())
    assert len(kept) == 2 * 3 + len(by_record) < 2 * 3 + 2 * 27
    assert probe(store, [one.target for one in probed], REQUEST, quiet) == probed


def test_nothing_silenced_is_the_whole_agent_in_whole_games(store: Store, probed: list[Probed]) -> None:
    agent, env = whole_agent(store, probed[0].target), BallEnv("catch")
    plans = [EpisodePlan(number, generator(0, 0, Stream.PROBE_EPISODES, number)) for number in range(5)]
    episodes = [play(agent.policy(), env, plan) for plan in plans]
    answers = {cell.network: answer for cell, answer in probed[0].answers if cell.choice == "none"}
    assert answers["actor"].env_return == tuple(episode.env_return for episode in episodes)
    assert answers["actor"].env_steps == sum(episode.env_steps for episode in episodes)
    assert answers["q1"].value_change == answers["q2"].value_change == 0


def test_a_critic_without_neurons_is_its_bias(store: Store, probed: list[Probed]) -> None:
    target = probed[0].target
    agent, rows = whole_agent(store, target), store.phase(target.phase.key).replay()
    assert rows is not None
    batch = FrameReplay.of(PixelToy().task_spaces("catch"), rows).all()  # type: ignore[arg-type]
    q = forward(agent.layout("q1"), agent.state.critic, batch.observations.unsqueeze(1))[0]
    bias = agent.layout("q1").unpack(agent.state.critic)[-1][0]
    for network in ("q1", "q2"):
        member = NETWORKS[network][1]
        taken = batch.actions[0].numpy()
        whole = q[member].detach().double().numpy()[np.arange(len(taken)), taken]
        change = np.abs(bias[member].double().numpy()[taken] - whole).mean() / whole.std()
        (found,) = {
            answer.value_change
            for cell, answer in probed[0].answers
            if cell.network == network and len(cell.neurons) == NEURONS
        }
        assert found == pytest.approx(change, rel=1e-4)


def test_neurons_rank_as_a_mask_takes_them_and_halves_are_whole_games(store: Store, probed: list[Probed]) -> None:
    target = probed[0].target
    agent, folder = whole_agent(store, target), store.phase(target.phase.key)
    rollouts, rows = read_rollouts(folder, target.rollouts.id, agent.spaces), folder.replay()
    assert rollouts is not None
    assert rows is not None
    past = Past(agent, FrameReplay.of(agent.spaces, rows), rollouts, {}, generator(0, 1, Stream.METHOD))  # type: ignore[arg-type]
    counts = dict.fromkeys(ALL, 5)
    masks = (
        NeuronMask(select="skill", score="paper", strength=1, counts=counts),
        NeuronMask(select="important", strength=1, counts=counts),
    )
    episode = np.repeat(np.arange(len(rollouts.ends)), np.diff(rollouts.ends, prepend=0))  # type: ignore[attr-defined]
    assert len(set(np.bincount(episode))) > 1, "games differ in length"
    for one, mask in zip(probed, masks, strict=True):
        frozen = mask.prepare(past).arrays
        for network in ALL:
            scores = one.scores[network]
            assert scores.ranking is not None
            assert set(scores.ranking[:5]) == set(np.flatnonzero(frozen[f"{network}.frozen"]))
            assert scores.steps == len(episode)
    scores, layer = probed[0].scores["q2"], target.layer_of_neurons
    activations = np.concatenate([agent.neuron_activations("q2", *block) for block in rollouts.blocks(64)])
    halves = [
        measure(lambda half=half: [activations[half]], rollouts.criterion[half])  # type: ignore[misc]
        for half in (episode % 2 == 1, episode % 2 == 0)
    ]
    active = ~halves[0].constant & ~halves[1].constant
    assert scores.split_half_neurons == active.sum()
    assert scores.split_half == pytest.approx(spearman(*(values("paper", half, layer)[active] for half in halves)))
    assert probed[1].scores["q2"].split_half is None


def test_the_frames_speak_of_returns(probed: list[Probed], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PixelToy, "normalised", lambda self, task, score: (score - 1) / 4)
    found = Probe.of(probed, REQUEST)
    actor = found.cells[found.cells["network"] == "actor"]
    assert actor["success"].isna().all()
    whole = actor[actor["choice"] == "none"]["env_return"].iloc[0]
    np.testing.assert_allclose(actor["drop"], whole - actor["env_return"])
    np.testing.assert_allclose(actor["normalised_drop"], actor["drop"] / 4)
    assert (actor["effect"] == actor["drop"]).all()
    table = effects(found.cells).set_index(["score", "network", "choice", "count"]).loc["paper", "actor", "best", 3]
    assert table["minus_random_normalised_mean"] == pytest.approx(table["minus_random_mean"] / 4)
    contrast = found.contrasts.set_index(["score", "network", "count"]).loc["paper", "actor", 3]
    assert contrast["best_minus_random"] == pytest.approx(table["minus_random_mean"])
    games, critics, *_ = show_probe(found)
    assert (games.name, critics.name) == ("probe_actor_score", "probe_critics")
    assert "best minus random, normalised" in games.text
    assert "5 whole episodes" in games.caption[0]
    assert not any("Not learnt" in note for note in cautions(found))


def test_a_game_without_reference_scores_has_raw_ones(probed: list[Probed]) -> None:
    found = Probe.of(probed, REQUEST)
    assert found.cells["normalised"].isna().all()
    games = show_probe(found)[0]
    assert set(games.text["best minus random, normalised"]) == {"-"}
    assert not math.isnan(float(games.text["random"].iloc[1].split()[0]))
