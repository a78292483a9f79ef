"""Playing episodes with a policy that does not learn.

Each episode is a function of its number: its goal and its noise come from a generator of its own. An evaluation has
its own environment, so that it leaves no trace in training.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from nbsp_ray.benchmarks import Env
from nbsp_ray.learning.acting import Policy
from nbsp_ray.learning.rollouts import Recorder


class MakeEnv(Protocol):
    """Makes an environment, as `Benchmark.make_env`."""

    def __call__(self, task: str, seed: int, *, heldout: bool = False) -> Env:
        """Of a task, with variations that are a function of the seed."""


@dataclass(frozen=True)
class EpisodePlan:
    """Which variation an episode plays, and its only source of chance."""

    variation: int
    generator: np.random.Generator


@dataclass(frozen=True)
class Episode:
    """How one episode went."""

    success: bool | None
    """The success flag was set at any step (the benchmark's own rule); None where tasks are judged by their score."""
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
    recorder: Recorder | None = None,
) -> Episode:
    """Play one episode. `stop_at_success` cannot change its success, and saves the time after it."""
    observation = env.reset(plan.variation, plan.generator)
    success, total, env_steps = None, 0.0, 0
    while True:
        action = policy(observation, None if deterministic else policy.noise(plan.generator))
        step = env.step(action)
        if recorder is not None:
            recorder.add(observation, action, step)
        if step.success is not None:
            success = bool(success or step.success)
        total += step.points
        env_steps += 1
        observation = step.observation if step.resumes is None else step.resumes
        if step.ends:
            if recorder is not None:
                recorder.end_episode(total)
            return Episode(success, total, env_steps)
        if success and stop_at_success:
            return Episode(True, None, env_steps)


def success_rate(episodes: Sequence[Episode]) -> float | None:
    """Share of successful episodes (Eq. 7); None where there is no success flag."""
    flags = [episode.success for episode in episodes if episode.success is not None]
    return float(np.mean(flags)) if flags else None


def mean_return(episodes: Sequence[Episode]) -> float | None:
    """Mean return of whole episodes; None if any was cut at success."""
    returns = [episode.env_return for episode in episodes if episode.env_return is not None]
    return float(np.mean(returns)) if len(returns) == len(episodes) else None
