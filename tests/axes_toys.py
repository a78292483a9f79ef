"""Benchmarks made of the toy's point mass for what no shipped one has: other meetings of the three axes.

| benchmark | observed | acts | judged by |
|---|---|---|---|
| `scored_toy` | vectors | continuous | score |
| `seen_toy` | frames | continuous | success |
| `stepped_toy` | vectors | discrete | success |
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from nbsp_ray.benchmarks import (
    Action,
    Benchmark,
    Continuous,
    Discrete,
    Env,
    Frames,
    Observation,
    Score,
    Spaces,
    Step,
    Success,
    Vector,
)
from nbsp_ray.benchmarks.toy import ToyEnv
from nbsp_ray.config.schema import Sweep
from nbsp_ray.plan.build import make_plan
from nbsp_ray.specs import Plan

PAIR = ("reach", "avoid")
SIZE, STACK = 12, 2
MOVES = np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]], np.float32)


class ScoredEnv(ToyEnv):
    """Without a success flag."""

    def step(self, action: Action) -> Step:
        """As the toy does; the score of an episode is the sum of its rewards."""
        return super().step(action)._replace(success=None)


class SeenEnv(ToyEnv):
    """Point and target as pixels."""

    def reset(self, variation: int, rng: np.random.Generator) -> Observation:
        """The first frame fills the stack."""
        super().reset(variation, rng)
        self._stack = np.repeat(self._frame()[None], STACK, axis=0)
        return self._stack

    def step(self, action: Action) -> Step:
        """As the toy does."""
        step = super().step(action)
        self._stack = np.concatenate([self._stack[1:], self._frame()[None]])
        return step._replace(observation=self._stack)

    def _frame(self) -> np.ndarray:
        frame = np.full((SIZE, SIZE), 0 if self._cue > 0 else 60, np.uint8)
        for place, grey in ((self._target, 120), (self._position, 255)):
            across, up = ((place + 1) / 2 * (SIZE - 1)).astype(int)
            frame[up, across] = grey
        return frame


class SteppedEnv(ToyEnv):
    """Five moves."""

    def step(self, action: Action) -> Step:
        """0 stays, 1 to 4 go to the four sides."""
        return super().step(MOVES[int(action)])


class _Toy(Benchmark):
    pairs = (PAIR,)
    defaults: Mapping[str, Any] = {}
    horizon = ToyEnv.horizon
    variations = ToyEnv.variations
    revision = "1"
    env: type[ToyEnv]
    its_spaces: Spaces

    def spaces(self) -> Mapping[str, Spaces]:
        """The same for both."""
        return dict.fromkeys(PAIR, self.its_spaces)

    def make_env(self, task: str, seed: int, *, heldout: bool = False) -> Env:
        """As the toy's."""
        return self.env(task, seed + 1_000_003 * heldout)


class ScoredToy(_Toy):
    """Vectors, judged by a score, as DeepMind Control is."""

    name = "scored_toy"
    judged_by = Score({"reach": (-25.0, 0.0), "avoid": (-30.0, -5.0)}, ("standing still", "flying there"))
    env = ScoredEnv
    its_spaces = Spaces(Vector(5), Continuous(2))


class SeenToy(_Toy):
    """Frames and continuous actions, whose rewards are no signs."""

    name = "seen_toy"
    judged_by = Success()
    noun = "scene"
    env = SeenEnv
    its_spaces = Spaces(Frames((SIZE, SIZE), STACK, ((3, 4, 2), (4, 3, 1))), Continuous(2))


class SteppedToy(_Toy):
    """Vectors and discrete actions."""

    name = "stepped_toy"
    env = SteppedEnv
    its_spaces = Spaces(Vector(5), Discrete(len(MOVES)))


BENCHMARKS = ScoredToy(), SeenToy(), SteppedToy()
SMALL: dict[str, Any] = {
    "method": {"packnet_retrain_updates": 10, "redo_period": 10},
    "pairs": (PAIR,),
    "methods": ("base",),
    "seeds": (0,),
    "sac": {"hidden": (8,), "batch_size": 8, "learning_starts": 50, "buffer_size": 200, "updates_per_env_step": 0.5},
    "first": {"env_steps": 100, "eval_every": 50, "eval_episodes": 1, "stop": "fixed"},
    "second": {"env_steps": 75, "eval_every": 50, "eval_episodes": 1, "stop": "fixed"},
    "evaluation": {"episodes": 4},
}


def axes_plan(benchmark: str, **changes: Any) -> Plan:
    """A plan of `SMALL` on one of them, with some settings changed."""
    settings = {
        name: value | changes.get(name, {}) if isinstance(value, dict) else changes.get(name, value)
        for name, value in (SMALL | {"skill_neurons": (0.3,), "resources": {}}).items()
    }
    return make_plan("axes", [Sweep.model_validate({"benchmark": benchmark} | settings)])
