"""What the stop rule and what is carried forward after it do to the area under a curve, on an agent that never changes.

Such an agent's area is its own success rate. The rule is the very one of the loop; only its episodes are drawn.
"""

import numpy as np
import pytest

from analysis.metrics import area_under_curve
from nbsp_ray.config.schema import Learning
from nbsp_ray.learning.phase import count_mastered, must_be_confirmed

RUNS, FINAL_EPISODES = 300, 200


def mean_area(learning: Learning, rate: float, *, carries_final: bool) -> float:
    """Mean over many runs of the AUC of an agent of success `rate`, its final evaluation or its last one carried on."""
    rng, areas = np.random.default_rng(0), []

    def success_of(episodes: int) -> float:
        return rng.binomial(episodes, rate) / episodes

    for _ in range(RUNS):
        env_steps, success, at_threshold = [0], [success_of(learning.eval_episodes)], 0
        while at_threshold < learning.stop_evaluations and env_steps[-1] < learning.env_steps:
            env_steps.append(env_steps[-1] + learning.eval_every)
            success.append(success_of(learning.eval_episodes))
            before, at_threshold = at_threshold, count_mastered(learning, at_threshold, success[-1])
            if must_be_confirmed(learning, at_threshold):
                at_threshold = count_mastered(learning, before, success_of(learning.stop_confirm_episodes))
        carried = success_of(FINAL_EPISODES) if carries_final else success[-1]
        areas.append(area_under_curve(np.array(env_steps, float), np.array(success), learning.env_steps, carried))
    return float(np.mean(areas))


@pytest.mark.parametrize("rate", [0.6, 0.75, 0.8, 0.85, 0.9, 0.95])
def test_the_area_is_the_agents_success(rate: float) -> None:
    assert mean_area(Learning(), rate, carries_final=True) == pytest.approx(rate, abs=0.02)


def test_three_lucky_evaluations_carried_forward_are_a_tenth_too_high() -> None:
    assert mean_area(Learning(stop_confirm_episodes=0), 0.8, carries_final=False) > 0.8 + 0.08
