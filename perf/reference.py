"""The CleanRL-style references as contenders."""

import time
from collections.abc import Iterator
from itertools import islice

import cleanrl_style
import cleanrl_style_atari
import numpy as np
from contenders import (
    ACTIONS,
    BUFFER,
    OBSERVATIONS,
    PIXEL_ACTIONS,
    PIXEL_BATCH,
    PIXEL_PREFILLED,
    PREFILLED,
    Entry,
    make_env,
    timed,
    transitions,
)

from nbsp_ray.benchmarks import Continuous, Spaces, Vector
from nbsp_ray.config.schema import Sac


class Cleanrl:
    """The reference of cleanrl_style.py."""

    def __init__(self, entry: Entry, hidden: tuple[int, ...], learning_starts: int, filled: bool) -> None:
        spaces = Spaces(Vector(OBSERVATIONS), Continuous(ACTIONS))
        self.agent = cleanrl_style.Reference(spaces, Sac(hidden=hidden, learning_starts=learning_starts), seed=0)
        self.buffer = cleanrl_style.Buffer(spaces, BUFFER)
        if filled:
            for transition in transitions(PREFILLED):
                self.buffer.add(*transition)
        self._loop: Iterator[int] | None = None

    def updates(self, seconds: float) -> tuple[float, float]:
        return timed(lambda count: [self.agent.update(self.buffer) for _ in range(count)], seconds)

    def steps(self, env_steps: int) -> tuple[float, float]:
        self._loop = self._loop or cleanrl_style.learn(self.agent, make_env(), self.buffer)
        start = time.perf_counter()
        return len(list(islice(self._loop, env_steps))), time.perf_counter() - start

    def first_update(self) -> None:
        self.steps(self.agent.sac.learning_starts)


class Pixels:
    """The reference of cleanrl_style_atari.py."""

    def __init__(self, entry: Entry) -> None:
        rates = {"actor_lr": 1e-4, "critic_lr": 1e-4, "alpha_lr": 1e-4, "adam_eps": 1e-4}
        # The reference counts updates, one every four env steps.
        sac = Sac(batch_size=PIXEL_BATCH, target_period=2_000, target_entropy_scale=0.89, **rates)
        self.agent = cleanrl_style_atari.Reference(PIXEL_ACTIONS, sac, seed=0)
        self.buffer = cleanrl_style_atari.Buffer(PIXEL_PREFILLED, PIXEL_ACTIONS, np.random.default_rng(0))

    def updates(self, seconds: float) -> tuple[float, float]:
        return timed(lambda count: [self.agent.update(self.buffer) for _ in range(count)], seconds, 1)


CONTENDERS = {"cleanrl": Cleanrl}
