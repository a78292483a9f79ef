import pandas as pd
import pytest

from analysis.statistics import summary
from analysis.tables import cells

NAN = float("nan")


def test_numbers_are_rounded_and_never_minus_zero():
    assert [cells.number(value) for value in (0.625, -0.001, 1234.5, float("nan"))] == ["0.63", "0.00", "1,234.50", "-"]
    assert [cells.count(value) for value in (3.0, 3.5)] == ["3", "3.5"]


def statistic(n, mean=0.62, se=0.2, low=0.06, high=1.0, seeds=5):
    return {"x_n": n, "x_mean": mean, "x_se": se, "x_low": low, "x_high": high, "seeds": seeds}


def test_an_estimate_shows_as_much_as_n_allows():
    assert cells.estimate(statistic(5), "x") == "0.62 ± 0.20 [0.06, 1.00]"
    assert cells.estimate(statistic(3), "x") == "0.62 ± 0.20 [0.06, 1.00] (n=3 of 5)"
    assert cells.estimate(statistic(3), "x", interval=False) == "0.62 ± 0.20 (n=3 of 5)"
    assert cells.estimate(statistic(2, low=NAN, high=NAN, seeds=2), "x") == "0.62 ± 0.20"
    assert cells.estimate(statistic(1, se=NAN, low=NAN, high=NAN, seeds=1), "x") == "0.62"
    assert cells.estimate(statistic(1, se=NAN, low=NAN, high=NAN), "x") == "0.62 (n=1 of 5)"
    assert cells.estimate(statistic(0, mean=NAN, low=NAN), "x") == "-"


@pytest.mark.parametrize("interval", [True, False])
def test_equal_seeds_are_never_read_as_certainty(interval):
    equal = statistic(5, mean=1.0, se=0.0, low=NAN, high=NAN)
    assert cells.estimate(equal, "x", interval=interval) == "1.00 (5 of 5 seeds equal)"
    assert cells.estimate(equal | {"x_n": 3}, "x", interval=interval) == "1.00 (3 of 3 seeds equal) (n=3 of 5)"


@pytest.mark.parametrize(
    ("seeds", "text"),
    [
        ((1, 1, 1, 1, 0.995), "0.999 ± 0.001 [0.996, 1.000]"),
        ((0, 0, 0, 0.005, 0.005), "0.002 ± 0.001 [0.000, 0.005]"),
        ((1, 1, 1, 1 - 1e-6), "0.9999998 ± 0.0000003 [0.9999990, 1.0000000]"),
        ((1, 0.995), "0.998 ± 0.003"),
        ((1, 1, 1, 1, 0.97), "0.99 ± 0.01 [0.98, 1.00]"),
    ],
)
def test_a_spread_that_is_there_is_never_rounded_to_none(seeds: tuple[float, ...], text: str) -> None:
    assert cells.of_summary(summary(seeds, (0.0, 1.0))) == text


def test_a_bootstrap_interval_is_never_rounded_to_no_width() -> None:
    assert cells.value_within(0.9996, 0.998, 1.0) == "1.000 [0.998, 1.000]"
    assert cells.value_within(0.85, 0.71, 0.93) == "0.85 [0.71, 0.93]"
    assert cells.value_within(0.85, NAN, NAN) == "0.85"
    assert cells.within(0.5, 0.5) == "[0.50, 0.50]"


def test_the_lowest_and_highest_seed_stand_beside_the_mean():
    row = {"x_mean": 0.18, "x_lowest": 0.07, "x_highest": 0.28}
    assert cells.spread(row, "x") == "0.18 (0.07 to 0.28)"
    assert cells.spread(dict.fromkeys(row, 3.0), "x", cells.count) == "3"


"""Cells as text."""


def test_the_cost_of_a_trial_names_what_others_learnt_for_it() -> None:
    row = {"env_steps_first": 25_000, "env_steps_second": 15_000, "env_steps_auxiliary": 0}
    assert cells.cost(row) == "25,000 + 15,000"
    assert cells.cost(row | {"env_steps_auxiliary": 14_500}) == "25,000 + 15,000 + 14,500 (aux.)"
    assert cells.cost(row | {"env_steps_second": pd.NA, "env_steps_auxiliary": pd.NA}) == "25,000 + -"
