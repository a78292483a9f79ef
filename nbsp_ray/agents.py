"""Agents of finished phases, as their methods act with them."""

from typing import TYPE_CHECKING

from nbsp_ray.methods import read_ingredients
from nbsp_ray.specs import PhaseSpec
from nbsp_ray.store import Store

if TYPE_CHECKING:
    import torch

    from nbsp_ray.learning.agent import Agent


def load_agent(store: Store, key: str, device: "torch.device | None" = None, *, task: str | None = None) -> "Agent":
    """The agent that a phase ended with, optimizers and all; `agent.policy()(observation, None)` acts.

    Args:
        store: Where the phase is.
        key: Of the phase, or as many of its digits as no other key begins with.
        device: None: the CPU.
        task: One of the phase's tasks: the weights are those with which its method acts on it (`packnet` leaves out
            those of later tasks); None: the task that was learnt last.

    Raises:
        StoreError: there is no such phase.
        PhaseError: it has not learnt to its end, or its agent was removed.
    """
    from nbsp_ray.learning import past
    from nbsp_ray.learning.hooks import ActiveMethod

    agent, folder = past.load_agent(store, key, device), store.phase(store.find(key))
    spec = PhaseSpec.model_validate(folder.spec())
    method = ActiveMethod(read_ingredients(spec))
    method.arrays = folder.prepared()
    viewed = method.view(agent, spec.number_of(task or spec.task))
    if viewed is not None:
        agent.state.actor.copy_(viewed)
    return agent
