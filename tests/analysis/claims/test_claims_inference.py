"""Numbers worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.claims.inference import (
    by_seed,
    clopper_pearson,
    effect,
    holm,
    seeds_summary,
    seeds_to_settle,
    spearman,
    t_test,
)


def test_three_seeds_have_an_interval_and_two_or_equal_ones_have_none() -> None:
    # 0.2, 0.3, 0.4: s = 0.1, s / sqrt(3) = 0.057735, t(0.975, 2) = 4.302653
    found = seeds_summary([0.2, 0.3, 0.4])
    assert (found.low, found.high) == pytest.approx((0.3 - 0.248414, 0.3 + 0.248414), abs=1e-6)
    for none in ([0.2, 0.4], [0.5] * 5, [0.85 - 0.80, 0.55 - 0.50, 0.05]):
        assert math.isnan(seeds_summary(none).low)
        assert math.isnan(t_test(none))
    assert seeds_summary([]).n == 0


def test_the_p_value_is_that_of_the_interval() -> None:
    # t = 0.3 / 0.057735 = 5.19615 with 2 degrees of freedom: p = 1 - t / sqrt(t^2 + 2)
    t = 0.3 / (0.1 / math.sqrt(3))
    assert t_test([0.2, 0.3, 0.4]) == pytest.approx(1 - t / math.sqrt(t * t + 2))


def test_seeds_are_drawn_jointly_over_pairs() -> None:
    """What is good in one pair and bad in the other by the same amount cancels in each draw of seeds."""
    opposite = {"a": {0: 0.0, 1: 1.0, 2: 0.5, 3: 0.2}, "b": {0: 1.0, 1: 0.0, 2: 0.5, 3: 0.8}}
    found = effect(opposite).over_pairs
    assert (found.mean, math.isnan(found.low)) == (0.5, True)
    alike = effect({"a": opposite["a"], "b": opposite["a"]}).over_pairs
    assert alike.low < 0.2 < 0.6 < alike.high


def test_pairs_weigh_alike_and_a_pair_may_lack_seeds() -> None:
    found = effect({"a": {0: 1.0, 1: 1.0, 2: 0.7, 3: 0.5}, "b": {0: 0.0, 1: 0.1, 2: 0.2}}).over_pairs
    assert found.mean == pytest.approx((0.8 + 0.1) / 2)
    assert found.n == 3
    assert found.low < found.mean < found.high
    assert math.isnan(effect({"a": {0: 1.0, 1: 0.5, 2: 0.2}, "b": {0: 1.0, 1: 0.0}}).over_pairs.low)
    assert effect({}).over_pairs.n == 0


def test_the_mean_of_each_seed_is_over_the_pairs_that_have_it() -> None:
    assert by_seed({"a": {0: 1.0, 1: 0.5}, "b": {0: 0.0}}) == {0: 0.5, 1: 0.5}
    assert by_seed({}) == {}


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    found = holm([math.nan, 0.02, 0.5])
    assert math.isnan(found[0])
    assert found[1:] == pytest.approx([0.06, 1.0])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=8))
def test_a_corrected_p_value_is_never_smaller_and_keeps_the_order(p_values: list[float]) -> None:
    found = holm(p_values)
    assert all(before <= after <= 1 for before, after in zip(p_values, found, strict=True))
    ranks = np.argsort(p_values, kind="stable")
    assert list(np.take(found, ranks)) == sorted(found)


def test_clopper_and_pearson() -> None:
    # n of n: the lower end is (0.025)^(1 / n); 0 of n is its mirror image.
    assert clopper_pearson(5, 5) == pytest.approx((0.025 ** (1 / 5), 1.0))
    assert clopper_pearson(0, 10) == pytest.approx((0.0, 1 - 0.025 ** (1 / 10)))
    # 3 of 5, as tables give it
    assert clopper_pearson(3, 5) == pytest.approx((0.1466, 0.9473), abs=1e-4)
    assert all(map(math.isnan, clopper_pearson(0, 0)))


def test_spearman() -> None:
    assert spearman([1, 2, 3, 4], [0.1, 0.4, 0.9, 1.0]) == pytest.approx(1.0)
    # Ranks 1, 2, 3, 4 against 1.5, 1.5, 4, 3: the correlation of these is 3.5 / sqrt(5 x 4.5)
    assert spearman([1, 2, 3, 4], [0.2, 0.2, 0.9, 0.7]) == pytest.approx(3.5 / math.sqrt(5 * 4.5))
    assert math.isnan(spearman([1, 2], [0, 1]))
    assert math.isnan(spearman([1, 2, 3], [0.5, 0.5, 0.5]))


def test_seeds_to_settle() -> None:
    # A paired t test of a mean of half a standard deviation, two-sided 5 %, power 0.8, takes 34 in every table.
    assert seeds_to_settle(0.5, 1.0) == 34
    assert seeds_to_settle(-0.5, 1.0) == 34
    assert seeds_to_settle(0.0, 1.0) is None
    assert seeds_to_settle(0.5, 0.0) is None
    assert seeds_to_settle(1e-6, 1.0) is None
