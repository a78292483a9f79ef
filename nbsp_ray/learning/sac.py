"""Soft Actor-Critic: its state, and one update as a function of (state, batch): lines 11 to 15 of Algorithm 1.

Everything has a leading lane axis L, and a loss is one number per lane, so that lanes never mix. What differs between
continuous and discrete actions is in a `SacLosses`. A method acts through a `UpdateRule` on each part, which is put in
when the update is built: SAC does not know which methods there are.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import numpy.typing as npt
import torch
from torch import Tensor

from nbsp_ray.benchmarks import Action, Observation
from nbsp_ray.config.schema import Sac
from nbsp_ray.layout import Layout
from nbsp_ray.learning.networks import Trace
from nbsp_ray.learning.replay import AnyBatch

ADAM_BETAS = (0.9, 0.999)
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
BatchT = TypeVar("BatchT", bound=AnyBatch)
PARTS = ("actor", "critic")
"""The parts that a method can act on: the actor network, and both Q networks."""


Penalty = Callable[[Tensor, AnyBatch, AnyBatch | None], Tensor]
GradientChange = Callable[[Tensor, Callable[[], Tensor]], Tensor]


@dataclass(frozen=True)
class QuadraticPenalty:
    """coefficient * sum_i importance_i (w_i - weights_i)^2 of each lane: EWC's term, and all that are of its kind.

    It is data, so that lanes with penalties of their own are learnt in one update.
    """

    coefficient: Tensor
    """(L,)"""
    weights: Tensor
    """(L, M, P)"""
    importance: Tensor | None = None
    """(L, M, P); None: 1 everywhere."""

    def __call__(self, parameters: Tensor) -> Tensor:
        """The penalty (L,) at parameters (L, M, P)."""
        distance = (parameters - self.weights).square()
        weighed = distance if self.importance is None else self.importance * distance
        return self.coefficient * weighed.sum((-2, -1))


@dataclass(frozen=True)
class UpdateRule:
    """What a method does to the learning of one part."""

    update_scale: Tensor | None = None
    """Multiplies Adam's update of each parameter (L, M, P): 0 freezes it bit for bit (Eq. 5)."""
    quadratic: tuple[QuadraticPenalty, ...] = ()
    """Terms added to the part's loss."""
    penalties: tuple[Penalty, ...] = ()
    """Terms of any other form: from (parameters (L, M, P), batch, memory) to one number per lane (L,)."""
    gradients: tuple[GradientChange, ...] = ()
    """Changes of the gradient before Adam sees it, one after another: from (gradient (L, M, P), gradient_on_memory) to
    a gradient. `gradient_on_memory()` is that of the part's own loss, without penalties, on the memory."""
    reads_memory: bool = False
    """Whether penalties or changes of the gradient read the memory: a second batch, of D_pre, in each update. Else it
    is None, and nothing is drawn for it."""


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
    reward_scale: Tensor | None = None
    """(L,): what rewards are multiplied with when they are learnt from; None: nothing."""
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
        return SacState(**{name: one.clone() for name, one in self.parts().items()}, moments=moments)

    def scaled(self, rewards: Tensor) -> Tensor:
        """Rewards (L, B) as they are learnt from."""
        return rewards if self.reward_scale is None else rewards * self.reward_scale.unsqueeze(-1)

    def parts(self) -> dict[str, Tensor]:
        """Every tensor but Adam's moments, the very tensors by their names."""
        names = ("actor", "critic", "target", "log_alpha", "reward_scale")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by a name, the very tensors: what a checkpoint holds, and where it is put back."""
        flat = self.parts()
        for name, moments in self.moments.items():
            flat |= {f"{name}.{kind}": tensor for kind, tensor in moments.tensors().items()}
        return flat


class AnyLosses(Protocol):
    """Losses to be reported, however they are kept."""

    @property
    def critic(self) -> Tensor:
        """Of both critics."""

    @property
    def actor(self) -> Tensor | None:
        """None where the actor did not take part."""

    @property
    def alpha(self) -> Tensor:
        """The temperature."""


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
    def policy_divergence(self, actor: Tensor, other: Tensor, batch: BatchT) -> Tensor:
        """KL(pi(.|s) || pi_other(.|s)) at each state of a batch, (L, B); both actors are (L, 1, P)."""

    @abstractmethod
    def fisher_outputs(self, actor: Tensor, batch: BatchT, trace: Trace) -> list[Tensor]:
        """Numbers (L, 1, B), the sum of whose squared gradients is the policy's Fisher information at each state."""

    @abstractmethod
    def inputs(self, part: str, observations: Observation, actions: Action) -> tuple[npt.NDArray[Any], ...]:
        """What the networks of `actor` or `critic` read of B observations and actions, in parts (B, ...)."""


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


CriticStep = Callable[[SacState, AnyBatch, Tensor, bool, AnyBatch | None, Tensor | None], Tensor]
ActorStep = Callable[[SacState, AnyBatch, Tensor, AnyBatch | None, Tensor | None], Tensor]


@dataclass(frozen=True)
class Update:
    """One update as two functions of (state, batch), in place on the state: lines 11 to 15 of Algorithm 1.

    They are apart, so that each can be compiled by itself, once; an `Executor` calls them.
    """

    critics: CriticStep
    """(state, batch, noise (L, B, `problem.noise`), with_targets, memory, active): both Q and, if asked, the targets;
    the Qs' loss. Lanes that are not `active` (L,) stay as they are; None: all are."""
    actor: ActorStep
    """(state, batch, noise, memory, active): the actor and the temperature; the actor's loss."""


def build_update(sac: Sac, problem: SacLosses[Any], restraints: Mapping[str, UpdateRule]) -> Update:
    """The update of a problem, with a method's restraints on the parts.

    Raises:
        ValueError: there are restraints on something else than the parts.
    """
    if not restraints.keys() <= set(PARTS):
        raise ValueError(f"restraints on {', '.join(restraints)}, where only {' and '.join(PARTS)} learn")
    limits = {part: restraints.get(part, UpdateRule()) for part in PARTS}

    def descend(state: SacState, part: str, gradient: Tensor, lr: float) -> None:
        parameters, scale = getattr(state, part), limits[part].update_scale
        adam_(parameters, gradient, state.moments[part], lr=lr, eps=sac.adam_eps, scale=scale)

    def critics(
        state: SacState,
        batch: AnyBatch,
        noise: Tensor,
        with_targets: bool,
        memory: AnyBatch | None = None,
        active: Tensor | None = None,
    ) -> Tensor:
        critic = leaf_of(state.critic)
        changed = [state.critic, *state.moments["critic"].tensors().values(), *([state.target] * with_targets)]
        before = copies(changed, active)

        def loss_on_memory(memory: AnyBatch) -> Tensor:
            return problem.critic_losses(state, critic, memory, noise).mean(-1).sum(-1)

        loss = problem.critic_losses(state, critic, batch, noise).mean(-1).sum(-1)
        gradient = _gradient(limits["critic"], critic, loss, batch, memory, loss_on_memory)
        descend(state, "critic", gradient, sac.critic_lr)
        if with_targets:
            track_targets(state, sac.tau)
        let_rest(changed, before, active)
        return loss.detach()

    def actor(
        state: SacState,
        batch: AnyBatch,
        noise: Tensor,
        memory: AnyBatch | None = None,
        active: Tensor | None = None,
    ) -> Tensor:
        actor = leaf_of(state.actor)
        moments = [one for part in ("actor", "log_alpha") for one in state.moments[part].tensors().values()]
        changed = [state.actor, state.log_alpha, *moments]
        before = copies(changed, active)

        def loss_on_memory(memory: AnyBatch) -> Tensor:
            return problem.actor_losses(state, actor, memory, noise)[0].mean(-1)

        losses, entropy_gap = problem.actor_losses(state, actor, batch, noise)
        loss = losses.mean(-1)
        gradient = _gradient(limits["actor"], actor, loss, batch, memory, loss_on_memory)
        descend(state, "actor", gradient, sac.actor_lr)
        if sac.autotune:
            gradient, of_alpha = alpha_gradient(state.log_alpha, entropy_gap.detach()), state.moments["log_alpha"]
            adam_(state.log_alpha, gradient, of_alpha, lr=sac.alpha_lr, eps=sac.adam_eps, scale=None)
        let_rest(changed, before, active)
        return loss.detach()

    return Update(critics, actor)


def leaf_of(parameters: Tensor) -> Tensor:
    """A part's parameters, to differentiate in; a function, so that a compiler can take it whole (`execution`)."""
    return parameters.detach().requires_grad_()


def _gradient(
    rule: UpdateRule,
    leaf: Tensor,
    loss: Tensor,
    batch: AnyBatch,
    memory: AnyBatch | None,
    loss_on: Callable[[AnyBatch], Tensor],
) -> Tensor:
    """The gradient in `leaf`, a part's parameters, of its loss (L,) on `batch` and of a method's penalties; changed."""
    total = loss.sum() + sum(penalty(leaf).sum() for penalty in rule.quadratic)
    total = total + sum(penalty(leaf, batch, memory).sum() for penalty in rule.penalties)
    (gradient,) = torch.autograd.grad(total, leaf)

    def on_memory() -> Tensor:
        assert memory is not None, "a rule that reads the memory must say so"
        return torch.autograd.grad(loss_on(memory).sum(), leaf)[0]

    for change in rule.gradients:
        gradient = change(gradient, on_memory)
    return gradient


def track_targets(state: SacState, tau: float, lanes: Tensor | None = None) -> None:
    """Q' <- tau Q + (1 - tau) Q': line 15 of Algorithm 1; in some `lanes` (L,), or in all."""
    if lanes is None:
        state.target.lerp_(state.critic, tau)
    else:
        state.target.copy_(torch.where(lanes[:, None, None], state.target.lerp(state.critic, tau), state.target))


def copies(tensors: Sequence[Tensor], active: Tensor | None) -> list[Tensor]:
    """What `let_rest` puts back; nothing where all lanes are active."""
    return [] if active is None else [one.clone() for one in tensors]


def let_rest(tensors: Sequence[Tensor], before: Sequence[Tensor], active: Tensor | None) -> None:
    """Put lanes that are not `active` (L,) back to what they were `before`, bit for bit."""
    if active is None:
        return
    for tensor, old in zip(tensors, before, strict=True):
        tensor.copy_(torch.where(active.view(-1, *[1] * (tensor.ndim - 1)), tensor, old))
