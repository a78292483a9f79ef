"""Quadratic penalties that hold weights near where they were good: EWC, and ANCL with its second anchor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy.typing as npt
from pydantic import Field

from nbsp_ray.config.schema import MethodOptions
from nbsp_ray.layout import Counts, Parts
from nbsp_ray.learning.hooks import Arrays, Ingredient, Past, Prepared
from nbsp_ray.methods import Method
from nbsp_ray.methods.replay import PastReplay

if TYPE_CHECKING:
    import numpy as np
    import torch

    from nbsp_ray.learning.agent import Agent
    from nbsp_ray.learning.replay import AnyReplay
    from nbsp_ray.learning.sac import UpdateRule

TRANSITIONS = 2_560
"""Transitions that the Fisher information is a mean over: 10 batches of 256 (Continual World)."""
Ingredients = Callable[[MethodOptions, Counts], tuple[Ingredient, ...]]


class Anchor(Ingredient):
    """coef * sum_i F_i (w_i - w*_i)^2, heads included, added to the loss of each part; no factor 1/2.

    After several tasks the penalties of all of them are summed. Arrays have a leading axis of earlier tasks.
    """

    kind: str = "anchor"
    coef: float = Field(ge=0)
    parts: Parts

    def prepare(self, past: Past) -> Prepared:
        """Anchor at the weights that the phase before left, weighed by what they mean for its transitions."""
        from nbsp_ray.learning.replay import replay_of

        rows = past.replay.subset(TRANSITIONS, past.generator)
        new = _anchor(past.agent, replay_of(past.replay.spaces, rows, past.replay.device), self.parts)
        return Prepared({name: _stacked(past.carried.get(name), array) for name, array in new.items()})

    def restraints(self, arrays: Arrays, agent: Agent) -> Mapping[str, UpdateRule]:
        """The penalty of each part."""
        import torch

        from nbsp_ray.learning.sac import UpdateRule

        def stack(name: str) -> torch.Tensor:
            return torch.from_numpy(arrays[name]).to(agent.device)

        return {
            part: UpdateRule(
                penalties=tuple(
                    _penalty(self.coef, fisher, weights)
                    for fisher, weights in zip(stack(f"{part}.fisher"), stack(f"{part}.weights"), strict=True)
                )
            )
            for part in self.parts
        }


class AuxiliaryAnchor(Anchor):
    """The same at an auxiliary network: the one that plain SAC makes of the same past on the same task."""

    kind: str = "auxiliary_anchor"

    needs_method: ClassVar[str | None] = "base"

    def prepare(self, past: Past) -> Prepared:
        """Anchor at the auxiliary network, on transitions of its own."""
        auxiliary = past.auxiliary["base"]
        arrays = _anchor(auxiliary.agent, auxiliary.sample, self.parts)
        report = {"auxiliary_env_steps": auxiliary.env_steps}
        return Prepared({name: array[None] for name, array in arrays.items()}, report)


def _anchor(agent: Agent, sample: AnyReplay, parts: Parts) -> dict[str, npt.NDArray[Any]]:
    from nbsp_ray.learning.importance import actor_fisher, critic_fisher

    fisher = {"actor": actor_fisher, "critic": critic_fisher}
    arrays: dict[str, npt.NDArray[np.float32]] = {}
    for part in parts:
        arrays[f"{part}.weights"] = getattr(agent.state, part).cpu().numpy().copy()
        arrays[f"{part}.fisher"] = fisher[part](agent, sample.all()).cpu().numpy()
    return arrays


def _stacked(carried: npt.NDArray[Any] | None, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The earlier tasks' arrays and the new one, along a leading axis of tasks."""
    import numpy as np

    return array[None] if carried is None else np.concatenate([carried, array[None]])


def _penalty(coef: float, fisher: torch.Tensor, weights: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda stack: coef * (fisher * (stack - weights).square()).sum((-2, -1))


def _parts(options: MethodOptions) -> Parts:
    return ("actor", "critic") if options.anchor_parts == "actor_critic" else ("actor",)


def _ewc(options: MethodOptions, counts: Counts) -> tuple[Ingredient, ...]:
    return (Anchor(coef=options.ewc_coef, parts=_parts(options)),) if options.ewc_coef else ()


def _ancl(options: MethodOptions, counts: Counts) -> tuple[Ingredient, ...]:
    """Both anchors; one whose coefficient is 0 does nothing, and is left out."""
    first, parts = options.ancl_coef, _parts(options)
    second = first / 1_000 if options.ancl_aux_coef is None else options.ancl_aux_coef
    anchors: tuple[Ingredient, ...] = (Anchor(coef=first, parts=parts),) if first else ()
    return anchors + ((AuxiliaryAnchor(coef=second, parts=parts),) if second else ())


def _with_replay(ingredients: Ingredients) -> Ingredients:
    return lambda options, counts: (PastReplay(interval=options.replay_interval), *ingredients(options, counts))


METHODS = (
    Method("ewc", "a penalty holds weights that mattered to the first task (Kirkpatrick et al. 2017)", _ewc),
    Method("ancl", "EWC, and a weaker penalty towards a network trained freely (Kim et al. 2023)", _ancl),
    Method(
        "ewc_replay",
        "EWC with NBSP's replay: a rival that may look back as NBSP does",
        _with_replay(_ewc),
        in_paper=False,
    ),
    Method(
        "ancl_replay",
        "ANCL with NBSP's replay; its auxiliary network is base's, without replay",
        _with_replay(_ancl),
        in_paper=False,
    ),
)
