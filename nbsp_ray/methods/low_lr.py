"""The simplest control: the whole network learns the second task by smaller steps, and nothing is frozen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from nbsp_ray.learning.hooks import Arrays, Ingredient
from nbsp_ray.methods import Method

if TYPE_CHECKING:
    from nbsp_ray.learning.agent import Agent
    from nbsp_ray.learning.sac import UpdateRule


class LowLearningRate(Ingredient):
    """Every update of actor and critics is scaled; the moments that Adam divides by are left as they are."""

    kind: Literal["low_lr"] = "low_lr"
    scale: float = Field(gt=0, le=1)

    def restraints(self, arrays: Arrays, agent: Agent) -> Mapping[str, UpdateRule]:
        """One factor for all parameters."""
        import torch

        from nbsp_ray.learning.sac import UpdateRule

        stacks = {"actor": agent.state.actor, "critic": agent.state.critic}
        return {part: UpdateRule(update_scale=torch.full_like(stack, self.scale)) for part, stack in stacks.items()}


METHODS = (
    Method(
        "low_lr",
        "no freezing: the second task is learnt at a lower rate everywhere",
        lambda options, counts: (LowLearningRate(scale=options.low_lr),),
        in_paper=False,
    ),
)
