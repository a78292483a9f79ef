"""The agent: SAC's state with a way to act, to learn from a batch, and to be saved."""

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from nbsp_ray.benchmarks import Action, Continuous, Observation, Spaces
from nbsp_ray.config.schema import Sac
from nbsp_ray.layout import Layout
from nbsp_ray.learning.acting import Policy, new_policy
from nbsp_ray.learning.categorical import Categorical
from nbsp_ray.learning.execution import CudaGraphExecutor, DrawnUpdate, EagerExecutor, Executor, PendingUpdate
from nbsp_ray.learning.gaussian import Gaussian
from nbsp_ray.learning.networks import activations
from nbsp_ray.learning.replay import AnyReplay, Mixture, blank_batch
from nbsp_ray.learning.sac import PARTS, Losses, SacLosses, SacState, UpdateRule, build_update

NETWORKS = {"actor": ("actor", 0), "q1": ("critic", 0), "q2": ("critic", 1)}
"""Each network's part and its place among the members of that part's stack."""


@dataclass
class UpdateCounts:
    """Updates of one phase, and for how many of them a part had its batch from D_pre."""

    critic: int = 0
    """Gradient steps of the critics: the counter n of the phase, to which replay and the actor's delay are tied."""
    actor: int = 0
    """Those in which the actor and alpha took part."""
    critic_past: int = 0
    actor_past: int = 0

    def count(self, *, with_actor: bool, from_past: Container[str]) -> None:
        """One more, in which the parts `from_past` had their batch from D_pre."""
        self.critic += 1
        self.actor += with_actor
        self.critic_past += "critic" in from_past
        self.actor_past += with_actor and "actor" in from_past

    def past_share(self) -> dict[str, float]:
        """Share of each part's batches that came from D_pre."""
        return {
            "actor": self.actor_past / max(1, self.actor),
            "critic": self.critic_past / max(1, self.critic),
        }


def new_losses(sac: Sac, spaces: Spaces) -> SacLosses[Any]:
    """The losses for such actions, of networks for such observations."""
    return Gaussian(sac, spaces) if isinstance(spaces.action, Continuous) else Categorical(sac, spaces)


def target_interval(sac: Sac, spaces: Spaces) -> Fraction:
    """Updates between two target updates, not always whole; `target_period` counts env steps for discrete actions."""
    if isinstance(spaces.action, Continuous):
        return Fraction(sac.target_period)
    # By its decimals, as 0.1 is a little more than a tenth.
    return sac.target_period * Fraction(str(sac.updates_per_env_step))


class Learner(Protocol):
    """What learns, one lane or many, as far as its update depends on it."""

    sac: Sac
    spaces: Spaces
    device: torch.device
    problem: SacLosses[Any]

    @property
    def capture_stream(self) -> torch.cuda.Stream:
        """On which its CUDA graphs, and no others, are captured."""

    def build_update(
        self,
        restraints: Mapping[str, UpdateRule],
        /,
        *,
        compile: bool = False,
        alike: str | None = None,
        cuda_graphs: bool = False,
    ) -> None:
        """Build it, with restraints on the parts."""

    def warm_up(self) -> None:
        """Compile all that it will need."""


def new_executor(
    learner: Learner,
    rules: Mapping[str, UpdateRule],
    *,
    compile: bool = False,
    alike: str | None = None,
    cuda_graphs: bool = False,
) -> Executor:
    """The update of a learner, with rules for its parts, and how it is carried out (`Agent.build_update`)."""
    update = build_update(learner.sac, learner.problem, rules)
    # A hard copy every few thousand updates is not worth a graph of its own.
    apart = target_interval(learner.sac, learner.spaces) > 1
    executor = EagerExecutor(update, learner.sac.tau, targets_apart=apart)
    if compile:
        executor.compile(learner.device.type, alike)
    return CudaGraphExecutor(executor, learner.capture_stream) if cuda_graphs else executor


class Agent:
    """One lane of SAC on one device."""

    def __init__(self, sac: Sac, spaces: Spaces, device: torch.device, generator: np.random.Generator) -> None:
        self.sac, self.spaces, self.device = sac, spaces, device
        self.problem = new_losses(sac, spaces)
        self._target_interval = target_interval(sac, spaces).as_integer_ratio()
        self._noise_shape = 1 + sac.policy_frequency, 1, sac.batch_size, self.problem.noise
        self.updates = UpdateCounts()
        actor = self.problem.actor.initial(1, generator)
        critic = self.problem.critic.initial(2, generator)
        log_alpha = 0.0 if sac.autotune else float(np.log(sac.alpha))
        self.state = SacState(
            actor=self._stack(actor),
            critic=self._stack(critic),
            target=self._stack(critic),
            log_alpha=torch.full((1,), log_alpha, device=device),
            reward_scale=None if sac.reward_scale == "none" else torch.ones(1, device=device),
        )
        self.rules: Mapping[str, UpdateRule] = {}
        self._executor: Executor | None = None

    @cached_property
    def capture_stream(self) -> torch.cuda.Stream:
        """As of `Learner`."""
        return torch.cuda.Stream()

    @property
    def reads_memory(self) -> bool:
        """Whether the rules of its update read D_pre."""
        return any(rule.reads_memory for rule in self.rules.values())

    def _stack(self, parameters: npt.NDArray[np.float32]) -> torch.Tensor:
        return torch.tensor(parameters, device=self.device).unsqueeze(0)

    def build_update(
        self,
        restraints: Mapping[str, UpdateRule],
        *,
        compile: bool = False,
        alike: str | None = None,
        cuda_graphs: bool = False,
    ) -> None:
        """Build the update, with a method's restraints on the parts `actor` and `critic`; without it, plain SAC's is.

        Args:
            restraints: What a method does to each part.
            compile: The two steps as machine code.
            alike: A name of updates that share compiled code in this process (`EagerExecutor.compile`).
            cuda_graphs: All updates that are due in one launch.
        """
        self._executor = new_executor(self, restraints, compile=compile, alike=alike, cuda_graphs=cuda_graphs)
        self.rules = restraints

    def _built(self) -> Executor:
        if self._executor is None:
            self.build_update({})
        assert self._executor is not None
        return self._executor

    def start_counting(self) -> None:
        """The next update is number 0, as in a phase that begins."""
        self.updates = UpdateCounts()

    def warm_up(self) -> None:
        """Compile all that learning will need; changes nothing."""
        batch = blank_batch(self.spaces, self.sac.batch_size, self.device)
        noise = torch.zeros(self._noise_shape, device=self.device)
        memory = batch if self.reads_memory else None
        for with_actor in (True,) if self.sac.policy_frequency == 1 else (True, False):
            due = PendingUpdate(batch, noise, with_actor, with_targets=True, memory=memory)
            self._built().warm_up(self.state, [due])

    def layout(self, network: str) -> Layout:
        """The layout of `actor`, `q1` or `q2`."""
        return self.problem.actor if network == "actor" else self.problem.critic

    def policy(self, actor: torch.Tensor | None = None) -> Policy:
        """The policy: it shares memory with the actor, so that it always acts with the current weights.


        Args:
            actor: Other parameters (L, 1, P) to act with.
        """
        return new_policy(self.problem.actor, self.state.actor if actor is None else actor, self.spaces.action)

    def learn(
        self,
        replay: AnyReplay,
        generator: torch.Generator,
        *,
        past: Mixture | None = None,
        memory: Mixture | None = None,
    ) -> Losses:
        """The next update, on a batch of `past` if given, else of `replay` (Algorithm 1, lines 8 to 15)."""
        of_parts = dict.fromkeys(PARTS, past) if past else {}
        return self.learn_until(self.updates.critic + 1, replay, generator, lambda _: of_parts, memory)

    def learn_until(
        self,
        updates: int,
        replay: AnyReplay,
        generator: torch.Generator,
        past: Callable[[int], Mapping[str, Mixture]],
        memory: Mixture | None = None,
    ) -> Losses:
        """All updates up to number `updates`.

        Both parts learn from one batch, unless they take theirs from different buffers. All batches are drawn first: no
        update changes what a later one is drawn from.

        Args:
            updates: The number to reach.
            replay: D.
            generator: Draws batches and noise.
            past: From the number of an update to the parts that take their batch from D_pre.
            memory: D_pre, read where a method's rules read a second batch of it.
        """
        drawn = self.draw(updates, Mixture([replay]), generator, past, memory)
        return (self._executor or self._built())(self.state, [one.read(self.device) for one in drawn])

    def draw(
        self,
        updates: int,
        replay: Mixture,
        generator: torch.Generator,
        past: Callable[[int], Mapping[str, Mixture]],
        memory: Mixture | None,
    ) -> list[DrawnUpdate]:
        """Draw what all updates up to number `updates` learn from, and count them; arguments of `learn_until`."""
        drawn: list[DrawnUpdate] = []
        while self.updates.critic < updates:
            drawn.append(self._draw(replay, generator, past(self.updates.critic), memory))
        return drawn

    def _draw(
        self, replay: Mixture, generator: torch.Generator, past: Mapping[str, Mixture], memory: Mixture | None
    ) -> DrawnUpdate:
        of_critic, of_actor = past.get("critic", replay), past.get("actor", replay)
        with_actor = self.updates.critic % self.sac.policy_frequency == 0
        batch = of_critic.choose(self.sac.batch_size, generator)
        noise = torch.randn(self._noise_shape, generator=generator, device=generator.device)
        apart = with_actor and of_actor is not of_critic
        actor_batch = of_actor.choose(self.sac.batch_size, generator) if apart else None
        remembered = None
        if self.reads_memory:
            if memory is None:
                raise ValueError("a method's rules read D_pre in every update, and there is none: set needs_buffers")
            remembered = memory.choose(self.sac.batch_size, generator)
        self.updates.count(with_actor=with_actor, from_past=past)
        return DrawnUpdate(batch, noise, with_actor, self._targets_due(), actor_batch, remembered)

    def _targets_due(self) -> bool:
        """Whether the newest update ends an interval of the targets: a function of its number, so nothing to resume."""
        number, (interval, of) = self.updates.critic, self._target_interval
        return number * of // interval > (number - 1) * of // interval

    @torch.no_grad()
    def neuron_activations(self, network: str, observations: Observation, actions: Action) -> npt.NDArray[np.float32]:
        """Activations (B, N) of a network's hidden neurons on B observations and actions."""
        part, member = NETWORKS[network]
        parts = map(np.ascontiguousarray, self.problem.inputs(part, observations, actions))
        inputs = [torch.from_numpy(one).to(self.device)[None, None] for one in parts]
        stack = getattr(self.state, part)[:, member : member + 1]
        return activations(self.layout(network), stack, inputs)[0, 0].cpu().numpy()

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """Copies of all tensors by name, on the host."""
        return {name: tensor.cpu().numpy().copy() for name, tensor in self.state.tensors().items()}

    def restore(self, arrays: Mapping[str, npt.NDArray[np.generic]], *, weights_only: bool = False) -> None:
        """Put back what `arrays()` gave; `weights_only` leaves the optimizers alone."""
        for name, tensor in self.state.tensors().items():
            if not (weights_only and "." in name):
                tensor.copy_(torch.from_numpy(np.asarray(arrays[name])))
