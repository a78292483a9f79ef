"""Starting a later task with the temperature of a new agent; an option of every method, and no method of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from nbsp_ray.learning.hooks import Arrays, Ingredient, Past

if TYPE_CHECKING:
    from nbsp_ray.learning.agent import Agent


class ResetLogAlpha(Ingredient):
    """log_alpha is 0 when the phase begins, in place of what the phase before left; nothing where alpha is fixed."""

    kind: Literal["reset_log_alpha"] = "reset_log_alpha"

    def begin(self, arrays: Arrays, past: Past, agent: Agent) -> None:
        """alpha = 1, as an agent that learns it starts with."""
        if agent.sac.autotune:
            agent.state.log_alpha.zero_()
