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
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nbsp_ray.config import Sac
from nbsp_ray.errors import ConfigError, did_you_mean

Observation = npt.NDArray[np.float32]
Action = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Spaces:
    """What a network must fit: an observation vector and a continuous action in [-1, 1]^actions."""

    observations: int
    actions: int


class Step(NamedTuple):
    """What one env step gives back."""

    observation: Observation
    reward: float
    terminated: bool
    """The episode ended in the task's own sense: no value beyond it."""
    truncated: bool
    """The time limit: the return goes on beyond it, unseen."""
    success: bool
    """The task's own success flag at this step."""


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
        """One env step with `action` in [-1, 1]^actions."""


class Benchmark(ABC):
    """A family of tasks with a common measure."""

    name: str
    pairs: tuple[tuple[str, str], ...]
    """The pairs that the paper compares methods on."""
    defaults: Mapping[str, Any]
    """Settings that differ from the schema's defaults, nested as in a sweep file."""
    horizon: int
    """Env steps of the longest episode."""
    revision: str
    """Whatever of the simulator and its rewards changes numbers; part of every key."""

    @abstractmethod
    def spaces(self) -> Mapping[str, Spaces]:
        """The spaces of every task, by its name."""

    @abstractmethod
    def make_env(self, task: str, seed: int, *, heldout: bool = False) -> Env:
        """An environment whose variations are a function of `seed`; `heldout` gives others than training's."""

    def layers(self, sac: Sac) -> tuple[int, ...]:
        """Neurons of each hidden layer, input side first: the same for the actor and each Q."""
        return sac.hidden

    def task_spaces(self, task: str) -> Spaces:
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
                    f"one network cannot serve {first} > {second}: {first} has {one.observations} observations and "
                    f"{one.actions} actions, {second} {other.observations} and {other.actions}; "
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
