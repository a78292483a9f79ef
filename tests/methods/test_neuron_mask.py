"""Which neurons a mask chooses, what it reports, and what it restrains."""

import json
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from nbsp_ray.benchmarks import Continuous, Spaces, Vector
from nbsp_ray.config.schema import Sac
from nbsp_ray.layout import NETWORKS
from nbsp_ray.learning import scores
from nbsp_ray.learning.agent import Agent
from nbsp_ray.learning.hooks import ActiveMethod, Past
from nbsp_ray.learning.replay import Replay, row_width
from nbsp_ray.learning.rollouts import VectorRollouts
from nbsp_ray.learning.seeding import Stream, generator
from nbsp_ray.methods import get_method, method_options
from nbsp_ray.methods.neuron_mask import NeuronMask

SPACES = Spaces(Vector(4), Continuous(2))
HIDDEN = (8, 6)
DEAD = (1, 9)
"""Neurons made constant in every network: in the first layer, and in the second."""


def new_agent(seed: int = 0) -> Agent:
    agent = Agent(Sac(hidden=HIDDEN, batch_size=8), SPACES, torch.device("cpu"), np.random.default_rng(seed))
    for network, (part, member) in {"actor": ("actor", 0), "q1": ("critic", 0), "q2": ("critic", 1)}.items():
        weights = agent.layout(network).unpack(getattr(agent.state, part))
        weights[1][0, member, DEAD[0]] = -100
        weights[3][0, member, DEAD[1] - HIDDEN[0]] = -100
    return agent


def rollouts_of(steps: int = 300, success: Any = None, seed: int = 1) -> VectorRollouts:
    rng = np.random.default_rng(seed)
    observations = rng.standard_normal((steps, 4)).astype(np.float32)
    found = observations[:, 0] + 0.5 * rng.standard_normal(steps) > 0.4 if success is None else success
    actions = np.tanh(rng.standard_normal((steps, 2))).astype(np.float32)
    criterion = np.broadcast_to(found, steps).astype(np.float64)
    return VectorRollouts(criterion, np.array([steps]), observations, actions)


def steps_of(past: Past) -> tuple[VectorRollouts, np.ndarray]:
    """The rollouts, and which of their steps succeed."""
    assert isinstance(past.rollouts, VectorRollouts)
    return past.rollouts, past.rollouts.criterion == 1


def past_of(rollouts: VectorRollouts | None = None, *, seed: int = 0) -> Past:
    return Past(
        agent=new_agent(),
        replay=Replay.of(SPACES, np.zeros((4, row_width(SPACES)), np.float32)),
        rollouts=rollouts_of() if rollouts is None else rollouts,
        auxiliary={},
        generator=generator(seed, 1, Stream.METHOD),
    )


def mask_of(method: str, count: int | Mapping[str, int], **options: Any) -> NeuronMask:
    counts = dict.fromkeys(NETWORKS, count) if isinstance(count, int) else count
    found = [
        ingredient
        for ingredient in get_method(method).ingredients(method_options(**options), counts)
        if isinstance(ingredient, NeuronMask)
    ]
    assert len(found) == 1
    return found[0]


def chosen(mask: NeuronMask, past: Past) -> dict[str, list[int]]:
    arrays = mask.prepare(past).arrays
    return {network: np.flatnonzero(arrays[f"{network}.frozen"]).tolist() for network in mask.counts}


def plain_activations(agent: Agent, network: str, rollouts: VectorRollouts) -> np.ndarray:
    """One matrix product after another in NumPy, from the flat parameters."""
    if network == "actor":
        flat, x = agent.state.actor[0, 0].numpy(), rollouts.observations
    else:
        flat = agent.state.critic[0, int(network[1]) - 1].numpy()
        x = np.concatenate([rollouts.observations, rollouts.actions], 1)
    used, found = 0, []
    for into, out in pairwise([x.shape[1], *HIDDEN]):
        weight = flat[used : used + into * out].reshape(out, into)
        bias = flat[used + into * out : used + into * out + out]
        used += into * out + out
        x = np.maximum(x @ weight.T + bias, 0)
        found.append(x)
    return np.concatenate(found, 1)


def expected_order(activations: np.ndarray, good: np.ndarray, how: str) -> list[int]:
    """The ranking, from the words of the method page."""
    active = activations > activations.mean(0)
    right = active == good[:, None]
    accuracy = right.mean(0)
    if how == "balanced":
        accuracy = (right[good].mean(0) + right[~good].mean(0)) / 2
    value = np.maximum(accuracy, 1 - accuracy)
    constant = (activations == activations[0]).all(0)
    if how == "dormant":
        first = activations[:, : HIDDEN[0]].mean(0)
        second = activations[:, HIDDEN[0] :].mean(0)
        share = np.r_[first / first.mean(), second / second.mean()]
        return sorted(range(len(value)), key=lambda n: (not constant[n], share[n], n))
    return sorted(range(len(value)), key=lambda n: (constant[n], -round(value[n], 9), n))


@pytest.mark.parametrize("how", ["paper", "balanced", "dormant"])
@pytest.mark.parametrize("block", [7, 4096])
def test_skill_neurons_are_the_best_of_each_network(how: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "BLOCK", block)
    past, seen = past_of(), set[tuple[str, ...]]()
    rollouts, good = steps_of(past)
    for count in range(15):
        counts = {"actor": count, "q1": 14 - count, "q2": max(1, count)}
        for network, neurons in chosen(mask_of("nbsp", counts, score=how), past).items():
            order = expected_order(plain_activations(past.agent, network, rollouts), good, how)
            assert neurons == sorted(order[: counts[network]])
            seen.add((network, *map(str, neurons)))
    assert len(seen) == 3 * 15 - 1


def test_the_three_scores_choose_differently_and_only_dormant_takes_the_dead_first() -> None:
    picks = {how: chosen(mask_of("nbsp", 4, score=how), past_of()) for how in ("paper", "balanced", "dormant")}
    assert picks["paper"] != picks["balanced"]
    for network in NETWORKS:
        assert not set(DEAD) & set(picks["paper"][network])
        assert not set(DEAD) & set(picks["balanced"][network])
        assert set(DEAD) <= set(picks["dormant"][network])


def test_a_count_always_selects_that_many_constants_last() -> None:
    past = past_of()
    rollouts, _ = steps_of(past)
    for count in range(1, 15):
        for method in ("nbsp", "random_nbsp"):
            mask = mask_of(method, count)
            prepared = mask.prepare(past)
            for network in NETWORKS:
                report = prepared.report["neurons"][network]
                activations = plain_activations(past.agent, network, rollouts)
                constant = (activations == activations[0]).all(0)
                frozen = prepared.arrays[f"{network}.frozen"]
                assert frozen.dtype == np.bool_
                assert frozen.shape == (14,)
                assert report["selected"] == frozen.sum() == count
                assert report["selected_constant"] == max(0, count - (14 - constant.sum()))


def test_what_is_reported() -> None:
    past = past_of()
    rollouts, good = steps_of(past)
    prepared = mask_of("nbsp", 5).prepare(past)
    json.dumps(prepared.report, allow_nan=False)
    assert prepared.report["positive_share"] == pytest.approx(good.mean())
    assert prepared.report["score_undefined"] is False
    for network in NETWORKS:
        report, frozen = prepared.report["neurons"][network], prepared.arrays[f"{network}.frozen"]
        inputs = 4 if network == "actor" else 6
        outputs = 4 if network == "actor" else 1
        first, second = int(frozen[:8].sum()), int(frozen[8:].sum())
        assert report["selected_per_layer"] == [first, second]
        whole = (inputs + 1) * 8 + 9 * 6 + 7 * outputs
        assert report["frozen_parameters"] == pytest.approx((first * (inputs + 1) + second * 9) / whole)
        activations = plain_activations(past.agent, network, rollouts)
        constant = (activations == activations[0]).all(0)
        assert constant[list(DEAD)].all()
        assert report["constant_per_layer"] == [int(constant[:8].sum()), int(constant[8:].sum())]
        right = ((activations > activations.mean(0)) == good[:, None]).mean(0)
        values = np.maximum(right, 1 - right)
        np.testing.assert_allclose(prepared.arrays[f"{network}.score"], values, rtol=1e-12)
        assert report["score_lowest"] == pytest.approx(values[frozen].min())
        assert report["score_highest"] == pytest.approx(values[frozen].max())


def test_neurons_below_the_constant_predictor_and_nearly_constant_ones_are_counted() -> None:
    """Of every way to choose; the scores are Eq. 4's whatever the neurons were chosen by."""
    past = past_of()
    rollouts, good = steps_of(past)
    share = max(good.mean(), 1 - good.mean())
    reports = {
        "nbsp": mask_of("nbsp", 10, score="balanced"),
        "random_nbsp": mask_of("random_nbsp", 10),
        "importance_nbsp": mask_of("importance_nbsp", 10),
    }
    seen = set[int]()
    for mask in reports.values():
        prepared = mask.prepare(past_of())
        for network in NETWORKS:
            report, frozen = prepared.report["neurons"][network], prepared.arrays[f"{network}.frozen"]
            active = plain_activations(past.agent, network, rollouts)
            active = active > active.mean(0)
            right = (active == good[:, None]).mean(0)
            below = np.maximum(right, 1 - right) < share - 1e-9
            one_sided = np.maximum(active.mean(0), 1 - active.mean(0)) >= 0.99
            assert report["selected_below_constant"] == (frozen & below).sum()
            assert report["selected_near_constant"] == (frozen & one_sided).sum()
            assert report["selected_near_constant"] >= report["selected_constant"]
            seen.add(report["selected_below_constant"])
    assert max(seen) > min(seen)


# Where the score means nothing


@pytest.mark.parametrize("success", [True, False])
@pytest.mark.parametrize("method", ["nbsp", "nbsp_actor", "nbsp_critic", "mask_only"])
@pytest.mark.parametrize("how", ["paper", "balanced"])
def test_an_undefined_score_falls_back_to_what_random_nbsp_selects(success: bool, method: str, how: str) -> None:
    rollouts = rollouts_of(success=success)
    mask = mask_of(method, 5, score=how)
    prepared = mask.prepare(past_of(rollouts))
    assert prepared.report["score_undefined"] is True
    assert prepared.report["positive_share"] in (0.0, 1.0)
    json.dumps(prepared.report, allow_nan=False)
    at_random = chosen(mask_of("random_nbsp", 5), past_of(rollouts))
    assert chosen(mask, past_of(rollouts)) == {network: at_random[network] for network in mask.counts}


def test_dormancy_needs_no_criterion() -> None:
    for success in (True, False):
        prepared = mask_of("nbsp", 5, score="dormant").prepare(past_of(rollouts_of(success=success)))
        assert prepared.report["score_undefined"] is False
        assert prepared.arrays["actor.frozen"][list(DEAD)].all()


def test_random_neurons_of_a_network_are_a_function_of_the_stream_alone() -> None:
    mask = mask_of("random_nbsp", 5, random_match="network")
    picks = [chosen(mask, past_of(rollouts_of(success=s), seed=n)) for s, n in (
        (None, 0), (True, 0), (False, 0), (None, 1))]  # fmt: skip
    assert picks[0] == picks[1] == picks[2] != picks[3]
    assert len({tuple(neurons) for neurons in picks[0].values()}) == 3, "each network has its own"


def test_random_neurons_of_a_network_are_the_first_of_a_permutation() -> None:
    """Each network's own stream, as spawned from the method's: the draw of before there was a match by layer."""
    past = past_of()
    rollouts, _ = steps_of(past)
    picks = chosen(mask_of("random_nbsp", 5, random_match="network"), past)
    for network, rng in zip(NETWORKS, generator(0, 1, Stream.METHOD).spawn(3), strict=True):
        activations = plain_activations(past.agent, network, rollouts)
        constant = (activations == activations[0]).all(0)
        place = rng.permutation(14)
        assert picks[network] == sorted(sorted(range(14), key=lambda n: (constant[n], place[n]))[:5])


@pytest.mark.parametrize("how", ["paper", "balanced", "dormant"])
def test_random_neurons_are_as_many_in_each_layer_as_skill_neurons(how: str) -> None:
    drawn, differing = {network: set[tuple[int, ...]]() for network in NETWORKS}, 0
    for count in (3, 5, 9):
        for seed in range(10):
            skill = mask_of("nbsp", count, score=how).prepare(past_of(seed=seed)).report["neurons"]
            mask = mask_of("random_nbsp", count, score=how)
            prepared = mask.prepare(past_of(seed=seed))
            assert prepared.report["score_undefined"] is False
            by_network = chosen(mask_of("random_nbsp", count, random_match="network"), past_of(seed=seed))
            for network, report in prepared.report["neurons"].items():
                assert report["selected_per_layer"] == skill[network]["selected_per_layer"]
                assert report["frozen_parameters"] == skill[network]["frozen_parameters"]
                picked = np.flatnonzero(prepared.arrays[f"{network}.frozen"]).tolist()
                differing += picked != by_network[network]
                if count == 5:
                    drawn[network].add(tuple(picked))
    assert all(len(picks) > 5 for picks in drawn.values())
    assert differing > 20


def test_a_layer_with_too_few_active_neurons_is_filled_from_its_constant_ones() -> None:
    """Dormant neurons are the dead ones first; as many random ones as fit are alive."""
    agent = new_agent()
    agent.layout("actor").unpack(agent.state.actor)[3][0, 0, 1:] = -100  # but for one, the second layer is dead
    past = replace(past_of(), agent=agent)
    skill = mask_of("nbsp_actor", 6, score="dormant").prepare(past)
    assert skill.report["neurons"]["actor"]["selected_per_layer"] == [1, 5]
    dead = set(range(9, 14))
    for seed in range(5):
        past = replace(past, generator=generator(seed, 1, Stream.METHOD))
        mask = mask_of("random_nbsp", 6, score="dormant")
        report = mask.prepare(past).report["neurons"]["actor"]
        assert (report["selected_per_layer"], report["selected_constant"]) == ([1, 5], 4)
        picked = chosen(mask, replace(past, generator=generator(seed, 1, Stream.METHOD)))["actor"]
        assert 8 in picked
        assert len(dead & set(picked)) == 4
        assert DEAD[0] not in picked


def test_random_neurons_are_active_unless_all_may_be_drawn() -> None:
    active = [chosen(mask_of("random_nbsp", 6), past_of(seed=seed)) for seed in range(20)]
    assert not any(set(DEAD) & set(neurons) for found in active for neurons in found.values())
    anyone = [chosen(mask_of("random_nbsp", 6, random_among="all"), past_of(seed=seed)) for seed in range(20)]
    assert any(set(DEAD) & set(neurons) for found in anyone for neurons in found.values())


def test_more_random_neurons_contain_the_fewer() -> None:
    few, many = (chosen(mask_of("random_nbsp", count), past_of()) for count in (3, 8))
    for network in NETWORKS:
        assert set(few[network]) < set(many[network])


# What it restrains


@pytest.mark.parametrize(("strength", "scale"), [(1.0, 0.0), (0.8, 0.2), (0.5, 0.5)])
def test_scales_lie_on_the_rows_and_biases_of_frozen_neurons_alone(strength: float, scale: float) -> None:
    past = past_of()
    mask = mask_of("nbsp", 5, mask_strength=strength)
    influence = ActiveMethod((mask,))
    influence.prepare(past)
    restraints = influence.restraints(past.agent)
    assert set(restraints) == {"actor", "critic"}
    for part, networks, inputs, outputs in (("actor", ("actor",), 4, 4), ("critic", ("q1", "q2"), 6, 1)):
        scales, rule = restraints[part].update_scale, restraints[part]
        assert rule.penalties == rule.quadratic == ()
        assert scales is not None
        assert scales.shape == (1, len(networks), (inputs + 1) * 8 + 54 + 7 * outputs)
        for member, network in enumerate(networks):
            frozen = influence.arrays[f"mask.{network}.frozen"]
            expected = []
            for start, width, into in ((0, 8, inputs), (8, 6, 8)):
                of_neurons = [scale if frozen[start + n] else 1.0 for n in range(width)]
                expected += [value for value in of_neurons for _ in range(into)] + of_neurons
            expected += [1.0] * 7 * outputs
            found = scales[0, member].numpy()
            np.testing.assert_allclose(found, expected, rtol=1e-6)
            assert (found == 0).sum() == (np.array(expected) == 0).sum()


@pytest.mark.parametrize(
    ("method", "parts"),
    [("nbsp", {"actor", "critic"}), ("nbsp_actor", {"actor"}), ("nbsp_critic", {"critic"}),
     ("mask_only", {"actor", "critic"}), ("random_nbsp", {"actor", "critic"})],
)  # fmt: skip
def test_a_method_restrains_only_its_parts(method: str, parts: set[str]) -> None:
    past = past_of()
    influence = ActiveMethod(get_method(method).ingredients(method_options(), dict.fromkeys(NETWORKS, 3)))
    influence.prepare(past)
    assert set(influence.restraints(past.agent)) == parts
    networks = {"actor": {"actor"}, "critic": {"q1", "q2"}}
    assert set(influence.report["neurons"]) == set().union(*(networks[part] for part in parts))
    assert influence.replays(0) == influence.replays(10) == (set() if method == "mask_only" else {"actor", "critic"})
    assert not any(influence.replays(n) for n in range(1, 10))


@pytest.mark.parametrize(
    ("method", "masked"),
    [("nbsp", {"actor", "critic"}), ("nbsp_actor", {"actor"}), ("nbsp_critic", {"critic"}),
     ("importance_nbsp", {"actor", "critic"}), ("random_nbsp", {"actor", "critic"})],
)  # fmt: skip
def test_replay_goes_into_both_parts_or_into_the_masked_ones_alone(method: str, masked: set[str]) -> None:
    for parts, expected in (("both", {"actor", "critic"}), ("masked", masked)):
        options = method_options(replay_parts=parts)
        influence = ActiveMethod(get_method(method).ingredients(options, dict.fromkeys(NETWORKS, 3)))
        assert influence.replays(0) == influence.replays(10) == expected
        assert not any(influence.replays(n) for n in range(1, 10))


@pytest.mark.parametrize("method", ["nbsp", "nbsp_actor", "nbsp_critic", "mask_only", "random_nbsp"])
def test_nothing_to_freeze_is_no_mask(method: str) -> None:
    for options, count in ((method_options(), 0), (method_options(mask_strength=0.0), 5)):
        ingredients = get_method(method).ingredients(options, dict.fromkeys(NETWORKS, count))
        replay = get_method("base" if method == "mask_only" else "replay_only")
        assert ingredients == replay.ingredients(options, dict.fromkeys(NETWORKS, 0))


# Drift


def test_drift_by_hand() -> None:
    past, agent = past_of(), new_agent()
    mask = mask_of("nbsp", 14)
    arrays = mask.prepare(past).arrays
    # Layer 0 does not move. In layer 1 every activation grows by one half, as do the biases (all activations above 0).
    for network, (part, member) in {"actor": ("actor", 0), "q1": ("critic", 0), "q2": ("critic", 1)}.items():
        weights = agent.layout(network).unpack(getattr(agent.state, part))
        weights[2][0, member] *= 1.5
        weights[3][0, member] *= 1.5
    drift = mask.finish(arrays, past, agent)["drift"]
    assert set(drift) == set(NETWORKS)
    for network in NETWORKS:
        assert drift[network][0] == 0.0
        assert drift[network][1] == pytest.approx(0.5, rel=1e-5)


def test_drift_of_no_or_dead_neurons_is_missing() -> None:
    past = past_of()
    mask = mask_of("nbsp_actor", 2, score="dormant")
    arrays = mask.prepare(past).arrays
    assert np.flatnonzero(arrays["actor.frozen"]).tolist() == list(DEAD)
    assert mask.finish(arrays, past, new_agent(3))["drift"] == {"actor": [None, None]}


def test_drift_looks_at_frozen_neurons_only() -> None:
    past, agent = past_of(), new_agent()
    mask = mask_of("nbsp_actor", 3)
    arrays = mask.prepare(past).arrays
    free = np.flatnonzero(~arrays["actor.frozen"][:8])
    agent.layout("actor").unpack(agent.state.actor)[0][0, 0, free] += 1
    assert mask.finish(arrays, past, agent)["drift"]["actor"][0] in (0.0, None)
