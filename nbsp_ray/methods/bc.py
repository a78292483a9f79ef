"""Behaviour cloning: on states of earlier tasks the actor is held to what it did there before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from nbsp_ray.config.schema import Settings
from nbsp_ray.learning.hooks import Arrays, Ingredient, Past, Prepared
from nbsp_ray.methods import Look, Method

if TYPE_CHECKING:
    import torch

    from nbsp_ray.learning.agent import Agent
    from nbsp_ray.learning.replay import AnyBatch
    from nbsp_ray.learning.sac import UpdateRule


class Options(Settings):
    """What a sweep may set of it."""

    bc_coef: float = Field(1.0, ge=0)
    """What `bc` multiplies the divergence of the actor from the old policy by in the actor's loss; not tuned here."""


class CloneActor(Ingredient):
    """L_actor + coef E_{s ~ D_pre} KL(pi_old(.|s) || pi(.|s)), as ClonEx-SAC clones (Wolczyk et al. 2022).

    Of the two divergences it is the one in the authors' code, and costs most where the actor no longer does what pi_old
    did. pi_old is the policy that the phase before left, on the states of all earlier tasks: with three tasks and more
    it is itself a clone on those of the first. The other half of ClonEx, exploring with the policy of an earlier task,
    is not in it.
    """

    kind: Literal["clone"] = "clone"
    coef: float = Field(ge=0)

    needs_buffers: ClassVar[bool] = True

    def prepare(self, past: Past) -> Prepared:
        """The old policy."""
        return Prepared({"actor": past.agent.state.actor.cpu().numpy().copy()})

    def restraints(self, arrays: Arrays, agent: Agent) -> Mapping[str, UpdateRule]:
        """The divergence as a penalty of the actor, on a batch of D_pre in each update."""
        import torch

        from nbsp_ray.learning.sac import UpdateRule

        old = torch.from_numpy(arrays["actor"]).to(agent.device)
        losses, coef = agent.problem, self.coef

        def clone(actor: torch.Tensor, batch: AnyBatch, memory: AnyBatch | None) -> torch.Tensor:
            return coef * losses.policy_divergence(old, actor, memory).mean(-1)

        return {"actor": UpdateRule(penalties=(clone,), reads_memory=True)}


METHODS = (
    Method(
        "bc",
        "the actor is held to its old policy on old states (Wolczyk et al. 2022, ClonEx-SAC)",
        lambda options, counts: (CloneActor(coef=options.bc_coef),) if options.bc_coef else (),
        Options,
        look=Look("#2f8f9d", ">", "-."),
    ),
)
