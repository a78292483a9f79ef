"""Experience replay of the first task (Eq. 6), and the methods that need nothing more."""

from typing import ClassVar, Literal

from pydantic import Field

from nbsp_ray.layout import Parts
from nbsp_ray.learning.hooks import Ingredient
from nbsp_ray.methods import Method


class PastReplay(Ingredient):
    """Every `interval`-th update takes its whole batch from D_pre, the buffers of all earlier tasks in equal shares.

    Only the `parts` do; the other's batch of that update comes from D.

    The counter is that of the gradient steps of the phase, from 0, the same that delays the actor: so the actor sees
    D_pre too (in 20 % of its updates at interval 10; the critics in 10 %). Counted from an odd offset it never would.
    """

    kind: Literal["replay"] = "replay"
    interval: int = Field(ge=1)
    parts: Parts = ("actor", "critic")

    needs_buffers: ClassVar[bool] = True

    def replays(self, update: int) -> Parts:
        """R(t) of Eq. 6."""
        return self.parts if update % self.interval == 0 else ()


METHODS = (
    Method("base", "no help: learn the second task with plain SAC", lambda options, counts: ()),
    Method(
        "replay_only",
        "every 10th batch comes from the first task's buffer (Eq. 6)",
        lambda options, counts: (PastReplay(interval=options.replay_interval),),
    ),
)
