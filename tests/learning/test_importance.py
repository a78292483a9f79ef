"""Fisher information and Taylor importance, against one sample and one parameter at a time, in double precision."""

import math

import numpy as np
import pytest
import torch

from nbsp_ray.benchmarks import Continuous, Spaces, Step, Vector
from nbsp_ray.config.schema import Sac
from nbsp_ray.learning.agent import NETWORKS, Agent
from nbsp_ray.learning.importance import FISHER_FLOOR, actor_fisher, critic_fisher, taylor_importance
from nbsp_ray.learning.replay import Batch, Replay

SPACES = Spaces(Vector(3), Continuous(2))
SAC = Sac(hidden=(5, 4), batch_size=6)


@pytest.fixture
def agent() -> Agent:
    agent = Agent(SAC, SPACES, torch.device("cpu"), np.random.default_rng(0))
    agent.state.target.add_(0.01)
    agent.state.log_alpha.fill_(-0.7)
    return agent


@pytest.fixture
def replay() -> Replay:
    replay = Replay(SPACES, 50)
    rng = np.random.default_rng(1)
    for number in range(40):
        observation, following = rng.normal(size=(2, 3)).astype(np.float32)
        action = rng.uniform(-1, 1, 2).astype(np.float32)
        step = Step(following, float(rng.normal()), number % 7 == 0, truncated=False, success=None)
        replay.add(observation, action, step, last=step.terminated)
    return replay


def plain_network(agent: Agent, network: str) -> torch.nn.Sequential:
    """The network as torch's own layers, in double precision."""
    part, member = NETWORKS[network]
    stack = getattr(agent.state, part)[:, member : member + 1]
    weights = [w[0, 0].double() for w in agent.layout(network).unpack(stack)]
    modules: list[torch.nn.Module] = []
    for weight, bias in zip(weights[::2], weights[1::2], strict=True):
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0], dtype=torch.float64)
        linear.weight.data, linear.bias.data = weight.clone(), bias.clone()
        modules += [linear, torch.nn.ReLU()]
    return torch.nn.Sequential(*modules[:-1])


def squared_gradient(output: torch.Tensor, network: torch.nn.Sequential) -> torch.Tensor:
    gradients = torch.autograd.grad(output, list(network.parameters()), retain_graph=True)
    return torch.cat([gradient.flatten() for gradient in gradients]).square()


def test_actor_fisher_is_that_of_the_gaussian_sample_by_sample(agent: Agent, replay: Replay) -> None:
    batch, network = replay.all(), plain_network(agent, "actor")
    total = torch.zeros(agent.problem.actor.parameters, dtype=torch.float64)
    for observation in batch.observations[0].double():
        mean, raw = network(observation).chunk(2)
        log_std = -5 + 3.5 * (torch.tanh(raw) + 1)
        for d in range(2):
            total += squared_gradient(mean[d], network) / math.exp(2 * log_std[d].detach().item())
            total += 2 * squared_gradient(log_std[d], network)
    expected = (total / len(replay)).clamp_min(FISHER_FLOOR)
    torch.testing.assert_close(actor_fisher(agent, batch)[0, 0].double(), expected, rtol=2e-4, atol=1e-9)


def test_the_fisher_is_the_curvature_of_the_divergence(agent: Agent, replay: Replay) -> None:
    """KL(pi_w || pi_w+dw) = 1/2 F dw^2 for a small step in one weight: no autograd of ours in the reference."""
    batch = replay.all()
    fisher = actor_fisher(agent, batch)[0, 0]
    index, step = int(fisher.argmax()), 1e-3
    network, moved = plain_network(agent, "actor"), plain_network(agent, "actor")
    flat = torch.nn.utils.parameters_to_vector(list(moved.parameters()))
    flat[index] += step
    torch.nn.utils.vector_to_parameters(flat, list(moved.parameters()))

    def gaussian(net: torch.nn.Sequential) -> torch.distributions.Normal:
        mean, raw = net(batch.observations[0].double()).chunk(2, dim=-1)
        return torch.distributions.Normal(mean, (-5 + 3.5 * (torch.tanh(raw) + 1)).exp())

    divergence = torch.distributions.kl_divergence(gaussian(network), gaussian(moved)).sum(-1).mean()
    assert divergence.detach().item() == pytest.approx(0.5 * fisher[index].item() * step**2, rel=0.02)


def test_critic_fisher_is_the_mean_squared_gradient_of_each_q(agent: Agent, replay: Replay) -> None:
    batch = replay.all()
    found = critic_fisher(agent, batch)
    for member, name in enumerate(("q1", "q2")):
        network = plain_network(agent, name)
        rows = batch.critic_inputs[0][0].double()
        expected = torch.stack([squared_gradient(network(row)[0], network) for row in rows]).mean(0)
        torch.testing.assert_close(found[0, member].double(), expected, rtol=2e-4, atol=1e-9)


def scaled_outputs(
    network: torch.nn.Sequential, inputs: torch.Tensor, layer: int, neuron: int, scale: float
) -> torch.Tensor:
    """The outputs if one neuron's activation were multiplied by `scale`."""
    for number, module in enumerate(network):
        inputs = module(inputs)
        if number == 2 * layer + 1:
            inputs = inputs.clone()
            inputs[..., neuron] *= scale
    return inputs


def losses(
    agent: Agent, name: str, batch: Batch, noise: torch.Tensor, layer: int, neuron: int, scale: float
) -> torch.Tensor:
    """Each sample's SAC loss of one network (method: section 2), with one of its neurons scaled."""
    alpha = agent.state.log_alpha.exp().item()
    nets = {network: plain_network(agent, network) for network in NETWORKS}
    rows = batch.rows[0].double()
    s, sa, following, reward, over = rows[:, :3], rows[:, :5], rows[:, 5:8], rows[:, 8], rows[:, 9]

    def act(output: torch.Tensor, eps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean, raw = output.chunk(2, dim=-1)
        log_std = -5 + 3.5 * (torch.tanh(raw) + 1)
        action = torch.tanh(mean + log_std.exp() * eps)
        gaussian = torch.distributions.Normal(mean, log_std.exp()).log_prob(mean + log_std.exp() * eps)
        return action, (gaussian - torch.log(1 - action**2 + 1e-6)).sum(-1)

    if name == "actor":
        action, log_pi = act(scaled_outputs(nets["actor"], s, layer, neuron, scale), noise[1])
        q = torch.stack([nets[network](torch.cat([s, action], -1))[:, 0] for network in ("q1", "q2")]).amin(0)
        return alpha * log_pi - q
    action, log_pi = act(nets["actor"](following), noise[0])
    targets = []
    for member in range(2):
        target = plain_network(agent, f"q{member + 1}")
        moved = agent.state.target[0, member].double()
        torch.nn.utils.vector_to_parameters(moved, list(target.parameters()))
        targets.append(target(torch.cat([following, action], -1))[:, 0])
    y = reward + SAC.gamma * (1 - over) * (torch.stack(targets).amin(0) - alpha * log_pi)
    return (scaled_outputs(nets[name], sa, layer, neuron, scale)[:, 0] - y) ** 2


@pytest.mark.parametrize("name", NETWORKS)
def test_importance_is_the_effect_of_scaling_a_neuron(agent: Agent, replay: Replay, name: str) -> None:
    """h dL/dh is the derivative of L in the neuron's scale at 1; here by central differences, sample by sample."""
    batches = 3
    found = taylor_importance(agent, replay, torch.Generator().manual_seed(5), batches=batches)[name]
    rng, step = torch.Generator().manual_seed(5), 1e-5
    drawn = []
    for _ in range(batches):
        batch = replay.sample(SAC.batch_size, rng)
        drawn.append((batch, torch.randn((2, 1, SAC.batch_size, 2), generator=rng)[:, 0].double()))
    expected = []
    for layer, width in enumerate(SAC.hidden):
        effects = np.zeros(width)
        for neuron in range(width):
            for batch, noise in drawn:
                up, down = (losses(agent, name, batch, noise, layer, neuron, 1 + sign * step) for sign in (1, -1))
                effects[neuron] += ((up - down) / (2 * step)).abs().sum().item()
        expected.append(effects / np.sqrt(np.mean(effects**2)))
    np.testing.assert_allclose(found, np.concatenate(expected), rtol=5e-3, atol=1e-4)


def test_importance_does_not_depend_on_the_size_of_the_loss_of_a_layer(agent: Agent, replay: Replay) -> None:
    found = taylor_importance(agent, replay, torch.Generator().manual_seed(5), batches=4)
    for values in found.values():
        for layer in np.split(values, [SAC.hidden[0]]):
            assert np.sqrt(np.mean(layer**2)) == pytest.approx(1)
