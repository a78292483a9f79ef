"""Experience replay of the first task (Eq. 6), and the methods that need nothing more."""

from typing import ClassVar, Literal

from pydantic import Field

from nbsp_ray.config.schema import Count, Settings
from nbsp_ray.layout import Parts
from nbsp_ray.learning.hooks import Ingredient
from nbsp_ray.methods import Look, Method


class Options(Settings):
    """What a sweep may set of it."""

    replay_interval: Count = 10
    """Every n-th update takes its whole batch from the first task (Table 2, k of Algorithm 1)."""


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
    Method(
        "base",
        "no help: learn the second task with plain SAC",
        lambda options, counts: (),
        group="paper",
        look=Look("#7f7f7f", "o", "--"),
    ),
    Method(
        "replay_only",
        "every 10th batch comes from the first task's buffer (Eq. 6)",
        lambda options, counts: (PastReplay(interval=options.replay_interval),),
        Options,
        group="paper",
        look=Look("#e69f00", "s"),
    ),
)
