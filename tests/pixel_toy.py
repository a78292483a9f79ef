"""A benchmark of tiny games for tests: a ball falls, a paddle catches it (`catch`) or keeps away from it (`dodge`).

Everything that games have and point masses lack is here: frames in stacks, lives, raw scores, a time limit, episodes of
different lengths. A phase of it takes a second.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from nbsp_ray.benchmarks import (
    NATURE_CONVOLUTIONS,
    Action,
    Benchmark,
    Convolutions,
    Discrete,
    Env,
    Frames,
    Observation,
    Score,
    Spaces,
    Step,
)
from nbsp_ray.config.schema import Sweep
from nbsp_ray.plan.build import make_plan
from nbsp_ray.specs import Plan

SIZE, STACK, LIVES, FALL = 12, 3, 2, 3
CONVOLUTIONS = ((4, 4, 2), (6, 3, 1))


def pixel_spaces(
    actions: int, frame: tuple[int, int] = (84, 84), stack: int = 4, convolutions: Convolutions = NATURE_CONVOLUTIONS
) -> Spaces:
    """Frames and discrete actions, learnt from clipped rewards: by default Atari's."""
    return Spaces(Frames(frame, stack, convolutions), Discrete(actions), clipped_rewards=True)


class BallEnv(Env):
    """The ball needs four steps to fall. A round won scores 2; a round lost costs one of two lives."""

    horizon = 30
    variations = 5

    def __init__(self, task: str) -> None:
        self._catch = task == "catch"
        self._rng = np.random.default_rng(0)
        self._ball = self._row = self._paddle = self._env_steps = self._lives = 0
        self._stack = np.zeros((STACK, SIZE, SIZE), np.uint8)

    def reset(self, variation: int, rng: np.random.Generator) -> Observation:
        """The paddle starts where the variation says."""
        self._rng, self._paddle, self._lives, self._env_steps = rng, 2 * variation, LIVES, 0
        self._drop()
        return self._begin_stack()

    def step(self, action: Action) -> Step:
        """0 stays, 1 moves to the left, 2 to the right."""
        self._env_steps += 1
        self._paddle = int(np.clip(self._paddle + (0, -2, 2)[int(action)], 0, SIZE - 3))
        self._row += FALL
        score, lost = 0.0, False
        if self._row >= SIZE - 1:
            caught = self._paddle <= self._ball <= self._paddle + 2
            lost = caught != self._catch
            score = 0.0 if lost else 2.0
            self._lives -= lost
            self._drop()
        self._stack = np.concatenate([self._stack[1:], self._frame()[None]])
        observation = self._stack
        resumes = self._begin_stack() if lost and self._lives else None
        truncated = self._env_steps >= self.horizon
        return Step(observation, np.sign(score), lost, truncated, success=None, score=score, resumes=resumes)

    def _drop(self) -> None:
        self._ball, self._row = int(self._rng.integers(SIZE)), 0

    def _frame(self) -> np.ndarray:
        frame = np.full((SIZE, SIZE), 0 if self._catch else 60, np.uint8)
        frame[self._row, self._ball] = 255
        frame[SIZE - 1, self._paddle : self._paddle + 3] = 128
        frame[0, : self._env_steps % SIZE] = 90  # so that no two frames of a round are alike
        return frame

    def _begin_stack(self) -> Observation:
        self._stack = np.repeat(self._frame()[None], STACK, axis=0)
        return self._stack


class PixelToy(Benchmark):
    """Judged by the score, as Atari is."""

    name = "pixel_toy"
    pairs = (("catch", "dodge"),)
    defaults: Mapping[str, Any] = {}
    horizon = BallEnv.horizon
    variations = BallEnv.variations
    revision = "1"
    judged_by = Score()
    noun = "game"
    heldout = False

    def spaces(self) -> Mapping[str, Spaces]:
        """The same for both."""
        return dict.fromkeys(("catch", "dodge"), pixel_spaces(3, (SIZE, SIZE), STACK, CONVOLUTIONS))

    def make_env(self, task: str, seed: int, *, heldout: bool = False) -> Env:
        """The same for every seed."""
        return BallEnv(task)


BENCHMARK = PixelToy()
SMALL: dict[str, Any] = {
    "benchmark": "pixel_toy",
    "pairs": (("catch", "dodge"),),
    "methods": ("base",),
    "seeds": (0,),
    "sac": {
        "hidden": (8,), "batch_size": 8, "learning_starts": 40, "buffer_size": 200, "updates_per_env_step": 0.5,
        "policy_frequency": 1, "actor_lr": 3e-3, "critic_lr": 3e-3, "alpha_lr": 3e-3, "adam_eps": 1e-4, "tau": 1.0,
        "target_period": 20, "target_entropy_scale": 0.89,
    },
    "first": {"env_steps": 160, "eval_every": 80, "eval_episodes": 2, "stop": "fixed"},
    "second": {"env_steps": 120, "eval_every": 60, "eval_episodes": 1, "stop": "fixed"},
    "evaluation": {"env_steps": 60},
}  # fmt: skip


def pixel_plan(**changes: Any) -> Plan:
    """A plan of `SMALL` with some settings changed."""
    settings = {
        name: value | changes.get(name, {}) if isinstance(value, dict) else changes.get(name, value)
        for name, value in (SMALL | {"method": {}, "skill_neurons": (0.3,), "resources": {}}).items()
    }
    return make_plan("pixels", [Sweep.model_validate(settings)])
