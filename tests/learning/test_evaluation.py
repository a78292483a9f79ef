"""Playing episodes: what is counted, what is kept, and what chance it uses."""

import numpy as np
import pytest

from nbsp_ray.benchmarks import Env, Observation, Step
from nbsp_ray.learning.acting import GaussianPolicy
from nbsp_ray.learning.evaluation import Episode, EpisodePlan, play, success_rate
from nbsp_ray.learning.rollouts import VectorRecorder

HORIZON = 4


class CountingEnv(Env):
    """Rewards 1, 2, 3, ...; success at steps given by `good`; ends at the horizon or at `death`."""

    horizon, variations = HORIZON, 3

    def __init__(self, good: set[int], death: int | None = None) -> None:
        self.good, self.death, self.steps, self.started = good, death, 0, list[tuple[int, float]]()

    def reset(self, variation: int, rng: np.random.Generator) -> Observation:
        self.started.append((variation, float(rng.random())))
        self.steps = 0
        return np.array([0, variation], np.float32)

    def step(self, action: np.ndarray) -> Step:
        self.steps += 1
        ended = self.steps == self.death
        cut = self.steps == self.horizon and not ended
        return Step(np.array([self.steps, 9], np.float32), self.steps, ended, cut, self.steps in self.good)


class Shifted(GaussianPolicy):
    """The noise plus the first number of the observation, so that an action says what it was chosen on."""

    def __init__(self) -> None:
        self._actions = 2

    def __call__(self, observation: Observation, noise: np.ndarray | None) -> np.ndarray:
        return np.full(2, np.nan, np.float32) if noise is None else noise + observation[0]


act = Shifted()


def plan(number: int = 0, variation: int = 1) -> EpisodePlan:
    return EpisodePlan(variation, np.random.default_rng(number))


def test_success_at_any_step_counts_and_the_return_is_whole() -> None:
    assert play(act, CountingEnv({2}), plan()) == Episode(True, 10.0, 4)
    assert play(act, CountingEnv(set()), plan()) == Episode(False, 10.0, 4)
    assert play(act, CountingEnv({4}), plan()) == Episode(True, 10.0, 4)
    assert play(act, CountingEnv({4}, death=3), plan()) == Episode(False, 6.0, 3)


def test_stopping_at_success_keeps_the_success_and_owns_up_to_the_missing_return() -> None:
    assert play(act, CountingEnv({2}), plan(), stop_at_success=True) == Episode(True, None, 2)
    assert play(act, CountingEnv({4}), plan(), stop_at_success=True) == Episode(True, 10.0, 4)
    assert play(act, CountingEnv(set()), plan(), stop_at_success=True) == Episode(False, 10.0, 4)


def test_rollouts_pair_each_step_with_the_observation_before_it() -> None:
    kept, env = VectorRecorder(by_success=True), CountingEnv({2, 3})
    episodes = [play(act, env, one, recorder=kept) for one in (plan(0), plan(1, variation=2))]
    arrays = kept.arrays()
    assert arrays["observations"].tolist() == [[0, 1], [1, 9], [2, 9], [3, 9], [0, 2], [1, 9], [2, 9], [3, 9]]
    assert arrays["criterion"].tolist() == [0, 1, 1, 0] * 2
    assert arrays["ends"].tolist() == [4, 8]
    assert {arrays[name].dtype for name in ("observations", "actions")} == {np.dtype(np.float32)}
    rng = np.random.default_rng(1)
    rng.random()
    noise = [rng.standard_normal(2, dtype=np.float32) + step for step in range(HORIZON)]
    np.testing.assert_array_equal(arrays["actions"][4:], noise)
    assert success_rate(episodes) == 1


def test_an_episode_is_a_function_of_its_plan() -> None:
    kept, env = [VectorRecorder(by_success=True), VectorRecorder(by_success=True)], CountingEnv({1})
    for one in (plan(5), plan(7)):
        play(act, env, one, recorder=kept[0])
    play(act, CountingEnv({1}), plan(7), recorder=kept[1])
    np.testing.assert_array_equal(kept[0].arrays()["actions"][4:], kept[1].arrays()["actions"])


def test_a_deterministic_policy_gets_no_noise() -> None:
    kept = VectorRecorder(by_success=True)
    play(act, CountingEnv(set()), plan(), deterministic=True, recorder=kept)
    assert np.isnan(kept.arrays()["actions"]).all()


def test_success_rate() -> None:
    episodes = [Episode(success, 0.0, 1) for success in (True, False, False, True, True)]
    assert success_rate(episodes) == pytest.approx(0.6)
    assert success_rate([Episode(n < 9, None, 1) for n in range(10)]) >= 0.9  # the default threshold, exactly met
