"""The reference: SAC as a single plain file would have it, after the published algorithm of CleanRL's continuous SAC.

`nn.Linear`, two separate Q networks, `torch.optim.Adam`, a NumPy replay buffer, one optimizer step after another: what
a good tutorial writes, and what most papers run. Settings are those of `nbsp_ray.config`, so that both learn alike.
Nothing here was copied, and nothing here is tuned.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from nbsp_ray.benchmarks import Env, Spaces
from nbsp_ray.config.schema import Sac

Array = npt.NDArray[np.float32]


def layers(inputs: int, hidden: tuple[int, ...]) -> nn.Sequential:
    """Fully connected hidden layers with ReLU."""
    found: list[nn.Module] = []
    for width in hidden:
        found += [nn.Linear(inputs, width), nn.ReLU()]
        inputs = width
    return nn.Sequential(*found)


class QNetwork(nn.Module):
    """Q(s, a)."""

    def __init__(self, spaces: Spaces, hidden: tuple[int, ...]) -> None:
        super().__init__()
        self.body = layers(spaces.observation.size + spaces.action.size, hidden)
        self.head = nn.Linear(hidden[-1], 1)

    def forward(self, observations: Tensor, actions: Tensor) -> Tensor:
        return self.head(self.body(torch.cat([observations, actions], 1)))


class Actor(nn.Module):
    """Mean and log_std of a Gaussian that tanh squashes into (-1, 1)."""

    def __init__(self, spaces: Spaces, hidden: tuple[int, ...]) -> None:
        super().__init__()
        self.body = layers(spaces.observation.size, hidden)
        self.mean = nn.Linear(hidden[-1], spaces.action.size)
        self.log_std = nn.Linear(hidden[-1], spaces.action.size)

    def forward(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        x = self.body(observations)
        return self.mean(x), -5 + 3.5 * (torch.tanh(self.log_std(x)) + 1)

    def act(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Actions and their log-probabilities (B, 1)."""
        mean, log_std = self(observations)
        normal = torch.distributions.Normal(mean, log_std.exp())
        raw = normal.rsample()
        actions = torch.tanh(raw)
        log_prob = normal.log_prob(raw) - torch.log(1 - actions.pow(2) + 1e-6)
        return actions, log_prob.sum(1, keepdim=True)


class Buffer:
    """Five NumPy arrays; a batch is five gathers."""

    def __init__(self, spaces: Spaces, capacity: int) -> None:
        self.observations = np.zeros((capacity, spaces.observation.size), np.float32)
        self.following = np.zeros((capacity, spaces.observation.size), np.float32)
        self.actions = np.zeros((capacity, spaces.action.size), np.float32)
        self.rewards = np.zeros((capacity, 1), np.float32)
        self.terminated = np.zeros((capacity, 1), np.float32)
        self.capacity, self.added = capacity, 0

    def add(self, observation: Array, action: Array, reward: float, following: Array, terminated: bool) -> None:
        at = self.added % self.capacity
        self.observations[at], self.actions[at], self.following[at] = observation, action, following
        self.rewards[at], self.terminated[at] = reward, terminated
        self.added += 1

    def sample(self, count: int, rng: np.random.Generator) -> tuple[Tensor, ...]:
        chosen = rng.integers(min(self.added, self.capacity), size=count)
        parts = (self.observations, self.actions, self.rewards, self.following, self.terminated)
        return tuple(torch.from_numpy(part[chosen]) for part in parts)


@dataclass
class Reference:
    """The networks, their optimizers, and one update."""

    spaces: Spaces
    sac: Sac
    seed: int
    updates: int = 0
    rng: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        torch.manual_seed(self.seed)
        self.rng = np.random.default_rng(self.seed)
        spaces, hidden, sac = self.spaces, self.sac.hidden, self.sac
        self.actor = Actor(spaces, hidden)
        self.q1, self.q2, self.target1, self.target2 = (QNetwork(spaces, hidden) for _ in range(4))
        self.target1.load_state_dict(self.q1.state_dict())
        self.target2.load_state_dict(self.q2.state_dict())
        self.log_alpha = torch.zeros(1, requires_grad=True)
        self.alpha = 1.0
        self.target_entropy = -sac.target_entropy_scale * spaces.action.size
        eps = sac.adam_eps
        critics = [*self.q1.parameters(), *self.q2.parameters()]
        self.q_optimizer = torch.optim.Adam(critics, lr=sac.critic_lr, eps=eps)
        self.actor_optimizer = torch.optim.Adam(self.actor.parameters(), lr=sac.actor_lr, eps=eps)
        self.alpha_optimizer = torch.optim.Adam([self.log_alpha], lr=sac.alpha_lr, eps=eps)

    def update(self, buffer: Buffer) -> None:
        """Both critics, every `policy_frequency`-th time as many steps of the actor and alpha, the targets."""
        sac = self.sac
        observations, actions, rewards, following, terminated = buffer.sample(sac.batch_size, self.rng)
        with torch.no_grad():
            next_actions, log_prob = self.actor.act(following)
            q_next = torch.min(self.target1(following, next_actions), self.target2(following, next_actions))
            target = rewards + (1 - terminated) * sac.gamma * (q_next - self.alpha * log_prob)
        loss = nn.functional.mse_loss(self.q1(observations, actions), target)
        loss = loss + nn.functional.mse_loss(self.q2(observations, actions), target)
        self.q_optimizer.zero_grad()
        loss.backward()
        self.q_optimizer.step()
        if self.updates % sac.policy_frequency == 0:
            for _ in range(sac.policy_frequency):
                self._update_actor(observations)
        if (self.updates + 1) % sac.target_period == 0:
            for slow, fast in ((self.target1, self.q1), (self.target2, self.q2)):
                for old, new in zip(slow.parameters(), fast.parameters(), strict=True):
                    old.data.copy_(sac.tau * new.data + (1 - sac.tau) * old.data)
        self.updates += 1

    def _update_actor(self, observations: Tensor) -> None:
        drawn, log_prob = self.actor.act(observations)
        q = torch.min(self.q1(observations, drawn), self.q2(observations, drawn))
        loss = (self.alpha * log_prob - q).mean()
        self.actor_optimizer.zero_grad()
        loss.backward()
        self.actor_optimizer.step()
        with torch.no_grad():
            _, log_prob = self.actor.act(observations)
        alpha_loss = (-self.log_alpha.exp() * (log_prob + self.target_entropy)).mean()
        self.alpha_optimizer.zero_grad()
        alpha_loss.backward()
        self.alpha_optimizer.step()
        self.alpha = self.log_alpha.exp().item()

    @torch.no_grad()
    def act(self, observation: Array, noise: Array | None = None) -> Array:
        """A stochastic action for one observation; the noise is the reference's own."""
        return self.actor.act(torch.from_numpy(observation).unsqueeze(0))[0][0].numpy()


def learn(agent: Reference, env: Env, buffer: Buffer, told: Callable[[], None] = lambda: None) -> Iterator[int]:
    """The loop of `nbsp_ray.learning.phase` in plain form; yields the env steps so far after each.

    `told` is called after each update.
    """
    sac, rng, env_steps = agent.sac, agent.rng, 0
    while True:
        observation = env.reset(int(rng.integers(env.variations)), rng)
        over = False
        while not over:
            if env_steps < sac.learning_starts:
                action = rng.uniform(-1, 1, agent.spaces.action.size).astype(np.float32)
            else:
                action = agent.act(observation)
            step = env.step(action)
            buffer.add(observation, action, step.reward, step.observation, step.terminated)
            observation, over = step.observation, step.terminated or step.truncated
            env_steps += 1
            while agent.updates < (env_steps - sac.learning_starts + 1) * sac.updates_per_env_step:
                agent.update(buffer)
                told()
            yield env_steps
