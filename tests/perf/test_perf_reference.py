"""The reference that speed is measured against learns what ours learns: the same gradients from the same batch."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from nbsp_ray.benchmarks import Continuous, Spaces, Vector
from nbsp_ray.config.schema import Sac
from nbsp_ray.learning.agent import Agent
from nbsp_ray.learning.replay import Batch
from nbsp_ray.learning.sac import build_update

sys.path.insert(0, str(Path(__file__).parents[2] / "perf"))

from cleanrl_style import Buffer, Reference

SPACES, BATCH, SEED = Spaces(Vector(5), Continuous(3)), 32, 7
SAC = Sac(hidden=(16, 12), batch_size=BATCH, policy_frequency=1)


def flat(*modules: torch.nn.Module, field: str | None = None, optimizer: torch.optim.Optimizer) -> torch.Tensor:
    """Parameters, or what the optimizer remembers of them, in the order of our flat stacks."""
    parameters = [one for module in modules for one in module.parameters()]
    return torch.cat([(one if field is None else optimizer.state[one][field]).detach().flatten() for one in parameters])


def actor_order(reference: Reference, field: str | None) -> torch.Tensor:
    """As `flat`, with the two heads as one layer: weights of both, then biases of both."""
    actor, optimizer = reference.actor, reference.actor_optimizer
    heads = [actor.mean.weight, actor.log_std.weight, actor.mean.bias, actor.log_std.bias]
    rest = [(one if field is None else optimizer.state[one][field]).detach().flatten() for one in heads]
    return torch.cat([flat(actor.body, field=field, optimizer=optimizer), *rest])


@pytest.fixture
def reference() -> Reference:
    return Reference(SPACES, SAC, SEED)


@pytest.fixture
def buffer() -> Buffer:
    rng, found = np.random.default_rng(1), Buffer(SPACES, 100)
    for number in range(100):
        observation, following = rng.standard_normal((2, SPACES.observation.size)).astype(np.float32)
        action = rng.uniform(-1, 1, SPACES.action.size).astype(np.float32)
        found.add(observation, action, float(rng.standard_normal()), following, number % 5 == 0)
    return found


def test_one_update_has_our_gradients(reference: Reference, buffer: Buffer) -> None:
    agent = Agent(SAC, SPACES, torch.device("cpu"), np.random.default_rng(0))
    critics = (reference.q1, reference.q2)
    stacked = torch.stack([flat(one, optimizer=reference.q_optimizer) for one in critics]).unsqueeze(0)
    agent.state.critic.copy_(stacked)
    agent.state.target.copy_(stacked)
    agent.state.actor.copy_(actor_order(reference, None))
    # The batch and the noise that the reference will draw.
    observations, actions, rewards, following, terminated = buffer.sample(BATCH, np.random.default_rng(SEED))
    rows = torch.cat([observations, actions, following, rewards, terminated], 1).unsqueeze(0)
    ones = torch.ones(BATCH, SPACES.action.size)
    torch.manual_seed(3)
    noise = torch.stack([torch.normal(0 * ones, ones) for _ in range(2)]).unsqueeze(1)
    build_update(SAC, agent.problem, {})(agent.state, Batch(rows, SPACES), noise, True)
    torch.manual_seed(3)
    reference.update(buffer)
    # Adam's first mean is a tenth of the gradient.
    expected = torch.stack([flat(one, field="exp_avg", optimizer=reference.q_optimizer) for one in critics])
    torch.testing.assert_close(agent.state.moments["critic"].mean[0], expected, rtol=1e-4, atol=1e-7)
    expected = actor_order(reference, "exp_avg")
    torch.testing.assert_close(agent.state.moments["actor"].mean[0, 0], expected, rtol=1e-4, atol=1e-7)
    assert expected.abs().max() > 1e-3


def test_the_schedule(reference: Reference, buffer: Buffer) -> None:
    delayed = Reference(SPACES, SAC.model_copy(update={"policy_frequency": 2, "target_period": 3}), SEED)
    before = [one.clone() for one in delayed.target1.parameters()]
    actor_steps = []
    for number in range(3):
        delayed.update(buffer)
        actor_steps.append(int(delayed.actor_optimizer.state[delayed.actor.mean.bias]["step"]))
        moved = any((a != b).any() for a, b in zip(before, delayed.target1.parameters(), strict=True))
        assert moved == (number == 2)
    assert actor_steps == [2, 2, 4]
