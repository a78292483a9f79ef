"""Every step of a phase's final evaluation: how it is kept, and how it is read again to score neurons on it.

With each step stands q, the criterion that neurons are scored by: its success flag, or the score of its whole episode.
Vectors of a whole evaluation fit the memory. Frames do not, beside two buffers of them: an episode is handed to the
store as it ends, and read from there by the block.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch

from nbsp_ray.benchmarks import Action, Benchmark, Frames, Observation, Spaces, Step, Success
from nbsp_ray.learning.frames import FIRST, NO_TRANSITION, FrameReplay, frame_row, frames_of

Arrays = dict[str, npt.NDArray[Any]]
Block = tuple[Observation, npt.NDArray[Any]]
"""Observations and actions of some steps, each with a leading axis of steps."""
STACKS = 64
"""Stacks of frames that are held at once, as in an update: 28 kB each at 84 x 84, and up to 500 kB of what a traced
forward pass makes of it."""


class Recorder(ABC):
    """Keeps every step of the episodes of an evaluation.

    Args:
        by_success: Whether q is the success flag of each step; else it is the score of the whole episode.
    """

    streams: ClassVar[bool] = False
    """Whether the steps of each episode are stored as it ends, so that none is lost with this process."""

    def __init__(self, *, by_success: bool) -> None:
        self._by_success = by_success
        self._flags: list[bool] = []
        self.criterion: list[npt.NDArray[np.float64]] = []
        """q of each step of each episode that has ended."""

    def add(self, observation: Observation, action: Action, step: Step) -> None:
        """Keep one step."""
        self._flags.append(bool(step.success))
        self._keep(observation, action, step)

    @abstractmethod
    def _keep(self, observation: Observation, action: Action, step: Step) -> None: ...

    def end_episode(self, env_return: float) -> None:
        """The episode is over, and this is the sum of its scores."""
        flags = np.asarray(self._flags, np.float64)
        self.criterion.append(flags if self._by_success else np.full(len(flags), env_return))
        self._flags = []

    def take_rows(self) -> npt.NDArray[np.uint8] | None:
        """Rows to be stored now that an episode is over, and forgotten here; None if all is stored at the end."""
        return None

    def arrays(self) -> Arrays:
        """What is stored at the end: criterion (T,), and the number of steps up to the end of each episode (E,)."""
        return {
            "criterion": np.concatenate([np.empty(0), *self.criterion]),
            "ends": np.cumsum([len(episode) for episode in self.criterion], dtype=np.int64),
        }


class VectorRecorder(Recorder):
    """Of observation vectors."""

    def __init__(self, *, by_success: bool) -> None:
        super().__init__(by_success=by_success)
        self._observations: list[Observation] = []
        self._actions: list[Action] = []

    def _keep(self, observation: Observation, action: Action, step: Step) -> None:
        self._observations.append(observation)
        self._actions.append(action)

    def arrays(self) -> Arrays:
        """Also observations (T, O), and actions (T, A), or (T,) where they are discrete."""
        steps = {"observations": np.stack(self._observations), "actions": np.stack(self._actions)}
        return steps | super().arrays()


class FrameRecorder(Recorder):
    """Of stacked frames: the newest of each, as rows of a `FrameReplay`."""

    streams = True

    def __init__(self, spaces: Spaces, *, by_success: bool) -> None:
        super().__init__(by_success=by_success)
        self._spaces = spaces
        self._rows: list[npt.NDArray[np.uint8]] = []
        self._begins = True

    def _keep(self, observation: Observation, action: Action, step: Step) -> None:
        self._rows.append(frame_row(self._spaces, observation[-1], FIRST * self._begins, action))
        self._begins = step.resumes is not None

    def take_rows(self) -> npt.NDArray[np.uint8]:
        """The steps of one episode, and a last row without a transition, for the frame that follows is never read."""
        tail = self._rows[-1].copy()
        tail[-1] = NO_TRANSITION
        rows = np.stack([*self._rows, tail])
        self._rows, self._begins = [], True
        return rows


def new_recorder(benchmark: Benchmark, spaces: Spaces) -> Recorder:
    """One for such observations, with the criterion of what the benchmark is judged by."""
    by_success = isinstance(benchmark.judged_by, Success)
    if isinstance(spaces.observation, Frames):
        return FrameRecorder(spaces, by_success=by_success)
    return VectorRecorder(by_success=by_success)


@dataclass(frozen=True)
class Rollouts(ABC):
    """The T steps of a final evaluation: what neurons are scored on."""

    criterion: npt.NDArray[np.float64]
    """q (T,): the step's success flag, or the score of the whole episode that it belongs to."""
    ends: npt.NDArray[np.int64]
    """Steps up to the end of each episode (E,)."""

    def episode_of_steps(self) -> npt.NDArray[np.int64]:
        """The number of the episode that each step belongs to (T,)."""
        return np.searchsorted(self.ends, np.arange(len(self.criterion)), side="right")

    @abstractmethod
    def blocks(self, size: int, steps: npt.NDArray[np.int64] | None = None) -> Iterator[Block]:
        """All steps, or those whose ascending numbers are given, in order, at most `size` at once."""

    @abstractmethod
    def take(self, steps: npt.NDArray[np.int64]) -> Iterator[Block]:
        """Some steps, in any order, as many at once as the memory is meant for."""


@dataclass(frozen=True)
class VectorRollouts(Rollouts):
    """Of observation vectors."""

    observations: Observation
    """(T, O)"""
    actions: npt.NDArray[Any]
    """(T, A), or (T,) where they are discrete."""

    def blocks(self, size: int, steps: npt.NDArray[np.int64] | None = None) -> Iterator[Block]:
        """One block after another."""
        chosen = np.arange(len(self.criterion)) if steps is None else steps
        for start in range(0, len(chosen), size):
            block = chosen[start : start + size]
            yield self.observations[block], self.actions[block]

    def take(self, steps: npt.NDArray[np.int64]) -> Iterator[Block]:
        """One block, in the order asked for."""
        yield self.observations[steps], self.actions[steps]


@dataclass(frozen=True)
class FrameRollouts(Rollouts):
    """Of frames."""

    spaces: Spaces
    open_episode: Callable[[int], npt.NDArray[np.uint8]]
    """The rows of an episode, mapped from the disk until they are let go."""

    def blocks(self, size: int, steps: npt.NDArray[np.int64] | None = None) -> Iterator[Block]:
        """Episode by episode."""
        return self._read(np.arange(len(self.criterion)) if steps is None else steps, size)

    def take(self, steps: npt.NDArray[np.int64]) -> Iterator[Block]:
        """Episode by episode."""
        return self._read(np.sort(steps), STACKS)

    def _read(self, steps: npt.NDArray[np.int64], size: int) -> Iterator[Block]:
        """Some steps in order; of their episodes no more rows are touched than a block needs."""
        small, history = min(size, STACKS), frames_of(self.spaces).stack - 1
        for number, own in enumerate(np.split(steps, np.searchsorted(steps, self.ends[:-1]))):
            in_episode = own - (self.ends[number - 1] if number else 0)
            for start in range(0, len(in_episode), small):
                block = in_episode[start : start + small]
                first = max(0, block[0] - history)
                rows = FrameReplay.of(self.spaces, self.open_episode(number)[first : block[-1] + 2])
                batch = rows.take(torch.from_numpy(block - first))
                yield batch.observations[0].numpy(), batch.actions[0].numpy()
