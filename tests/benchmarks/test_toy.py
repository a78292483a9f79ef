import numpy as np
import pytest

from nbsp_ray.benchmarks import Step
from nbsp_ray.benchmarks.toy import BENCHMARK, RADIUS, SPEED, ToyEnv


def at(task: str, position: list[float], target: list[float]) -> ToyEnv:
    """An environment with the point and its target where we want them."""
    env = ToyEnv(task, 0)
    env._targets[0] = target
    env.reset(0, np.random.default_rng(0))
    env._position = np.array(position)
    return env


def move(env: ToyEnv, *action: float) -> Step:
    return env.step(np.array(action, dtype=np.float32))


def test_the_constants_the_numbers_below_rest_on() -> None:
    assert (SPEED, RADIUS, ToyEnv.horizon, ToyEnv.variations) == (0.15, 0.15, 25, 20)


def test_reach_by_hand() -> None:
    env = at("reach", [0.0, 0.0], [0.3, -0.4])
    step = move(env, 1.0, 0.0)  # to (0.15, 0): 0.15 and 0.4 away
    np.testing.assert_allclose(step.observation, [0.15, 0.0, 0.3, -0.4, 1.0], rtol=1e-6)
    assert step.reward == pytest.approx(-np.sqrt(0.15**2 + 0.4**2))
    assert not step.success
    step = move(env, 0.0, -1.0)  # (0.15, -0.15)
    assert step.reward == pytest.approx(-np.sqrt(0.15**2 + 0.25**2))
    step = move(env, 1.0, -1.0)  # (0.3, -0.3): 0.1 away
    assert step.reward == pytest.approx(-0.1)
    assert step.success


def test_avoid_wants_the_mirror_image() -> None:
    env = at("avoid", [-0.15, 0.4], [0.3, -0.4])
    step = move(env, -1.0, 0.0)  # to (-0.3, 0.4)
    np.testing.assert_allclose(step.observation, [-0.3, 0.4, 0.3, -0.4, -1.0], rtol=1e-6)
    assert step.reward == pytest.approx(0.0, abs=1e-7)
    assert step.success
    assert not move(at("reach", [-0.15, 0.4], [0.3, -0.4]), -1.0, 0.0).success


def test_success_is_within_the_radius_and_not_on_it() -> None:
    assert not move(at("reach", [0.15, 0.0], [0.0, 0.0]), 0.0, 0.0).success
    assert move(at("reach", [0.149, 0.0], [0.0, 0.0]), 0.0, 0.0).success


def test_the_walls_hold() -> None:
    step = move(at("reach", [0.95, -0.95], [0.0, 0.0]), 1.0, -1.0)
    np.testing.assert_array_equal(step.observation[:2], [1.0, -1.0])


def test_slide_has_one_dimension() -> None:
    step = move(at("slide", [0.0], [0.5]), 1.0)
    np.testing.assert_allclose(step.observation, [0.15, 0.5, 1.0], rtol=1e-6)
    assert step.reward == pytest.approx(-0.35)


def test_an_episode_starts_near_the_middle_where_its_generator_says() -> None:
    env = ToyEnv("reach", 3)
    starts = [env.reset(0, np.random.default_rng(seed))[:2] for seed in range(20)]
    assert np.abs(starts).max() <= 0.2
    assert len({one.tobytes() for one in starts}) == 20


def test_both_tasks_of_a_pair_have_the_same_targets_of_the_same_seed() -> None:
    reach, avoid = (BENCHMARK.make_env(task, 7) for task in BENCHMARK.pairs[0])
    for variation in range(20):
        one, other = (env.reset(variation, np.random.default_rng(0)) for env in (reach, avoid))
        np.testing.assert_array_equal(one[:4], other[:4])
        assert (one[4], other[4]) == (1.0, -1.0)
