"""DeepMind Control: what `test_benchmarks.py` does not ask of every benchmark."""

import numpy as np
import pytest

from nbsp_ray.benchmarks import Spaces, version_of
from nbsp_ray.benchmarks.dm_control import BENCHMARK, TASKS, ControlEnv
from nbsp_ray.errors import ConfigError
from nbsp_ray.spaces import Continuous, Vector

needs_it = pytest.mark.skipif(version_of("dm_control") is None, reason="dm_control is an optional extra")


def test_scores_are_normalised_by_their_range() -> None:
    assert [BENCHMARK.normalised("walker-run", score) for score in (0.0, 250.0, 1_000.0)] == [0, 0.25, 1]
    assert BENCHMARK.noun == "task"


@pytest.mark.skipif(version_of("dm_control") is not None, reason="it is installed")
def test_without_its_package_the_way_to_it_is_said() -> None:
    with pytest.raises(ConfigError, match=r"dm_control needs dm_control.*install nbsp-ray\[dm_control\]"):
        BENCHMARK.check("walker-walk")


@needs_it
@pytest.mark.parametrize("task", TASKS)
def test_spaces_are_those_of_the_simulator(task: str) -> None:
    env = ControlEnv(task, 0)
    spec = env._env.action_spec()
    seen = env.reset(0, np.random.default_rng(0))
    assert BENCHMARK.task_spaces(task) == Spaces(Vector(len(seen)), Continuous(spec.shape[0]))
    assert (spec.minimum == -1).all()
    assert (spec.maximum == 1).all()
    assert env._env._step_limit == env.horizon


@needs_it
def test_rewards_lie_in_0_to_1_and_an_episode_is_its_seeds_start() -> None:
    env, rng = ControlEnv("cartpole-swingup", 3), np.random.default_rng(0)
    rewards = []
    first = env.reset(4, rng)
    for _ in range(env.horizon):
        step = env.step(rng.uniform(-1, 1, 1).astype(np.float32))
        rewards.append(step.reward)
    assert step.truncated
    assert 0 <= min(rewards) <= max(rewards) <= 1
    np.testing.assert_array_equal(env.reset(4, rng), first)
    assert (ControlEnv("cartpole-swingup", 4).reset(4, rng) != first).any()
