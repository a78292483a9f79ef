"""Soft Actor-Critic: its state, and one update as a function of (state, batch): lines 11 to 15 of Algorithm 1.

Everything has a leading lane axis L, and a loss is one number per lane, so that lanes never mix. What differs between
continuous and discrete actions is in a `SacLosses`. A method acts through a `UpdateRule` on each part, which is put in
when the update is built: SAC does not know which methods there are.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

import numpy.typing as npt
import torch
from torch import Tensor

from nbsp_ray.benchmarks import Action, Observation
from nbsp_ray.config.schema import Sac
from nbsp_ray.layout import Layout
from nbsp_ray.learning.networks import Trace, forward
from nbsp_ray.learning.replay import AnyBatch

ADAM_BETAS = (0.9, 0.999)
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
BatchT = TypeVar("BatchT", bound=AnyBatch)
PARTS = ("actor", "critic")
"""The parts that a method can act on: the actor network, and both Q networks."""


@dataclass(frozen=True)
class UpdateRule:
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
    beta1_power: Tensor
    """beta_1^t after t steps of each lane, float64 (L, 1, ...): how much of `mean` is still its zero start."""
    beta2_power: Tensor
    """The same of `square`. Not t: a power in the loop over all parameters was most of that loop's time."""

    @classmethod
    def fresh(cls, parameters: Tensor) -> "Moments":
        """No memory."""
        # Not a single number, for lanes of different ages, and because torch 2.13 loses an update of such a tensor in
        # what it compiles for a CPU.
        shape = (parameters.shape[0], *[1] * (parameters.ndim - 1))
        powers = (torch.ones(shape, dtype=torch.float64, device=parameters.device) for _ in ADAM_BETAS)
        return cls(torch.zeros_like(parameters), torch.zeros_like(parameters), *powers)

    def tensors(self) -> dict[str, Tensor]:
        """Each by its name."""
        return {name: getattr(self, name) for name in ("mean", "square", "beta1_power", "beta2_power")}


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

    def clone(self) -> "SacState":
        """A copy that shares nothing."""
        moments = {
            name: Moments(*(tensor.clone() for tensor in one.tensors().values())) for name, one in self.moments.items()
        }
        return SacState(self.actor.clone(), self.critic.clone(), self.target.clone(), self.log_alpha.clone(), moments)

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by a name, the very tensors: what a checkpoint holds, and where it is put back."""
        flat = {name: getattr(self, name) for name in ("actor", "critic", "target", "log_alpha")}
        for name, moments in self.moments.items():
            flat |= {f"{name}.{kind}": tensor for kind, tensor in moments.tensors().items()}
        return flat


@dataclass(frozen=True)
class Losses:
    """The last update's losses and temperature, one number per lane (L,); tensors, read only when reported."""

    critic: Tensor
    actor: Tensor | None
    alpha: Tensor


class SacLosses(ABC, Generic[BatchT]):
    """The losses of SAC for one kind of action, and the networks that they are of.

    There are two: `gaussian` for continuous actions, `categorical` for discrete ones.
    """

    actor: Layout
    critic: Layout
    gamma: float
    target_entropy: float
    noise: int
    """Standard normal numbers that one sampled action takes: 0 where the expectation over actions is exact."""
    precision: torch.dtype
    """Of the networks' products."""

    def forward(self, part: Literal["actor", "critic"], stack: Tensor, trace: Trace | None, *inputs: Tensor) -> Tensor:
        """Outputs (L, M, B, outputs) of `stack`, the parameters of a part, on one batch for all members.

        Its inputs are (L, B, ...), one, or several that lie side by side in a vector or behind frames.
        """
        layout = self.actor if part == "actor" else self.critic
        parts = [one.unsqueeze(1) for one in inputs]
        return forward(layout, stack, parts, trace, precision=self.precision)

    @abstractmethod
    def critic_losses(
        self, state: SacState, critic: Tensor, batch: BatchT, noise: Tensor, trace: Trace | None = None
    ) -> Tensor:
        """(Q(s, a) - y)^2 of both Q and every sample, (L, 2, B): lines 11 and 12 of Algorithm 1."""

    @abstractmethod
    def actor_losses(
        self, state: SacState, actor: Tensor, batch: BatchT, noise: Tensor, trace: Trace | None = None
    ) -> tuple[Tensor, Tensor]:
        """The policy's loss of every sample (L, B): line 13 of Algorithm 1.

        And how far its log-probability is above minus the target entropy, (L,), which alpha is learnt from.
        """

    @abstractmethod
    def q_values(self, critic: Tensor, batch: BatchT, trace: Trace | None = None) -> Tensor:
        """Q_1 and Q_2 (L, 2, B) of the batch's own states and actions."""

    @abstractmethod
    def fisher_outputs(self, actor: Tensor, batch: BatchT, trace: Trace) -> list[Tensor]:
        """Numbers (L, 1, B), the sum of whose squared gradients is the policy's Fisher information at each state."""

    @abstractmethod
    def inputs(self, part: str, observations: Observation, actions: Action) -> tuple[npt.NDArray[Any], ...]:
        """What the networks of `actor` or `critic` read of B observations and actions, in parts (B, ...)."""


def critic_loss(problem: SacLosses[BatchT], state: SacState, critic: Tensor, batch: BatchT, noise: Tensor) -> Tensor:
    """The loss of both Q, (L,): the sum of their batch means."""
    return problem.critic_losses(state, critic, batch, noise).mean(-1).sum(-1)


def actor_loss(
    problem: SacLosses[BatchT], state: SacState, actor: Tensor, batch: BatchT, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """The actor's loss, a batch mean; and the surplus of its log-probability; both (L,)."""
    losses, entropy_gap = problem.actor_losses(state, actor, batch, noise)
    return losses.mean(-1), entropy_gap


def alpha_gradient(log_alpha: Tensor, entropy_gap: Tensor) -> Tensor:
    """Gradient (L,) of the temperature's loss -alpha (log pi + target entropy) in log_alpha: line 14 of Algorithm 1.

    log pi is that of the actor's step just made; CleanRL's continuous SAC draws it anew, which costs a forward pass
    and has the same expectation up to one step of the actor.
    """
    return -log_alpha.exp() * entropy_gap


def adam_(
    parameters: Tensor, gradient: Tensor, moments: Moments, *, lr: float, eps: float, scale: Tensor | None
) -> None:
    """One step of Adam in place; `scale` multiplies the update itself.

    Scaling the gradient instead would do nothing but for its sign, as it cancels in mean / sqrt(square). Where `scale`
    is 0 exactly 0.0 is subtracted, which leaves every bit as it is, whatever the moments hold.
    """
    beta1, beta2 = ADAM_BETAS
    moments.beta1_power.mul_(beta1)
    moments.beta2_power.mul_(beta2)
    moments.mean.lerp_(gradient, 1 - beta1)
    moments.square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    unbiased_square = moments.square / (1 - moments.beta2_power).to(parameters.dtype)
    rate = (lr / (1 - moments.beta1_power)).to(parameters.dtype)
    step = (moments.mean / unbiased_square.sqrt_().add_(eps)).mul_(rate)
    if scale is not None:
        step = torch.where(scale == 0, 0.0, scale * step)
    parameters.sub_(step)


CriticStep = Callable[[SacState, AnyBatch, Tensor, bool], Tensor]
ActorStep = Callable[[SacState, AnyBatch, Tensor], Tensor]


@dataclass(frozen=True)
class Update:
    """One update as a function of (state, batch), in place on the state: lines 11 to 15 of Algorithm 1.

    Its steps are apart, so that each can be compiled by itself, once.
    """

    critics: CriticStep
    """(state, batch, noise (L, B, `problem.noise`), with_targets): both Q and, if asked, the targets; the Qs' loss."""
    actor: ActorStep
    """(state, batch, noise): the actor and the temperature; the actor's loss."""

    def __call__(
        self,
        state: SacState,
        batch: AnyBatch,
        noise: Tensor,
        with_actor: bool,
        with_targets: bool = False,
        actor_batch: AnyBatch | None = None,
    ) -> Losses:
        """Learn from a batch.

        Args:
            state: Changed in place.
            batch: For all steps.
            noise: Standard normal (1 + policy_frequency, L, B, `problem.noise`): row 0 for the critics' target, each
                other for a step of the actor.
            with_actor: Whether the delayed actor takes part (every `policy_frequency`-th update), with as many steps.
            with_targets: Whether the targets track the critics now. No step of the actor reads them, so it is done
                where the critics are at hand.
            actor_batch: The actor's and the temperature's, in place of `batch`.
        """
        loss_q = self.critics(state, batch, noise[0], with_targets)
        loss_pi = None
        for drawn in noise[1:] if with_actor else ():
            loss_pi = self.actor(state, batch if actor_batch is None else actor_batch, drawn)
        return Losses(loss_q, loss_pi, state.log_alpha.exp())


def build_update(sac: Sac, problem: SacLosses[Any], restraints: Mapping[str, UpdateRule]) -> Update:
    """The update of a problem, with a method's restraints on the parts."""
    limits = {part: restraints.get(part, UpdateRule()) for part in PARTS}

    def descend(state: SacState, part: str, loss: Tensor, leaf: Tensor, lr: float) -> None:
        total = loss.sum() + sum(penalty(leaf).sum() for penalty in limits[part].penalties)
        (gradient,) = torch.autograd.grad(total, leaf)
        parameters, scale = getattr(state, part), limits[part].update_scale
        adam_(parameters, gradient, state.moments[part], lr=lr, eps=sac.adam_eps, scale=scale)

    def critics(state: SacState, batch: AnyBatch, noise: Tensor, with_targets: bool) -> Tensor:
        critic = state.critic.detach().requires_grad_()
        loss = critic_loss(problem, state, critic, batch, noise)
        descend(state, "critic", loss, critic, sac.critic_lr)
        if with_targets:
            track_targets(state, sac.tau)
        return loss.detach()

    def actor(state: SacState, batch: AnyBatch, noise: Tensor) -> Tensor:
        actor = state.actor.detach().requires_grad_()
        loss, entropy_gap = actor_loss(problem, state, actor, batch, noise)
        descend(state, "actor", loss, actor, sac.actor_lr)
        if sac.autotune:
            gradient = alpha_gradient(state.log_alpha, entropy_gap.detach())
            moments = state.moments["log_alpha"]
            adam_(state.log_alpha, gradient, moments, lr=sac.alpha_lr, eps=sac.adam_eps, scale=None)
        return loss.detach()

    return Update(critics, actor)


def track_targets(state: SacState, tau: float) -> None:
    """Q' <- tau Q + (1 - tau) Q': line 15 of Algorithm 1."""
    state.target.lerp_(state.critic, tau)
