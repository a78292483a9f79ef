"""Soft Actor-Critic with a tanh-squashed Gaussian policy: the losses, and one update as a function of (state, batch).

The losses read like Algorithm 1, lines 11 to 15. Everything has a leading lane axis L, and a loss is one number per
lane, so that lanes never mix. A method acts through a `Restraint` on each part, which is put in when the update is
built: SAC does not know which methods there are.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nbsp_ray.benchmarks import Spaces
from nbsp_ray.config import Sac
from nbsp_ray.learning.networks import Layout, Trace, forward
from nbsp_ray.learning.replay import Batch

ADAM_BETAS = (0.9, 0.999)
PARTS = ("actor", "critic")
"""The parts that a method can act on: the actor network, and both Q networks."""


@dataclass(frozen=True)
class Restraint:
    """What a method does to the learning of one part."""

    update_scale: Tensor | None = None
    """Multiplies Adam's update of each parameter (L, M, P): 0 freezes it bit for bit (Eq. 5)."""
    penalties: tuple[Callable[[Tensor], Tensor], ...] = ()
    """Terms added to the part's loss: from its parameters (L, M, P) to one number per lane (L,)."""


@dataclass
class Moments:
    """Adam's memory of one stack of parameters."""

    mean: Tensor
    square: Tensor
    count: Tensor

    @classmethod
    def fresh(cls, parameters: Tensor) -> "Moments":
        """No memory."""
        count = torch.zeros((), dtype=torch.float64, device=parameters.device)
        return cls(torch.zeros_like(parameters), torch.zeros_like(parameters), count)


@dataclass
class SacState:
    """All tensors that learning changes."""

    actor: Tensor
    """(L, 1, P_actor)"""
    critic: Tensor
    """Q1 and Q2, (L, 2, P_critic)"""
    target: Tensor
    """Their slow copies, (L, 2, P_critic)"""
    log_alpha: Tensor
    """(L,)"""
    moments: dict[str, Moments] = field(default_factory=dict[str, Moments])
    """Of `actor`, `critic` and `log_alpha`."""

    def __post_init__(self) -> None:
        if not self.moments:
            self.reset_optimizers()

    def reset_optimizers(self) -> None:
        """Forget Adam's moments, as at every task switch."""
        self.moments = {name: Moments.fresh(getattr(self, name)) for name in ("actor", "critic", "log_alpha")}

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by a name, the very tensors: what a checkpoint holds, and where it is put back."""
        flat = {name: getattr(self, name) for name in ("actor", "critic", "target", "log_alpha")}
        for name, moments in self.moments.items():
            flat |= {f"{name}.{kind}": getattr(moments, kind) for kind in ("mean", "square", "count")}
        return flat


@dataclass(frozen=True)
class Losses:
    """The last update's losses and temperature, one number per lane (L,); tensors, read only when reported."""

    critic: Tensor
    actor: Tensor | None
    alpha: Tensor


@dataclass(frozen=True)
class Shape:
    """What the losses need to know of the problem."""

    actor: Layout
    critic: Layout
    spaces: Spaces
    gamma: float
    target_entropy: float

    @classmethod
    def of(cls, sac: Sac, spaces: Spaces) -> "Shape":
        """Actor: observation -> mean, log_std; critic: (observation, action) -> Q."""
        return cls(
            actor=Layout(spaces.observations, sac.hidden, 2 * spaces.actions),
            critic=Layout(spaces.observations + spaces.actions, sac.hidden, 1),
            spaces=spaces,
            gamma=sac.gamma,
            target_entropy=-sac.target_entropy_scale * spaces.actions,
        )


def distribution(
    shape: Shape, actor: Tensor, observations: Tensor, trace: Trace | None = None
) -> tuple[Tensor, Tensor]:
    """Mean and log_std (L, B, A) of the Gaussian before tanh, on observations (L, B, O).

    log_std = -5 + 3.5 (tanh(raw) + 1) lies in [-5, 2] (CleanRL).
    """
    mean, raw = forward(shape.actor, actor, observations.unsqueeze(1), trace).squeeze(1).chunk(2, dim=-1)
    return mean, -5 + 3.5 * (torch.tanh(raw) + 1)


def sample_action(
    shape: Shape, actor: Tensor, observations: Tensor, noise: Tensor, trace: Trace | None = None
) -> tuple[Tensor, Tensor]:
    """Actions (L, B, A) = tanh(mean + std noise) and their log-probabilities (L, B)."""
    mean, log_std = distribution(shape, actor, observations, trace)
    action = torch.tanh(mean + log_std.exp() * noise)
    gaussian = -0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi)
    return action, (gaussian - torch.log(1 - action.square() + 1e-6)).sum(-1)


def q_values(shape: Shape, critic: Tensor, observations_actions: Tensor, trace: Trace | None = None) -> Tensor:
    """Q_1 and Q_2, (L, 2, B), on (s, a) of shape (L, B, O + A)."""
    return forward(shape.critic, critic, observations_actions.unsqueeze(1), trace).squeeze(-1)


def critic_losses(
    shape: Shape, state: SacState, critic: Tensor, batch: Batch, noise: Tensor, trace: Trace | None = None
) -> Tensor:
    """(Q(s, a) - y)^2 of both Q and every sample, (L, 2, B): lines 11 and 12 of Algorithm 1.

    y = r + gamma (1 - terminated) (min_j Q'_j(s', a') - alpha log pi(a'|s')); a time limit bootstraps.
    """
    with torch.no_grad():
        following, log_pi = sample_action(shape, state.actor, batch.next_observations, noise)
        q_next = q_values(shape, state.target, torch.cat([batch.next_observations, following], -1)).amin(1)
        value = q_next - state.log_alpha.exp().unsqueeze(-1) * log_pi
        y = batch.rewards + shape.gamma * (1 - batch.terminated) * value
    return (q_values(shape, critic, batch.observations_actions, trace) - y.unsqueeze(1)).square()


def critic_loss(shape: Shape, state: SacState, critic: Tensor, batch: Batch, noise: Tensor) -> Tensor:
    """The loss of both Q, (L,): the sum of their batch means."""
    return critic_losses(shape, state, critic, batch, noise).mean(-1).sum(-1)


def actor_losses(
    shape: Shape, state: SacState, actor: Tensor, batch: Batch, noise: Tensor, trace: Trace | None = None
) -> tuple[Tensor, Tensor]:
    """alpha log pi(a|s) - min_j Q_j(s, a) of every sample, and log pi, both (L, B): line 13 of Algorithm 1."""
    action, log_pi = sample_action(shape, actor, batch.observations, noise, trace)
    q = q_values(shape, state.critic, torch.cat([batch.observations, action], -1)).amin(1)
    return state.log_alpha.exp().unsqueeze(-1) * log_pi - q, log_pi


def actor_loss(shape: Shape, state: SacState, actor: Tensor, batch: Batch, noise: Tensor) -> tuple[Tensor, Tensor]:
    """The actor's loss, (L,), a batch mean; and log pi (L, B)."""
    losses, log_pi = actor_losses(shape, state, actor, batch, noise)
    return losses.mean(-1), log_pi


def alpha_gradient(shape: Shape, log_alpha: Tensor, log_pi: Tensor) -> Tensor:
    """Gradient (L,) of the temperature's loss -alpha (log pi + target entropy) in log_alpha: line 14 of Algorithm 1.

    log pi is that of the actor's step just made; CleanRL draws it anew, which costs a forward pass and has the same
    expectation up to one step of the actor.
    """
    return -log_alpha.exp() * (log_pi.mean(-1) + shape.target_entropy)


def adam_(
    parameters: Tensor, gradient: Tensor, moments: Moments, *, lr: float, eps: float, scale: Tensor | None
) -> None:
    """One step of Adam in place; `scale` multiplies the update itself.

    Scaling the gradient instead would do nothing but for its sign, as it cancels in mean / sqrt(square). Where `scale`
    is 0 exactly 0.0 is subtracted, which leaves every bit as it is, whatever the moments hold.
    """
    beta1, beta2 = ADAM_BETAS
    moments.count.add_(1)
    moments.mean.lerp_(gradient, 1 - beta1)
    moments.square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    spread = (moments.square / (1 - beta2**moments.count)).sqrt_().add_(eps)
    step = (moments.mean / spread).mul_(lr / (1 - beta1**moments.count))
    if scale is not None:
        step = torch.where(scale == 0, 0.0, scale * step)
    parameters.sub_(step)


Update = Callable[[SacState, Batch, Tensor, bool], Losses]


def build_update(sac: Sac, shape: Shape, restraints: Mapping[str, Restraint]) -> Update:
    """One update as a function of (state, batch, noise, with_actor), in place on the state.

    noise is standard normal (1 + policy_frequency, L, B, A): row 0 for the target, the others for the actor's steps.
    `with_actor` says whether the delayed actor and alpha take part (every `policy_frequency`-th update).
    """
    limits = {part: restraints.get(part, Restraint()) for part in PARTS}

    def descend(state: SacState, part: str, loss: Tensor, leaf: Tensor, lr: float) -> None:
        total = loss.sum() + sum(penalty(leaf).sum() for penalty in limits[part].penalties)
        (gradient,) = torch.autograd.grad(total, leaf)
        parameters, scale = getattr(state, part), limits[part].update_scale
        adam_(parameters, gradient, state.moments[part], lr=lr, eps=sac.adam_eps, scale=scale)

    def update(state: SacState, batch: Batch, noise: Tensor, with_actor: bool) -> Losses:
        critic = state.critic.detach().requires_grad_()
        loss_q = critic_loss(shape, state, critic, batch, noise[0])
        descend(state, "critic", loss_q, critic, sac.critic_lr)
        loss_pi = None
        for step in range(sac.policy_frequency if with_actor else 0):
            actor = state.actor.detach().requires_grad_()
            loss_pi, log_pi = actor_loss(shape, state, actor, batch, noise[1 + step])
            descend(state, "actor", loss_pi, actor, sac.actor_lr)
            if sac.autotune:
                gradient = alpha_gradient(shape, state.log_alpha, log_pi.detach())
                moments = state.moments["log_alpha"]
                adam_(state.log_alpha, gradient, moments, lr=sac.alpha_lr, eps=sac.adam_eps, scale=None)
        return Losses(loss_q.detach(), None if loss_pi is None else loss_pi.detach(), state.log_alpha.exp())

    return update


def track_targets(state: SacState, tau: float) -> None:
    """Q' <- tau Q + (1 - tau) Q': line 15 of Algorithm 1."""
    state.target.lerp_(state.critic, tau)
