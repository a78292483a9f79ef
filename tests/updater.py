"""One update at a time, for the tests of losses: what a phase's executor does, with its arguments by hand."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from nbsp_ray.config.schema import Sac
from nbsp_ray.learning.execution import EagerExecutor, PendingUpdate
from nbsp_ray.learning.replay import AnyBatch
from nbsp_ray.learning.sac import Losses, SacLosses, SacState, UpdateRule, build_update


def updater(sac: Sac, problem: SacLosses[Any], restraints: Mapping[str, UpdateRule]) -> Callable[..., Losses]:
    """`(state, batch, noise, with_actor, with_targets, actor_batch, memory)`: one update in place on the state."""
    execute = EagerExecutor(build_update(sac, problem, restraints), sac.tau)

    def update(
        state: SacState,
        batch: AnyBatch,
        noise: Tensor,
        with_actor: bool,
        with_targets: bool = False,
        actor_batch: AnyBatch | None = None,
        memory: AnyBatch | None = None,
    ) -> Losses:
        return execute(state, [PendingUpdate(batch, noise, with_actor, with_targets, actor_batch, memory)])

    return update
