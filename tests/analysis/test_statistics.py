import numpy as np
import pytest
import scipy  # Its parts load when they are asked for.

from analysis.statistics import (
    bootstrap_interval,
    clopper_pearson,
    difference_limits,
    interquartile_mean,
    mean_of_pairs,
    optimality_gap,
    paired_difference,
    percentiles,
    performance_profile,
    pooled_interquartile_mean,
    probability_of_improvement,
    resample,
    runs_by_seed,
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
    assert found.standard_error == pytest.approx(scipy.stats.sem(values))
    low, high = scipy.stats.t.interval(0.95, 4, loc=values.mean(), scale=scipy.stats.sem(values))
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
    expected = scipy.stats.binomtest(wins, n).proportion_ci(method="wilson")
    assert wilson_interval(wins / n, n) == pytest.approx((expected.low, expected.high))


def test_wilson_of_nothing_is_nothing():
    assert np.isnan(wilson_interval(np.nan, 0)).all()
    assert np.isnan(wilson_interval(np.nan, 200)).all()


def test_differences_are_paired():
    base = {"a": 0.1, "b": 0.5, "c": 0.9}
    found = paired_difference({"a": 0.3, "b": 0.6, "d": 1.0}, base)
    assert found.n == 2
    assert found.mean == pytest.approx(0.15)
    # Differences 0.2 and 0.1: s = 0.0707107, s / sqrt(2) = 0.05; two seeds have no interval.
    assert found.standard_error == pytest.approx(0.05)
    assert not found.has_interval


def test_equal_seeds_have_no_interval_and_say_so():
    # 0.85 - 0.80 and 0.55 - 0.50 are the same difference but for rounding.
    equal = paired_difference({"a": 0.85, "b": 0.55, "c": 0.05}, {"a": 0.8, "b": 0.5, "c": 0.0})
    assert (equal.n, equal.equal, equal.standard_error, equal.has_interval) == (3, True, 0.0, False)
    assert equal.mean == pytest.approx(0.05)
    assert not summary([0.85, 0.855, 0.85]).equal
    assert summary([12_000.0, 12_000.0 + 1e-6]).equal


def test_an_interval_is_cut_at_what_the_number_can_be():
    rates = [1.0, 1.0, 0.0]
    assert (summary(rates, (0, 1)).low, summary(rates, (0, 1)).high) == (0, 1)
    # 2 / 3 -+ 4.302653 x 0.333333.
    assert summary(rates).high == pytest.approx(2 / 3 + 1.434218, abs=1e-6)
    assert difference_limits((0, 1)) == (-1, 1)


@pytest.mark.parametrize(("share", "covered"), [(0.7, 0.8295), (0.9, 0.4091)])
def test_of_seeds_that_are_0_or_1_the_t_interval_covers_too_little_and_clopper_pearson_enough(share, covered):
    """What is said of five seeds, exactly: 5 of 5 and 0 of 5 have no t interval, which covers nothing."""
    t, exact = 0.0, 0.0
    for good in range(6):
        values, rng = [1.0] * good + [0.0] * (5 - good), scipy.stats.binom.pmf(good, 5, share)
        found = summary(values)
        t += rng * (found.has_interval and found.low <= share <= found.high)
        exact += rng * (clopper_pearson(good, 5)[0] <= share <= clopper_pearson(good, 5)[1])
    assert t == pytest.approx(covered, abs=1e-4)
    assert exact >= 0.95


def test_clopper_pearson_by_hand():
    # n of n: the lower end is 0.025^(1 / n); 0 of n: the upper one 1 - 0.025^(1 / n).
    assert clopper_pearson(5, 5) == pytest.approx((0.025**0.2, 1.0))
    assert clopper_pearson(0, 5) == pytest.approx((0.0, 1 - 0.025**0.2))
    assert clopper_pearson(3, 5) == pytest.approx((0.14663, 0.94726), abs=1e-5)
    assert np.isnan(clopper_pearson(0, 0)).all()


def test_a_pair_with_a_missing_half_is_no_pair():
    assert paired_difference({"a": np.nan, "b": 0.6}, {"a": 0.1, "b": 0.5}).n == 1


def runs_of(*pairs):
    """Runs (S, P, 1) of pairs with the seeds 0, 1, ...; a shorter one lacks the last seeds."""
    return runs_by_seed([{seed: [value] for seed, value in enumerate(pair)} for pair in pairs])


def both_of(*pairs):
    """Runs (S, P, 2) from arrays (n_p, 2)."""
    return runs_by_seed([dict(enumerate(pair.tolist())) for pair in pairs])


def test_iqm_by_hand():
    # Eight values: two are cut at each end, (3 + 4 + 5 + 6) / 4.
    assert interquartile_mean(np.array([8.0, 1, 7, 2, 6, 3, 5, 4])) == pytest.approx(4.5)
    # Five values: one is cut at each end.
    assert interquartile_mean(np.array([0.0, 0, 0.9, 1, 1])) == pytest.approx(1.9 / 3)
    assert pooled_interquartile_mean(runs_of([8, 1, 7, 2], [6, 3, 5, 4])) == pytest.approx(4.5)


def test_iqm_is_the_trimmed_mean_of_the_papers_code():
    values = np.random.default_rng(0).random((3, 23))
    assert interquartile_mean(values) == pytest.approx(scipy.stats.trim_mean(values, 0.25, axis=1))
    values[0, :4] = np.nan
    assert interquartile_mean(values)[0] == pytest.approx(scipy.stats.trim_mean(values[0, 4:], 0.25))


def test_probability_of_improvement_by_hand():
    # 0.5 against 0.1, 0.5, 0.9: better, equal, worse; 1.0 is better than all three; 0.2 than one.
    runs = np.array([[0.5, 0.1], [1.0, 0.5], [0.2, 0.9]])
    assert probability_of_improvement(both_of(runs)) == pytest.approx((1.5 + 3 + 1) / 9)
    assert probability_of_improvement(both_of(runs, np.array([[1.0, 0.0]]))) == pytest.approx((5.5 / 9 + 1) / 2)


def test_probability_of_improvement_agrees_with_the_mann_whitney_statistic():
    runs = np.random.default_rng(1).integers(0, 4, (9, 2)) / 4.0
    u = scipy.stats.mannwhitneyu(runs[:, 0], runs[:, 1]).statistic
    assert probability_of_improvement(both_of(runs)) == pytest.approx(u / 81)


def test_performance_profile_by_hand():
    profile = performance_profile(np.array([0.0, 0.5, 1.0]))
    assert profile(runs_of([0.0, 0.5, 1.0, 1.0], [1.0, 1.0])) == pytest.approx([(0.75 + 1) / 2, (0.5 + 1) / 2, 0.0])


def test_pairs_weigh_alike_however_many_seeds_they_have():
    assert mean_of_pairs(runs_of([0.0, 0.0, 0.3], [1.0])) == pytest.approx((0.1 + 1) / 2)


def test_seeds_are_drawn_jointly_over_pairs():
    drawn = resample(runs_of([0.0, 1, 2, 3], [10.0, 11, 12, 13]), np.random.default_rng(0), 50)
    assert drawn.shape == (50, 4, 2, 1)
    assert (drawn[..., 1, 0] == drawn[..., 0, 0] + 10).all()
    assert len(np.unique(drawn)) == 8


def test_a_pair_that_lacks_seeds_lacks_them_in_every_draw_and_is_never_empty():
    runs = runs_by_seed([{0: [0.0], 1: [0.1], 2: [0.2], 3: [0.3]}, {2: [1.2], 7: [1.7]}])
    assert runs.shape == (5, 2, 1)
    drawn = resample(runs, np.random.default_rng(0), 400)[..., 0]
    assert np.array_equal(np.isnan(drawn[..., 0]), drawn[..., 1] == 1.7)
    assert np.array_equal(drawn[..., 0] == 0.2, drawn[..., 1] == 1.2)
    assert (~np.isnan(drawn)).any(axis=1).all()


def test_percentiles_are_widened_for_few_seeds_as_hesterberg_says():
    # n = 5: t(4) = 2.776445, times sqrt(5 / 4) is 3.104160; Phi(-3.104160) = 0.000954.
    assert percentiles(5) == pytest.approx((0.000954, 0.999046), abs=1e-6)
    assert percentiles(10_000) == pytest.approx((0.025, 0.975), abs=1e-4)


def test_a_bootstrap_interval_is_the_same_each_time_and_holds_its_value():
    runs = runs_of(*np.random.default_rng(2).random((2, 9)))
    found = bootstrap_interval(runs, pooled_interquartile_mean)
    assert found == bootstrap_interval(runs, pooled_interquartile_mean)
    assert found != bootstrap_interval(runs, pooled_interquartile_mean, seed=1)
    assert (found.runs, found.pairs, found.seeds) == (18, 2, 9)
    assert found.low < found.value < found.high


@pytest.mark.parametrize(
    ("pairs", "runs"),
    [(([0.5, 0.7, 0.9], [0.9, 0.1]), 5), (([0.5], [0.9]), 2), (([1.0] * 5, [1.0] * 5), 10)],
    ids=["two seeds in a pair", "one seed", "all equal"],
)
def test_what_is_too_few_or_all_equal_has_no_bootstrap_interval(pairs, runs):
    found = bootstrap_interval(runs_of(*pairs), pooled_interquartile_mean)
    assert (found.runs, found.pairs) == (runs, 2)
    assert np.isnan([found.low, found.high]).all()


def test_nothing_has_no_value():
    nothing = bootstrap_interval(runs_of([]), pooled_interquartile_mean)
    assert nothing.runs == 0
    assert np.isnan(nothing.value)


@pytest.mark.parametrize(("seeds", "shared", "covered"), [(5, 0.0, 0.93), (5, 0.7, 0.93), (3, 0.0, 0.75)])
def test_the_bootstrap_covers_the_iqm_as_often_as_the_caption_says(seeds, shared, covered):
    """4 pairs; `shared` is the share of a run's variance that a seed has in common over pairs."""
    rng = np.random.default_rng(3)
    repeats, held = 1000, 0
    for _ in range(repeats):
        own, common = rng.normal(size=(seeds, 4, 1)), rng.normal(size=(seeds, 1, 1))
        data = 0.6 + 0.2 * (np.sqrt(1 - shared) * own + np.sqrt(shared) * common)
        found = bootstrap_interval(data, pooled_interquartile_mean, resamples=400)
        held += found.low <= 0.6 <= found.high
    assert held / repeats == pytest.approx(covered, abs=0.03)


@pytest.mark.parametrize("rate", [0.5, 0.9, 0.98])
def test_wilson_covers_the_rate(rate):
    wins = np.arange(201)
    holds = [low <= rate <= high for low, high in (wilson_interval(one / 200, 200) for one in wins)]
    assert scipy.stats.binom.pmf(wins[holds], 200, rate).sum() == pytest.approx(0.95, abs=0.025)


# rliable (Agarwal et al. 2021), whose package does not import beside today's pandas: its definitions on a small matrix
# of 4 runs (rows) by 2 tasks, worked by hand, and as rliable/metrics.py has them: aggregate_iqm is scipy's trim_mean of
# all runs of all tasks, aggregate_optimality_gap is gamma - mean(minimum(scores, gamma)), probability_of_improvement
# the mean over tasks of the Mann-Whitney statistic over n m, and run_score_deviation (library.py) mean(scores > tau).
RUNS = np.array([[0.0, 0.4], [0.2, 1.6], [0.6, 1.2], [1.0, 0.8]])


def tasks_of(runs):
    return runs[:, :, None]


def test_iqm_of_rliable():
    # 0, .2, .4, .6, .8, 1, 1.2, 1.6: a quarter cut at each end leaves .4, .6, .8, 1.
    assert pooled_interquartile_mean(tasks_of(RUNS)) == pytest.approx(0.7)
    assert scipy.stats.trim_mean(RUNS, proportiontocut=0.25, axis=None) == pytest.approx(0.7)


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
    assert probability_of_improvement(both_of(*pairs)) == pytest.approx((10 / 16 + 9.5 / 16) / 2)
    of_tasks = [scipy.stats.mannwhitneyu(RUNS[:, task], other[:, task]).statistic / 16 for task in range(2)]
    assert probability_of_improvement(both_of(*pairs)) == pytest.approx(np.mean(of_tasks))


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


def test_the_bootstrap_covers_the_probability_of_improvement():
    """4 pairs of 5 seeds, unit shift: P(X > Y) = Phi(1 / sqrt 2)."""
    rng = np.random.default_rng(11)
    truth, repeats, covered = float(scipy.stats.norm.cdf(1 / np.sqrt(2))), 600, 0
    for data in rng.normal(size=(repeats, 5, 4, 2)):
        found = bootstrap_interval(data + np.array([1.0, 0.0]), probability_of_improvement, resamples=300)
        covered += found.low <= truth <= found.high
    assert covered / repeats == pytest.approx(0.93, abs=0.04)
