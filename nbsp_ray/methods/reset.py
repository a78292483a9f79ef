"""Resetting at a task switch: what the first task left in the networks gets out of the second one's way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from nbsp_ray.config.schema import Count, Settings
from nbsp_ray.layout import PARTS, Parts
from nbsp_ray.learning.hooks import Arrays, Ingredient, Past
from nbsp_ray.methods import Look, Method

if TYPE_CHECKING:
    from nbsp_ray.learning.agent import Agent


class Options(Settings):
    """What a sweep may set of it."""

    reset_layers: Count = 1
    """Last layers of each network that `reset` starts anew, the output layer counted; as many as there are: all. (The
    paper resets the last layers of agents that see frames, and all of them in SAC on vectors.)"""
    reset_parts: Literal["critic", "actor_critic"] = "actor_critic"
    """Networks that `reset` resets."""


class LastLayers(Ingredient):
    """theta_l ~ the initial distribution, for the last `layers` layers l (Nikishin et al. 2022, Section 4).

    The targets of the critics are reset to the same weights. The buffer of a later phase is new in any case here, where
    the paper keeps it.
    """

    kind: Literal["reset"] = "reset"
    layers: int = Field(ge=1)
    parts: Parts

    def begin(self, arrays: Arrays, past: Past, agent: Agent) -> None:
        """New weights and biases; the optimizers of a phase that begins are new already."""
        import torch

        for part in self.parts:
            layout = agent.layout(PARTS[part][0])
            first = layout.parameters - sum(layout.sizes[-2 * self.layers :])
            fresh = torch.from_numpy(layout.initial(len(PARTS[part]), past.generator)).to(agent.device)
            for stack in (agent.state.critic, agent.state.target) if part == "critic" else (agent.state.actor,):
                stack[..., first:] = fresh[..., first:]


class NewAgent(Ingredient):
    """Every weight is drawn anew, and log_alpha is that of a new agent: nothing of the first task is left."""

    kind: Literal["scratch"] = "scratch"

    def begin(self, arrays: Arrays, past: Past, agent: Agent) -> None:
        """New networks; buffer and optimizers of a phase that begins are new already."""
        import torch

        state = agent.state
        state.actor.copy_(torch.from_numpy(agent.layout("actor").initial(1, past.generator)))
        state.critic.copy_(torch.from_numpy(agent.layout("q1").initial(2, past.generator)))
        state.target.copy_(state.critic)
        if agent.sac.autotune:
            state.log_alpha.zero_()


METHODS = (
    Method(
        "scratch",
        "a new agent learns the second task: the ceiling of plasticity, where the first task is of no help",
        lambda options, counts: (NewAgent(),),
        group="control",
        look=Look("#8a8a8a", "d", ":"),
    ),
    Method(
        "reset",
        "the last layers of actor and critics start the second task anew (Nikishin et al. 2022)",
        lambda options, counts: (
            LastLayers(
                layers=options.reset_layers,
                parts=("actor", "critic") if options.reset_parts == "actor_critic" else ("critic",),
            ),
        ),
        Options,
        look=Look("#5d7aa0", "<", "--"),
    ),
)
