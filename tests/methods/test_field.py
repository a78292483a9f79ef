"""Methods of the field, each against a plain implementation of what its paper says."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pixel_toy import CONVOLUTIONS, SIZE, STACK
from pydantic import ValidationError
from small_agent import SAC, SPACES, batch, new_agent, past_of, replay
from torch import distributions, nn
from toy_phases import phases_of, toy_plan
from updater import updater

from nbsp_ray.benchmarks import Discrete, Frames, Spaces
from nbsp_ray.config.schema import Sac
from nbsp_ray.errors import PhaseError
from nbsp_ray.layout import Layout
from nbsp_ray.learning.agent import Agent, UpdateCounts
from nbsp_ray.learning.categorical import Categorical
from nbsp_ray.learning.frames import FrameBatch
from nbsp_ray.learning.hooks import ActiveMethod
from nbsp_ray.learning.networks import forward
from nbsp_ray.learning.replay import blank_batch
from nbsp_ray.learning.sac import UpdateRule
from nbsp_ray.learning.seeding import Stream, generator
from nbsp_ray.methods.agem import ProjectedGradient, project
from nbsp_ray.methods.bc import CloneActor
from nbsp_ray.methods.l2_init import TowardsStart
from nbsp_ray.methods.packnet import Options, PackedActor
from nbsp_ray.methods.redo import RecycledNeurons, is_dormant
from nbsp_ray.methods.reset import LastLayers, NewAgent


def mlp(layout: Layout, parameters: torch.Tensor) -> nn.Sequential:
    """The same network in torch's own words."""
    modules: list[nn.Module] = []
    views = layout.unpack(parameters[None, None])
    for weight, bias in zip(views[::2], views[1::2], strict=True):
        linear = nn.Linear(weight.shape[-1], weight.shape[-2])
        linear.weight.data.copy_(weight[0, 0])
        linear.bias.data.copy_(bias[0, 0])
        modules += [linear, nn.ReLU()]
    return nn.Sequential(*modules[:-1])


def flat(network: nn.Sequential) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


# reset


@pytest.mark.parametrize("layers", [1, 2, 3, 9])
def test_reset_starts_the_last_layers_anew(layers: int) -> None:
    agent, old = new_agent(), new_agent()
    for one in (agent, old):
        one.learn(replay(), torch.Generator().manual_seed(0))
    method = ActiveMethod((LastLayers(layers=layers, parts=("actor", "critic")),))
    method.begin(past_of(old), agent)
    rng = generator(0, 1, Stream.METHOD)
    for part, members in (("actor", 1), ("critic", 2)):
        layout = agent.layout("actor" if part == "actor" else "q1")
        fresh = torch.from_numpy(layout.initial(members, rng))
        for member in range(members):
            plain = mlp(layout, getattr(old.state, part)[0, member])
            for linear, new in list(zip(plain, mlp(layout, fresh[member]), strict=True))[::-2][:layers]:
                linear.load_state_dict(new.state_dict())
            assert torch.equal(getattr(agent.state, part)[0, member], flat(plain))
        changed = getattr(agent.state, part) != getattr(old.state, part)
        assert changed.any()
        assert changed.all() == (layers >= 3)
    heads = sum(agent.layout("q1").sizes[-2 * layers :])
    assert torch.equal(agent.state.target[..., -heads:], agent.state.critic[..., -heads:])
    assert torch.equal(agent.state.target[..., :-heads], old.state.target[..., :-heads])


def test_scratch_is_a_new_agent() -> None:
    agent = new_agent()
    agent.learn(replay(), torch.Generator().manual_seed(0))
    agent.state.log_alpha.fill_(0.3)
    ActiveMethod((NewAgent(),)).begin(past_of(new_agent()), agent)
    rng = generator(0, 1, Stream.METHOD)
    for part, network, members in (("actor", "actor", 1), ("critic", "q1", 2)):
        fresh = torch.from_numpy(agent.layout(network).initial(members, rng))
        assert torch.equal(getattr(agent.state, part)[0], fresh)
    assert torch.equal(agent.state.target, agent.state.critic)
    assert agent.state.log_alpha.item() == 0


# l2_init


def test_l2_init_pulls_towards_the_first_weights() -> None:
    agent = new_agent()
    method = ActiveMethod((TowardsStart(coef=0.25),))
    method.prepare(past_of(new_agent()))
    moved = agent.state.critic + torch.linspace(-1, 1, agent.state.critic.numel()).view_as(agent.state.critic)
    leaf = moved.clone().requires_grad_()
    (penalty,) = method.restraints(agent)["critic"].quadratic
    value = penalty(leaf)
    distance = (moved - new_agent().state.critic).double()
    torch.testing.assert_close(value.double(), 0.25 * (distance**2).sum((1, 2)))
    (gradient,) = torch.autograd.grad(value.sum(), leaf)
    torch.testing.assert_close(gradient.double(), 0.5 * distance, atol=1e-6, rtol=1e-5)
    # The next phase has the same start, not what it finds.
    later = ActiveMethod((TowardsStart(coef=0.25),))
    later.prepare(past_of(new_agent(seed=7), method.arrays))
    assert {name: array.tobytes() for name, array in later.arrays.items()} == {
        name: array.tobytes() for name, array in method.arrays.items()
    }


def test_l2_init_has_first_phases_of_its_own_and_no_other_method_has() -> None:
    alone, beside = toy_plan(methods=("base", "nbsp")), toy_plan(methods=("base", "nbsp", "l2_init", "redo"))
    first = phases_of(alone, "base")[0]
    assert {phases_of(beside, name)[0].key for name in ("base", "nbsp", "redo")} == {first.key}
    own, later = phases_of(beside, "l2_init")
    assert own.key != first.key
    assert own.spec.has("l2_init")
    assert later.spec.previous == own.key
    assert own.label == "reach, first phase of l2_init, seed 0"
    plain = phases_of(toy_plan(methods=("l2_init",), method={"l2_init_coef": 0.0}), "l2_init")
    assert plain[0].key == first.key


# bc


def test_bc_is_the_divergence_from_the_old_policy_on_the_memory() -> None:
    agent, old = new_agent(), new_agent(seed=3)
    method = ActiveMethod((CloneActor(coef=2.0),))
    method.prepare(past_of(old))
    rule = method.restraints(agent)["actor"]
    assert rule.reads_memory
    memory = batch(1)
    value = rule.penalties[0](agent.state.actor, batch(0), memory)
    policies = []
    for one in (old, agent):
        output = mlp(one.layout("actor"), one.state.actor[0, 0])(memory.observations[0])
        mean, raw = output.chunk(2, -1)
        policies.append(distributions.Normal(mean, (-5 + 3.5 * (torch.tanh(raw) + 1)).exp()))
    expected = 2 * distributions.kl_divergence(*policies).sum(-1).mean()
    torch.testing.assert_close(value, expected[None].detach(), rtol=1e-4, atol=1e-5)
    assert float(rule.penalties[0](old.state.actor, batch(0), memory)) == pytest.approx(0, abs=1e-6)


def test_bc_of_discrete_actions() -> None:
    sac = Sac(hidden=(8,), batch_size=4)
    losses = Categorical(sac, Spaces(Frames((SIZE, SIZE), STACK, CONVOLUTIONS), Discrete(3)))
    rng = np.random.default_rng(0)
    one, other = (torch.from_numpy(losses.actor.initial(1, rng)).unsqueeze(0) for _ in range(2))
    blank = blank_batch(losses.spaces, 4, torch.device("cpu"))
    rows = torch.from_numpy(rng.integers(0, 255, tuple(blank.rows.shape), dtype=np.uint8))
    frames = FrameBatch(rows, losses.spaces)
    found = losses.policy_divergence(one, other, frames)
    logits = [forward(losses.actor, stack, frames.observations.unsqueeze(1))[0, 0] for stack in (one, other)]
    expected = distributions.kl_divergence(*(distributions.Categorical(logits=one) for one in logits))
    torch.testing.assert_close(found[0], expected, rtol=1e-4, atol=1e-6)
    assert (found > 0).all()


# agem


@given(st.integers(0, 2**32 - 1), st.sampled_from([torch.float32, torch.float64]))
def test_agem_projects_where_gradients_conflict_and_there_alone(seed: int, dtype: torch.dtype) -> None:
    rng = np.random.default_rng(seed)
    gradient, reference = (torch.from_numpy(rng.standard_normal((3, 2, 4))).to(dtype) for _ in range(2))
    reference[2] = 0
    found = project(gradient, lambda: reference)
    for g, ref, lane in zip(gradient.flatten(1), reference.flatten(1), found.flatten(1), strict=True):
        if g @ ref >= 0:
            assert torch.equal(lane, g)
        else:
            torch.testing.assert_close(lane, g - (g @ ref) / (ref @ ref) * ref)
            assert abs(float(lane @ ref)) < 1e-4


@pytest.mark.parametrize("part", ["actor", "critic"])
def test_the_gradient_on_the_memory_is_that_of_an_update_on_it(part: str) -> None:
    """A rule that takes the memory's gradient in place of the batch's makes the update that the memory would."""
    rule = {part: UpdateRule(gradients=(lambda gradient, on_memory: on_memory(),), reads_memory=True)}
    noise = torch.randn((2, 1, SAC.batch_size, SPACES.action.size), generator=torch.Generator().manual_seed(0))
    swapped, plain = new_agent(), new_agent()
    here, there = batch(0), batch(1)
    updater(SAC, swapped.problem, rule)(swapped.state, here, noise, True, memory=there)
    by_hand = updater(SAC, plain.problem, {})
    if part == "critic":
        by_hand(plain.state, there, noise, False)
        assert torch.equal(swapped.state.critic, plain.state.critic)
    else:
        by_hand(plain.state, here, noise, True, actor_batch=there)
        assert torch.equal(swapped.state.actor, plain.state.actor)


def test_agem_projects_in_the_update() -> None:
    """One step of Adam down the gradient that is projected by hand."""
    rules = ActiveMethod((ProjectedGradient(parts=("actor", "critic")),)).restraints(new_agent())
    agent, noise = new_agent(), torch.randn((2, 1, 8, 2), generator=torch.Generator().manual_seed(0))
    here, there = batch(0), replace(batch(0), rows=-batch(0).rows * 5)
    gradients = []
    for one in (here, there):
        leaf = agent.state.critic.detach().requires_grad_()
        loss = agent.problem.critic_losses(agent.state, leaf, one, noise[0]).mean(-1).sum()
        gradients.append(torch.autograd.grad(loss, leaf)[0].double().flatten())
    g, ref = gradients
    projected = g - min(float(g @ ref), 0) / float(ref @ ref) * ref
    before = agent.state.critic.clone()
    updater(SAC, agent.problem, rules)(agent.state, here, noise, False, memory=there)
    # Adam's first moment is (1 - beta1) times what it was given.
    torch.testing.assert_close(
        agent.state.moments["critic"].mean.double().flatten(), 0.1 * projected, rtol=1e-4, atol=1e-7
    )
    assert not torch.equal(before, agent.state.critic)


# redo


def dormant_agent() -> Agent:
    """Second neuron of the first layer and first of the second never fire in the actor; all have Adam's moments."""
    agent = new_agent()
    agent.learn(replay(), torch.Generator().manual_seed(0))
    weight, bias, weight_2, bias_2, *_ = agent.layout("actor").unpack(agent.state.actor)
    weight[0, 0, 1], bias[0, 0, 1] = 0, -1
    weight_2[0, 0, 0], bias_2[0, 0, 0] = 0, -1
    for part in ("actor", "critic"):
        for moment in (agent.state.moments[part].mean, agent.state.moments[part].square):
            moment.fill_(0.5)
    return agent


def test_redo_recycles_dormant_neurons_as_its_algorithm_says() -> None:
    agent, before = dormant_agent(), dormant_agent()
    agent.updates.critic = 10
    method = ActiveMethod((RecycledNeurons(tau=0.0, period=10),))
    method.between(agent, replay(), np.random.default_rng(5))
    layout, data = agent.layout("actor"), replay().all().observations[0]
    # The same by hand, neuron by neuron.
    plain = mlp(layout, before.state.actor[0, 0])
    linears = [module for module in plain if isinstance(module, nn.Linear)]
    rng = np.random.default_rng(5)
    rng.integers(2**63)
    new = mlp(layout, torch.from_numpy(layout.initial(1, rng)[0]))
    fresh = [module for module in new if isinstance(module, nn.Linear)]
    moments = mlp(layout, torch.full((layout.parameters,), 0.5))
    moment_layers = [module for module in moments if isinstance(module, nn.Linear)]
    x, dormant = data, list[tuple[int, int]]()
    with torch.no_grad():
        for number, linear in enumerate(linears[:-1]):
            x = torch.relu(linear(x))
            dormant += [(number, neuron) for neuron in range(linear.out_features) if not x[:, neuron].any()]
        assert {(0, 1), (1, 0)} <= set(dormant)
        for number, neuron in dormant:
            linears[number].weight[neuron] = fresh[number].weight[neuron]
            linears[number].bias[neuron] = fresh[number].bias[neuron]
            moment_layers[number].weight[neuron] = 0
            moment_layers[number].bias[neuron] = 0
        for number, neuron in dormant:
            linears[number + 1].weight[:, neuron] = 0
            moment_layers[number + 1].weight[:, neuron] = 0
    assert method.report["redo_recycled"]["actor"] == len(dormant)
    assert torch.equal(agent.state.actor[0, 0], flat(plain))
    assert torch.equal(agent.state.moments["actor"].mean[0, 0], flat(moments))
    assert torch.equal(agent.state.moments["actor"].square[0, 0], flat(moments))
    # What the policy does is the same for now.
    torch.testing.assert_close(*(mlp(layout, one.state.actor[0, 0])(data) for one in (before, agent)))


def test_redo_acts_once_in_a_period_and_remembers_when() -> None:
    agent, method = dormant_agent(), ActiveMethod((RecycledNeurons(tau=0.0, period=10),))
    seen = []
    for updates in (3, 9, 12, 19, 20):
        agent.updates.critic = updates
        weight, bias, *_ = agent.layout("actor").unpack(agent.state.actor)
        weight[0, 0, 1], bias[0, 0, 1] = 0, -1
        method.between(agent, replay(), np.random.default_rng(updates))
        seen.append(method.report["redo_recycled"]["actor"])
    assert seen[0] == seen[1] == 0
    assert 0 < seen[2] == seen[3] < seen[4]
    assert int(method.arrays["redo.updates"]) == 20


def test_dormant_is_relative_to_the_layer() -> None:
    layout = Layout(3, (4, 2), 1)
    activity = np.array([[1.0, 0.1, 0.0, 2.9, 50.0, 0.5]])
    assert is_dormant(activity, layout, 0.0).tolist() == [False, False, True, False, False, False]
    assert is_dormant(activity, layout, 0.1).tolist() == [False, True, True, False, False, True]
    assert is_dormant(np.zeros((2, 6)), layout, 0.0).all()


# packnet


def packed(retrain_updates: int = 3) -> tuple[Agent, ActiveMethod, Agent]:
    old, agent = new_agent(), new_agent()
    for one in (old, agent):
        one.learn(replay(), torch.Generator().manual_seed(0))
        one.start_counting()
        one.state.reset_optimizers()
    method = ActiveMethod((PackedActor(prune=0.5, retrain_updates=retrain_updates),))
    past = past_of(old)
    method.prepare(past)
    method.begin(past, agent)
    agent.build_update(method.restraints(agent))
    return agent, method, old


def test_packnet_prunes_the_smallest_half_of_each_layer() -> None:
    agent, method, old = packed(retrain_updates=0)
    layout = agent.layout("actor")
    owners = layout.unpack(torch.from_numpy(method.arrays["packnet.owner"]))
    for number, (owner, before, after) in enumerate(
        zip(owners, layout.unpack(old.state.actor), layout.unpack(agent.state.actor), strict=True)
    ):
        if number % 2:
            assert (owner == -1).all()
            assert torch.equal(before, after)
            continue
        sizes = before.abs().flatten().sort().values
        threshold = sizes[len(sizes) // 2]
        assert torch.equal(owner == 0, before.abs() >= threshold)
        assert torch.equal(after, torch.where(before.abs() >= threshold, before, 0.0))


def test_packnet_that_gives_up_nothing_is_an_error() -> None:
    """Its task number was read off the weights that were given up: without any, all of the actor became 0."""
    with pytest.raises(PhaseError, match=r"packnet: a share of 1e-06 is no weight .* raise method\.packnet_prune"):
        ActiveMethod((PackedActor(prune=1e-6, retrain_updates=0),)).prepare(past_of(new_agent()))


@pytest.mark.parametrize("prune", [0, 1, -0.5])
def test_a_share_that_leaves_one_task_nothing_is_refused_with_the_sweep(prune: float) -> None:
    with pytest.raises(ValidationError, match="packnet_prune"):
        Options.model_validate({"packnet_prune": prune})


def test_packnet_retrains_what_it_keeps_and_hands_the_rest_on() -> None:
    agent, method, old = packed()
    owner = torch.from_numpy(method.arrays["packnet.owner"])
    assert torch.equal(agent.state.actor[owner == -1], old.state.actor[owner == -1])
    # But for dead neurons, whose weights have no gradient.
    assert (agent.state.actor[owner == 0] != old.state.actor[owner == 0]).float().mean() > 0.5
    assert (agent.state.actor[owner == 1] == 0).all()
    assert agent.updates == UpdateCounts()
    assert not agent.state.moments["actor"].mean.any()
    first = agent.state.actor.clone()
    for _ in range(3):
        agent.learn(replay(seed=2), torch.Generator().manual_seed(1))
    assert torch.equal(agent.state.actor[owner < 1], first[owner < 1])
    assert (agent.state.actor[owner == 1] != 0).float().mean() > 0.5
    # The first task is evaluated with what it had, bit for bit, the second with all.
    seen = method.view(agent, 0)
    assert seen is not None
    assert torch.equal(seen, first)
    assert method.view(agent, 1) is None
    assert not torch.equal(agent.state.actor, first)


def test_packnet_of_a_third_task_prunes_the_second() -> None:
    agent, method, _ = packed()
    for _ in range(3):
        agent.learn(replay(seed=2), torch.Generator().manual_seed(1))
    later = ActiveMethod(method.ingredients)
    later.prepare(past_of(agent, method.arrays))
    before, after = method.arrays["packnet.owner"], later.arrays["packnet.owner"]
    assert ((before == after) | (before == 1)).all()
    for size, (one, other) in zip(agent.layout("actor").sizes, pairs(agent, before, after), strict=True):
        assert size == one.size
        assert (other == 2).sum() == int(0.5 * (one == 1).sum())


def pairs(agent: Agent, *owners: Any) -> list[tuple[Any, Any]]:
    ends = [0, *np.cumsum(agent.layout("actor").sizes)]
    return [tuple(owner[0, 0, start:end] for owner in owners) for start, end in pairwise(ends)]  # type: ignore[misc]
