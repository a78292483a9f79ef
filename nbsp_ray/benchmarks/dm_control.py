"""DeepMind Control Suite: continuous control from vectors, judged by the score of an episode.

Traps of dm_control 1.0.28, each with a test:

* A task keeps one generator for all its episodes, so that an episode hangs on those before it: each gets its own here.
* Its rewards lie in [0, 1] and an episode has 1,000 env steps, so that a score lies in [0, 1000] without a human's.
* It looks for a screen when it is imported, and complains where there is none: only films let it look.
"""

import os
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from nbsp_ray.benchmarks import Action, Benchmark, Continuous, Env, Observation, Picture, Score, Spaces, Step, Vector
from nbsp_ray.benchmarks._mujoco_gl import choose_renderer, spare_learning

HELDOUT_SEED_OFFSET = 1_000_003
"""Held-out starts are those of another seed."""
HEIGHT, WIDTH = 240, 320
"""Pixels of a picture."""

TASKS: Mapping[str, tuple[int, int]] = {
    "cartpole-balance": (5, 1),
    "cartpole-swingup": (5, 1),
    "cheetah-run": (17, 6),
    "finger-turn_easy": (12, 2),
    "finger-turn_hard": (12, 2),
    "reacher-easy": (6, 2),
    "reacher-hard": (6, 2),
    "walker-run": (24, 6),
    "walker-stand": (24, 6),
    "walker-walk": (24, 6),
}
"""Lengths of observation and action, as `domain-task`: named here so that a typing error, or a pair that one network
cannot serve, is found without the simulator."""


def _load(task: str) -> Any:
    """The suite's environment."""
    before = os.environ.get("MUJOCO_GL")
    os.environ["MUJOCO_GL"] = before or "disable"
    try:
        spare_learning()
        from dm_control import suite
    finally:
        del os.environ["MUJOCO_GL"]
        if before is not None:
            os.environ["MUJOCO_GL"] = before
    domain, _, name = task.partition("-")
    return suite.load(domain, name, environment_kwargs={"flat_observation": True})


class ControlEnv(Env):
    """One task of the suite; an episode is 1,000 env steps, never terminated.

    Args:
        task: A name of `TASKS`.
        seed: With the number of a start, what that start is drawn from.
    """

    horizon = 1_000
    variations = 50

    def __init__(self, task: str, seed: int) -> None:
        self._env, self._seed, self._env_steps = _load(task), seed, 0

    def reset(self, variation: int, rng: np.random.Generator) -> Observation:
        """Begin at start number `variation`; the simulator has no other chance, so `rng` is not asked."""
        self._env.task._random = np.random.RandomState([self._seed, variation])
        self._env_steps = 0
        return _vector(self._env.reset())

    def step(self, action: Action) -> Step:
        """One control step, 0.01 to 0.025 s of simulated time."""
        found = self._env.step(action)
        self._env_steps += 1
        return Step(_vector(found), float(found.reward), False, self._env_steps >= self.horizon, success=None)

    def picture(self) -> Picture:
        """The picture of the task's first camera."""
        return np.asarray(self._env.physics.render(HEIGHT, WIDTH, camera_id=0), np.uint8)

    def close(self) -> None:
        """Let go of the renderer."""
        self._env.close()


def _vector(found: Any) -> Observation:
    return np.array(found.observation["observations"], np.float32)


class DmControl(Benchmark):
    """Not in the paper: tasks of one body, of which the second asks for more than the first."""

    name = "dm_control"
    pairs = (
        ("walker-walk", "walker-run"),
        ("walker-stand", "walker-walk"),
        ("cartpole-balance", "cartpole-swingup"),
        ("reacher-easy", "reacher-hard"),
        ("finger-turn_easy", "finger-turn_hard"),
    )
    defaults: Mapping[str, Any] = {
        "first": {"env_steps": 500_000, "stop": "fixed", "eval_every": 10_000},
        "second": {"env_steps": 500_000, "stop": "fixed", "eval_every": 10_000},
        "evaluation": {"episodes": 50},
    }
    horizon = ControlEnv.horizon
    variations = ControlEnv.variations
    revision = "dm_control 1.0.28, mujoco 3.3.0, no action repeat"
    judged_by = Score(dict.fromkeys(TASKS, (0.0, 1_000.0)), ("no reward at all", "the highest possible score"))
    packages = ("dm_control", "mujoco")
    extra = "dm_control"
    pace = 50.0  # of finger and reacher; the others have 40 to 100 control steps in a second

    @cache  # noqa: B019 - one instance lives as long as the process
    def spaces(self) -> Mapping[str, Spaces]:
        """Tasks of one body can be paired."""
        return {task: Spaces(Vector(seen), Continuous(actions)) for task, (seen, actions) in TASKS.items()}

    def make_env(self, task: str, seed: int, *, heldout: bool = False) -> Env:
        """Fifty starts drawn from `seed`."""
        return ControlEnv(task, seed + HELDOUT_SEED_OFFSET * heldout)

    def prepare_pictures(self) -> None:
        """Choose what MuJoCo draws with, which must be before it is imported.

        Raises:
            NbspError: there is nothing to draw with.
        """
        choose_renderer()


BENCHMARK = DmControl()
