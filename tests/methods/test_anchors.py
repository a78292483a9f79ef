"""EWC and ANCL: the penalty by hand, what they anchor at, and what they plan."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_phases import ONE_THREAD, phases_of, run_whole, toy_plan

from nbsp_ray.benchmarks import Continuous, Spaces, Vector, get_benchmark
from nbsp_ray.config.schema import Sac, Sweep
from nbsp_ray.learning.agent import Agent
from nbsp_ray.learning.hooks import ActiveMethod
from nbsp_ray.learning.run import PhaseRun
from nbsp_ray.methods import get_method, method_options, read_ingredients
from nbsp_ray.methods.anchors import Anchor
from nbsp_ray.plan.build import make_plan
from nbsp_ray.specs import Plan
from nbsp_ray.store import Store


def plan(methods: Sequence[str], **options: float) -> Plan:
    toy = json.dumps(dict(get_benchmark("toy").defaults) | {"benchmark": "toy", "pairs": [["reach", "avoid"]],
                     "methods": methods, "seeds": [0], "method": options})  # fmt: skip
    return make_plan("anchors", [Sweep.model_validate_json(toy)])


def test_the_penalty_and_its_gradient_by_hand() -> None:
    agent = Agent(Sac(hidden=(1,)), Spaces(Vector(1), Continuous(1)), torch.device("cpu"), np.random.default_rng(0))
    assert agent.problem.actor.parameters == 2 + 4
    agent.state.actor[:] = torch.tensor([1.0, 2.0, 0.0, -1.0, 0.5, 0.0])
    arrays = {
        "actor.weights": np.array([[[0.0, 2.0, 1.0, -1.0, 0.0, 0.0]]], np.float32),
        "actor.fisher": np.array([[[3.0, 9.0, 0.5, 9.0, 2.0, 1e-5]]], np.float32),
    }
    restraint = Anchor(coef=10.0, parts=("actor",)).restraints(arrays, agent)["actor"]
    leaf = agent.state.actor.clone().requires_grad_()
    (penalty,) = (term(leaf) for term in restraint.quadratic)
    # 10 * (3 * 1^2 + 0.5 * 1^2 + 2 * 0.5^2) = 10 * 4; no factor 1/2.
    torch.testing.assert_close(penalty, torch.tensor([40.0]))
    (gradient,) = torch.autograd.grad(penalty.sum(), leaf)
    torch.testing.assert_close(gradient[0, 0], torch.tensor([60.0, 0.0, -10.0, 0.0, 20.0, 0.0]))


def test_the_coefficient_zero_is_base() -> None:
    counts = {"actor": 0, "q1": 0, "q2": 0}
    for method in ("ewc", "ancl"):
        assert get_method(method).ingredients(method_options(ewc_coef=0, ancl_coef=0), counts) == ()
    phases = plan(["base", "ewc", "ancl"], ewc_coef=0, ancl_coef=0)
    assert len(phases.phases) == 2
    assert len(phases.trials) == 3


def test_ancl_plans_one_base_phase_where_it_is_missing_and_none_where_it_is_there() -> None:
    alone, base = plan(["ancl"]), plan(["base"])
    assert len(alone.phases) == 3
    assert set(base.phases) < set(alone.phases)
    assert set(plan(["base", "ancl"]).phases) == set(alone.phases)
    key = alone.trials[0].phases[-1]
    assert alone.phases[key].spec.auxiliary == {"base": base.trials[0].phases[-1]}
    assert list(alone.phases)[-1] == key


@pytest.mark.parametrize(("coef", "aux", "expected"), [(1e4, None, [1e4, 10.0]), (0, 5.0, [5.0]), (7.0, 0, [7.0])])
def test_ancl_is_two_anchors(coef: float, aux: float | None, expected: list[float]) -> None:
    options = method_options(ancl_coef=coef, ancl_aux_coef=aux)
    anchors = get_method("ancl").ingredients(options, {"actor": 0, "q1": 0, "q2": 0})
    assert [anchor.coef for anchor in anchors if isinstance(anchor, Anchor)] == pytest.approx(expected)


def test_each_rival_has_parts_of_its_own() -> None:
    options = method_options(ewc_parts="actor", ancl_parts="actor_critic")
    parts = {
        name: {anchor.parts for anchor in get_method(name).ingredients(options, {}) if isinstance(anchor, Anchor)}
        for name in ("ewc", "ewc_replay", "ancl", "ancl_replay")
    }
    of_ewc, of_ancl = {("actor",)}, {("actor", "critic")}
    assert parts == {"ewc": of_ewc, "ewc_replay": of_ewc, "ancl": of_ancl, "ancl_replay": of_ancl}


def test_both_parts_can_be_anchored() -> None:
    (anchor,) = get_method("ewc").ingredients(method_options(ewc_parts="actor_critic"), {})
    agent = Agent(Sac(hidden=(2,)), Spaces(Vector(1), Continuous(1)), torch.device("cpu"), np.random.default_rng(0))
    arrays = {}
    for part in ("actor", "critic"):
        stack = getattr(agent.state, part).numpy()[None]  # of one earlier task
        arrays |= {f"anchor.{part}.weights": stack.copy(), f"anchor.{part}.fisher": np.ones_like(stack)}
    influence = ActiveMethod((anchor,))
    influence.arrays = arrays
    restraints = influence.restraints(agent)
    assert set(restraints) == {"actor", "critic"}
    assert float(restraints["critic"].quadratic[0](agent.state.critic + 1)) == pytest.approx(
        1e4 * agent.state.critic.numel()
    )


@pytest.mark.parametrize("method", ["ewc", "ancl"])
def test_an_anchor_without_weight_learns_what_base_learns_bit_for_bit(tmp_path: Path, method: str) -> None:
    """The plan leaves such an ingredient out; here it is put in by hand, and its penalty is 0 times something."""
    store, small = Store(tmp_path, create=True), toy_plan(methods=("base", method))
    for phase in small.phases.values():
        run_whole(store, phase)
    base, of_method = phases_of(small, "base")[1], phases_of(small, method)[1]
    weightless = [data | {"coef": 0.0} for data in of_method.spec.ingredients]
    spec = of_method.spec.model_copy(update={"ingredients": tuple(weightless)})
    assert PhaseRun(store, spec, read_ingredients(spec), (), ONE_THREAD).advance(600).done
    found = [store.phase(key).result() for key in (base.key, spec.key(), of_method.key)]
    digests = [result["digest"] for result in found if result is not None]
    assert digests[0] == digests[1] != digests[2]
