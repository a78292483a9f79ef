"""Playing episodes with a policy that does not learn.

Each episode is a function of its number: its goal and its noise come from a generator of its own. An evaluation has
its own environment, so that it leaves no trace in training.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from nbsp_ray.benchmarks import Env, Observation

Act = Callable[[Observation, npt.NDArray[np.float32] | None], npt.NDArray[np.float32]]


@dataclass(frozen=True)
class EpisodePlan:
    """Which variation an episode plays, and its only source of chance."""

    variation: int
    generator: np.random.Generator


@dataclass
class Rollouts:
    """Every step of some episodes: what neurons are scored on. T steps in all."""

    observations: list[npt.NDArray[np.float32]] = field(default_factory=list[npt.NDArray[np.float32]])
    actions: list[npt.NDArray[np.float32]] = field(default_factory=list[npt.NDArray[np.float32]])
    success: list[bool] = field(default_factory=list[bool])

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """observations (T, O), actions (T, A), success (T,)."""
        return {
            "observations": np.stack(self.observations),
            "actions": np.stack(self.actions),
            "success": np.asarray(self.success, dtype=np.bool_),
        }


@dataclass(frozen=True)
class Episode:
    """How one episode went."""

    success: bool
    """The success flag was set at any step (the benchmark's own rule)."""
    env_return: float | None
    """Sum of rewards; None if the episode was cut at success."""
    env_steps: int


def play(
    act: Act,
    env: Env,
    plan: EpisodePlan,
    *,
    actions: int,
    deterministic: bool = False,
    stop_at_success: bool = False,
    rollouts: Rollouts | None = None,
) -> Episode:
    """Play one episode. `stop_at_success` cannot change its success, and saves the time after it."""
    observation = env.reset(plan.variation, plan.generator)
    success, total, env_steps = False, 0.0, 0
    while True:
        noise = None if deterministic else plan.generator.standard_normal(actions, dtype=np.float32)
        action = act(observation, noise)
        step = env.step(action)
        if rollouts is not None:
            rollouts.observations.append(observation)
            rollouts.actions.append(action)
            rollouts.success.append(step.success)
        success |= step.success
        total += step.reward
        env_steps += 1
        observation = step.observation
        if step.terminated or step.truncated:
            return Episode(success, total, env_steps)
        if success and stop_at_success:
            return Episode(True, None, env_steps)


def success_rate(episodes: list[Episode]) -> float:
    """Share of successful episodes (Eq. 7)."""
    return float(np.mean([episode.success for episode in episodes]))
