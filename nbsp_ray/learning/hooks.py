"""What a method may do to the learning of a later task: the hooks, and what they are given.

An ingredient is one thing that a method changes: it replays, it freezes, it penalises. It is data (frozen, JSON),
because it enters the key of a phase, and has hooks that do nothing unless overridden. SAC does not know that methods
exist, and an ingredient does not know how SAC learns. `plan` reads this module, so only hooks import torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from nbsp_ray.config.schema import Settings

if TYPE_CHECKING:
    import torch

    from nbsp_ray.learning.agent import Agent
    from nbsp_ray.learning.replay import AnyReplay
    from nbsp_ray.learning.rollouts import Rollouts
    from nbsp_ray.learning.sac import UpdateRule

from nbsp_ray.layout import Parts

Arrays = Mapping[str, npt.NDArray[Any]]


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
    """All that a phase may know of the phases before it."""

    agent: Agent
    """As the phase finds it: the weights that the phase before left."""
    replay: AnyReplay
    """Transitions of the phase before: the whole buffer of a first phase, a sample of a later one's."""
    rollouts: Rollouts | None
    """The final evaluation of the phase before, step by step; there only if an ingredient `needs_rollouts`."""
    auxiliary: Mapping[str, Auxiliary]
    """By method: the phases that an ingredient `needs_method` of."""
    generator: np.random.Generator
    """A stream for random choices of the method alone."""
    carried: Arrays = field(default_factory=dict[str, npt.NDArray[Any]])
    """What the same ingredient prepared in the phase before, if that was not the first: the masks and anchors of the
    tasks before the last."""


@dataclass(frozen=True)
class Prepared:
    """What an ingredient made of the past, once, between two phases."""

    arrays: Arrays = field(default_factory=dict[str, npt.NDArray[Any]])
    """Kept in the checkpoint, so that a resumed phase goes on with the very same."""
    report: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """JSON for the phase's result."""


class Ingredient(Settings):
    """One thing a method changes; subclass it, set `kind`, override what is needed."""

    kind: str
    """Its name in the key; a `Literal` with that default in every subclass."""

    needs_rollouts: ClassVar[bool] = False
    """It reads the steps of the previous phase's final evaluation."""
    needs_buffers: ClassVar[bool] = False
    """It replays: the whole buffers of all earlier phases are D_pre."""
    needs_method: ClassVar[str | None] = None
    """It reads the phase that this method trains on the same task after the same past."""

    @property
    def scores_neurons(self) -> bool:
        """Whether it does something else than it says where no neuron can be scored, as q is constant."""
        return False

    def prepare(self, past: Past) -> Prepared:
        """Once, before the first update: compute what is needed of the past."""
        return Prepared()

    def begin(self, arrays: Arrays, past: Past, agent: Agent) -> None:
        """Once, when the phase starts from its past: change what `agent` starts with, its optimizers included.

        Not when a phase is resumed: what was changed is in its checkpoint. `past.agent` is another object, and stays
        as the phase before left it.
        """

    def replays(self, update: int) -> Parts:
        """The parts whose batch of update number 0, 1, ... comes from D_pre."""
        return ()

    def restraints(self, arrays: Arrays, agent: Agent) -> Mapping[str, UpdateRule]:
        """What it does to the learning of `actor` and `critic`, from the arrays that `prepare` made."""
        return {}

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
            prepared = ingredient.prepare(replace(past, carried=_own(ingredient, past.carried)))
            self.arrays |= {f"{ingredient.kind}.{name}": array for name, array in prepared.arrays.items()}
            self.report |= prepared.report

    def begin(self, past: Past, agent: Agent) -> None:
        """Let every ingredient change what a phase starts with, after `prepare`."""
        for ingredient in self.ingredients:
            ingredient.begin(_own(ingredient, self.arrays), past, agent)

    @property
    def needs_buffers(self) -> bool:
        """Whether any ingredient replays."""
        return any(ingredient.needs_buffers for ingredient in self.ingredients)

    def replays(self, update: int) -> frozenset[str]:
        """The parts whose batch of this update any ingredient wants from D_pre (Eq. 6)."""
        return frozenset(part for ingredient in self.ingredients for part in ingredient.replays(update))

    def restraints(self, agent: Agent) -> dict[str, UpdateRule]:
        """The ingredients' restraints together: scales multiply, penalties add."""
        from nbsp_ray.learning.sac import UpdateRule

        together: dict[str, UpdateRule] = {}
        for ingredient in self.ingredients:
            for part, one in ingredient.restraints(_own(ingredient, self.arrays), agent).items():
                other = together.get(part, UpdateRule())
                together[part] = UpdateRule(
                    _product(one.update_scale, other.update_scale), other.penalties + one.penalties
                )
        return together

    def finish(self, past: Past, agent: Agent) -> None:
        """Let every ingredient add to the report after the last update."""
        for ingredient in self.ingredients:
            self.report |= ingredient.finish(_own(ingredient, self.arrays), past, agent)


def _own(ingredient: Ingredient, arrays: Arrays) -> Arrays:
    prefix = f"{ingredient.kind}."
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _product(one: torch.Tensor | None, other: torch.Tensor | None) -> torch.Tensor | None:
    if one is None or other is None:
        return one if other is None else other
    return one * other
