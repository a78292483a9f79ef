"""Discrete actions: SAC's losses with a categorical policy (Christodoulou 2019; CleanRL's `sac_atari`).

The expectation over the policy's action is a sum, so nothing is sampled. The critics' losses are batch means at the
action taken; the actor's and alpha's are means over (batch x actions), which only scales them, as Adam's step does not
see but against a penalty.
"""

import math
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from nbsp_ray.benchmarks import Action, Observation, Spaces
from nbsp_ray.config.schema import Sac
from nbsp_ray.layout import layouts
from nbsp_ray.learning.networks import Trace, forward
from nbsp_ray.learning.replay import AnyBatch
from nbsp_ray.learning.sac import PRECISIONS, SacLosses, SacState


class Categorical(SacLosses[AnyBatch]):
    """Actor: observation -> logits (A); critic: observation -> Q of each action (A). Vectors or frames are observed."""

    noise = 0

    def __init__(self, sac: Sac, spaces: Spaces) -> None:
        self.spaces = spaces
        self.actor, self.critic = layouts(spaces, sac.hidden, layer_norm=sac.layer_norm).values()
        self.gamma = sac.gamma
        self.precision = PRECISIONS[sac.precision]
        self.target_entropy = sac.target_entropy_scale * math.log(spaces.action.size)

    def log_policy(self, actor: Tensor, observations: Tensor, trace: Trace | None = None) -> Tensor:
        """log pi(a|s) of every action, (L, B, A), on observations (L, B, ...)."""
        logits = forward(self.actor, actor, observations.unsqueeze(1), trace, precision=self.precision)
        return torch.log_softmax(logits.squeeze(1), dim=-1)

    def q_of(self, critic: Tensor, observations: Tensor, trace: Trace | None = None) -> Tensor:
        """Q_1 and Q_2 of every action, (L, 2, B, A)."""
        return forward(self.critic, critic, observations.unsqueeze(1), trace, precision=self.precision)

    def q_values(self, critic: Tensor, batch: AnyBatch, trace: Trace | None = None) -> Tensor:
        """Q_1 and Q_2 (L, 2, B) of the batch's own states and actions."""
        q = self.q_of(critic, batch.observations, trace)
        taken = batch.actions[:, None, :, None].expand(*q.shape[:-1], 1)
        return q.gather(-1, taken).squeeze(-1)

    def critic_losses(
        self, state: SacState, critic: Tensor, batch: AnyBatch, noise: Tensor, trace: Trace | None = None
    ) -> Tensor:
        """(Q(s, a) - y)^2 of both Q and every sample, (L, 2, B): lines 11 and 12 of Algorithm 1.

        y = r + gamma (1 - terminated) sum_a' pi(a'|s') (min_j Q'_j(s', a') - alpha log pi(a'|s')).
        """
        with torch.no_grad():
            log_pi = self.log_policy(state.actor, batch.next_observations)
            q_next = self.q_of(state.target, batch.next_observations).amin(1)
            value = (log_pi.exp() * (q_next - state.log_alpha.exp()[:, None, None] * log_pi)).sum(-1)
            y = state.scaled(batch.rewards) + self.gamma * (1 - batch.terminated) * value
        return (self.q_values(critic, batch, trace) - y.unsqueeze(1)).square()

    def actor_losses(
        self, state: SacState, actor: Tensor, batch: AnyBatch, noise: Tensor, trace: Trace | None = None
    ) -> tuple[Tensor, Tensor]:
        """mean_a pi(a|s) (alpha log pi(a|s) - min_j Q_j(s, a)) of every sample (L, B): line 13 of Algorithm 1.

        And the mean over (batch x actions) of pi (log pi + target entropy), (L,).
        """
        log_pi = self.log_policy(actor, batch.observations, trace)
        pi = log_pi.exp()
        with torch.no_grad():
            q = self.q_of(state.critic, batch.observations).amin(1)
        losses = (pi * (state.log_alpha.exp()[:, None, None] * log_pi - q)).mean(-1)
        return losses, (pi * (log_pi + self.target_entropy)).mean((-2, -1))

    def policy_divergence(self, actor: Tensor, other: Tensor, batch: AnyBatch) -> Tensor:
        """KL(pi(.|s) || pi_other(.|s)) = sum_a pi (log pi - log pi_other) at each state, (L, B)."""
        log_pi, log_other = (self.log_policy(one, batch.observations) for one in (actor, other))
        return (log_pi.exp() * (log_pi - log_other)).sum(-1)

    def fisher_outputs(self, actor: Tensor, batch: AnyBatch, trace: Trace) -> list[Tensor]:
        """sqrt(pi(a|s)) log pi(a|s) for each a, with the root held still: F = sum_a pi (d log pi / dw)^2, exact."""
        log_pi = self.log_policy(actor, batch.observations, trace)
        return list(((log_pi / 2).detach().exp() * log_pi).unbind(-1))

    def inputs(self, part: str, observations: Observation, actions: Action) -> tuple[npt.NDArray[Any], ...]:
        """Every network reads s alone."""
        return (observations,)
