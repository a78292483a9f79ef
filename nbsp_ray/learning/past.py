"""What a phase needs of the phases before it, read from the store: weights, D_pre, rollouts, auxiliary phases."""

from typing import Any, TypeVar
from weakref import WeakValueDictionary

import torch

from nbsp_ray.benchmarks import Spaces, get_benchmark
from nbsp_ray.errors import PhaseError
from nbsp_ray.learning.agent import Agent
from nbsp_ray.learning.final import read_rollouts
from nbsp_ray.learning.hooks import Auxiliary, Past
from nbsp_ray.learning.replay import AnyReplay, Mixture, new_replay, replay_of
from nbsp_ray.learning.seeding import Stream, generator
from nbsp_ray.specs import PhaseSpec
from nbsp_ray.store import Store

T = TypeVar("T")


def load_agent(store: Store, key: str, device: torch.device | None = None) -> Agent:
    """The agent that a phase ended with, optimizers and all; `agent.policy()(observation, None)` acts.

    Args:
        store: Where the phase is.
        key: Of the phase, or as many of its digits as no other key begins with.
        device: None: the CPU.

    Raises:
        StoreError: there is no such phase.
        PhaseError: it has not learnt to its end, or its agent was removed.
    """
    folder = store.phase(store.find(key))
    data, weights = folder.spec(), folder.agent()
    if data is None or not folder.done():
        raise PhaseError(f"the phase {folder.key} is not done, so it has no agent yet; `nbsp-ray run` goes on")
    if weights is None:
        raise PhaseError(
            f"the agent of phase {folder.key} is missing from {folder.path}; remove that folder and run the sweep "
            "again: it trains what is missing"
        )
    spec = PhaseSpec.model_validate(data)
    spaces = get_benchmark(spec.benchmark).task_spaces(spec.task)
    agent = Agent(spec.sac, spaces, device or torch.device("cpu"), generator(spec.seed, 0, Stream.NETWORKS))
    agent.restore(weights)
    return agent


_WHOLE: WeakValueDictionary[tuple[str, str, str], AnyReplay] = WeakValueDictionary()
"""A buffer of frames is 1.4 GB: whoever asks for one that another still holds, in another lane too, gets that one."""


class PastReader:
    """The past of one phase.

    Raises:
        PhaseError: what is needed is not in the store (by every method).
    """

    def __init__(self, store: Store, spec: PhaseSpec, spaces: Spaces, device: torch.device) -> None:
        self._store, self._spec, self._spaces, self._device = store, spec, spaces, device

    def initial_agent(self) -> Agent:
        """New networks for a first phase; for a later one those of the phase before, with new optimizers."""
        spec, agent = self._spec, self._new_agent()
        if spec.previous is not None:
            weights = self._needed(spec.previous, "agent", self._store.phase(spec.previous).agent())
            agent.restore(weights, weights_only=True)
        return agent

    def _new_agent(self) -> Agent:
        spec = self._spec
        return Agent(spec.sac, self._spaces, self._device, generator(spec.seed, 0, Stream.NETWORKS))

    def buffers(self) -> Mixture:
        """D_pre: the whole buffers of all earlier phases, oldest first."""
        keys: list[str] = []
        key = self._spec.previous
        while key is not None:
            keys.insert(0, key)
            key = self._needed(key, "spec", self._store.phase(key).spec())["previous"]
        return Mixture([self._whole_buffer(key) for key in keys])

    def past(self, stream: Stream) -> Past:
        """All that the method may know; its generator is `stream`'s. Before a first phase that is its own agent."""
        spec, rollouts = self._spec, None
        rng = generator(spec.seed, spec.index, stream)
        if spec.previous is None:
            return Past(self.initial_agent(), new_replay(self._spaces, 1, self._device), None, {}, rng)
        folder = self._store.phase(spec.previous)
        if spec.rollouts is not None:
            found = read_rollouts(folder, spec.rollouts.id, self._spaces)
            rollouts = self._needed(spec.previous, f"evaluation {spec.rollouts.id}", found)
        return Past(
            agent=self.initial_agent(),
            # The whole buffer of a first phase before this one, the sample that a later one keeps.
            replay=self._whole_buffer(spec.previous) if spec.index == 1 else self._sample(spec.previous),
            rollouts=rollouts,
            auxiliary={method: self._auxiliary(key) for method, key in spec.auxiliary.items()},
            generator=rng,
            carried=folder.prepared(),
        )

    def _auxiliary(self, key: str) -> Auxiliary:
        result = self._needed(key, "result", self._store.phase(key).result())
        return Auxiliary(load_agent(self._store, key, self._device), self._sample(key), result["env_steps"])

    def _whole_buffer(self, key: str) -> AnyReplay:
        where = str(self._store.root), key, str(self._device)
        found = _WHOLE.get(where)
        if found is None:
            found = self._buffer(key, "replay buffer", self._store.phase(key).replay())
            _WHOLE[where] = found
        return found

    def _sample(self, key: str) -> AnyReplay:
        return self._buffer(key, "sample of transitions", self._store.phase(key).sample())

    def _buffer(self, key: str, what: str, rows: Any) -> AnyReplay:
        return replay_of(self._spaces, self._needed(key, what, rows), self._device)

    def _needed(self, key: str, what: str, found: T | None) -> T:
        if found is None:
            raise PhaseError(
                f"the {what} of phase {key} is missing from {self._store.phase(key).path}, and phase "
                f"{self._spec.key()} needs it; remove that folder and run the sweep again: it trains what is missing"
            )
        return found
