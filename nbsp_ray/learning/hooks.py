"""What a method may do to learning: seven hooks, and what they are given.

An ingredient is one thing that a method changes: it replays, it freezes, it penalises, it resets. It is data (frozen,
JSON), because it enters the key of a phase, and has hooks that do nothing unless overridden. SAC does not know that
methods exist, and an ingredient does not know how SAC learns. `plan` reads this module, so only hooks import torch.

In the order in which a phase calls them: `prepare` and `begin` once at its start, `restraints` when the update is
built, `replays` at each update, `between` after each episode, `finish` after the last. `view` answers evaluations.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from nbsp_ray.config.schema import Settings
from nbsp_ray.errors import PhaseError
from nbsp_ray.layout import PARTS, Parts

if TYPE_CHECKING:
    import torch

    from nbsp_ray.learning.agent import Agent
    from nbsp_ray.learning.replay import AnyReplay
    from nbsp_ray.learning.rollouts import Rollouts
    from nbsp_ray.learning.sac import UpdateRule

Arrays = Mapping[str, npt.NDArray[Any]]
KINDS: dict[str, type[Ingredient]] = {}
"""Every ingredient class that has been defined in this process, by its kind."""
EFFECTIVE = ("begin", "replays", "restraints", "between", "view")
"""The hooks through which a phase can come to other numbers; `prepare` and `finish` alone only report."""


@dataclass(frozen=True)
class Auxiliary:
    """A phase that another method trained on the same task after the same past."""

    agent: Agent
    """As that phase left it."""
    sample: AnyReplay
    """Transitions drawn from its buffer."""
    env_steps: int
    """What it cost."""


@dataclass(frozen=True)
class Past:
    """All that a phase may know of the phases before it. It is to be read: a hook that changes it is an error."""

    agent: Agent
    """As the phase finds it: the weights that the phase before left, or the new ones of a first phase."""
    replay: AnyReplay
    """Transitions of the phase before: the whole buffer of a first phase, a sample of a later one's. Empty before a
    first phase."""
    rollouts: Rollouts | None
    """The final evaluation of the phase before, step by step; there only if an ingredient `needs_rollouts`."""
    auxiliary: Mapping[str, Auxiliary]
    """By method: the phases that an ingredient `needs_method` of."""
    generator: np.random.Generator
    """A stream for random choices of the method alone."""
    carried: Arrays = field(default_factory=dict[str, npt.NDArray[Any]])
    """The arrays that the same ingredient had at the end of the phase before, if it was at work there: the masks and
    anchors of the tasks before the last."""


@dataclass(frozen=True)
class Prepared:
    """What `prepare` or `between` made."""

    arrays: Arrays = field(default_factory=dict[str, npt.NDArray[Any]])
    """Kept in every checkpoint and in the finished phase, so that a resumed phase goes on with the very same. Those of
    `between` replace those of the same name."""
    report: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """JSON for the phase's result."""


class Ingredient(Settings):
    """One thing a method changes; subclass it, set `kind`, override what is needed.

    Raises:
        TypeError: a subclass is defined whose hooks can have no effect, or whose kind another class has.
    """

    kind: str
    """Its name in the key; a `Literal` with that default in every subclass."""

    from_first: ClassVar[bool] = False
    """It acts in the first phase too, and is in that phase's key: its first phases are its own."""
    needs_rollouts: ClassVar[bool] = False
    """It reads the steps of the previous phase's final evaluation."""
    needs_buffers: ClassVar[bool] = False
    """It draws from D_pre, the whole buffers of all earlier phases: it replays, or its rules read the memory."""
    needs_method: ClassVar[str | None] = None
    """It reads the phase that this method trains on the same task after the same past."""

    @property
    def scores_neurons(self) -> bool:
        """Whether it does something else than it says where no neuron can be scored, as q is constant."""
        return False

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Enter the class into `KINDS`, and refuse one that would silently do nothing."""
        if cls.model_fields["kind"].is_required():
            return  # A base of other ingredients.
        kind = cls.model_fields["kind"].default
        overridden = {name for name in EFFECTIVE if getattr(cls, name) is not getattr(Ingredient, name)}
        if not overridden:
            raise TypeError(
                f"ingredient {cls.__name__} can have no effect on learning: override one of {', '.join(EFFECTIVE)} "
                "(what `prepare` makes is for these hooks, and `past` is to be read only)"
            )
        if "replays" in overridden and not cls.needs_buffers:
            raise TypeError(f"ingredient {cls.__name__} replays, but is given no D_pre: set needs_buffers = True")
        other = KINDS.get(kind)
        if other is not None and (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
            raise TypeError(f"ingredient {cls.__name__} is of kind {kind!r}, as {other.__module__}.{other.__name__} is")
        KINDS[kind] = cls

    def prepare(self, past: Past) -> Prepared:
        """Once, before the first update: compute what is needed of the past."""
        return Prepared()

    def begin(self, arrays: Arrays, past: Past, agent: Agent) -> None:
        """Once, when the phase starts: change what `agent` starts with, weights and optimizers, in place.

        Not when a phase is resumed: what was changed is in its checkpoint. `past.agent` is another object, and stays
        as the phase before left it.
        """

    def replays(self, update: int) -> Parts:
        """The parts whose batch of update number 0, 1, ... comes from D_pre."""
        return ()

    def restraints(self, arrays: Arrays, agent: Agent) -> Mapping[str, UpdateRule]:
        """What it does to the updates of `actor` and `critic`, from the arrays that `prepare` made.

        Called once, when the update is built: what it returns must not change afterwards.
        """
        return {}

    def between(self, arrays: Arrays, agent: Agent, replay: AnyReplay, rng: np.random.Generator) -> Prepared:
        """After each training episode, where a phase may be saved: change the agent in place.

        Args:
            arrays: What the hooks made so far. What must be remembered goes into the arrays that are returned.
            agent: `agent.updates.critic` counts the phase's updates.
            replay: D, the phase's own transitions.
            rng: A stream of this episode alone.
        """
        return Prepared()

    def view(self, arrays: Arrays, agent: Agent, task: int) -> torch.Tensor | None:
        """Parameters of the actor (L, 1, P) to evaluate task number `task` with, if not those that learn.

        A method that overrides it is told which task it is at, which the agent of no other method is.
        """
        return None

    def finish(self, arrays: Arrays, past: Past, agent: Agent) -> Mapping[str, Any]:
        """Once, after the last update: JSON for the phase's result. `past.agent` is as it was before the first."""
        return {}


class ActiveMethod:
    """All ingredients of a method at work in one phase."""

    def __init__(self, ingredients: tuple[Ingredient, ...]) -> None:
        self.ingredients = ingredients
        self.arrays: dict[str, npt.NDArray[Any]] = {}
        self.report: dict[str, Any] = {}

    def prepare(self, past: Past) -> None:
        """Let every ingredient read the past; `past.carried` holds what all of them prepared in the phase before."""
        for ingredient in self.ingredients:
            with _read_only(past, ingredient, "prepare"):
                self._keep(ingredient, ingredient.prepare(replace(past, carried=_own(ingredient, past.carried))))

    def begin(self, past: Past, agent: Agent) -> None:
        """Let every ingredient change what a phase starts with, after `prepare`."""
        for ingredient in self.ingredients:
            with _read_only(past, ingredient, "begin"):
                ingredient.begin(_own(ingredient, self.arrays), past, agent)

    @property
    def needs_buffers(self) -> bool:
        """Whether any ingredient draws from D_pre."""
        return any(ingredient.needs_buffers for ingredient in self.ingredients)

    def replays(self, update: int) -> frozenset[str]:
        """The parts whose batch of this update any ingredient wants from D_pre (Eq. 6)."""
        return frozenset(part for ingredient in self.ingredients for part in ingredient.replays(update))

    def restraints(self, agent: Agent) -> dict[str, UpdateRule]:
        """The ingredients' rules together: scales multiply, penalties add, changes of the gradient follow each other.

        Raises:
            ValueError: an ingredient has a rule for a part that is not there, or tensors of another shape.
        """
        from nbsp_ray.learning.sac import UpdateRule

        together: dict[str, UpdateRule] = {}
        for ingredient in self.ingredients:
            for part, one in ingredient.restraints(_own(ingredient, self.arrays), agent).items():
                if part not in PARTS:
                    raise ValueError(f"ingredient {ingredient.kind} restrains {part!r}; there are {', '.join(PARTS)}")
                _check_shapes(ingredient.kind, part, one, getattr(agent.state, part))
                other = together.get(part, UpdateRule())
                together[part] = UpdateRule(
                    _product(one.update_scale, other.update_scale),
                    other.quadratic + one.quadratic,
                    other.penalties + one.penalties,
                    other.gradients + one.gradients,
                    reads_memory=other.reads_memory or one.reads_memory,
                )
        return together

    def between(self, agent: Agent, replay: AnyReplay, rng: np.random.Generator) -> None:
        """Let every ingredient change the agent between two episodes."""
        for ingredient in self.ingredients:
            self._keep(ingredient, ingredient.between(_own(ingredient, self.arrays), agent, replay, rng))

    def view(self, agent: Agent, task: int) -> torch.Tensor | None:
        """The actor's parameters to evaluate a task with; None: those that learn."""
        for ingredient in self.ingredients:
            found = ingredient.view(_own(ingredient, self.arrays), agent, task)
            if found is not None:
                return found
        return None

    def finish(self, past: Past, agent: Agent) -> None:
        """Let every ingredient add to the report after the last update."""
        for ingredient in self.ingredients:
            with _read_only(past, ingredient, "finish"):
                self.report |= ingredient.finish(_own(ingredient, self.arrays), past, agent)

    def _keep(self, ingredient: Ingredient, made: Prepared) -> None:
        self.arrays |= {f"{ingredient.kind}.{name}": array for name, array in made.arrays.items()}
        self.report |= made.report


def _own(ingredient: Ingredient, arrays: Arrays) -> Arrays:
    prefix = f"{ingredient.kind}."
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _check_shapes(kind: str, part: str, rule: UpdateRule, stack: torch.Tensor) -> None:
    """What only broadcasts to all parameters is one lane's in a pack, where it is written into a slot by its index.

    Raises:
        ValueError: a tensor has not the shape of the part's parameters `stack` (L, M, P), or is not one for each lane.
    """
    of_all, of_lanes = tuple(stack.shape), tuple(stack.shape[:1])
    found = [("update_scale", rule.update_scale, of_all)]
    for one in rule.quadratic:
        found += [("weights", one.weights, of_all), ("importance", one.importance, of_all)]
        found += [("coefficient", one.coefficient, of_lanes)]
    for name, tensor, shape in found:
        if tensor is not None and tuple(tensor.shape) != shape:
            raise ValueError(f"ingredient {kind}: {name} of {part} has shape {tuple(tensor.shape)}, it must be {shape}")


def _product(one: torch.Tensor | None, other: torch.Tensor | None) -> torch.Tensor | None:
    if one is None or other is None:
        return one if other is None else other
    return one * other


@contextmanager
def _read_only(past: Past, ingredient: Ingredient, hook: str) -> Iterator[None]:
    """Raises PhaseError where a hook has changed the past: what it did there would be lost, or harm other phases."""
    before = _marks(past)
    yield
    changed = [name for name, mark in _marks(past).items() if mark != before[name]]
    if changed:
        raise PhaseError(
            f"`{hook}` of ingredient {ingredient.kind} has changed the {', '.join(changed)} of its past, which is "
            "to be read only: change `agent` in `begin`, and copies of all else"
        )


def _marks(past: Past) -> dict[str, Any]:
    """For each part of a past something that is another thing once the part has changed.

    Digests, but for buffers, which are too large: torch counts the changes of a tensor, and a buffer its rows.
    """
    marks: dict[str, Any] = {
        "agent": _digest(past.agent.arrays()),
        "replay": _buffer_mark(past.replay),
        "arrays of the phase before": _digest(past.carried),
    }
    if past.rollouts is not None:
        arrays = {name: value for name, value in vars(past.rollouts).items() if isinstance(value, np.ndarray)}
        marks["rollouts"] = _digest(arrays)
    for method, auxiliary in past.auxiliary.items():
        marks[f"agent of {method}"] = _digest(auxiliary.agent.arrays())
        marks[f"sample of {method}"] = _buffer_mark(auxiliary.sample)
    return marks


def _buffer_mark(buffer: AnyReplay) -> tuple[Any, ...]:
    return buffer.added, id(buffer._rows), buffer._rows._version


def _digest(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    hashed = hashlib.blake2b()
    for name in sorted(arrays):
        hashed.update(name.encode() + np.ascontiguousarray(arrays[name]).tobytes())
    return hashed.digest()
