"""PackNet: each task owns weights of the actor, which later tasks read and do not change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from nbsp_ray.config.schema import Settings
from nbsp_ray.errors import PhaseError
from nbsp_ray.learning.hooks import Arrays, Ingredient, Past, Prepared
from nbsp_ray.methods import Look, Method

if TYPE_CHECKING:
    import torch

    from nbsp_ray.layout import Layout
    from nbsp_ray.learning.agent import Agent
    from nbsp_ray.learning.sac import UpdateRule

EVERYBODYS = -1
"""Owner of biases: they are learnt with the first task, and stay."""


class Options(Settings):
    """What a sweep may set of it."""

    packnet_prune: float = Field(0.5, gt=0, lt=1)
    """Share of the weights of each layer, the smallest, that `packnet` takes from a task for later ones. Continual
    World gives equal shares to all tasks: 0.5 for two."""
    packnet_retrain_updates: int = Field(100_000, ge=0)
    """Updates on the old task's transitions after its weights are pruned (Continual World). They are made when the next
    phase begins, before its first checkpoint: a phase that is killed in them makes them again."""


class PackedActor(Ingredient):
    """Prune the actor by magnitude, retrain what is left on the old task, freeze it (Mallya & Lazebnik 2018).

    As Continual World does it: the actor alone; heads too, as there is one for all tasks; biases are frozen after the
    first task. **It is told the task**: when task k is evaluated, the weights of later tasks are 0, which no other
    method here can do. So do films, and an exported agent for the task it is exported for.
    """

    kind: Literal["packnet"] = "packnet"
    prune: float = Field(gt=0, lt=1)
    retrain_updates: int = Field(ge=0)

    def prepare(self, past: Past) -> Prepared:
        """The owner of each weight of the actor: the number of the task that may learn it.

        Raises:
            PhaseError: no weight would be given up, so that the next task had nothing to learn with.
        """
        layout = past.agent.layout("actor")
        weights = past.agent.state.actor.cpu().numpy()
        before = past.carried.get("owner")
        owner = new_owners(layout, weights) if before is None else before.copy()
        task = int(owner.max())
        owner = give_up(layout, weights, owner, task, self.prune)
        if not (owner == task + 1).any():
            raise PhaseError(
                f"packnet: a share of {self.prune:g} is no weight of any layer of so small an actor; raise "
                "method.packnet_prune"
            )
        return Prepared({"owner": owner}, {"packnet_free_weights": float((owner == task + 1).mean())})

    def begin(self, arrays: Arrays, past: Past, agent: Agent) -> None:
        """The pruned weights are 0; those that the old task keeps learn it again without them."""
        import torch

        owner = torch.from_numpy(arrays["owner"]).to(agent.device)
        task = int(owner.max()) - 1
        agent.state.actor.masked_fill_(owner > task, 0.0)
        if self.retrain_updates:
            agent.build_update(_only(owner == task))
            draws = torch.Generator()
            draws.manual_seed(int(past.generator.integers(2**63)))
            for _ in range(self.retrain_updates):
                agent.learn(past.replay, draws)
            agent.start_counting()
            agent.state.reset_optimizers()

    def restraints(self, arrays: Arrays, agent: Agent) -> Mapping[str, UpdateRule]:
        """Only what the old tasks gave up is learnt."""
        import torch

        owner = torch.from_numpy(arrays["owner"]).to(agent.device)
        return _only(owner == owner.max())

    def view(self, arrays: Arrays, agent: Agent, task: int) -> torch.Tensor | None:
        """Without the weights of later tasks."""
        import torch

        later = torch.from_numpy(arrays["owner"]).to(agent.device) > task
        return agent.state.actor.masked_fill(later, 0.0) if bool(later.any()) else None


def _only(learns: torch.Tensor) -> dict[str, Any]:
    from nbsp_ray.learning.sac import UpdateRule

    return {"actor": UpdateRule(update_scale=learns.float())}


def new_owners(layout: Layout, weights: npt.NDArray[Any]) -> npt.NDArray[np.int16]:
    """Weights (L, 1, P) belong to task 0, biases to everybody."""
    kinds = np.tile([0, EVERYBODYS], len(layout.sizes) // 2)
    return np.broadcast_to(np.repeat(kinds, layout.sizes), weights.shape).astype(np.int16)


def give_up(
    layout: Layout, weights: npt.NDArray[Any], owner: npt.NDArray[np.int16], task: int, share: float
) -> npt.NDArray[np.int16]:
    """`owner`, where of each layer the `share` of a task's weights that is smallest is the next task's."""
    found = owner.copy()
    ends = np.cumsum(layout.sizes)[::2]
    for end, size in zip(ends, layout.sizes[::2], strict=True):
        for lane in range(len(weights)):
            own = np.flatnonzero(found[lane, 0, end - size : end] == task) + end - size
            smallest = own[np.argsort(np.abs(weights[lane, 0, own]), kind="stable")[: int(share * len(own))]]
            found[lane, 0, smallest] = task + 1
    return found


METHODS = (
    Method(
        "packnet",
        "each task keeps weights of its own, and is told apart at evaluation (Mallya & Lazebnik 2018)",
        lambda options, counts: (
            PackedActor(prune=options.packnet_prune, retrain_updates=options.packnet_retrain_updates),
        ),
        Options,
        look=Look("#a0673b", "X", "-."),
    ),
)
