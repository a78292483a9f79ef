"""The reference for pixels: discrete SAC as a single plain file would have it (see cleanrl_style.py)."""

import math

import numpy as np
import torch
from torch import Tensor, nn

from nbsp_ray.config.schema import Sac

FRAMES = (4, 84, 84)


def network(outputs: int) -> nn.Sequential:
    """Three convolutions, 512 units, `outputs`; bytes in, scaled to [0, 1]."""
    found = nn.Sequential(
        *(nn.Conv2d(4, 32, 8, stride=4), nn.ReLU(), nn.Conv2d(32, 64, 4, stride=2), nn.ReLU()),
        *(nn.Conv2d(64, 64, 3, stride=1), nn.ReLU(), nn.Flatten(), nn.Linear(3136, 512), nn.ReLU()),
        nn.Linear(512, outputs),
    )
    for module in found:
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
            nn.init.zeros_(module.bias)
    return found


class Buffer:
    """Stacked frames, twice per transition, in NumPy."""

    def __init__(self, capacity: int, actions: int, rng: np.random.Generator) -> None:
        """Full of noise: what is in the frames does not change the time an update takes."""
        self.observations = rng.integers(0, 256, (capacity, *FRAMES), np.uint8)
        self.following = rng.integers(0, 256, (capacity, *FRAMES), np.uint8)
        self.actions = rng.integers(actions, size=(capacity, 1))
        self.rewards = rng.choice(np.array([-1, 0, 1], np.float32), (capacity, 1))
        self.terminated = (rng.random((capacity, 1)) < 0.01).astype(np.float32)

    def sample(self, count: int, rng: np.random.Generator) -> tuple[Tensor, ...]:
        chosen = rng.integers(len(self.observations), size=count)
        parts = (self.observations, self.actions, self.rewards, self.following, self.terminated)
        return tuple(torch.from_numpy(part[chosen]) for part in parts)


class Reference:
    """The networks, their optimizers, and one update."""

    def __init__(self, actions: int, sac: Sac, seed: int) -> None:
        torch.manual_seed(seed)
        self.rng, self.sac, self.updates = np.random.default_rng(seed), sac, 0
        self.actor, self.q1, self.q2, self.target1, self.target2 = (network(actions) for _ in range(5))
        self.target1.load_state_dict(self.q1.state_dict())
        self.target2.load_state_dict(self.q2.state_dict())
        self.log_alpha = torch.zeros(1, requires_grad=True)
        self.alpha, self.target_entropy = 1.0, sac.target_entropy_scale * math.log(actions)
        critics, eps = [*self.q1.parameters(), *self.q2.parameters()], sac.adam_eps
        self.q_optimizer = torch.optim.Adam(critics, lr=sac.critic_lr, eps=eps)
        self.actor_optimizer = torch.optim.Adam(self.actor.parameters(), lr=sac.actor_lr, eps=eps)
        self.alpha_optimizer = torch.optim.Adam([self.log_alpha], lr=sac.alpha_lr, eps=eps)

    def _policy(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        log_prob = nn.functional.log_softmax(self.actor(frames), dim=1)
        return log_prob.exp(), log_prob

    def update(self, buffer: Buffer) -> None:
        sac = self.sac
        observations, actions, rewards, following, terminated = buffer.sample(sac.batch_size, self.rng)
        now, later = observations.float() / 255, following.float() / 255
        with torch.no_grad():
            prob, log_prob = self._policy(later)
            q_next = torch.min(self.target1(later), self.target2(later))
            value = (prob * (q_next - self.alpha * log_prob)).sum(1, keepdim=True)
            target = rewards + (1 - terminated) * sac.gamma * value
        loss = nn.functional.mse_loss(self.q1(now).gather(1, actions), target)
        loss = loss + nn.functional.mse_loss(self.q2(now).gather(1, actions), target)
        self.q_optimizer.zero_grad()
        loss.backward()
        self.q_optimizer.step()
        prob, log_prob = self._policy(now)
        with torch.no_grad():
            q = torch.min(self.q1(now), self.q2(now))
        actor_loss = (prob * (self.alpha * log_prob - q)).mean()
        self.actor_optimizer.zero_grad()
        actor_loss.backward()
        self.actor_optimizer.step()
        fixed = prob.detach()
        alpha_loss = (fixed * (-self.log_alpha.exp() * (log_prob.detach() + self.target_entropy))).mean()
        self.alpha_optimizer.zero_grad()
        alpha_loss.backward()
        self.alpha_optimizer.step()
        self.alpha = self.log_alpha.exp().item()
        self.updates += 1
        if self.updates % sac.target_period == 0:
            for slow, fast in ((self.target1, self.q1), (self.target2, self.q2)):
                slow.load_state_dict(fast.state_dict())
