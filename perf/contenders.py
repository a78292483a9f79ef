"""Who is measured: the same few calls on each implementation.

A contender is made in a process of its own (worker.py) and offers `updates(seconds)` or `steps(env_steps)`. All have
the same sizes, batch, buffer and schedule: one update per env step, on one thread.
"""

import importlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

TASKS = ("drawer-close", "drawer-open")
OBSERVATIONS, ACTIONS, BATCH, BUFFER = 39, 4, 256, 1_000_000
PREFILLED = 20_000
PIXEL_ACTIONS, PIXEL_BATCH, PIXEL_PREFILLED = 6, 64, 2_000
EPISODE = 100
"""Env steps of an episode where steps are timed: short, as a phase of ours stands still at the end of one only."""
AT_A_TIME = 2
"""Updates per call: an actor's delay of two updates makes them come in twos."""


class Contender(Protocol):
    """One implementation at work."""

    def updates(self, seconds: float) -> tuple[float, float]:
        """(updates made in at least `seconds`, the seconds it took), batches drawn from a filled buffer."""

    def steps(self, env_steps: int) -> tuple[float, float]:
        """(env steps made, the seconds it took), acting, storing and learning."""


@dataclass(frozen=True)
class Entry:
    """A row of the table."""

    name: str
    kind: str
    """Its class in the `CONTENDERS` of its module."""
    precision: str = "fp32"
    """Which floor it is measured over."""
    settings: dict[str, Any] = field(default_factory=dict[str, Any])
    """Ours: settings that differ from the defaults, by their dotted names."""

    @property
    def module(self) -> str:
        """The module that makes it."""
        return {"ours": "ours", "cleanrl": "reference"}.get(self.kind.removesuffix("-pixels"), "peers")

    @property
    def venv(self) -> str:
        """The virtual environment it runs in."""
        return ".venv-perf" if self.module == "peers" else ".venv"


ENTRIES = {
    "cleanrl": Entry("CleanRL-style reference (perf/cleanrl_style.py)", "cleanrl"),
    "sb3": Entry("stable-baselines3", "sb3"),
    "sbx": Entry("SBX (JAX)", "sbx"),
    "ours": Entry("ours, eager", "ours", settings={"resources.compile": False}),
    "ours-compiled": Entry("ours, compiled", "ours", settings={"resources.compile": True}),
    "ours-bf16": Entry("ours, compiled, bf16", "ours", "bf16", {"resources.compile": True, "sac.precision": "bf16"}),
    "ours-bf16-eager": Entry(
        "ours, eager, bf16", "ours", "bf16", {"resources.compile": False, "sac.precision": "bf16"}
    ),
}
PIXEL_ENTRIES = {
    "cleanrl-pixels": Entry("CleanRL-style reference (perf/cleanrl_style_atari.py)", "cleanrl-pixels"),
    "ours-pixels": Entry("ours, eager", "ours-pixels", settings={"resources.compile": False}),
    "ours-pixels-compiled": Entry("ours, compiled", "ours-pixels", settings={"resources.compile": True}),
    "ours-pixels-bf16": Entry(
        "ours, compiled, bf16", "ours-pixels", "bf16", {"resources.compile": True, "sac.precision": "bf16"}
    ),
}
LEARNING_STARTS = {"updates": 0, "steps": 500, "startup": 256}
"""Random env steps before the first update."""


def timed(update: Callable[[int], object], seconds: float, at_a_time: int = AT_A_TIME) -> tuple[float, float]:
    """Call `update(at_a_time)` until the time is over."""
    done, start = 0, time.perf_counter()
    while (taken := time.perf_counter() - start) < seconds:
        update(at_a_time)
        done += at_a_time
    return done, taken


def transitions(count: int) -> Iterator[tuple[Any, ...]]:
    """(s, a, r, s', terminated), the same for all: what is in them does not change the time an update takes."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        observation, following = rng.standard_normal((2, OBSERVATIONS)).astype(np.float32)
        action = rng.uniform(-1, 1, ACTIONS).astype(np.float32)
        yield observation, action, float(rng.random()), following, False


def make_env(task: str = TASKS[0]) -> Any:
    """The one environment that all contenders play: ours, without any wrapper."""
    from nbsp_ray.benchmarks import get_benchmark

    env = get_benchmark("metaworld").make_env(task, 0)
    env.horizon = EPISODE
    return env


def make(name: str, mode: str, hidden: tuple[int, ...]) -> Any:
    """The contender `name`, for `updates` (a filled buffer), `steps` or `startup`."""
    if name.startswith("gemm-"):
        from flops import Gemm

        return Gemm(name.removeprefix("gemm-"))
    entry = (ENTRIES | PIXEL_ENTRIES)[name]
    module = importlib.import_module(entry.module)
    if name in PIXEL_ENTRIES:
        return module.Pixels(entry)
    return module.CONTENDERS[entry.kind](entry, hidden, LEARNING_STARTS[mode], mode == "updates")
