import numpy as np
import pytest
from scipy import stats

from analysis.statistics import paired_difference, summary, wilson_interval


def test_summary_by_hand():
    found = summary([1.0, 0.0, 0.5])
    # s = 0.5, s / sqrt(3) = 0.288675; t(2, 0.975) = 4.302653.
    assert (found.n, found.mean) == (3, 0.5)
    assert found.standard_error == pytest.approx(0.288675, abs=1e-6)
    assert (found.low, found.high) == pytest.approx((0.5 - 1.242069, 0.5 + 1.242069), abs=1e-6)


def test_summary_agrees_with_scipy():
    values = np.random.default_rng(0).normal(size=5)
    found = summary(values)
    assert found.standard_error == pytest.approx(stats.sem(values))
    low, high = stats.t.interval(0.95, 4, loc=values.mean(), scale=stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high))


def test_missing_seeds_are_not_counted():
    assert summary([0.2, np.nan, 0.4]) == summary([0.2, 0.4])


def test_one_seed_has_no_interval_and_none_has_nothing():
    one, none = summary([0.3]), summary([np.nan])
    assert (one.n, one.mean) == (1, 0.3)
    assert np.isnan([one.standard_error, one.low, one.high]).all()
    assert none.n == 0
    assert np.isnan(none.mean)


def test_t_interval_covers_the_mean_in_95_percent_of_cases_with_five_seeds():
    draws = np.random.default_rng(7).normal(0.6, 0.2, size=(4000, 5))
    found = [summary(row) for row in draws]
    covered = np.mean([one.low <= 0.6 <= one.high for one in found])
    band = np.mean([abs(one.mean - 0.6) <= one.standard_error for one in found])
    assert covered == pytest.approx(0.95, abs=0.011)  # 3 standard errors of the simulation
    assert band == pytest.approx(0.626, abs=0.025)  # the paper's band: P(|t(4)| <= 1)


@pytest.mark.parametrize(("wins", "n"), [(0, 200), (9, 10), (100, 200), (200, 200)])
def test_wilson_agrees_with_scipy(wins, n):
    expected = stats.binomtest(wins, n).proportion_ci(method="wilson")
    assert wilson_interval(wins / n, n) == pytest.approx((expected.low, expected.high))


def test_wilson_of_nothing_is_nothing():
    assert np.isnan(wilson_interval(np.nan, 0)).all()
    assert np.isnan(wilson_interval(np.nan, 200)).all()


def test_differences_are_paired():
    base = {"a": 0.1, "b": 0.5, "c": 0.9}
    found = paired_difference({"a": 0.3, "b": 0.6, "d": 1.0}, base)
    assert found.n == 2
    assert found.mean == pytest.approx(0.15)
    # Differences 0.2 and 0.1: s = 0.0707107, s / sqrt(2) = 0.05; t(1, 0.975) = 12.7062.
    assert found.standard_error == pytest.approx(0.05)
    assert found.high == pytest.approx(0.15 + 0.05 * 12.7062, abs=1e-5)


def test_a_pair_with_a_missing_half_is_no_pair():
    assert paired_difference({"a": np.nan, "b": 0.6}, {"a": 0.1, "b": 0.5}).n == 1
