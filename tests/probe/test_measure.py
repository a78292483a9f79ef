"""Silencing neurons: what it does to a network, which neurons it takes, and what is measured and kept."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from phase_files import path_of
from pixel_toy import SMALL as PIXELS
from toy_phases import SMALL, phase_run, phases_of, run_whole, toy_plan

from nbsp_ray.benchmarks import Continuous, Spaces, Vector, get_benchmark
from nbsp_ray.config.schema import Sac, Sweep
from nbsp_ray.errors import DamagedPhaseError
from nbsp_ray.learning.agent import NETWORKS, Agent
from nbsp_ray.learning.evaluation import EpisodePlan, play
from nbsp_ray.learning.final import read_rollouts
from nbsp_ray.learning.gaussian import Gaussian
from nbsp_ray.learning.hooks import Past
from nbsp_ray.learning.networks import forward
from nbsp_ray.learning.replay import Batch, Replay
from nbsp_ray.learning.scores import Kind, NeuronStatistics, measure, rank, values
from nbsp_ray.learning.seeding import Stream, generator
from nbsp_ray.methods.neuron_mask import NeuronMask
from nbsp_ray.probe import measure as module
from nbsp_ray.probe.measure import probe, silence, spearman, split_half
from nbsp_ray.probe.request import (
    Cell,
    NetworkScores,
    Probed,
    Request,
    Scores,
    Target,
    cells,
    find_targets,
    is_ready,
    resolve,
    scores_record,
)
from nbsp_ray.store import Store

pytestmark = pytest.mark.usefixtures("pixel_toy")
ALL = ("actor", "q1", "q2")
REQUEST = Request(ALL, (0, 3, 0.5, 22), episodes=6, draws=2)


def small_sweep(**changes: Any) -> Sweep:
    return Sweep.model_validate(SMALL | {"evaluation": {"episodes": 20}} | changes)


def small_targets(request: Request = REQUEST, **changes: Any) -> list[Target]:
    return find_targets("toy", [small_sweep(**changes)], request)


def small_agent(seed: int = 0, **sac_settings: Any) -> Agent:
    sac = Sac(hidden=(4, 3), **sac_settings)
    return Agent(sac, Spaces(Vector(3), Continuous(2)), torch.device("cpu"), np.random.default_rng(seed))


def pixel_plan_targets(request: Request) -> list[Target]:
    return find_targets("pixels", [Sweep.model_validate(PIXELS)], request)


def quiet(done: int, total: int, what: str) -> None:
    """Nobody listens."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Two first phases, trained for a moment."""
    store = Store(tmp_path_factory.mktemp("results"), create=True)
    for target in small_targets(seeds=(0, 1)):
        run_whole(store, target.phase)
    return store


@pytest.fixture(scope="module")
def probed(trained: Store) -> list[Probed]:
    return probe(trained, small_targets(seeds=(0, 1)), REQUEST, quiet)


# Silencing


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("network", ALL)
def test_a_silenced_network_is_the_network_without_what_these_neurons_give(network: str, layer_norm: bool) -> None:
    """In a normalised layer they still count for its mean and variance, as their sums do; a sum of 0 is no silence."""
    agent = small_agent(layer_norm=layer_norm)
    shown = (lambda sums: torch.nn.functional.layer_norm(sums, sums.shape[-1:])) if layer_norm else lambda sums: sums
    part, member = NETWORKS[network]
    layout = agent.layout(network)
    inputs = torch.randn(1, 1, 20, layout.inputs, generator=torch.Generator().manual_seed(1))
    (w0, b0, w1, b1, w2, b2) = (view[0, member].clone() for view in layout.unpack(getattr(agent.state, part)))
    silence(agent, network, [1, 3, 4, 6])  # of the first layer 1 and 3, of the second 0 and 2
    h = torch.relu(shown(inputs[0, 0] @ w0.T + b0)) * torch.tensor([1, 0, 1, 0])
    h = torch.relu(shown(h @ w1.T + b1)) * torch.tensor([0, 1, 0])
    expected = h @ w2.T + b2
    found = forward(layout, getattr(agent.state, part)[:, member : member + 1], inputs)[0, 0]
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("network", ALL)
def test_silencing_leaves_all_else_alone_and_none_leaves_every_bit(network: str) -> None:
    agent = small_agent()
    before = agent.arrays()
    silence(agent, network, [])
    assert all(np.array_equal(array, before[name]) for name, array in agent.arrays().items())
    silence(agent, network, [5])
    part, member = NETWORKS[network]
    for name, array in agent.arrays().items():
        changed = np.argwhere(array != before[name])
        if name == part:
            assert set(changed[:, 1]) == {member}
            assert len(changed) == agent.layout(network).outputs  # the weights on what it gives
        else:
            assert len(changed) == 0


def test_all_neurons_silenced_leave_the_constant_policy_of_the_output_bias() -> None:
    agent = small_agent()
    silence(agent, "actor", range(7))
    bias = agent.layout("actor").unpack(agent.state.actor)[-1][0, 0].numpy()
    policy, noise = agent.policy(), np.array([0.5, -2.0], np.float32)
    std = np.exp(-5 + 3.5 * (np.tanh(bias[2:]) + 1))
    for state in np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32):
        np.testing.assert_array_equal(policy(state, None), np.tanh(bias[:2]))
        np.testing.assert_allclose(policy(state, noise), np.tanh(bias[:2] + std * noise), rtol=1e-6)


# Which neurons


def made_up_scores(ranking: Sequence[int] | None, constant: Sequence[int]) -> Scores:
    one = NetworkScores(
        steps=10,
        positive_share=0.5,
        ranking=None if ranking is None else tuple(ranking),
        score=tuple([0.5] * 22),
        constant=tuple(constant),
        dead=(),
        split_half=None,
        split_half_neurons=0,
    )
    return dict.fromkeys(ALL, one)


def chosen(found: Sequence[Cell], network: str = "actor") -> dict[tuple[str, int | None, int], tuple[int, ...]]:
    return {(cell.choice, cell.draw, len(cell.neurons)): cell.neurons for cell in found if cell.network == network}


def test_the_best_the_worst_and_random_ones() -> None:
    (target,) = small_targets()
    constant = [4, 9]
    ranking = [7, 3, 0, *(n for n in range(22) if n not in (7, 3, 0, 21, 20, 4, 9)), 20, 21, 4, 9]
    request = Request(ALL, (0, 3, 20, 21), episodes=1, draws=2)
    found = chosen(list(cells(target, made_up_scores(ranking, constant), request)))
    assert len(found) == 1 + 3 * 4
    assert found["none", None, 0] == ()
    assert found["best", None, 3] == (0, 3, 7)
    assert found["worst", None, 3] == (19, 20, 21)
    active = tuple(n for n in range(22) if n not in constant)
    for choice, draw in (("best", None), ("worst", None), ("random", 0), ("random", 1)):
        assert found[choice, draw, 20] == active
        assert set(found[choice, draw, 21]) - set(active) <= ({4, 9} if choice == "random" else {4})
        assert len(found[choice, draw, 21]) == 21
    assert found["random", 0, 3] != found["random", 1, 3]
    assert not set(found["random", 0, 3]) & set(constant)


def test_random_neurons_are_a_function_of_seed_network_and_draw_and_nested() -> None:
    request = Request(ALL, (2, 5), episodes=1, draws=2)
    sets = {}
    for target in small_targets(seeds=(0, 1)):
        for repeat in range(2):
            found = list(cells(target, made_up_scores(range(22), []), request))
            for network in ALL:
                own = {key: value for key, value in chosen(found, network).items() if key[0] == "random"}
                assert set(own["random", 0, 2]) < set(own["random", 0, 5])
                if repeat:
                    assert own == sets[target.phase.spec.seed, network]
                sets[target.phase.spec.seed, network] = own
    assert len({found["random", draw, 5] for found in sets.values() for draw in (0, 1)}) == 12


def test_an_undefined_score_leaves_random_neurons_only() -> None:
    (target,) = small_targets()
    found = chosen(list(cells(target, made_up_scores(None, [1]), Request(ALL, (3,), episodes=1, draws=2))))
    assert {choice for choice, _, _ in found} == {"none", "random"}


def test_counts_are_resolved_sorted_and_counted_once() -> None:
    (target,) = small_targets()
    assert resolve(Request(ALL, (0.5, 0, 3, 11, 0.0, 1.0, 22, 1), episodes=1, draws=1), target) == [1, 3, 11, 22]


def test_a_record_is_named_by_what_it_is_a_function_of() -> None:
    one = Cell("actor", "best", None, (1, 2), 5)
    assert one.record == Cell("actor", "random", 3, (1, 2), 5).record
    others = [("actor", (1, 2), 6), ("actor", (1, 3), 5), ("q1", (1, 2), 5), ("q2", (1, 2), 5)]
    assert len({one.record, *(Cell(name, "best", None, neurons, n).record for name, neurons, n in others)}) == 5


def test_how_long_a_choice_is_looked_at() -> None:
    """Success is settled in 50 episodes; of games, which take thousands of env steps, five are what one can afford."""
    games = pixel_plan_targets(Request(ALL, (3,), episodes=None, draws=1))
    for (target,), actor, critic in ((small_targets(), 50, 10_000), (games, 5, 1_000)):
        scores = made_up_scores(range(target.neurons), [])
        for episodes, played in ((None, actor), (7, 7)):
            found = list(cells(target, scores, Request(ALL, (3,), episodes, draws=1)))
            assert {cell.effort for cell in found if cell.network == "actor"} == {played}
            assert {cell.effort for cell in found if cell.network != "actor"} == {critic}


def test_a_phase_is_probed_once_for_each_way_of_scoring_it() -> None:
    sweeps = [
        small_sweep(skill_neurons=(0.2, 4)),
        small_sweep(methods=("nbsp",), skill_neurons=(1.0,)),
        small_sweep(method={"score": "balanced"}),
        small_sweep(method={"score": "dormant"}, seeds=(3,)),
    ]
    found = find_targets("x", sweeps, REQUEST)
    assert [(one.phase.spec.seed, one.kind, one.selected) for one in found] == [
        (0, "paper", (4, 22)), (0, "balanced", (4,)), (3, "dormant", (4,)),
    ]  # fmt: skip
    asked = replace(REQUEST, scores=("paper", "importance"))
    assert [(one.phase.spec.seed, one.kind, one.selected) for one in find_targets("x", sweeps, asked)] == [
        (0, "paper", (4, 22)), (0, "importance", (4, 22)), (3, "paper", (4,)), (3, "importance", (4,)),
    ]  # fmt: skip
    assert {one.rollouts.id for one in found} == {"reach.rollouts.20.train"}
    assert all(one.layers == (12, 10) and one.phase.spec.index == 0 for one in found)


# Scores


def test_spearman_by_hand() -> None:
    one = np.array([0.1, 0.2, 0.3, 0.4])
    assert spearman(one, one**3) == pytest.approx(1)
    assert spearman(one, -one) == pytest.approx(-1)
    assert spearman(one, np.array([1.0, 3.0, 2.0, 4.0])) == pytest.approx(1 - 6 * 2 / (4 * 15))
    # ties at their mean rank: 1.5, 1.5, 3 against 1, 2, 3
    assert spearman(np.array([1.0, 1.0, 2.0]), np.array([1.0, 2.0, 3.0])) == pytest.approx(math.sqrt(3) / 2)
    assert spearman(one, np.ones(4)) is None
    assert spearman(one[:2], one[:2]) is None


def agreement(activations: Any, q: Any) -> NeuronStatistics:
    return measure(lambda: [np.array(activations, np.float32)], np.array(q))


def test_ranking_follows_the_kind_of_score() -> None:
    layer = np.array([0, 0, 1, 1])
    #                     good rarely, mostly on; knows q; weak; constant
    steps = [[1, 0, 0.1, 2], [1, 0, 0, 2], [0, 0, 0, 2], [0, 5, 0, 2]]
    found = agreement(steps, [0, 0, 0, 1])
    assert found.accuracy.tolist() == [0.25, 1.0, 0.5, 0.75]
    importance = np.array([0.1, 0.2, 0.3, 9.0])
    orders: dict[Kind, list[int]] = {
        "paper": [1, 0, 2, 3], "balanced": [1, 0, 2, 3], "dormant": [3, 2, 0, 1], "importance": [2, 1, 0, 3]
    }  # fmt: skip
    for kind, expected in orders.items():
        ranking = rank(kind, found, layer, importance)
        assert ranking is not None
        assert ranking.tolist() == expected
    np.testing.assert_allclose(
        values("dormant", found, layer), [-0.5 / 0.875, -1.25 / 0.875, -0.025 / 1.0125, -2 / 1.0125]
    )
    undefined = agreement(steps, [1, 1, 1, 1])
    assert rank("paper", undefined, layer) is None
    assert rank("dormant", undefined, layer) is not None
    assert rank("importance", undefined, layer, importance) is not None


@pytest.mark.parametrize("kind", ["paper", "balanced", "dormant", "importance"])
def test_the_best_neurons_are_those_that_a_method_freezes(trained: Store, kind: Kind) -> None:
    request = Request(ALL, (0,), episodes=1, draws=1, scores=(kind,))
    (target,) = small_targets(request)
    (found,) = probe(trained, [target], request, quiet)
    folder, counts = trained.phase(target.phase.key), {"actor": 5, "q1": 9, "q2": 22}
    agent = whole_agent(trained, target)
    replay = folder.replay()
    assert replay is not None
    mask = (
        NeuronMask(select="skill", score=kind, strength=1.0, counts=counts)
        if kind != "importance"
        else NeuronMask(select="important", strength=1.0, counts=counts)
    )
    rollouts = read_rollouts(folder, target.rollouts.id, agent.spaces)
    rng = generator(0, 1, Stream.METHOD)
    prepared = mask.prepare(Past(agent, Replay.of(agent.spaces, replay), rollouts, {}, rng))
    for network, count in counts.items():
        scores = found.scores[network]
        assert scores.ranking is not None
        assert set(scores.ranking[:count]) == set(np.flatnonzero(prepared.arrays[f"{network}.frozen"]))
        if kind == "paper":
            np.testing.assert_array_equal(scores.score, prepared.arrays[f"{network}.score"])


def whole_agent(store: Store, target: Target) -> Agent:
    spec = target.phase.spec
    spaces = get_benchmark(spec.benchmark).task_spaces(spec.task)
    agent = Agent(spec.sac, spaces, torch.device("cpu"), np.random.default_rng(9))
    weights = store.phase(target.phase.key).agent()
    assert weights is not None
    agent.restore(weights)
    return agent


def test_split_half_compares_odd_and_even_episodes(trained: Store) -> None:
    (target,) = small_targets()
    scores = module._Phase(trained, target).scores(target, "q1")
    rollouts = trained.phase(target.phase.key).rollouts(target.rollouts.id)
    assert rollouts is not None
    agent = whole_agent(trained, target)
    activations = agent.neuron_activations("q1", rollouts["observations"], rollouts["actions"])
    episode = np.repeat(np.arange(20), 25)  # of 25 steps each
    halves = [agreement(activations[episode % 2 == n], rollouts["criterion"][episode % 2 == n]) for n in (1, 0)]
    active = ~halves[0].constant & ~halves[1].constant
    assert scores.split_half_neurons == active.sum() > 10
    layer = target.layer_of_neurons
    expected = spearman(*(values("paper", half, layer)[active] for half in halves))
    assert expected is not None
    assert scores.split_half == pytest.approx(expected)


def synthetic(*, reliable: bool) -> list[NeuronStatistics]:
    """Halves of which neurons agree with q to different degrees: the same ones, or others in the odd one."""
    rng = np.random.default_rng(3)
    found = []
    for odd in (True, False):
        success, errors = rng.random(10_000) < 0.5, np.linspace(0, 0.5, 22)
        flipped = rng.random((10_000, 22)) < (errors[::-1] if odd and not reliable else errors)
        found.append(agreement((success[:, None] ^ flipped).astype(np.float32), success))
    return found


def test_split_half_tells_reliable_scores_from_others() -> None:
    layer = np.zeros(22, np.int64)
    same, active = split_half("paper", synthetic(reliable=True), layer)
    other, _ = split_half("paper", synthetic(reliable=False), layer)
    assert active == 22
    assert same is not None
    assert other is not None
    assert same > 0.98
    assert other < -0.9
    constant = agreement(np.random.default_rng(0).random((50, 22)), np.ones(50))
    assert split_half("paper", [constant, constant], layer) == (None, 22)
    assert split_half("paper", [], layer) == split_half("importance", [constant, constant], layer) == (None, 0)


# Measuring


def test_everything_asked_for_is_measured(probed: list[Probed]) -> None:
    assert [one.target.phase.spec.seed for one in probed] == [0, 1]
    for one in probed:
        assert len(one.answers) == 3 * (1 + 3 * 4)
        for cell, answer in one.answers:
            assert (answer.network, answer.neurons) == (cell.network, cell.neurons)
            assert len(answer.success) == (6 if cell.network == "actor" else 0)
            assert (answer.value_change is None) == (answer.td_error is None) == (cell.network == "actor")


def test_nothing_silenced_is_the_whole_agent_on_the_probes_episodes(trained: Store, probed: list[Probed]) -> None:
    target = probed[0].target
    agent, env = whole_agent(trained, target), get_benchmark("toy").make_env("reach", 0)
    plans = [
        EpisodePlan(number % env.variations, generator(0, 0, Stream.PROBE_EPISODES, number)) for number in range(6)
    ]
    expected = tuple(int(play(agent.policy(), env, plan).success or 0) for plan in plans)
    answers = {cell.network: answer for cell, answer in probed[0].answers if cell.choice == "none"}
    assert answers["actor"].success == expected
    assert answers["q1"].value_change == answers["q2"].value_change == 0.0


def test_a_critic_is_compared_on_transitions_of_its_buffer(trained: Store, probed: list[Probed]) -> None:
    """All silenced, Q is its output bias; by hand in float64, on the whole buffer (300 transitions)."""
    target = probed[0].target
    agent, rows = whole_agent(trained, target), trained.phase(target.phase.key).replay()
    assert rows is not None
    batch = Batch(torch.from_numpy(rows)[None], agent.spaces)
    for network in ("q1", "q2"):
        member = NETWORKS[network][1]
        q = forward(agent.layout(network), agent.state.critic, batch.critic_inputs[0].unsqueeze(1))[0, member, :, 0]
        bias = float(agent.layout(network).unpack(agent.state.critic)[-1][0, member, 0])
        whole = q.detach().double().numpy()
        (answer,) = {
            a.value_change: a for c, a in probed[0].answers if c.network == network and len(c.neurons) == 22
        }.values()
        assert answer.value_change == pytest.approx(np.abs(bias - whole).mean() / whole.std(), rel=1e-5)


def test_the_td_error_is_against_the_targets_of_the_whole_networks(trained: Store, probed: list[Probed]) -> None:
    """The error of every choice differs from that of the whole network by at most the change of Q."""
    for network in ("q1", "q2"):
        own = [(cell, answer) for cell, answer in probed[0].answers if cell.network == network]
        whole = next(answer.td_error for cell, answer in own if cell.choice == "none")
        assert whole is not None
        assert whole > 0
        for _, answer in own:
            assert answer.td_error is not None
            assert answer.value_change is not None
            assert abs(answer.td_error - whole) <= answer.value_change + 1e-6


def test_silencing_a_critic_changes_nothing_but_itself(trained: Store) -> None:
    """An answer does not depend on what was silenced before it."""
    (target,) = small_targets()
    phase = module._Phase(trained, target)
    cell = Cell("q1", "best", None, (0, 13), 5)
    fresh = phase.answer(cell)
    for other in (Cell("q2", "best", None, (1, 2, 3), 5), Cell("actor", "best", None, (5,), 5)):
        phase.answer(other)
    path = trained.phase(target.phase.key).path / "probes" / f"{cell.record}.json"
    path.unlink()
    assert phase.answer(cell) == fresh


def test_a_second_call_measures_nothing(trained: Store, probed: list[Probed], monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("measured again")

    for name in ("play", "measure_network", "silence"):
        monkeypatch.setattr(module, name, never)
    monkeypatch.setattr(Gaussian, "critic_losses", never)
    assert probe(trained, small_targets(seeds=(0, 1)), REQUEST, quiet) == probed
    fewer = Request(("q2",), (3,), episodes=6, draws=1)
    (one, _) = probe(trained, small_targets(fewer, seeds=(0, 1)), fewer, quiet)
    assert set(one.answers) < set(probed[0].answers)


def test_the_same_store_gives_the_same_numbers(trained: Store, probed: list[Probed], tmp_path: Path) -> None:
    other = Store(tmp_path / "results", create=True)
    (target,) = small_targets()
    run_whole(other, target.phase)
    assert probe(other, [target], REQUEST, quiet) == probed[:1]


def test_what_is_measured_before_ctrl_c_is_kept(
    trained: Store, probed: list[Probed], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "results", create=True)
    (target,) = small_targets()
    run_whole(store, target.phase)
    told: list[tuple[int, int]] = []

    def stop(done: int, total: int, what: str) -> None:
        told.append((done, total))
        if done == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        probe(store, [target], REQUEST, stop)
    assert told[-1] == (10, 39)
    kept = {path.name: path.read_bytes() for path in (store.phase(target.phase.key).path / "probes").iterdir()}
    assert len(kept) == 3 + len({cell.neurons for cell, _ in probed[0].answers[:10]})
    assert probe(store, [target], REQUEST, quiet) == probed[:1]
    assert all(
        (store.phase(target.phase.key).path / "probes" / name).read_bytes() == data for name, data in kept.items()
    )


def test_a_damaged_record_is_measured_again(trained: Store, probed: list[Probed]) -> None:
    target = probed[0].target
    for name in (scores_record(target, "q2"), probed[0].answers[3][0].record):
        path = trained.phase(target.phase.key).path / "probes" / f"{name}.json"
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        assert probe(trained, [target], REQUEST, quiet) == probed[:1]
        assert json.loads(path.read_bytes()) == json.loads(whole)


def test_a_probe_leaves_the_phase_as_it_was(tmp_path: Path) -> None:
    store = Store(tmp_path / "results", create=True)
    (target,) = small_targets()
    folder = store.phase(target.phase.key)
    assert not is_ready(target, store)
    run_whole(store, target.phase)
    assert is_ready(target, store)
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    probe(store, [target], Request(ALL, (4,), episodes=2, draws=1), quiet)
    after = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    assert {path: data for path, data in after.items() if path.parent.name != "probes"} == before
    assert phase_run(store, target.phase).advance(1).done


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path / "results", create=True)
    (target,) = small_targets()
    run_whole(store, target.phase)
    folder = store.phase(target.phase.key)
    for name, networks in (
        ("replay.npy", ("q1",)),
        ("agent.safetensors", ("actor",)),
        (f"evaluations/{target.rollouts.id}.safetensors", ("actor",)),
    ):
        path = path_of(store, folder, name)
        path.rename(tmp_path / "away")
        if "evaluations" in name:
            (folder.path / "probes" / f"{scores_record(target, 'actor')}.json").unlink()
        with pytest.raises(DamagedPhaseError, match="it is missing") as error:
            probe(store, [target], Request(networks, (1,), episodes=1, draws=1), quiet)
        assert str(path) in str(error.value)
        (tmp_path / "away").rename(path)
        probe(store, [target], Request(networks, (2,), episodes=1, draws=1), quiet)


def test_first_phases_of_trials_are_what_is_probed() -> None:
    (target,) = small_targets(methods=("base", "nbsp"))
    assert target.phase.key == phases_of(toy_plan(evaluation={"episodes": 20}), "base")[0].key
