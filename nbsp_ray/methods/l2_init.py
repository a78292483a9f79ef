"""Regenerative regularisation: a penalty towards the weights that the agent began with, from the first task on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from nbsp_ray.config.schema import Settings
from nbsp_ray.layout import PARTS
from nbsp_ray.learning.hooks import Arrays, Ingredient, Past, Prepared
from nbsp_ray.methods import Look, Method

if TYPE_CHECKING:
    from nbsp_ray.learning.agent import Agent
    from nbsp_ray.learning.sac import UpdateRule


class Options(Settings):
    """What a sweep may set of it."""

    l2_init_coef: float = Field(1e-3, ge=0)
    """lambda of `l2_init`, for the losses of actor and critics alike. The paper tunes it for each problem, and so
    should a sweep: `vary: {method.l2_init_coef: [1e-2, 1e-3, 1e-4, 1e-5]}`."""


class TowardsStart(Ingredient):
    """L(theta) + lambda ||theta - theta_0||^2, theta_0 the new agent's weights (Kumar et al. 2023)."""

    kind: Literal["l2_init"] = "l2_init"
    coef: float = Field(ge=0)

    from_first: ClassVar[bool] = True

    def prepare(self, past: Past) -> Prepared:
        """theta_0: the first phase's own agent, handed on from phase to phase."""
        weights = {f"{part}.weights": getattr(past.agent.state, part).cpu().numpy().copy() for part in PARTS}
        return Prepared(weights | dict(past.carried))

    def restraints(self, arrays: Arrays, agent: Agent) -> Mapping[str, UpdateRule]:
        """The penalty of each part."""
        import torch

        from nbsp_ray.learning.sac import QuadraticPenalty, UpdateRule

        coef = torch.full((1,), self.coef, device=agent.device)
        starts = {part: torch.from_numpy(arrays[f"{part}.weights"]).to(agent.device) for part in PARTS}
        return {part: UpdateRule(quadratic=(QuadraticPenalty(coef, start),)) for part, start in starts.items()}


METHODS = (
    Method(
        "l2_init",
        "a penalty towards the initial weights, from the first task on (Kumar et al. 2023)",
        lambda options, counts: (TowardsStart(coef=options.l2_init_coef),) if options.l2_init_coef else (),
        Options,
        look=Look("#6b8e23", "p", "--"),
    ),
)
