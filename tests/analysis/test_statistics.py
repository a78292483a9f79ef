import numpy as np
import pytest
from scipy import stats

from analysis.statistics import (
    bootstrap_interval,
    interquartile_mean,
    optimality_gap,
    paired_difference,
    performance_profile,
    pooled_interquartile_mean,
    probability_of_improvement,
    stratified_bootstrap,
    summary,
    wilson_interval,
)


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


def strata(*values):
    return [np.array(one, dtype=float)[:, None] for one in values]


def test_iqm_by_hand():
    # Eight values: two are cut at each end, (3 + 4 + 5 + 6) / 4.
    assert interquartile_mean(np.array([8.0, 1, 7, 2, 6, 3, 5, 4])) == pytest.approx(4.5)
    # Five values: one is cut at each end.
    assert interquartile_mean(np.array([0.0, 0, 0.9, 1, 1])) == pytest.approx(1.9 / 3)
    assert pooled_interquartile_mean(strata([8, 1, 7, 2], [6, 3, 5, 4])) == pytest.approx(4.5)


def test_iqm_is_the_trimmed_mean_of_the_papers_code():
    values = np.random.default_rng(0).random((3, 23))
    assert interquartile_mean(values) == pytest.approx(stats.trim_mean(values, 0.25, axis=1))


def test_probability_of_improvement_by_hand():
    # 0.5 against 0.1, 0.5, 0.9: better, equal, worse; 1.0 is better than all three; 0.2 than one.
    runs = np.array([[0.5, 0.1], [1.0, 0.5], [0.2, 0.9]])
    assert probability_of_improvement([runs]) == pytest.approx((1.5 + 3 + 1) / 9)
    assert probability_of_improvement([runs, np.array([[1.0, 0.0]])]) == pytest.approx((5.5 / 9 + 1) / 2)


def test_probability_of_improvement_agrees_with_the_mann_whitney_statistic():
    runs = np.random.default_rng(1).integers(0, 4, (9, 2)) / 4.0
    u = stats.mannwhitneyu(runs[:, 0], runs[:, 1]).statistic
    assert probability_of_improvement([runs]) == pytest.approx(u / 81)


def test_performance_profile_by_hand():
    profile = performance_profile(np.array([0.0, 0.5, 1.0]))
    assert profile(strata([0.0, 0.5, 1.0, 1.0], [1.0, 1.0])) == pytest.approx([(0.75 + 1) / 2, (0.5 + 1) / 2, 0.0])


def test_resampling_keeps_strata_and_rows_together():
    pairs = [np.array([[1.0, 10.0], [2.0, 20.0]]), np.array([[3.0, 30.0]])]

    def check(drawn):
        assert [one.shape for one in drawn] == [(50, 2, 2), (50, 1, 2)]
        assert all((one[..., 1] == 10 * one[..., 0]).all() for one in drawn)
        assert (drawn[1] == pairs[1]).all()
        return np.zeros(50)

    stratified_bootstrap(pairs, check, np.random.default_rng(0), 50)


def test_a_bootstrap_interval_is_the_same_each_time_and_holds_its_value():
    runs = strata(*np.random.default_rng(2).random((2, 9)))
    found = bootstrap_interval(runs, pooled_interquartile_mean)
    assert found == bootstrap_interval(runs, pooled_interquartile_mean)
    assert found != bootstrap_interval(runs, pooled_interquartile_mean, seed=1)
    assert (found.runs, found.strata) == (18, 2)
    assert found.low < found.value < found.high


def test_without_a_second_run_there_is_no_bootstrap_interval():
    alone = bootstrap_interval(strata([0.5, 0.7], [0.9]), pooled_interquartile_mean)
    assert (alone.runs, alone.strata) == (3, 2)
    assert np.isnan([alone.low, alone.high]).all()
    nothing = bootstrap_interval(strata([]), pooled_interquartile_mean)
    assert nothing.runs == 0
    assert np.isnan(nothing.value)


def test_the_stratified_bootstrap_covers_the_iqm_in_nine_of_ten_cases_as_the_caption_says():
    rng = np.random.default_rng(3)
    repeats, covered = 1000, 0
    for data in rng.normal(0.6, 0.2, size=(repeats, 4, 5, 1)):
        found = bootstrap_interval(list(data), pooled_interquartile_mean, resamples=400)
        covered += found.low <= 0.6 <= found.high
    assert covered / repeats == pytest.approx(0.90, abs=0.03)


@pytest.mark.parametrize("rate", [0.5, 0.9, 0.98])
def test_wilson_covers_the_rate(rate):
    wins = np.arange(201)
    holds = [low <= rate <= high for low, high in (wilson_interval(one / 200, 200) for one in wins)]
    assert stats.binom.pmf(wins[holds], 200, rate).sum() == pytest.approx(0.95, abs=0.025)


# rliable (Agarwal et al. 2021), whose package does not import beside today's pandas: its definitions on a small matrix
# of 4 runs (rows) by 2 tasks, worked by hand, and as rliable/metrics.py has them: aggregate_iqm is scipy's trim_mean of
# all runs of all tasks, aggregate_optimality_gap is gamma - mean(minimum(scores, gamma)), probability_of_improvement
# the mean over tasks of the Mann-Whitney statistic over n m, and run_score_deviation (library.py) mean(scores > tau).
RUNS = np.array([[0.0, 0.4], [0.2, 1.6], [0.6, 1.2], [1.0, 0.8]])


def tasks_of(runs):
    return [runs[:, task, None] for task in range(runs.shape[1])]


def test_iqm_of_rliable():
    # 0, .2, .4, .6, .8, 1, 1.2, 1.6: a quarter cut at each end leaves .4, .6, .8, 1.
    assert pooled_interquartile_mean(tasks_of(RUNS)) == pytest.approx(0.7)
    assert stats.trim_mean(RUNS, proportiontocut=0.25, axis=None) == pytest.approx(0.7)


def test_optimality_gap_of_rliable():
    # Of 1: 1, .8, .4, 0 of the first task, .6, 0, 0, .2 of the second: 3 over 8 runs.
    assert optimality_gap(tasks_of(RUNS)) == pytest.approx(3 / 8)
    assert 1.0 - np.mean(np.minimum(RUNS, 1.0)) == pytest.approx(3 / 8)
    # Of 0.5: .5, .3, 0, 0 and .1, 0, 0, 0.
    assert optimality_gap(tasks_of(RUNS), goal=0.5) == pytest.approx(0.9 / 8)


def test_probability_of_improvement_of_rliable():
    other = np.array([[0.2, 0.4], [0.2, 0.4], [0.6, 0.8], [0.0, 2.0]])
    # First task, against .2, .2, .6, 0: 0 ties once: half; .2 two ties and a win: 2; .6 three wins and a tie: 3.5;
    # 1 four: 10 of 16. Second, against .4, .4, .8, 2: .4 two ties: 1; 1.6 three; 1.2 three; .8 two and a half:
    # 9.5 of 16.
    pairs = [np.stack([RUNS[:, task], other[:, task]], axis=1) for task in range(2)]
    assert probability_of_improvement(pairs) == pytest.approx((10 / 16 + 9.5 / 16) / 2)
    of_tasks = [stats.mannwhitneyu(RUNS[:, task], other[:, task]).statistic / 16 for task in range(2)]
    assert probability_of_improvement(pairs) == pytest.approx(np.mean(of_tasks))


def test_performance_profile_of_rliable():
    # Above 0: 3 + 4 of 8; above 0.5: .6, 1 and 1.6, 1.2, .8; above 1: 1.6 and 1.2, for `above` is strict.
    profile = performance_profile(np.array([0.0, 0.5, 1.0, 2.0]))
    assert profile(tasks_of(RUNS)) == pytest.approx([7 / 8, 5 / 8, 2 / 8, 0])


def test_means_and_medians_are_not_what_is_reported():
    """An outlier of one run in eight moves the mean, and the IQM not (the paper's Figure 9 and Section 4.3)."""
    outlier = RUNS.copy()
    outlier[1, 1] = 1000.0
    assert pooled_interquartile_mean(tasks_of(outlier)) == pytest.approx(0.7)
    assert optimality_gap(tasks_of(outlier)) == pytest.approx(3 / 8)
    assert outlier.mean() > 100


def test_the_stratified_bootstrap_covers_the_probability_of_improvement():
    """4 pairs of 5 seeds, unit shift: P(X > Y) = Phi(1 / sqrt 2), covered a little less often than 95 %."""
    rng = np.random.default_rng(11)
    truth, repeats, covered = float(stats.norm.cdf(1 / np.sqrt(2))), 600, 0
    for data in rng.normal(size=(repeats, 4, 5, 2)):
        found = bootstrap_interval(list(data + np.array([1.0, 0.0])), probability_of_improvement, resamples=300)
        covered += found.low <= truth <= found.high
    assert covered / repeats == pytest.approx(0.90, abs=0.05)
