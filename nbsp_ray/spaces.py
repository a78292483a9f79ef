"""The three axes of a benchmark: what is observed, how one acts, and what an episode is judged by.

They are independent. The encoder and the buffer follow the observation, the policy and its losses follow the action,
and the criterion q of the scores, the numbers of tables and their words follow what is judged.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

Convolutions = tuple[tuple[int, int, int], ...]
"""Channels, kernel and stride of each convolution, input side first."""
NATURE_CONVOLUTIONS: Convolutions = ((32, 8, 4), (64, 4, 2), (64, 3, 1))
"""Table 2's network for Atari (Mnih et al. 2015)."""


@dataclass(frozen=True)
class Vector:
    """An observation is a float32 vector (size,)."""

    size: int

    def __str__(self) -> str:
        return f"{self.size} observations"


@dataclass(frozen=True)
class Frames:
    """An observation is a stack of grey uint8 frames (stack, height, width), the newest last."""

    frame: tuple[int, int] = (84, 84)
    """Height and width."""
    stack: int = 4
    convolutions: Convolutions = NATURE_CONVOLUTIONS

    def __str__(self) -> str:
        return f"{self.stack} frames of {self.frame[0]} x {self.frame[1]}"


@dataclass(frozen=True)
class Continuous:
    """An action is a float32 vector in [-1, 1]^size."""

    size: int

    @property
    def width(self) -> int:
        """Numbers that one action is kept as."""
        return self.size

    @property
    def nbytes(self) -> int:
        """Bytes of one action in a row of bytes."""
        return 4 * self.size

    def kept(self, action: npt.ArrayLike) -> npt.NDArray[Any]:
        """An action as it is kept there."""
        return np.asarray(action, np.float32)

    def __str__(self) -> str:
        return f"{self.size} actions"


@dataclass(frozen=True)
class Discrete:
    """An action is one of the numbers 0, ..., size - 1."""

    size: int
    width: ClassVar[int] = 1

    @property
    def nbytes(self) -> int:
        """Bytes of one action in a row of bytes: as few as all of them fit into."""
        return 1 if self.size <= 256 else 4

    def kept(self, action: npt.ArrayLike) -> npt.NDArray[Any]:
        """An action as it is kept there."""
        return np.asarray(action, np.uint8 if self.nbytes == 1 else np.int32)

    def __str__(self) -> str:
        return f"{self.size} discrete actions"


@dataclass(frozen=True)
class Spaces:
    """The observations and actions of a task, which its networks and buffers must fit."""

    observation: Vector | Frames
    action: Continuous | Discrete
    clipped_rewards: bool = False
    """All rewards are -1, 0 or 1, as Atari's are: a buffer of frames keeps them in one byte each."""

    def __str__(self) -> str:
        return f"{self.observation} and {self.action}"


@dataclass(frozen=True)
class Success:
    """An episode is judged by its success flag: it succeeds if any of its steps has it. q is the flag of each step."""

    kind: ClassVar[Literal["success", "score"]] = "success"

    def normalised(self, task: str, score: float) -> float | None:
        """Not known: a success rate needs no scale."""
        return None


@dataclass(frozen=True)
class Score:
    """An episode is judged by the sum of its scores. q is, at each step, the score of the whole episode."""

    references: Mapping[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])
    """By task, the score that is 0 on the normalised scale and the one that is 1: random play's and a human's (Eq. 8);
    tasks without them have raw scores only."""
    meaning: tuple[str, str] = ("random play", "a human")
    """The names of the players who have these two scores, for people."""
    kind: ClassVar[Literal["success", "score"]] = "score"

    def normalised(self, task: str, score: float) -> float | None:
        """(score - random) / (human - random), Eq. 8; None where there are no reference scores."""
        if task not in self.references:
            return None
        zero, one = self.references[task]
        return (score - zero) / (one - zero)
