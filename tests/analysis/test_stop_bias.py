"""What the stop rule and what is carried forward after it do to the area under a curve, on an agent that never changes.

Such an agent's area is its own success rate. The rule is the very one of the loop; only its episodes are drawn.
"""

import numpy as np
import pytest

from analysis.metrics import area_under_curve
from nbsp_ray.config.schema import Learning
from nbsp_ray.learning.phase import count_mastered

RUNS, FINAL_EPISODES = 300, 200


def mean_area(learning: Learning, rate: float, *, carries_final: bool) -> float:
    """Mean over many runs of the AUC of an agent of success `rate`."""
    rng, areas = np.random.default_rng(0), []
    for _ in range(RUNS):
        env_steps, success, evaluations_at_threshold = (
            [0],
            [rng.binomial(learning.eval_episodes, rate) / learning.eval_episodes],
            0,
        )
        while evaluations_at_threshold < learning.stop_evaluations and env_steps[-1] < learning.env_steps:
            env_steps.append(env_steps[-1] + learning.eval_every)
            success.append(rng.binomial(learning.eval_episodes, rate) / learning.eval_episodes)
            confirming = learning.stop_confirm_episodes
            evaluations_at_threshold = count_mastered(
                learning, evaluations_at_threshold, success[-1], lambda n=confirming: rng.binomial(n, rate) / n
            )
        if carries_final and evaluations_at_threshold >= learning.stop_evaluations:
            env_steps.append(env_steps[-1])
            success.append(rng.binomial(FINAL_EPISODES, rate) / FINAL_EPISODES)
        areas.append(area_under_curve(np.array(env_steps, float), np.array(success), learning.env_steps))
    return float(np.mean(areas))


@pytest.mark.parametrize("rate", [0.6, 0.75, 0.8, 0.85, 0.9, 0.95])
def test_the_area_is_the_agents_success(rate: float) -> None:
    assert mean_area(Learning(), rate, carries_final=True) == pytest.approx(rate, abs=0.02)


def test_three_lucky_evaluations_carried_forward_are_a_tenth_too_high() -> None:
    assert mean_area(Learning(stop_confirm_episodes=0), 0.8, carries_final=False) > 0.8 + 0.08
