"""Benchmarks: which tasks there are, and how to make an environment of one.

A benchmark is one file with a `BENCHMARK`: in this folder, or in any package that names it in the entry point group
`nbsp_ray.benchmarks`. It is read by `plan` and `status`, so its module must import neither torch nor the simulator;
`make_env` does that.
"""

import importlib
import importlib.util
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from functools import cache
from importlib import metadata
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nbsp_ray.config.schema import Sac
from nbsp_ray.errors import ConfigError, NbspError, did_you_mean
from nbsp_ray.spaces import (
    NATURE_CONVOLUTIONS,
    Continuous,
    Convolutions,
    Discrete,
    Frames,
    Score,
    Spaces,
    Success,
    Vector,
)

__all__ = [
    "ENTRY_POINTS",
    "NATURE_CONVOLUTIONS",
    "Action",
    "Benchmark",
    "Continuous",
    "Convolutions",
    "Discrete",
    "Env",
    "Frames",
    "Observation",
    "Picture",
    "Score",
    "Spaces",
    "Step",
    "Success",
    "Vector",
    "benchmarks",
    "get_benchmark",
    "register_benchmark",
    "version_of",
]
Observation = npt.NDArray[Any]
"""A float32 vector (O,), or stacked uint8 frames (stack, height, width), the newest last."""
Action = npt.NDArray[Any] | np.integer[Any]
"""A float32 vector in [-1, 1]^A, or the number of a discrete action."""
Picture = npt.NDArray[np.uint8]
"""Red, green and blue, (height, width, 3)."""
ENTRY_POINTS = "nbsp_ray.benchmarks"
"""The group of entry points in which other packages name their benchmarks."""


class Step(NamedTuple):
    """The answer of an environment to one action."""

    observation: Observation
    reward: float
    """The reward that is learnt from; Atari clips it to its sign."""
    terminated: bool
    """The return ended in the task's own sense: no value beyond it."""
    truncated: bool
    """The time limit: the return goes on beyond it, unseen."""
    success: bool | None
    """The task's own success flag at this step; None where a task is judged by its score."""
    score: float | None = None
    """The summand of the episode's return, where that is not what is learnt from; None: `reward` itself."""
    resumes: Observation | None = None
    """After a lost life, what the agent sees next of the same episode: the return ended, the episode did not."""

    @property
    def ends(self) -> bool:
        """Whether the episode is over (in Atari the whole game)."""
        return self.truncated or (self.terminated and self.resumes is None)

    @property
    def points(self) -> float:
        """The summand of the episode's return."""
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
        """A picture of what a person would see now.

        Raises:
            NbspError: this machine cannot draw it.
        """
        raise NbspError(f"{type(self).__name__} has no picture to film; override its `picture`")

    def close(self) -> None:  # noqa: B027 - most have nothing to give back
        """Give back what pictures took."""


class Benchmark(ABC):
    """A family of tasks that are judged alike."""

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
    judged_by: Success | Score = Success()
    """The judge of an episode: its success flag, or the sum of its scores."""
    noun: str = "task"
    """The word for a task in tables and figures."""
    packages: tuple[str, ...] = ()
    """Distributions that its environments need; their versions stand beside every result."""
    extra: str = ""
    """The optional extra of this package that installs them, if they are not among its dependencies."""
    pace: float = 10.0
    """Env steps in a second of a film in real time."""
    heldout: bool = True
    """Whether there are other variations than those of training."""

    @abstractmethod
    def spaces(self) -> Mapping[str, Spaces]:
        """The spaces of every task, by its name; one encoder for all of them."""

    @abstractmethod
    def make_env(self, task: str, seed: int, *, heldout: bool = False) -> Env:
        """An environment whose variations are a function of `seed`; `heldout` gives others than training's."""

    def prepare_pictures(self) -> None:  # noqa: B027 - most have nothing to prepare
        """Make this process able to draw, before an environment is made.

        Raises:
            NbspError: this machine cannot draw.
        """

    def layers(self, sac: Sac) -> tuple[int, ...]:
        """Neurons of each hidden layer, input side first: the same for the actor and each Q, and for all tasks."""
        from nbsp_ray.layout import layouts

        return layouts(next(iter(self.spaces().values())), sac.hidden)["critic"].layers

    def normalised(self, task: str, score: float) -> float | None:
        """A score on the scale of the reference scores (Eq. 8); None where there are none."""
        return self.judged_by.normalised(task, score)

    @property
    def how_to_install(self) -> str:
        """For people without its packages."""
        extra = f"[{self.extra}]" if self.extra else ""
        return f"install nbsp-ray{extra} with its dependencies" + ("" if extra else ": make setup")

    def check_installed(self, tasks: Collection[str] = ()) -> None:
        """Its simulator, the first of its packages, is here; it is not imported, which would take seconds.

        Args:
            tasks: Those that files of their own belong to, where tasks have some.

        Raises:
            ConfigError: it is not.
        """
        for name in self.packages[:1]:
            if version_of(name) is None and importlib.util.find_spec(name.replace("-", "_")) is None:
                raise self._needs(name)

    def _needs(self, name: str | None) -> ConfigError:
        return ConfigError(f"{self.name} needs {name}, which is not here: {self.how_to_install}")

    def check(self, task: str) -> None:
        """An environment of `task` can be made here, and its steps have what episodes are judged by.

        Raises:
            ConfigError: not so, and then neither a table nor a neuron's score could come of learning it.
        """
        action = self.task_spaces(task).action
        try:
            env = self.make_env(task, 0)
        except ModuleNotFoundError as error:
            raise self._needs(error.name) from error
        env.reset(0, np.random.default_rng(0))
        step = env.step(np.zeros(action.size, np.float32) if isinstance(action, Continuous) else np.int64(0))
        env.close()
        if isinstance(self.judged_by, Success) and step.success is None:
            raise ConfigError(
                f"{self.name} is judged by success, and a step of {task} gives no success flag, so that no episode "
                "could succeed and no neuron be scored: give `Step.success` at every step, or set `judged_by = Score()`"
            )
        if isinstance(self.judged_by, Score) and step.success is not None:
            raise ConfigError(
                f"{self.name} is judged by its score, and a step of {task} gives a success flag, at which evaluations "
                "would stop: give None as `Step.success`, or set `judged_by = Success()`"
            )

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
                    f"one network cannot serve {first} > {second}: {first} has {one}, {second} {other}; "
                    "choose tasks with equal spaces"
                )


@cache
def version_of(distribution: str) -> str | None:
    """The installed version; None if it is not installed, or without metadata."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


@cache
def benchmarks() -> dict[str, Benchmark]:
    """All benchmarks by name: those of this folder, those that other packages name as entry points, those registered.

    Raises:
        ConfigError: an entry point cannot be loaded, or two benchmarks have one name.
    """
    found: dict[str, Benchmark] = {}
    for module in pkgutil.iter_modules(__path__):
        benchmark = getattr(importlib.import_module(f"{__name__}.{module.name}"), "BENCHMARK", None)
        if benchmark is not None:
            _add(found, benchmark)
    for entry in metadata.entry_points(group=ENTRY_POINTS):
        try:
            benchmark = entry.load()
        except Exception as error:  # whatever the other package raises
            raise ConfigError(
                f"the benchmark {entry.name} ({entry.value}) of an installed package cannot be loaded "
                f"({type(error).__name__}: {error}); mend that package or uninstall it"
            ) from error
        _add(found, benchmark)
    return found


def register_benchmark(benchmark: Benchmark) -> None:
    """Make a benchmark known in this process, as in a notebook or a test; entry points make it known in all.

    Raises:
        ConfigError: another one has its name.
    """
    _add(benchmarks(), benchmark)


def _add(found: dict[str, Benchmark], benchmark: Benchmark) -> None:
    if not isinstance(benchmark, Benchmark):
        raise ConfigError(f"{benchmark!r} is no benchmark: it must be an instance of a subclass of Benchmark")
    if found.setdefault(benchmark.name, benchmark) is not benchmark:
        raise ConfigError(f"there are two benchmarks {benchmark.name!r}; give one of them another name")


def get_benchmark(name: str) -> Benchmark:
    """The benchmark of that name.

    Raises:
        ConfigError: there is none.
    """
    known = benchmarks()
    if name not in known:
        raise ConfigError(f"no benchmark {name!r}{did_you_mean(name, known)}; there are {', '.join(sorted(known))}")
    return known[name]
