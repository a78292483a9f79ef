"""What decides a claim, on small numbers by hand and against scipy and statsmodels' published examples."""

import numpy as np
import pytest
import scipy  # Its parts load when they are asked for.
from hypothesis import given
from hypothesis import strategies as st

from analysis.inference import (
    by_seed,
    differences,
    effect,
    equal_seeds,
    family,
    holm,
    seeds_to_settle,
    spearman,
    spearman_within,
    t_or_sign_test,
    t_test,
)
from analysis.statistics import UNLIMITED, summary

NAN = float("nan")
NBSP = {"a": {0: 0.9, 1: 0.8, 2: 1.0}, "b": {0: 0.6, 1: 0.5, 2: 0.7, 3: 0.8}, "c": {0: 1.0}}
BASE = {"a": {0: 0.1, 1: 0.2, 2: 0.1}, "b": {0: 0.4, 1: 0.5, 2: NAN, 9: 0.0}}


def test_differences_are_of_the_pairs_and_seeds_that_both_have():
    found = differences(NBSP, BASE)
    assert found == {"a": pytest.approx({0: 0.8, 1: 0.6, 2: 0.9}), "b": pytest.approx({0: 0.2, 1: 0.0})}


def test_an_effect_by_hand():
    found = effect({"a": {0: 0.8, 1: 0.6, 2: 0.9}, "b": {0: 0.2, 1: 0.1, 2: 0.0}}, (-1, 1))
    # a: s = 0.152753, over the root of 3 0.088192, times 4.302653: 0.379459; b: 0.1 -+ 4.302653 x 0.0577350.
    a, b = found.pairs["a"], found.pairs["b"]
    assert (a.mean, a.low, a.high) == pytest.approx((2.3 / 3, 2.3 / 3 - 0.379459, 1.0), abs=1e-6)
    assert (b.mean, b.low, b.high) == pytest.approx((0.1, -0.148414, 0.348414), abs=1e-6)
    over = found.over_pairs
    assert (over.value, over.pairs, over.runs, over.seeds) == (pytest.approx((2.3 / 3 + 0.1) / 2), 2, 6, 3)
    # Seeds are drawn jointly: with three, the interval goes from the worst seed (2 and 1: 0.35) to the best (0: 0.5).
    assert (over.low, over.high) == pytest.approx((0.35, 0.5))


def test_pairs_weigh_alike_whatever_seeds_they_have():
    found = effect({"a": {0: 1.0, 1: 1.0, 2: 1.0, 3: 0.6}, "b": {2: 0.1, 3: 0.2, 4: 0.3}, "none": {}})
    assert found.over_pairs.value == pytest.approx((0.9 + 0.2) / 2)
    assert (found.over_pairs.pairs, found.over_pairs.seeds, found.pairs["none"].n) == (2, 3, 0)
    assert found.over_pairs.low < found.over_pairs.value < found.over_pairs.high


def test_seeds_that_vary_together_are_less_certain_than_seeds_that_make_up_for_each_other():
    together = effect({"a": {0: 0.0, 1: 0.1, 2: 0.2, 3: 0.3}, "b": {0: 0.0, 1: 0.1, 2: 0.2, 3: 0.3}}).over_pairs
    apart = effect({"a": {0: 0.0, 1: 0.1, 2: 0.2, 3: 0.3}, "b": {0: 0.3, 1: 0.21, 2: 0.1, 3: 0.0}}).over_pairs
    assert together.high - together.low > 10 * (apart.high - apart.low)


def test_the_p_value_is_that_of_the_paired_test_and_agrees_with_the_interval():
    values = [0.3, 0.1, 0.25, -0.05, 0.2]
    assert t_test([*values, NAN]) == pytest.approx(scipy.stats.ttest_1samp(values, 0).pvalue)
    # t = 0.16 / (0.138744 / sqrt 5) = 2.578632; two-sided with 4 degrees of freedom.
    assert t_test(values) == pytest.approx(0.061416, abs=1e-6)
    assert np.isnan([t_test([0.05, 0.05, 0.05]), t_test([0.1, 0.2])]).all()


def test_the_mean_of_each_seed_is_over_the_pairs_that_have_it():
    assert by_seed({"a": {0: 1.0, 1: 0.5}, "b": {0: 0.0}}) == {0: 0.5, 1: 0.5}
    assert by_seed({}) == {}


def test_equal_seeds_have_an_interval_without_a_distribution():
    # s = 0.025^(1 / 5) = 0.478176 of all seeds at least are 0.8: the others are 0 at worst and 1 at best.
    found = equal_seeds(summary([0.8] * 5), (0.0, 1.0))
    assert (found.mean, found.low, found.high) == pytest.approx((0.8, 0.382541, 0.904365), abs=1e-6)
    # Three that differ by rounding alone: s = 0.025^(1 / 3) = 0.292402 between -1 and 1.
    rounded = equal_seeds(summary([0.85 - 0.80, 0.55 - 0.50, 0.05]), (-1.0, 1.0))
    assert (rounded.low, rounded.high) == pytest.approx((-0.692978, 0.722218), abs=1e-6)


@pytest.mark.parametrize(
    ("values", "limits"), [([0.2, 0.3, 0.4], (0.0, 1.0)), ([0.5, 0.5], (0.0, 1.0)), ([0.5] * 5, UNLIMITED)]
)
def test_what_has_an_interval_keeps_it_and_two_seeds_or_no_limits_have_none(values, limits):
    found, before = equal_seeds(summary(values), limits), summary(values)
    assert (found.n, found.low, found.high) == pytest.approx((before.n, before.low, before.high), nan_ok=True)


def test_equal_seeds_off_0_have_the_p_value_of_the_sign_test():
    # All five on one side: 2 / 2^5. At 0, and of two, there is none; of seeds that vary it is the t test's.
    assert t_or_sign_test([0.3] * 5) == 0.0625
    assert np.isnan([t_or_sign_test([0.0] * 5), t_or_sign_test([0.3] * 2), t_or_sign_test([])]).all()
    assert t_or_sign_test([0.2, 0.3, 0.4]) == t_test([0.2, 0.3, 0.4])


def test_holm_by_hand():
    # Sorted 0.01, 0.02, 0.03, 0.04: times 4, 3, 2, 1 is 0.04, 0.06, 0.06, 0.04, and none below the one before.
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_what_has_no_p_value_stays_in_the_family():
    found = holm([0.02, NAN, 0.01])
    assert (found[0], found[2]) == pytest.approx((0.04, 0.03))
    assert np.isnan(found[1])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_lies_between_no_correction_and_bonferroni(p_values):
    for p, corrected in zip(p_values, holm(p_values), strict=True):
        assert p <= corrected <= min(1.0, len(p_values) * p) + 1e-12


FAMILY = {
    "random_nbsp": dict(enumerate([0.3, 0.4, 0.35, 0.5, 0.3])),
    "ewc": dict(enumerate([0.3, 0.1, 0.25, -0.05, 0.4])),
    "ancl": dict(enumerate([0.1, -0.1, 0.05, 0.2, -0.2])),
}


def test_a_family_has_both_intervals_and_they_agree_with_the_corrected_test():
    found = family(FAMILY, (-1, 1))
    assert list(found) == list(FAMILY)
    first, second, third = found.values()
    assert [one.p for one in found.values()] == pytest.approx([t_test(list(one.values())) for one in FAMILY.values()])
    assert first.p_holm == pytest.approx(3 * first.p)
    assert second.p_holm == pytest.approx(2 * second.p)
    # The first at 1 - 0.05 / 3, the second at 1 - 0.05 / 2 (it does not hold), the third at the same.
    for one, divisor in ((first, 3), (second, 2), (third, 2)):
        half = scipy.stats.t.ppf(1 - 0.025 / divisor, 4) * one.uncorrected.standard_error
        assert one.corrected.low == pytest.approx(one.uncorrected.mean - half)
    assert (second.p < 0.1, second.p_holm > 0.05) == (True, True)


@given(st.lists(st.lists(st.integers(-20, 20), min_size=3, max_size=6, unique=True), min_size=1, max_size=5))
def test_a_corrected_interval_misses_0_exactly_where_the_corrected_test_rejects(numbers):
    found = family({str(i): dict(enumerate(map(float, of_seed))) for i, of_seed in enumerate(numbers)})
    for one in found.values():
        if abs(one.p_holm - 0.05) > 1e-9:
            assert (one.corrected.low > 0 or one.corrected.high < 0) == (one.p_holm < 0.05)
        assert one.corrected.low <= one.uncorrected.low
        assert one.corrected.high >= one.uncorrected.high


def test_spearman_by_hand():
    # Ranks 1 2 3 4 5 against 1 3 2 5 4: 1 - 6 (0 + 1 + 1 + 1 + 1) / (5 x 24).
    assert spearman([0.05, 0.1, 0.2, 0.4, 0.8], [0.1, 0.5, 0.3, 0.9, 0.8]) == pytest.approx(0.8)
    assert spearman([1, 2, 3, NAN], [3, 2, 1, 0]) == pytest.approx(-1)
    # Ties share their mean rank: 1.5, 1.5, 3 against 1, 2, 3.
    assert spearman([0, 0, 1], [1, 2, 3]) == pytest.approx(scipy.stats.spearmanr([0, 0, 1], [1, 2, 3]).statistic)
    # 0.85 - 0.80 is 0.05, but for rounding: ranks 1.5, 1.5, 3.5, 3.5 against 1, 2, 3, 4 have rho 4 / sqrt(20).
    assert spearman([1, 2, 3, 4], [0.05, 0.85 - 0.80, 0.2, 0.1 + 0.1]) == pytest.approx(4 / 20**0.5)
    assert np.isnan([spearman([1, 2, 3], [1, 1, 1]), spearman([1], [1]), spearman([], [])]).all()


def test_spearman_within_groups_knows_nothing_of_differences_between_them():
    counts = [10, 20, 30]
    rising = {seed: (counts, [seed + 0.1, seed + 0.2, seed + 0.3]) for seed in range(3)}
    found = spearman_within({"a": {**rising, 3: (counts, [0.3, 0.1, 0.2]), 4: (counts, [1.0, 1.0, 1.0])}})
    # 1, 1, 1 and -0.5; the constant one says nothing. s = 0.75, over the root of 4 0.375, t(3) = 3.182446.
    assert (found.pairs["a"].n, found.pairs["a"].mean) == (4, pytest.approx(0.625))
    assert found.pairs["a"].low == pytest.approx(0.625 - 3.182446 * 0.375, abs=1e-5)
    assert found.pairs["a"].high == 1
    assert found.over_pairs.value == pytest.approx(0.625)


def off_zero(mean, low, high):
    """What a t test of 5 % asks of an interval."""
    return (low > 0) | (high < 0)


@pytest.mark.parametrize(("effect_size", "seeds"), [(1.0, 10), (0.8, 15), (0.5, 34), (0.2, 199)])
def test_seeds_to_settle_are_those_of_the_power_tables(effect_size, seeds):
    """Paired t test, two-sided 5 %, power 0.8 (Cohen 1988; G*Power gives the same)."""
    assert seeds_to_settle(effect_size * 0.3, 0.3, off_zero) == seeds
    assert seeds_to_settle(-effect_size * 0.3, 0.3, off_zero) == seeds


def test_seeds_to_settle_have_that_power():
    n = seeds_to_settle(0.25, 0.2, off_zero)
    assert n is not None
    draws = np.random.default_rng(0).normal(0.25, 0.2, size=(4000, n))
    assert np.mean(scipy.stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05) == pytest.approx(0.83, abs=0.04)
    assert np.mean(scipy.stats.ttest_1samp(draws[:, :-1], 0, axis=1).pvalue < 0.05) < 0.8


def test_what_no_number_of_seeds_settles_is_none():
    assert [seeds_to_settle(*one, off_zero) for one in ((0.0, 0.2), (0.1, 0.0), (0.1, NAN), (1e-5, 1.0))] == [None] * 4
    assert seeds_to_settle(10.0, 0.1, off_zero) == 2
