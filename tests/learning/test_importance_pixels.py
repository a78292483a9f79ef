"""Fisher information and Taylor importance of convolutions and discrete actions, one sample at a time."""

import math

import numpy as np
import pytest
import torch
from pixel_toy import pixel_spaces
from plain_networks import plain_network
from torch import Tensor, nn

from nbsp_ray.config.schema import Sac
from nbsp_ray.layout import row_width
from nbsp_ray.learning import importance
from nbsp_ray.learning.agent import NETWORKS, Agent
from nbsp_ray.learning.frames import FrameBatch, FrameReplay
from nbsp_ray.learning.importance import FISHER_FLOOR, actor_fisher, critic_fisher, taylor_importance

FIELDS = 4
"""Bytes behind a frame: action, reward, terminated, flags."""
SPACES = pixel_spaces(actions=3, frame=(7, 6), stack=2, convolutions=((3, 3, 2), (4, 2, 1)))
SAC = Sac(hidden=(5,), batch_size=6, gamma=0.9, policy_frequency=1)
LAYERS = (3, 4, 5)


@pytest.fixture
def agent() -> Agent:
    agent, rng = Agent(SAC, SPACES, torch.device("cpu"), np.random.default_rng(0)), torch.Generator().manual_seed(3)
    for stack in (agent.state.actor, agent.state.critic, agent.state.target):
        stack.add_(0.1 * torch.randn(stack.shape, generator=rng))  # biases that are not 0
    agent.state.log_alpha.fill_(-0.7)
    return agent


@pytest.fixture
def replay() -> FrameReplay:
    rng = np.random.default_rng(1)
    rows = rng.integers(0, 256, (30, row_width(SPACES)), dtype=np.uint8)
    fields = (
        rng.integers(3, size=30),
        rng.choice([255, 0, 1], 30),
        rng.random(30) < 0.2,
        rng.random(30) < 0.1,
    )
    rows[:, -FIELDS:] = np.stack(fields, 1)
    rows[-1, -2] = 1
    return FrameReplay.of(SPACES, rows)


def network(agent: Agent, name: str, *, target: bool = False) -> nn.Sequential:
    part, member = NETWORKS[name]
    return plain_network(agent.layout(name), getattr(agent.state, "target" if target else part)[0, member])


def squared_gradient(output: Tensor, net: nn.Module) -> Tensor:
    gradients = torch.autograd.grad(output, list(net.parameters()), retain_graph=True)
    return torch.cat([gradient.flatten() for gradient in gradients]).square()


def states(batch: FrameBatch) -> Tensor:
    return batch.observations[0].double() / 255


@pytest.mark.parametrize("block", [1, 7, 128])
def test_critic_fisher_is_the_mean_squared_gradient_of_each_q(
    agent: Agent, replay: FrameReplay, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importance, "FISHER_BLOCK", block)
    batch = replay.all()
    found = critic_fisher(agent, batch)
    for member, name in enumerate(("q1", "q2")):
        net = network(agent, name)
        q = net(states(batch))[torch.arange(30), batch.actions[0]]
        expected = torch.stack([squared_gradient(one, net) for one in q]).mean(0)
        torch.testing.assert_close(found[0, member].double(), expected, rtol=3e-4, atol=1e-8)
        assert (expected[: 2 * 9 * 3] > 1e-6).any()


def test_actor_fisher_is_that_of_the_categorical_sample_by_sample(agent: Agent, replay: FrameReplay) -> None:
    batch, net = replay.all(), network(agent, "actor")
    total = torch.zeros(172, dtype=torch.float64)
    for logits in net(states(batch)):
        log_pi = torch.log_softmax(logits, 0)
        for action in range(3):
            total += log_pi[action].exp().item() * squared_gradient(log_pi[action], net)
    expected = (total / 30).clamp_min(FISHER_FLOOR)
    assert (expected > FISHER_FLOOR).sum() > 80
    torch.testing.assert_close(actor_fisher(agent, batch)[0, 0].double(), expected, rtol=3e-4, atol=1e-8)


@pytest.mark.parametrize("part", [0, 2])
def test_the_fisher_is_the_curvature_of_the_divergence(agent: Agent, replay: FrameReplay, part: int) -> None:
    """KL(pi_w || pi_w+dw) = 1/2 F dw^2 for a small step in one weight of a filter: no autograd of ours."""
    batch, layout = replay.all(), agent.layout("actor")
    fisher = actor_fisher(agent, batch)[0, 0]
    start = sum(layout.sizes[:part])
    index, step = start + int(fisher[start : start + layout.sizes[part]].argmax()), 1e-4
    moved = agent.state.actor[0, 0].double()
    moved[index] += step
    before, after = (torch.log_softmax(plain_network(layout, flat)(states(batch)), 1) for flat in (
        agent.state.actor[0, 0], moved))  # fmt: skip
    divergence = (before.exp() * (before - after)).sum(1).mean().item()
    assert divergence == pytest.approx(0.5 * fisher[index].item() * step**2, rel=0.02)


def test_actor_fisher_by_hand() -> None:
    """One pixel, one channel, one hidden unit, two actions."""
    spaces = pixel_spaces(actions=2, frame=(1, 1), stack=1, convolutions=((1, 1, 1),))
    agent = Agent(Sac(hidden=(1,)), spaces, torch.device("cpu"), np.random.default_rng(0))
    agent.state.actor[:] = torch.tensor([2.0, 0.0, 1.5, 0.0, 0.5, 0.0, 0.0, 0.0])
    rows = torch.zeros(1, 1, 2, 5, dtype=torch.uint8)
    rows[..., 0] = 255
    # x = 1, channel 2, unit 3, logits 1.5 and 0: the slope of the first in each parameter, and then of the second.
    slopes = np.array([0.5 * 1.5 * 1, 0.5 * 1.5, 0.5 * 2, 0.5, 3, 3, 1, 1])
    p = 1 / (1 + math.exp(-1.5))
    found = actor_fisher(agent, FrameBatch(rows, spaces))[0, 0].numpy()
    np.testing.assert_allclose(found, p * (1 - p) * slopes**2, rtol=1e-5)


def scaled_outputs(net: nn.Sequential, x: Tensor, layer: int, neuron: int, scale: float) -> Tensor:
    """The outputs if one neuron's activation, a channel's whole map, were multiplied by `scale`."""
    seen = -1
    for module in net:
        x = module(x)
        if isinstance(module, nn.ReLU):
            seen += 1
            if seen == layer:
                x = x.clone()
                x[:, neuron] *= scale
    return x


def losses(agent: Agent, name: str, batch: FrameBatch, layer: int, neuron: int, scale: float) -> Tensor:
    """Each sample's SAC loss of one network (method: section 2), with one of its neurons scaled."""
    alpha, now, after = agent.state.log_alpha.exp().item(), states(batch), batch.next_observations[0].double() / 255
    if name == "actor":
        log_pi = torch.log_softmax(scaled_outputs(network(agent, "actor"), now, layer, neuron, scale), 1)
        q = torch.minimum(network(agent, "q1")(now), network(agent, "q2")(now))
        return (log_pi.exp() * (alpha * log_pi - q)).mean(1)
    log_pi = torch.log_softmax(network(agent, "actor")(after), 1)
    q_next = torch.minimum(*(network(agent, one, target=True)(after) for one in ("q1", "q2")))
    value = (log_pi.exp() * (q_next - alpha * log_pi)).sum(1)
    y = batch.rewards[0].double() + SAC.gamma * (1 - batch.terminated[0].double()) * value
    q = scaled_outputs(network(agent, name), now, layer, neuron, scale)
    return (q[torch.arange(len(q)), batch.actions[0]] - y) ** 2


@pytest.mark.parametrize("name", NETWORKS)
def test_importance_is_the_effect_of_scaling_a_channels_map(agent: Agent, replay: FrameReplay, name: str) -> None:
    """sum_hw h dL/dh is the derivative of L in the map's scale at 1; by central differences, sample by sample."""
    found = taylor_importance(agent, replay, torch.Generator().manual_seed(5), batches=3)[name]
    rng, step = torch.Generator().manual_seed(5), 1e-5
    drawn = []
    for _ in range(3):
        drawn.append(replay.sample(SAC.batch_size, rng))
        torch.randn((2, 1, SAC.batch_size, 0), generator=rng)
    expected = []
    for layer, width in enumerate(LAYERS):
        effects = np.zeros(width)
        for neuron in range(width):
            for batch in drawn:
                up, down = (losses(agent, name, batch, layer, neuron, 1 + sign * step) for sign in (1, -1))
                effects[neuron] += ((up - down) / (2 * step)).abs().sum().item()
        assert (effects > 0).sum() >= 2
        expected.append(effects / np.sqrt(np.mean(effects**2)))
    np.testing.assert_allclose(found, np.concatenate(expected), rtol=5e-3, atol=1e-4)
