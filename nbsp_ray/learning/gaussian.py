"""Continuous actions: SAC's losses with a tanh-squashed Gaussian policy (CleanRL's `sac_continuous_action`)."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nbsp_ray.benchmarks import Action, Observation, Spaces, Vector
from nbsp_ray.config.schema import Sac
from nbsp_ray.layout import layouts
from nbsp_ray.learning.networks import Trace, forward
from nbsp_ray.learning.replay import AnyBatch
from nbsp_ray.learning.sac import PRECISIONS, SacLosses, SacState


class Gaussian(SacLosses[AnyBatch]):
    """Actor: observation -> mean, log_std; critic: (observation, action) -> Q. Vectors or frames are observed."""

    def __init__(self, sac: Sac, spaces: Spaces) -> None:
        self.spaces = spaces
        self.actor, self.critic = layouts(spaces, sac.hidden, layer_norm=sac.layer_norm).values()
        self.gamma = sac.gamma
        self.precision = PRECISIONS[sac.precision]
        self.target_entropy = -sac.target_entropy_scale * spaces.action.size
        self.noise = spaces.action.size

    def distribution(self, actor: Tensor, observations: Tensor, trace: Trace | None = None) -> tuple[Tensor, Tensor]:
        """Mean and log_std (L, B, A) of the Gaussian before tanh, on observations (L, B, ...).

        log_std = -5 + 3.5 (tanh(raw) + 1) lies in [-5, 2] (CleanRL).
        """
        outputs = forward(self.actor, actor, observations.unsqueeze(1), trace, precision=self.precision)
        mean, raw = outputs.squeeze(1).chunk(2, dim=-1)
        return mean, -5 + 3.5 * (torch.tanh(raw) + 1)

    def sample_action(
        self, actor: Tensor, observations: Tensor, noise: Tensor, trace: Trace | None = None
    ) -> tuple[Tensor, Tensor]:
        """Actions (L, B, A) = tanh(mean + std noise) and their log-probabilities (L, B)."""
        mean, log_std = self.distribution(actor, observations, trace)
        action = torch.tanh(mean + log_std.exp() * noise)
        gaussian = -0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi)
        return action, (gaussian - torch.log(1 - action.square() + 1e-6)).sum(-1)

    def q_of(self, critic: Tensor, *observations_actions: Tensor, trace: Trace | None = None) -> Tensor:
        """Q_1 and Q_2, (L, 2, B), on s (L, B, ...) and a (L, B, A), or on vectors (s, a) of shape (L, B, O + A)."""
        inputs = [one.unsqueeze(1) for one in observations_actions]
        return forward(self.critic, critic, inputs, trace, precision=self.precision).squeeze(-1)

    def q_values(self, critic: Tensor, batch: AnyBatch, trace: Trace | None = None) -> Tensor:
        """Q_1 and Q_2 (L, 2, B) of the batch's own states and actions."""
        return self.q_of(critic, *batch.critic_inputs, trace=trace)

    def _together(self, observations: Tensor, actions: Tensor) -> tuple[Tensor, ...]:
        """One vector where no gradient needs them apart, as one product is faster than two; frames stay apart."""
        if isinstance(self.spaces.observation, Vector):
            return (torch.cat([observations, actions], -1),)
        return observations, actions

    def critic_losses(
        self, state: SacState, critic: Tensor, batch: AnyBatch, noise: Tensor, trace: Trace | None = None
    ) -> Tensor:
        """(Q(s, a) - y)^2 of both Q and every sample, (L, 2, B): lines 11 and 12 of Algorithm 1.

        y = r + gamma (1 - terminated) (min_j Q'_j(s', a') - alpha log pi(a'|s')); a time limit bootstraps.
        """
        with torch.no_grad():
            following, log_pi = self.sample_action(state.actor, batch.next_observations, noise)
            q_next = self.q_of(state.target, *self._together(batch.next_observations, following)).amin(1)
            value = q_next - state.log_alpha.exp().unsqueeze(-1) * log_pi
            y = state.scaled(batch.rewards) + self.gamma * (1 - batch.terminated) * value
        return (self.q_of(critic, *batch.critic_inputs, trace=trace) - y.unsqueeze(1)).square()

    def actor_losses(
        self, state: SacState, actor: Tensor, batch: AnyBatch, noise: Tensor, trace: Trace | None = None
    ) -> tuple[Tensor, Tensor]:
        """alpha log pi(a|s) - min_j Q_j(s, a) of every sample (L, B): line 13 of Algorithm 1.

        And the mean of log pi + target entropy, (L,).
        """
        action, log_pi = self.sample_action(actor, batch.observations, noise, trace)
        q = torch.minimum(*self.q_of(state.critic, batch.observations, action).unbind(1))
        losses = state.log_alpha.exp().unsqueeze(-1) * log_pi - q
        return losses, log_pi.mean(-1) + self.target_entropy

    def policy_divergence(self, actor: Tensor, other: Tensor, batch: AnyBatch) -> Tensor:
        """KL(pi(.|s) || pi_other(.|s)) at each state, (L, B): in closed form before tanh, and the same after it.

        sum_d log sigma'_d / sigma_d + (sigma_d^2 + (mu_d - mu'_d)^2) / (2 sigma'_d^2) - 1/2
        """
        mean, log_std = self.distribution(actor, batch.observations)
        other_mean, other_log_std = self.distribution(other, batch.observations)
        spread = (2 * (log_std - other_log_std)).exp() + ((mean - other_mean) * (-other_log_std).exp()).square()
        return (other_log_std - log_std + 0.5 * spread - 0.5).sum(-1)

    def fisher_outputs(self, actor: Tensor, batch: AnyBatch, trace: Trace) -> list[Tensor]:
        """mu_d / sigma_d and sqrt(2) log sigma_d for each d, with the sigma of the quotient held still.

        F = sum_d [ (d mu_d / dw)^2 / sigma_d^2 + 2 (d log sigma_d / dw)^2 ] is the exact diagonal Fisher information of
        the Gaussian before tanh, and of the squashed policy too, as tanh is a bijection.
        """
        mean, log_std = self.distribution(actor, batch.observations, trace)
        scaled = mean / log_std.detach().exp()
        return [*scaled.unbind(-1), *(2**0.5 * log_std).unbind(-1)]

    def inputs(self, part: str, observations: Observation, actions: Action) -> tuple[npt.NDArray[Any], ...]:
        """The actor reads s, a critic (s, a)."""
        return (observations,) if part == "actor" else (observations, np.asarray(actions))
