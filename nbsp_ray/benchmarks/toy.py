"""A pair of point-mass tasks for tests, docs and the impatient: learnt in seconds, forgotten as fast.

Both tasks show a target and a cue that tells them apart. `reach` wants the point on the target,
`avoid` on its mirror image, so that what one task teaches is wrong for the other, and yet one
network can hold both. `slide` has one action only: a task that cannot be paired with the others.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from nbsp_ray.benchmarks import Action, Benchmark, Continuous, Env, Observation, Picture, Spaces, Step, Vector

SPEED = 0.15
RADIUS = 0.15
SIDE = 240
"""Pixels of a picture's side."""
DIMENSIONS = {"reach": 2, "avoid": 2, "slide": 1}
CUES = {"reach": 1.0, "avoid": -1.0, "slide": 1.0}


class ToyEnv(Env):
    """A point in [-1, 1]^d moves by `SPEED` x action; observation: position, target, cue."""

    horizon = 25
    variations = 20

    def __init__(self, task: str, seed: int) -> None:
        self._cue = CUES[task]
        self._targets = np.random.default_rng(seed).uniform(-0.9, 0.9, (self.variations, DIMENSIONS[task]))
        self._target = self._targets[0]
        self._position = np.zeros_like(self._target)
        self._env_steps = 0

    def reset(self, variation: int, rng: np.random.Generator) -> Observation:
        """Start near the middle, the start drawn from `rng`."""
        self._target = self._targets[variation]
        self._position = rng.uniform(-0.2, 0.2, self._target.shape)
        self._env_steps = 0
        return self._observation()

    def step(self, action: Action) -> Step:
        """Move; the reward is minus the distance to where the task wants the point."""
        self._position = np.clip(self._position + SPEED * action, -1.0, 1.0)
        self._env_steps += 1
        distance = float(np.linalg.norm(self._position - self._cue * self._target))
        return Step(self._observation(), -distance, False, self._env_steps >= self.horizon, success=distance < RADIUS)

    def picture(self) -> Picture:
        """The square from above: the target light, the point dark; in one dimension on the middle line."""
        picture = np.full((SIDE, SIDE, 3), 255, np.uint8)
        for where, colour, half in ((self._target, (120, 200, 120), 12), (self._position, (40, 40, 120), 6)):
            across, up = (int((place + 1) / 2 * (SIDE - 1)) for place in (*where, 0.0)[:2])
            rows = slice(max(0, SIDE - 1 - up - half), SIDE - 1 - up + half)
            picture[rows, max(0, across - half) : across + half] = colour
        return picture

    def _observation(self) -> npt.NDArray[np.float32]:
        return np.concatenate([self._position, self._target, [self._cue]]).astype(np.float32)


class Toy(Benchmark):
    """Not in the paper, and no evidence for it: it shows that the path works."""

    name = "toy"
    pairs = (("reach", "avoid"),)
    defaults: Mapping[str, Any] = {
        "sac": {"hidden": (32, 32), "batch_size": 64, "learning_starts": 250, "actor_lr": 1e-3, "gamma": 0.9},
        "first": {"env_steps": 3_000, "eval_every": 250},
        "second": {"env_steps": 2_000, "eval_every": 250, "stop": "fixed"},
        "evaluation": {"episodes": 40},
        "method": {"packnet_retrain_updates": 1_000, "redo_period": 250},
    }
    horizon = ToyEnv.horizon
    variations = ToyEnv.variations
    revision = "1"

    @cache  # noqa: B019 - one instance lives as long as the process
    def spaces(self) -> Mapping[str, Spaces]:
        """Position, target and cue; one action per dimension."""
        return {task: Spaces(Vector(2 * size + 1), Continuous(size)) for task, size in DIMENSIONS.items()}

    def make_env(self, task: str, seed: int, *, heldout: bool = False) -> Env:
        """Twenty targets drawn from `seed`."""
        return ToyEnv(task, seed + 1_000_003 * heldout)


BENCHMARK = Toy()
