"""Playing episodes with a policy that does not learn.

Each episode is a function of its number: its goal and its noise come from a generator of its own. An evaluation has
its own environment, so that it leaves no trace in training.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from nbsp_ray.benchmarks import Action, AnySpaces, Env, Observation, PixelSpaces, Step
from nbsp_ray.learning.acting import Policy
from nbsp_ray.learning.frames import FIRST, NO_TRANSITION, FrameReplay


@dataclass(frozen=True)
class EpisodePlan:
    """Which variation an episode plays, and its only source of chance."""

    variation: int
    generator: np.random.Generator


Block = tuple[Observation, npt.NDArray[Any]]
"""Observations and actions of consecutive steps, each with a leading axis of steps."""


@dataclass
class Recorder:
    """Keeps every step of some episodes; one store piece at a time where observations are frames."""

    spaces: AnySpaces
    observations: list[Observation] = field(default_factory=list[Observation])
    actions: list[Action] = field(default_factory=list[Action])
    success: list[bool] = field(default_factory=list[bool])
    begins: list[bool] = field(default_factory=list[bool])

    def add(self, observation: Observation, action: Action, step: Step) -> None:
        """Keep one step; of stacked frames the newest."""
        pixels = isinstance(self.spaces, PixelSpaces)
        self.observations.append(observation[-1] if pixels else observation)
        self.actions.append(action)
        self.success.append(bool(step.success))
        self.begins += [step.resumes is not None] if self.begins else [True, step.resumes is not None]

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """observations (T, O), actions (T, A), success (T,)."""
        return {
            "observations": np.stack(self.observations),
            "actions": np.stack(self.actions),
            "success": np.asarray(self.success, dtype=np.bool_),
        }

    def take_rows(self) -> npt.NDArray[np.uint8]:
        """The steps of one game as rows of a `FrameReplay`, the last without a transition; and forget them."""
        count = len(self.observations)
        fields = np.zeros((count, 4), dtype=np.uint8)
        fields[:, 0] = self.actions
        fields[:, 3] = FIRST * np.asarray(self.begins[:count])
        rows = np.concatenate([np.stack(self.observations).reshape(count, -1), fields], axis=1)
        tail = rows[-1:].copy()
        tail[:, -1] = NO_TRANSITION
        self.__init__(self.spaces)  # type: ignore[misc]
        return np.concatenate([rows, tail])


@dataclass(frozen=True)
class Rollouts:
    """Every step of the final evaluation of a phase: what neurons are scored on. T steps in all."""

    criterion: npt.NDArray[np.float64]
    """q (T,): the step's success flag, or the raw return of the game that it belongs to."""

    def blocks(self, size: int) -> Iterator[Block]:
        """All steps in order, at most `size` at once."""
        raise NotImplementedError

    def take(self, steps: npt.NDArray[np.int64]) -> Block:
        """Some steps."""
        raise NotImplementedError


@dataclass(frozen=True)
class VectorRollouts(Rollouts):
    """Of observation vectors."""

    observations: Observation
    """(T, O)"""
    actions: npt.NDArray[Any]
    """(T, A)"""

    def blocks(self, size: int) -> Iterator[Block]:
        """Slices."""
        for start in range(0, len(self.criterion), size):
            yield self.observations[start : start + size], self.actions[start : start + size]

    def take(self, steps: npt.NDArray[np.int64]) -> Block:
        """Some steps."""
        return self.observations[steps], self.actions[steps]


@dataclass(frozen=True)
class GameRollouts(Rollouts):
    """Of frames: rows of one buffer for each game, mapped from the disk and stacked when they are read."""

    games: Sequence[FrameReplay]

    def blocks(self, size: int) -> Iterator[Block]:
        """Blocks that end with a game."""
        small = min(size, 256)  # A stack of frames is 28 kB.
        for game in self.games:
            for start in range(0, len(game), small):
                numbers = np.arange(start, min(start + small, len(game)))
                yield game.observations(numbers), numbers

    def take(self, steps: npt.NDArray[np.int64]) -> Block:
        """Some steps."""
        ends = np.cumsum([len(game) for game in self.games])
        game = np.searchsorted(ends, steps, side="right")
        starts = np.concatenate([[0], ends[:-1]])
        frames = [
            self.games[g].observations(np.array([step - starts[g]]))[0] for g, step in zip(game, steps, strict=True)
        ]
        return np.stack(frames), steps


@dataclass(frozen=True)
class Episode:
    """How one episode went."""

    success: bool | None
    """The success flag was set at any step (the benchmark's own rule); None where there is no such flag."""
    env_return: float | None
    """Sum of rewards, of scores before clipping; None if the episode was cut at success."""
    env_steps: int


def play(
    policy: Policy,
    env: Env,
    plan: EpisodePlan,
    *,
    deterministic: bool = False,
    stop_at_success: bool = False,
    rollouts: Recorder | None = None,
) -> Episode:
    """Play one episode. `stop_at_success` cannot change its success, and saves the time after it."""
    observation = env.reset(plan.variation, plan.generator)
    success, total, env_steps = None, 0.0, 0
    while True:
        action = policy(observation, None if deterministic else policy.noise(plan.generator))
        step = env.step(action)
        if rollouts is not None:
            rollouts.add(observation, action, step)
        if step.success is not None:
            success = bool(success or step.success)
        total += step.points
        env_steps += 1
        observation = step.observation if step.resumes is None else step.resumes
        if step.ends:
            return Episode(success, total, env_steps)
        if success and stop_at_success:
            return Episode(True, None, env_steps)


def success_rate(episodes: list[Episode]) -> float | None:
    """Share of successful episodes (Eq. 7); None where there is no success flag."""
    flags = [episode.success for episode in episodes if episode.success is not None]
    return float(np.mean(flags)) if flags else None


def mean_return(episodes: list[Episode]) -> float | None:
    """Mean return of whole episodes; None if any was cut at success."""
    returns = [episode.env_return for episode in episodes if episode.env_return is not None]
    return float(np.mean(returns)) if len(returns) == len(episodes) else None
