"""Every method there is, on the toy pair: a new row of the table is tested the day it is added.

That a method is a function of its spec, bit for bit, is shown where each is learnt a second time (`test_pack`).
"""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_phases import phases_of, run_whole, toy_plan

from nbsp_ray.errors import ConfigError
from nbsp_ray.layout import NETWORKS
from nbsp_ray.learning.run import PhaseRun
from nbsp_ray.methods import get_method, method_options, methods, read_ingredient, read_ingredients
from nbsp_ray.methods.neuron_mask import NeuronMask
from nbsp_ray.specs import Plan, PlannedPhase
from nbsp_ray.store import Store

HIDDEN = (12, 10)
OPTIONS: dict[str, Any] = {
    # Learnt just well enough that some steps of the rollouts succeed and some do not: scores are defined.
    "first": {"env_steps": 600, "eval_every": 600},
    "evaluation": {"episodes": 20},
}
Arrays = dict[str, np.ndarray]


def plan_of(*names: str, **changes: Any) -> Plan:
    return toy_plan(methods=names, **(OPTIONS | changes))


class Lab:
    """A store in which a phase is run when it is first asked for."""

    def __init__(self, root: Path) -> None:
        self.store = Store(root, create=True)

    def run(self, plan: Plan, method: str) -> list[PlannedPhase]:
        """Everything that the only trial of a method needs, and the trial's own phases."""
        phases = phases_of(plan, method)
        for phase in plan.phases.values():  # each after what it needs
            if method in phase.label or phase.key in {p.key for p in phases} | set(phases[-1].spec.needs):
                run_whole(self.store, phase)
        return phases

    def agents(self, phases: list[PlannedPhase]) -> tuple[Arrays, Arrays]:
        """What the first and the last phase left."""
        first, last = (self.store.phase(phases[index].key).agent() for index in (0, -1))
        assert first is not None
        assert last is not None
        return first, last

    def result(self, phase: PlannedPhase) -> dict[str, Any]:
        found = self.store.phase(phase.key).result()
        assert found is not None
        return found


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(tmp_path_factory.mktemp("lab"))


@pytest.fixture(scope="module")
def trial(lab: Lab) -> Callable[[str], list[PlannedPhase]]:
    return lambda method: lab.run(plan_of(method), method)


def rows_of(agent: Arrays, network: str) -> list[np.ndarray]:
    """Incoming weights and bias of each hidden neuron (N arrays), then all of the output layer."""
    flat = agent["actor"][0, 0] if network == "actor" else agent["critic"][0, int(network[1]) - 1]
    found, used = [], 0
    for into, out in pairwise([5 if network == "actor" else 7, *HIDDEN]):
        weights = flat[used : used + into * out].reshape(out, into)
        biases = flat[used + into * out : used + into * out + out]
        found += [np.append(weight, bias) for weight, bias in zip(weights, biases, strict=True)]
        used += into * out + out
    return [*found, flat[used:]]


def moved(before: Arrays, after: Arrays, network: str) -> list[bool]:
    """Of each hidden neuron and of the output layer: whether any bit of it changed."""
    pairs = zip(rows_of(before, network), rows_of(after, network), strict=True)
    return [one.tobytes() != other.tobytes() for one, other in pairs]


def masks(lab: Lab, phase: PlannedPhase) -> Arrays:
    """The frozen neurons of each masked network."""
    prepared = lab.store.phase(phase.key).prepared()
    return {network: prepared[f"mask.{network}.frozen"] for network in NETWORKS if f"mask.{network}.frozen" in prepared}


def active(lab: Lab, phases: list[PlannedPhase], network: str) -> np.ndarray:
    """Neurons that are alive on the second task's own transitions from the start, and so must learn if they may."""
    x = lab.store.phase(phases[1].key).sample()
    assert x is not None
    x = x[:, :5] if network == "actor" else x[:, :7]
    found, rows = [], rows_of(lab.agents(phases)[0], network)
    for start, width in ((0, HIDDEN[0]), (HIDDEN[0], HIDDEN[1])):
        matrix = np.array(rows[start : start + width])
        x = np.maximum(x @ matrix[:, :-1].T + matrix[:, -1], 0)
        found.append((x > 0).mean(0) > 0.2)
    return np.concatenate(found)


def test_the_scores_of_the_lab_mean_something(lab: Lab, trial: Callable[[str], list[PlannedPhase]]) -> None:
    result = lab.result(trial("nbsp")[1])
    assert 0.02 < result["positive_share"] < 0.98
    assert result["score_undefined"] is False


@pytest.mark.parametrize("method", methods())
def test_a_method_runs_is_finite_and_reports_json(
    method: str, lab: Lab, trial: Callable[[str], list[PlannedPhase]]
) -> None:
    phases = trial(method)
    _, after = lab.agents(phases)
    assert all(np.isfinite(array).all() for array in after.values())
    result = lab.result(phases[1])
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result["env_steps"] == 125
    assert result["updates"] == 38
    assert result["notes"] == []
    assert (0 < result["replay_share"]["critic"] < result["replay_share"]["actor"]) == any(
        data["kind"] == "replay" for data in phases[1].spec.ingredients
    )


@pytest.mark.parametrize("method", methods())
def test_an_ingredient_is_data(method: str) -> None:
    for ingredient in get_method(method).ingredients(method_options(), dict.fromkeys(NETWORKS, 3)):
        data = json.loads(json.dumps(ingredient.model_dump(mode="json"), allow_nan=False))
        assert read_ingredient(data) == ingredient
        assert data["kind"] == ingredient.kind


@pytest.mark.parametrize("method", methods())
def test_frozen_rows_keep_every_bit_and_all_else_learns(
    method: str, lab: Lab, trial: Callable[[str], list[PlannedPhase]]
) -> None:
    phases = trial(method)
    before, after = lab.agents(phases)
    frozen = masks(lab, phases[1])
    for network in NETWORKS:
        *neurons, heads = moved(before, after, network)
        assert heads
        none = np.zeros(sum(HIDDEN), np.bool_)
        fixed = frozen.get(network, none)
        assert not np.array(neurons)[fixed].any()
        alive = active(lab, phases, network)
        assert alive.sum() > 4
        assert np.array(neurons)[alive & ~fixed].all()
    assert after["log_alpha"] != before["log_alpha"]
    assert after["target"].tobytes() != before["target"].tobytes()
    # Targets are not masked: they follow the critics, frozen rows included, and so have moved there too.
    if "q1" in frozen and frozen["q1"].any():
        slow = [{"critic": agent["target"]} for agent in (before, after)]
        assert np.array(moved(*slow, "q1")[:-1])[frozen["q1"]].any()


MASKED = {
    "nbsp": {"actor", "q1", "q2"},
    "nbsp_balanced": {"actor", "q1", "q2"},
    "nbsp_actor": {"actor"},
    "nbsp_critic": {"q1", "q2"},
    "mask_only": {"actor", "q1", "q2"},
    "random_nbsp": {"actor", "q1", "q2"},
    "importance_nbsp": {"actor", "q1", "q2"},
}


@pytest.mark.parametrize("method", methods())
def test_masks_freeze_as_many_as_the_table_says(
    method: str, lab: Lab, trial: Callable[[str], list[PlannedPhase]]
) -> None:
    phases = trial(method)
    found = masks(lab, phases[1])
    assert set(found) == MASKED.get(method, set())
    assert get_method(method).selects_neurons == bool(found)
    for network, frozen in found.items():
        assert frozen.sum() == 4  # floor(0.2 x 22 + 0.5)
        assert lab.result(phases[1])["neurons"][network]["selected"] == 4
        assert lab.result(phases[1])["drift"][network][0] in (0.0, None)


def test_what_the_table_replays() -> None:
    for name, method in methods().items():
        kinds = [ingredient.kind for ingredient in method.ingredients(method_options(), dict.fromkeys(NETWORKS, 3))]
        replays = name in {"replay_only", "ewc_replay", "ancl_replay", *MASKED} - {"mask_only"}
        assert ("replay" in kinds) == replays, name
        assert ("mask" in kinds) == (name in MASKED), name
        assert name != "base" or not kinds


def test_all_neurons_frozen_leave_only_the_heads(lab: Lab) -> None:
    plan = plan_of("nbsp", skill_neurons=(1.0,))
    phases = lab.run(plan, "nbsp")
    before, after = lab.agents(phases)
    for network in NETWORKS:
        *neurons, heads = moved(before, after, network)
        assert not any(neurons)
        assert heads
    for network in NETWORKS:
        result = lab.result(phases[1])["neurons"][network]
        assert result["selected_per_layer"] == list(HIDDEN)
        assert lab.result(phases[1])["drift"][network] == [0.0, 0.0]


def test_no_neurons_frozen_are_replay_only(lab: Lab, trial: Callable[[str], list[PlannedPhase]]) -> None:
    replay_only = trial("replay_only")
    assert phases_of(plan_of("nbsp", skill_neurons=(0,)), "nbsp")[1].key == replay_only[1].key
    # Also where an empty mask is really there.
    spec = phases_of(plan_of("nbsp"), "nbsp")[1].spec
    replay, mask = spec.ingredients
    empty = NeuronMask.model_validate(mask | {"counts": dict.fromkeys(NETWORKS, 0)})
    spec = spec.model_copy(update={"ingredients": (replay, empty.model_dump(mode="json"))})
    assert spec.key() != replay_only[1].key
    run = PhaseRun(lab.store, spec, read_ingredients(spec), [], replay_only[1].resources)
    assert run.advance(600).done
    result = lab.store.phase(spec.key()).result()
    assert result is not None
    assert result["digest"] == lab.result(replay_only[1])["digest"]
    assert lab.store.phase(spec.key()).curve() == lab.store.phase(replay_only[1].key).curve()


def test_a_soft_mask_moves_a_fifth_as_far_at_first(lab: Lab) -> None:
    """After the first update alone: mask strength 0.8 against no mask at all."""
    one_update = {"second": {"env_steps": 50, "eval_every": 1_000}}
    soft = lab.run(plan_of("nbsp", method={"mask_strength": 0.8}, **one_update), "nbsp")
    free = lab.run(plan_of("replay_only", **one_update), "replay_only")
    before, after = lab.agents(soft)
    _, unmasked = lab.agents(free)
    frozen = masks(lab, soft[1])
    assert lab.result(soft[1])["updates"] == 1
    for network in ("q1", "q2"):  # the actor takes two steps at once, the second from another place
        largest = 0.0
        rows = [rows_of(agent, network) for agent in (before, after, unmasked)]
        for number, (start, masked, whole) in enumerate(zip(*rows, strict=True)):
            is_frozen = number < sum(HIDDEN) and frozen[network][number]
            step = (whole - start).astype(np.float64)
            share = 0.2 if is_frozen else 1.0
            np.testing.assert_allclose((masked - start).astype(np.float64), share * step, atol=2e-7)
            largest = max(largest, np.abs(step).max() * is_frozen)
        assert largest > 1e-4


def test_a_soft_mask_moves_frozen_rows_in_the_end(lab: Lab) -> None:
    phases = lab.run(plan_of("nbsp", method={"mask_strength": 0.8}), "nbsp")
    before, after = lab.agents(phases)
    for network, frozen in masks(lab, phases[1]).items():
        changed = np.array(moved(before, after, network)[:-1])
        assert changed[frozen & active(lab, phases, network)].all()


def test_an_undefined_score_is_in_the_result_and_picks_as_random_nbsp(lab: Lab) -> None:
    """The first phase is so short that no step of its few rollouts succeeds."""
    never = {"first": {"env_steps": 60, "eval_every": 1_000}, "evaluation": {"episodes": 2}}
    picked = {}
    for method in ("nbsp", "nbsp_critic", "random_nbsp"):
        phases = lab.run(plan_of(method, **never), method)
        result = lab.result(phases[1])
        assert result["positive_share"] == 0
        assert result["score_undefined"] is True
        assert result["neurons"]["q1"]["selected_below_constant"] is None
        picked[method] = {network: frozen.tolist() for network, frozen in masks(lab, phases[1]).items()}
    assert picked["nbsp"] == picked["random_nbsp"]
    assert picked["nbsp_critic"].items() <= picked["random_nbsp"].items()


def test_methods_share_every_stream_that_is_not_theirs(lab: Lab, trial: Callable[[str], list[PlannedPhase]]) -> None:
    """Until the first update nothing tells two methods apart."""
    samples = {}
    for method in ("base", "nbsp", "random_nbsp"):
        plan = plan_of(method, second={"env_steps": 49, "eval_every": 1_000})
        sample = lab.store.phase(lab.run(plan, method)[1].key).sample()
        assert sample is not None
        samples[method] = sample.tobytes()
    assert len(set(samples.values())) == 1
    assert lab.result(trial("nbsp")[1])["digest"] != lab.result(trial("random_nbsp")[1])["digest"]


def test_the_methods_that_are_there() -> None:
    assert {
        "base", "replay_only", "mask_only", "nbsp", "nbsp_actor", "nbsp_critic", "random_nbsp", "importance_nbsp",
        "nbsp_balanced", "ewc", "ancl", "ewc_replay", "ancl_replay",
    } <= set(methods())  # fmt: skip
    beyond = {name for name, method in methods().items() if not method.in_paper}
    assert {"mask_only", "nbsp_balanced", "random_nbsp", "ewc_replay", "ancl_replay"} <= beyond
    assert not beyond & {"base", "replay_only", "nbsp", "nbsp_actor", "nbsp_critic", "importance_nbsp", "ewc", "ancl"}
    for name, method in methods().items():
        assert name == method.name
        assert method.summary
        assert "\n" not in method.summary
    with pytest.raises(ConfigError, match="did you mean 'nbsp_critic'"):
        get_method("nbsp_crtic")
