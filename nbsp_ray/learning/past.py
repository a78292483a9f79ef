"""What a phase needs of the phases before it, read from the store: weights, D_pre, rollouts, auxiliary phases."""

from typing import Any, TypeVar
from weakref import WeakValueDictionary

import torch

from nbsp_ray.benchmarks import Spaces
from nbsp_ray.errors import PhaseError
from nbsp_ray.learning.agent import Agent
from nbsp_ray.learning.final import read_rollouts
from nbsp_ray.learning.hooks import Auxiliary, Past
from nbsp_ray.learning.replay import AnyReplay, Mixture, replay_of
from nbsp_ray.learning.seeding import Stream, generator
from nbsp_ray.specs import PhaseSpec
from nbsp_ray.store import Store

T = TypeVar("T")


class PastReader:
    """The past of one phase.

    Raises:
        PhaseError: what is needed is not in the store (by every method).
    """

    def __init__(self, store: Store, spec: PhaseSpec, spaces: Spaces, device: torch.device) -> None:
        self._store, self._spec, self._spaces, self._device = store, spec, spaces, device
        # A buffer of frames is 1.4 GB: whoever asks for one that another still holds gets that very one.
        self._whole: WeakValueDictionary[str, AnyReplay] = WeakValueDictionary()

    def initial_agent(self) -> Agent:
        """New networks for a first phase; for a later one those of the phase before, with new optimizers."""
        spec, agent = self._spec, self._new_agent()
        if spec.previous is not None:
            weights = self._needed(spec.previous, "agent", self._store.phase(spec.previous).agent())
            agent.restore(weights, weights_only=True)
        return agent

    def trained_agent(self, key: str) -> Agent:
        """As a phase with the same networks left it, optimizers and all."""
        agent = self._new_agent()
        agent.restore(self._needed(key, "agent", self._store.phase(key).agent()))
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
        """All that the method may know; its generator is `stream`'s."""
        spec, rollouts = self._spec, None
        assert spec.previous is not None
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
            generator=generator(spec.seed, spec.index, stream),
            carried=folder.prepared(),
        )

    def _auxiliary(self, key: str) -> Auxiliary:
        result = self._needed(key, "result", self._store.phase(key).result())
        return Auxiliary(self.trained_agent(key), self._sample(key), result["env_steps"])

    def _whole_buffer(self, key: str) -> AnyReplay:
        found = self._whole.get(key)
        if found is None:
            found = self._buffer(key, "replay buffer", self._store.phase(key).replay())
            self._whole[key] = found
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
