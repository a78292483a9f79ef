"""Every step of a phase's final evaluation: how it is kept, and how it is read again to score neurons on it.

Vectors of a whole evaluation fit the memory. Frames do not, beside two buffers of them: a game is handed to the store
as it ends, and read from there by the block.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from nbsp_ray.benchmarks import Action, AnySpaces, Observation, PixelSpaces, Step
from nbsp_ray.learning.frames import FIRST, NO_TRANSITION, FrameReplay, frame_row

Arrays = dict[str, npt.NDArray[Any]]
Block = tuple[Observation, npt.NDArray[Any]]
"""Observations and actions of some steps, each with a leading axis of steps."""
STACKS = 64
"""Stacks of frames that are held at once, as in an update: 28 kB each at 84 x 84, and up to 500 kB of what a traced
forward pass makes of it."""


class Recorder(ABC):
    """Keeps every step of the episodes of an evaluation."""

    streams: ClassVar[bool] = False
    """Whether each episode is stored as it ends, so that none is lost with this process."""

    @abstractmethod
    def add(self, observation: Observation, action: Action, step: Step) -> None:
        """Keep one step."""

    def take_game(self) -> npt.NDArray[np.uint8] | None:
        """Rows to be stored now that an episode is over, and forgotten here; None if all is stored at the end."""
        return None

    def arrays(self) -> Arrays | None:
        """What is to be stored at the end."""
        return None


class VectorRecorder(Recorder):
    """Of observation vectors."""

    def __init__(self) -> None:
        self._observations: list[Observation] = []
        self._actions: list[Action] = []
        self._success: list[bool] = []

    def add(self, observation: Observation, action: Action, step: Step) -> None:
        """Keep one step."""
        self._observations.append(observation)
        self._actions.append(action)
        self._success.append(bool(step.success))

    def arrays(self) -> Arrays:
        """observations (T, O), actions (T, A), success (T,)."""
        return {
            "observations": np.stack(self._observations),
            "actions": np.stack(self._actions),
            "success": np.asarray(self._success, dtype=np.bool_),
        }


class GameRecorder(Recorder):
    """Of stacked frames: the newest of each, as rows of a `FrameReplay`."""

    streams = True

    def __init__(self) -> None:
        self._rows: list[npt.NDArray[np.uint8]] = []
        self._begins = True

    def add(self, observation: Observation, action: Action, step: Step) -> None:
        """Keep one step."""
        self._rows.append(frame_row(observation[-1], int(action), 0, 0, FIRST * self._begins))
        self._begins = step.resumes is not None

    def take_game(self) -> npt.NDArray[np.uint8]:
        """The steps of one game, and a last row without a transition, for the frame that follows is never read."""
        tail = self._rows[-1].copy()
        tail[-1] = NO_TRANSITION
        rows = np.stack([*self._rows, tail])
        self._rows, self._begins = [], True
        return rows


def new_recorder(spaces: AnySpaces) -> Recorder:
    """One for such observations."""
    return GameRecorder() if isinstance(spaces, PixelSpaces) else VectorRecorder()


@dataclass(frozen=True)
class Rollouts(ABC):
    """The T steps of a final evaluation: what neurons are scored on."""

    criterion: npt.NDArray[np.float64]
    """q (T,): the step's success flag, or the raw return of the game that it belongs to."""

    @abstractmethod
    def episode_of_steps(self) -> npt.NDArray[np.int64]:
        """The number of the episode that each step belongs to (T,)."""

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
    """(T, A)"""
    episodes: int = 1
    """As many equal parts of the steps: where no episode is cut at success, all are of one length."""

    def episode_of_steps(self) -> npt.NDArray[np.int64]:
        """Equal parts."""
        return np.arange(len(self.criterion)) * self.episodes // len(self.criterion)

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
class GameRollouts(Rollouts):
    """Of frames."""

    spaces: PixelSpaces
    ends: npt.NDArray[np.int64]
    """Steps up to the end of each game."""
    open_game: Callable[[int], npt.NDArray[np.uint8]]
    """The rows of a game, mapped from the disk until they are let go."""

    def episode_of_steps(self) -> npt.NDArray[np.int64]:
        """Whole games."""
        return np.searchsorted(self.ends, np.arange(len(self.criterion)), side="right")

    def blocks(self, size: int, steps: npt.NDArray[np.int64] | None = None) -> Iterator[Block]:
        """Game by game."""
        return self._read(np.arange(len(self.criterion)) if steps is None else steps, size)

    def take(self, steps: npt.NDArray[np.int64]) -> Iterator[Block]:
        """Game by game."""
        return self._read(np.sort(steps), STACKS)

    def _read(self, steps: npt.NDArray[np.int64], size: int) -> Iterator[Block]:
        """Some steps in order; of their games no more rows are touched than a block needs."""
        small, history = min(size, STACKS), self.spaces.stack - 1
        for number, own in enumerate(np.split(steps, np.searchsorted(steps, self.ends[:-1]))):
            in_game = own - (self.ends[number - 1] if number else 0)
            for start in range(0, len(in_game), small):
                block = in_game[start : start + small]
                first = max(0, block[0] - history)
                rows = FrameReplay.of(self.spaces, self.open_game(number)[first : block[-1] + 2])
                batch = rows.take(block - first)
                yield batch.observations[0].numpy(), batch.actions[0].numpy()
