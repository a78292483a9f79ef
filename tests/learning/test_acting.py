"""How a policy of discrete actions acts in an environment, one state at a time."""

import numpy as np
import scipy  # Its parts load when they are asked for.
import torch
from pixel_toy import pixel_spaces
from plain_networks import plain_network

from nbsp_ray.benchmarks import Spaces
from nbsp_ray.config.schema import Sac
from nbsp_ray.learning.acting import CategoricalPolicy
from nbsp_ray.learning.agent import Agent

SETTINGS = Sac(hidden=(5,), batch_size=6)
SEEN = np.zeros((2, 7, 6), np.uint8)


def spaces(actions: int) -> Spaces:
    return pixel_spaces(actions=actions, frame=(7, 6), stack=2, convolutions=((3, 3, 2), (4, 2, 1)))


def acting(logits: list[float]) -> CategoricalPolicy:
    """A policy of these logits, whatever it sees."""
    agent = Agent(SETTINGS, spaces(len(logits)), torch.device("cpu"), np.random.default_rng(0))
    agent.state.actor.zero_()
    agent.state.actor[..., -len(logits) :] = torch.tensor(logits)
    policy = agent.policy()
    assert isinstance(policy, CategoricalPolicy)
    return policy


def test_draws_are_those_of_the_softmax() -> None:
    logits = [0.0, 1.5, -1.0, 0.3]
    policy, rng = acting(logits), np.random.default_rng(4)
    drawn = [int(policy(SEEN, policy.noise(rng))) for _ in range(4_000)]
    expected = 4_000 * np.exp(logits) / np.exp(logits).sum()
    assert scipy.stats.chisquare(np.bincount(drawn, minlength=4), expected).pvalue > 0.01
    again = np.random.default_rng(4)
    assert [int(policy(SEEN, policy.noise(again))) for _ in range(50)] == drawn[:50]


def test_without_noise_it_takes_the_greatest_logit() -> None:
    assert int(acting([0.0, 1.5, -1.0, 1.4])(SEEN, None)) == 1
    assert int(acting([-3.0, -2.0, -1.0])(SEEN, None)) == 2


def test_random_actions_are_uniform() -> None:
    policy, rng = acting([0.0, 9.0, 0.0, 0.0, 0.0]), np.random.default_rng(1)
    drawn = [int(policy.random(rng)) for _ in range(2_000)]
    assert scipy.stats.chisquare(np.bincount(drawn, minlength=5)).pvalue > 0.01


def test_it_acts_with_the_actor_as_it_is_now() -> None:
    agent = Agent(SETTINGS, spaces(3), torch.device("cpu"), np.random.default_rng(0))
    policy, rng = agent.policy(), np.random.default_rng(2)
    for _ in range(2):
        for _ in range(20):
            seen, noise = rng.integers(0, 256, (2, 7, 6), dtype=np.uint8), policy.noise(rng)
            network = plain_network(agent.layout("actor"), agent.state.actor[0, 0])
            logits = network(torch.from_numpy(seen)[None].double() / 255)[0].detach().numpy()
            assert int(policy(seen, noise)) == (logits + noise).argmax()
            assert int(policy(seen, None)) == logits.argmax()
        agent.state.actor.mul_(-1.3)
