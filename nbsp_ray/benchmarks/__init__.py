"""Benchmarks: which tasks there are, and how to make an environment of one.

A benchmark is one file in this folder with a `BENCHMARK`. It is read by `plan` and `status`, so its
module must import neither torch nor the simulator; `make_env` does that.
"""

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from nbsp_ray.config.schema import Sac
from nbsp_ray.errors import ConfigError, NbspError, did_you_mean

Observation = npt.NDArray[Any]
"""A float32 vector (O,), or stacked uint8 frames (stack, height, width), the newest last."""
Action = npt.NDArray[Any] | np.integer[Any]
"""A float32 vector in [-1, 1]^A, or the number of a discrete action."""
Picture = npt.NDArray[np.uint8]
"""Red, green and blue, (height, width, 3)."""
Convolutions = tuple[tuple[int, int, int], ...]
"""Channels, kernel and stride of each convolution, input side first."""
NATURE_CONVOLUTIONS: Convolutions = ((32, 8, 4), (64, 4, 2), (64, 3, 1))
"""Table 2's network for Atari (Mnih et al. 2015)."""


@dataclass(frozen=True)
class Spaces:
    """What a network must fit: an observation vector and a continuous action in [-1, 1]^actions."""

    observations: int
    actions: int

    @property
    def seen(self) -> str:
        """An observation, for people."""
        return str(self.observations)

    def __str__(self) -> str:
        return f"{self.observations} observations and {self.actions} actions"


@dataclass(frozen=True)
class PixelSpaces:
    """What a convolutional network must fit: stacked grey frames and a choice of `actions` actions."""

    actions: int
    frame: tuple[int, int] = (84, 84)
    """Height and width."""
    stack: int = 4
    convolutions: Convolutions = NATURE_CONVOLUTIONS

    @property
    def seen(self) -> str:
        """An observation, for people."""
        return f"{self.stack} frames of {self.frame[0]} x {self.frame[1]}"

    def __str__(self) -> str:
        return f"{self.seen} and {self.actions} discrete actions"


AnySpaces = Spaces | PixelSpaces


class Step(NamedTuple):
    """What one env step gives back."""

    observation: Observation
    reward: float
    """What is learnt from; Atari clips it to its sign."""
    terminated: bool
    """The return ended in the task's own sense: no value beyond it."""
    truncated: bool
    """The time limit: the return goes on beyond it, unseen."""
    success: bool | None
    """The task's own success flag at this step; None where a task is measured by its score."""
    score: float | None = None
    """The reward before clipping, which a game's return is the sum of; None: `reward` itself."""
    resumes: Observation | None = None
    """After a lost life, what the agent sees of the same game next: the return ended, the episode did not."""

    @property
    def ends(self) -> bool:
        """Whether the episode (a whole game) is over."""
        return self.truncated or (self.terminated and self.resumes is None)

    @property
    def points(self) -> float:
        """What the episode's return is the sum of."""
        return self.reward if self.score is None else self.score


class Env(ABC):
    """One task. An episode is a function of `reset`'s arguments and the actions, whatever ran before."""

    variations: int
    """Task variations (goals) that `reset` can choose from."""
    horizon: int
    """Env steps of the longest episode."""

    @abstractmethod
    def reset(self, variation: int, rng: np.random.Generator) -> Observation:
        """Start an episode of the given variation in [0, variations); `rng` is its only source of chance."""

    @abstractmethod
    def step(self, action: Action) -> Step:
        """One env step with `action` in [-1, 1]^actions, or with action number `action`."""

    def picture(self) -> Picture:
        """What a person would see now.

        Raises:
            NbspError: this machine cannot draw it.
        """
        raise NbspError(f"{type(self).__name__} has no picture to film; override its `picture`")

    def close(self) -> None:  # noqa: B027 - most have nothing to give back
        """Give back what pictures took."""


class Benchmark(ABC):
    """A family of tasks with a common measure."""

    name: str
    pairs: tuple[tuple[str, str], ...]
    """The pairs that the paper compares methods on."""
    defaults: Mapping[str, Any]
    """Settings that differ from the schema's defaults, nested as in a sweep file."""
    horizon: int
    """Env steps of the longest episode."""
    variations: int
    """Task variations that each of its environments can choose from."""
    revision: str
    """Whatever of the simulator and its rewards changes numbers; part of every key."""
    measure: Literal["success", "score"] = "success"
    """What an episode is judged by: its success flag, or the sum of its scores."""
    pace: float = 10.0
    """Env steps in a second of a film in real time."""
    heldout: bool = True
    """Whether there are other variations than those of training."""
    convolutions: Convolutions = ()
    """Of the networks, before their fully connected layers."""

    @abstractmethod
    def spaces(self) -> Mapping[str, AnySpaces]:
        """The spaces of every task, by its name."""

    @abstractmethod
    def make_env(self, task: str, seed: int, *, heldout: bool = False) -> Env:
        """An environment whose variations are a function of `seed`; `heldout` gives others than training's."""

    def layers(self, sac: Sac) -> tuple[int, ...]:
        """Neurons of each hidden layer, input side first: the same for the actor and each Q."""
        return (*(channels for channels, _, _ in self.convolutions), *sac.hidden)

    def normalised(self, task: str, score: float) -> float | None:
        """A score on the scale where random play is 0 and a human 1; None where there is no such reference."""
        return None

    def task_spaces(self, task: str) -> AnySpaces:
        """Spaces of one task.

        Raises:
            ConfigError: no such task.
        """
        known = self.spaces()
        if task not in known:
            raise ConfigError(
                f"{task!r} is not a task of {self.name}{did_you_mean(task, known)}; "
                f"`nbsp-ray explain {self.name}` lists them"
            )
        return known[task]

    def check_sequence(self, tasks: tuple[str, ...]) -> None:
        """One network must serve all `tasks`, and there must be something to forget.

        Raises:
            ConfigError: an unknown task, a task followed by itself, or spaces that differ.
        """
        spaces = [self.task_spaces(task) for task in tasks]
        for (first, one), (second, other) in zip(
            zip(tasks, spaces, strict=True), zip(tasks[1:], spaces[1:], strict=True), strict=False
        ):
            if first == second:
                raise ConfigError(f"the pair {first} > {second} learns the same task twice; name two tasks")
            if one != other:
                raise ConfigError(
                    f"one network cannot serve {first} > {second}: {first} has {one}, {second} {other}; "
                    "choose tasks with equal spaces"
                )


@cache
def benchmarks() -> dict[str, Benchmark]:
    """All benchmarks by name: every module of this folder that has a `BENCHMARK`."""
    found: dict[str, Benchmark] = {}
    for module in pkgutil.iter_modules(__path__):
        benchmark = getattr(importlib.import_module(f"{__name__}.{module.name}"), "BENCHMARK", None)
        if benchmark is not None:
            found[benchmark.name] = benchmark
    return found


def get_benchmark(name: str) -> Benchmark:
    """The benchmark of that name.

    Raises:
        ConfigError: there is none.
    """
    known = benchmarks()
    if name not in known:
        raise ConfigError(f"no benchmark {name!r}{did_you_mean(name, known)}; there are {', '.join(sorted(known))}")
    return known[name]
