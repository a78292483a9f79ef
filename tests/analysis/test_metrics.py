import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import metrics

NAN = float("nan")
STEPS = np.array([0.0, 100.0, 200.0, 300.0, 400.0])


def test_success_rate_is_the_share_of_successful_episodes():
    assert metrics.success_rate([1, 0, 1, 1]) == 0.75
    assert np.isnan(metrics.success_rate([]))


def test_rolling_mean_begins_with_the_first_full_window():
    rolled = metrics.rolling_mean(np.array([0, 0, 1, 1, 1.0]), window=3)
    np.testing.assert_allclose(rolled, [np.nan, np.nan, 1 / 3, 2 / 3, 1])
    assert np.isnan(metrics.rolling_mean(np.ones(9))).all()


def test_area_is_the_mean_height_by_trapezoids():
    # 0 to 1 over the first quarter, then 1: 0.125 + 0.75.
    assert metrics.area_under_curve(STEPS, np.array([0, 1, 1, 1, 1.0]), 400, NAN) == pytest.approx(0.875)
    assert metrics.area_under_curve(STEPS, np.array([0, 0, 0, 0, 0.8]), 400, NAN) == pytest.approx(0.1)


def test_area_carries_the_final_evaluation_forward_to_the_budget():
    early, success = STEPS[:3], np.array([0, 1, 1.0])
    # 0.5 x 100 + 1 x 100, then the final evaluation, 0.7, over 200 of 400: never the 1 that it stopped at.
    assert metrics.area_under_curve(early, success, 400, carried=0.7) == pytest.approx(290 / 400)
    assert np.isnan(metrics.area_under_curve(early, success, 400, NAN))
    assert metrics.carried_share(early, 400) == 0.5


def test_area_counts_an_evaluation_beyond_the_budget_up_to_the_budget():
    # Episodes end where they end: the last evaluation is at 500, the budget at 450, where the line is at 0.5.
    area = metrics.area_under_curve(np.array([0.0, 400, 500]), np.array([0, 0, 1.0]), 450, NAN)
    assert area == pytest.approx(0.5 * 50 * 0.5 / 450)
    assert metrics.carried_share(np.array([0.0, 400, 500]), 450) == 0


def test_area_needs_an_evaluation_at_the_beginning():
    assert np.isnan(metrics.area_under_curve(STEPS[1:], np.ones(4), 400, 1.0))
    assert np.isnan(metrics.area_under_curve(np.array([]), np.array([]), 400, 1.0))
    assert np.isnan(metrics.carried_share(np.array([]), 400))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.integers(1, 3000), st.floats(0, 1))
def test_area_is_a_rate(success, budget, carried):
    env_steps = 100.0 * np.arange(len(success))
    assert -1e-12 <= metrics.area_under_curve(env_steps, np.array(success), budget, carried) <= 1 + 1e-12


def test_a_median_counts_what_was_not_reached_as_later_than_any():
    assert metrics.censored_median(np.array([300, NAN, 100])) == 300
    assert np.isnan(metrics.censored_median(np.array([300, NAN])))
    assert np.isnan(metrics.censored_median(np.array([])))


def test_threshold_is_reached_by_three_in_a_row():
    assert metrics.env_steps_to_threshold(STEPS, np.array([0, 0.9, 1, 0.9, 0])) == 100
    assert metrics.env_steps_to_threshold(STEPS, np.array([1, 0.8, 1, 1, 1])) == 200
    assert metrics.env_steps_to_threshold(STEPS, np.array([0, 0.5, 0.6, 0, 0]), threshold=0.5, in_a_row=2) == 100


def test_threshold_not_reached_is_censored():
    assert np.isnan(metrics.env_steps_to_threshold(STEPS, np.array([1, 1, 0.8, 1, 1])))
    assert np.isnan(metrics.env_steps_to_threshold(STEPS[:2], np.ones(2)))


def test_forgetting_retention_and_transfer():
    assert metrics.forgetting(0.9, 0.2) == pytest.approx(0.7)
    assert metrics.retention(np.array([1, 1, 0.8, 0.6, 0.4, 0.2, 0])) == pytest.approx(0.4)
    assert metrics.retention(np.array([0.5, 0.7])) == pytest.approx(0.6)
    assert np.isnan(metrics.retention(np.array([])))
    assert metrics.forward_transfer(0.8, 0.6) == pytest.approx(0.5)
    assert metrics.forward_transfer(0.2, 0.6) == pytest.approx(-1)
    assert np.isnan(metrics.forward_transfer(0.8, 1.0))
    assert np.isnan(metrics.forward_transfer(0.8, np.nan))


@pytest.mark.parametrize(
    ("name", "low", "high"), [("first_after", 0, 1), ("forgetting", -1, 1), ("forward_transfer", -np.inf, 1)]
)
def test_an_interval_is_cut_at_what_the_number_can_be_of_rates_alone(name, low, high):
    assert metrics.limits("success", name) == (low, high)
    assert metrics.limits("score", name) == (-np.inf, np.inf)
