"""Quadratic penalties that hold weights near where they were good: EWC, and ANCL with its second anchor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy.typing as npt
from pydantic import Field

from nbsp_ray.layout import Counts, Parts
from nbsp_ray.learning.hooks import Arrays, Ingredient, Past, Prepared
from nbsp_ray.methods import Look, Method, replay
from nbsp_ray.methods.replay import PastReplay
from nbsp_ray.specs import SAMPLE_TRANSITIONS

if TYPE_CHECKING:
    import numpy as np
    import torch

    from nbsp_ray.learning.agent import Agent
    from nbsp_ray.learning.replay import AnyReplay
    from nbsp_ray.learning.sac import UpdateRule

Ingredients = Callable[[Any, Counts], tuple[Ingredient, ...]]
AnchorParts = Literal["actor", "actor_critic"]


class Options(replay.Options):
    """What a sweep may set of them."""

    ewc_coef: float = Field(10_000.0, ge=0)
    """EWC's coefficient of sum_i F_i (w_i - w*_i)^2, without a factor 1/2 (Kirkpatrick's lambda is twice it). The
    default is that of the sweep `tuning_ewc` (two easy pairs, two seeds), on actor and critics."""
    ewc_parts: AnchorParts = "actor_critic"
    """What EWC regularises; the default is chosen with its coefficient (Continual World: the actor)."""
    ancl_coef: float = Field(1.0, ge=0)
    """ANCL's coefficient at the first task's weights. The default is that of the sweep `tuning_ancl` (two easy pairs,
    two seeds), on actor and critics."""
    ancl_parts: AnchorParts = "actor_critic"
    """What ANCL regularises; the default is chosen with its coefficient."""
    ancl_aux_coef: float | None = Field(None, ge=0)
    """ANCL's coefficient at the auxiliary network's weights; None: `ancl_coef` / 1000 (the authors' ratio)."""


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

        rows = past.replay.subset(SAMPLE_TRANSITIONS, past.generator)
        new = _anchor(past.agent, replay_of(past.replay.spaces, rows, past.replay.device), self.parts)
        return Prepared({name: _stacked(past.carried.get(name), array) for name, array in new.items()})

    def restraints(self, arrays: Arrays, agent: Agent) -> Mapping[str, UpdateRule]:
        """The penalty of each part."""
        import torch

        from nbsp_ray.learning.sac import QuadraticPenalty, UpdateRule

        def stack(name: str) -> torch.Tensor:
            return torch.from_numpy(arrays[name]).to(agent.device)

        return {
            part: UpdateRule(
                quadratic=tuple(
                    QuadraticPenalty(torch.full((1,), self.coef, device=agent.device), weights, fisher)
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


def _parts(named: AnchorParts) -> Parts:
    return ("actor", "critic") if named == "actor_critic" else ("actor",)


def _ewc(options: Options, counts: Counts) -> tuple[Ingredient, ...]:
    return (Anchor(coef=options.ewc_coef, parts=_parts(options.ewc_parts)),) if options.ewc_coef else ()


def _ancl(options: Options, counts: Counts) -> tuple[Ingredient, ...]:
    """Both anchors; one whose coefficient is 0 does nothing, and is left out."""
    first, parts = options.ancl_coef, _parts(options.ancl_parts)
    second = first / 1_000 if options.ancl_aux_coef is None else options.ancl_aux_coef
    anchors: tuple[Ingredient, ...] = (Anchor(coef=first, parts=parts),) if first else ()
    return anchors + ((AuxiliaryAnchor(coef=second, parts=parts),) if second else ())


def _with_replay(ingredients: Ingredients) -> Ingredients:
    return lambda options, counts: (PastReplay(interval=options.replay_interval), *ingredients(options, counts))


METHODS = (
    Method(
        "ewc",
        "a penalty holds weights that mattered to the first task (Kirkpatrick et al. 2017)",
        _ewc,
        Options,
        "paper",
        look=Look("#d55e00", "s", "-."),
    ),
    Method(
        "ancl",
        "EWC, and a weaker penalty towards a network trained freely (Kim et al. 2023)",
        _ancl,
        Options,
        "paper",
        look=Look("#aa4499", "P", "-."),
    ),
    Method(
        "ewc_replay",
        "EWC with NBSP's replay: a rival that may look back as NBSP does",
        _with_replay(_ewc),
        Options,
        "control",
        look=Look("#9c5a3c", "s", ":"),
    ),
    Method(
        "ancl_replay",
        "ANCL with NBSP's replay; its auxiliary network is base's, without replay",
        _with_replay(_ancl),
        Options,
        "control",
        look=Look("#c25b78", "P", ":"),
    ),
)
