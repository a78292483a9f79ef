"""The rules of claims on numbers made up by hand."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats
from claim_stores import claim_test

from analysis.claims.loader import ClaimTest
from analysis.claims.rules import decide, together
from analysis.statistics import UNLIMITED, summary

DIFFERENCE = (-1.0, 1.0)
RATE = (0.0, 1.0)


@pytest.mark.parametrize(
    ("rule", "numbers", "verdict"),
    [
        (claim_test("above", "nbsp", "base"), [0.2, 0.3, 0.4, 0.3, 0.3], "confirmed"),  # 0.30 -+ 0.088
        (claim_test("below", "nbsp", "base"), [0.2, 0.3, 0.4, 0.3, 0.3], "refuted"),
        (claim_test("above", "nbsp", "base"), [-0.2, -0.3, -0.4, -0.3, -0.3], "refuted"),
        (claim_test("below", "nbsp", "base"), [-0.2, -0.3, -0.4, -0.3, -0.3], "confirmed"),
        (claim_test("above", "nbsp", "base"), [0.01, -0.01, 0.02, -0.02, 0.0], "refuted"),  # 0.00 -+ 0.020: none
        (claim_test("above", "nbsp", "base"), [0.03, 0.04, 0.035, 0.03, 0.04], "refuted"),  # 0.035 -+ 0.006: too small
        (claim_test("above", "nbsp", "base"), [0.04, 0.05, 0.045, 0.05, 0.04], "inconclusive"),  # 0.045 -+ 0.006
        (claim_test("above", "nbsp", "base"), [1.0, 0.0, 0.0, 1.0, -0.5], "inconclusive"),
        (claim_test("above", "nbsp", "base"), [0.9, 0.8], "inconclusive"),
        (claim_test("above", "nbsp", "base"), [], "not run"),
        (claim_test("not_lower", "nbsp", "base"), [0.01, -0.01, 0.02, -0.02, 0.0], "confirmed"),
        (claim_test("not_lower", "nbsp", "base"), [-0.2, -0.3, -0.4, -0.3, -0.3], "refuted"),
        (claim_test("not_lower", "nbsp", "base"), [-0.1, 0.0, -0.05, 0.02, -0.09], "inconclusive"),
        (claim_test("level", "nbsp", at_least=0.9, low_at_least=0.8), [0.95, 1.0, 0.9, 0.95, 1.0], "confirmed"),
        (claim_test("level", "nbsp", at_least=0.9, low_at_least=0.8), [0.9, 1.0, 0.6, 1.0, 1.0], "inconclusive"),
        (claim_test("level", "nbsp", at_least=0.9, low_at_least=0.8), [0.1, 0.2, 0.1, 0.0, 0.3], "refuted"),
        (claim_test("level", "nbsp", below=0.5), [0.1, 0.2, 0.1, 0.0, 0.3], "confirmed"),
        (claim_test("level", "nbsp", below=0.5), [0.95, 1.0, 0.9, 0.95, 1.0], "refuted"),
        (claim_test("level", "nbsp", below=0.5), [0.4, 0.6, 0.3, 0.5, 0.5], "inconclusive"),
        (claim_test("reached", at_least=0.9, low_at_least=0.5), [1] * 10, "confirmed"),  # (0.69, 1)
        (claim_test("reached", at_least=0.9, low_at_least=0.5), [1] * 5, "inconclusive"),  # (0.48, 1)
        (claim_test("reached", at_least=0.9, low_at_least=0.5), [0] * 5, "refuted"),  # (0, 0.52)
        (claim_test("rises", "nbsp"), [0.9, 1.0, 0.8, 0.9, 0.95], "confirmed"),
        (claim_test("falls", "nbsp"), [0.9, 1.0, 0.8, 0.9, 0.95], "refuted"),
    ],
)  # fmt: skip
def test_a_rule(rule: ClaimTest, numbers: list[float], verdict: str) -> None:
    assert decide(rule, numbers, DIFFERENCE).verdict == verdict


def test_equal_seeds_are_no_certainty() -> None:
    """5 of 5 equal seeds leave a share of 0.522 that may be anything; of 10, 0.308."""
    five, ten = (decide(claim_test("above", "base", measure="forgetting"), [1.0] * n, DIFFERENCE) for n in (5, 10))
    assert (five.verdict, ten.verdict) == ("inconclusive", "confirmed")
    share = 0.025 ** (1 / 5)
    assert (five.found.low, five.found.high) == pytest.approx((share - (1 - share), 1.0))
    level = claim_test("level", "nbsp", at_least=0.9, low_at_least=0.8)
    assert [decide(level, [1.0] * n, RATE).verdict for n in (5, 16, 17)] == ["inconclusive"] * 2 + ["confirmed"]
    # At 1.00 the lower end is the share itself: 0.025^(1/16) is 0.794, 0.025^(1/17) 0.805.
    assert decide(level, [1.0] * 5, RATE).why == "all 5 seeds are equal; 17 such seeds would have it confirmed"
    unbounded = decide(claim_test("above", "nbsp", "base"), [1.0] * 5, UNLIMITED)
    assert (unbounded.verdict, unbounded.why) == ("inconclusive", "all 5 seeds are equal: there is no interval")


def test_of_a_level_seeds_that_hardly_differ_are_as_equal_ones() -> None:
    """A spread of 0.002 says no more of a sixth seed than none: Student's t would put the mean within 0.996 and 1."""
    level = claim_test("level", "nbsp", at_least=0.9, low_at_least=0.8)
    close, far = [1.0, 0.995, 1.0, 1.0, 1.0], [1.0, 0.94, 1.0, 1.0, 1.0]
    found = decide(level, close, RATE)
    assert found.verdict == decide(level, [1.0] * 5, RATE).verdict == "inconclusive"
    assert found.found.low == pytest.approx(0.025 ** (1 / 5) * 0.999)
    assert found.why == "all 5 seeds are within 0.05 of one another; 17 such seeds would have it confirmed"
    assert decide(level, far, RATE).verdict == "confirmed"  # 0.988 -+ 0.033
    assert decide(level, close, UNLIMITED).verdict == "confirmed"  # of scores nothing else is known
    assert (
        decide(claim_test("not_lower", "nbsp", "base"), [0.0, 0.005, 0.0, 0.0, 0.0], DIFFERENCE).verdict == "confirmed"
    )


def test_what_would_settle_it() -> None:
    numbers = [0.5, -0.1, 0.3, 0.6, -0.2]
    found = decide(claim_test("above", "nbsp", "base"), numbers, DIFFERENCE)
    # Mean 0.22, s 0.356: (t(0.975, 22) + t(0.8, 22))^2 (s / mean)^2 = 2.932^2 x 2.62 = 22.5
    wide = "the interval is too wide; about {} seeds of such spread would have it {} (power 0.8)"
    assert (found.verdict, found.why) == ("inconclusive", wide.format(23, "confirmed"))
    assert decide(claim_test("below", "nbsp", "base"), numbers, DIFFERENCE).why == wide.format(23, "refuted")
    assert (
        decide(claim_test("above", "nbsp", "base"), [0.9, 0.8], DIFFERENCE).why
        == "2 of at least 3 seeds: there is no interval"
    )


Numbers = np.ndarray[Any, np.dtype[np.float64]]


@pytest.mark.parametrize(
    ("rule", "numbers", "verdict", "holds"),
    [
        (
            claim_test("level", "nbsp", at_least=0.9, low_at_least=0.8), [0.0, 0.56, 1.0, 0.3, 0.64],
            "refuted", lambda mean, low, high: high < 0.9,
        ),
        # Mean 0.92: so it must be found again, and its interval must not reach 0.8.
        (
            claim_test("level", "nbsp", at_least=0.9, low_at_least=0.8), [0.77, 0.97, 1.0, 0.86, 1.0],
            "confirmed", lambda mean, low, high: (mean >= 0.9) & (low >= 0.8),
        ),
        (
            claim_test("level", "nbsp", below=0.5), [0.0, 0.3, 0.9, 0.1, 0.7],
            "confirmed", lambda mean, low, high: high < 0.5,
        ),
        (
            claim_test("not_lower", "nbsp", "base"), [-0.3, 0.1, -0.2, 0.1, -0.1],
            "refuted", lambda mean, low, high: high < -0.05,
        ),
        (
            claim_test("not_lower", "nbsp", "base"), [-0.3, 0.1, -0.2, 0.2, 0.1],
            "confirmed", lambda mean, low, high: low > -0.05,
        ),
        # Mean -0.01: that there is nothing is what more seeds would say.
        (
            claim_test("above", "nbsp", "base"), [-0.1, 0.1, -0.15, 0.1, 0.0],
            "refuted", lambda mean, low, high: (high < 0) | ((low > -0.05) & (high < 0.05)),
        ),
        # Mean -0.04: that it is below 0 is said sooner than that it is within 0.05 of it.
        (
            claim_test("above", "nbsp", "base"), [-0.12, 0.0, -0.08, 0.02, -0.02],
            "refuted", lambda mean, low, high: (high < 0) | ((low > -0.05) & (high < 0.05)),
        ),
        # Mean 0.06, hardly more than what counts: of two intervals above 0, one has a mean below 0.05.
        (
            claim_test("above", "nbsp", "base"), [0.2, -0.1, 0.12, -0.04, 0.12],
            "confirmed", lambda mean, low, high: (low > 0) & (mean >= 0.05),
        ),
    ],
)  # fmt: skip
def test_what_more_seeds_would_make_of_it(
    rule: ClaimTest, numbers: list[float], verdict: str, holds: Callable[[Numbers, Numbers, Numbers], Numbers]
) -> None:
    """So many normal seeds of this mean and spread have the verdict in 80 of 100 cases; fewer do not."""
    why = decide(rule, numbers, DIFFERENCE).why
    found = re.fullmatch(
        rf"the interval is too wide; about (\d+) seeds of such spread would have it {verdict} \(.*\)", why
    )
    assert found, why
    rng, mean, spread = np.random.default_rng(0), np.mean(numbers), np.std(numbers, ddof=1)

    def power(n: int) -> float:
        draws = rng.normal(mean, spread, (4_000, n))
        half = scipy.stats.t.ppf(0.975, n - 1) * draws.std(axis=1, ddof=1) / n**0.5
        return float(np.mean(holds(draws.mean(axis=1), draws.mean(axis=1) - half, draws.mean(axis=1) + half)))

    seeds = int(found[1])
    assert power(seeds) > 0.79
    assert power(seeds - 1 - seeds // 10) < 0.8


def test_an_interval_ends_where_its_number_ends() -> None:
    found = decide(claim_test("above", "base", measure="forgetting"), [0.04, 0.79, 1.0, 0.3, 1.0], DIFFERENCE).found
    assert found.high == 1.0
    assert summary([0.04, 0.79, 1.0, 0.3, 1.0]).high > 1.1


def test_what_must_hold_altogether() -> None:
    assert together(["confirmed", "confirmed"]) == "confirmed"
    assert together(["confirmed", "refuted", "not run"]) == "refuted"
    assert together(["confirmed", "not run"]) == "inconclusive"
    assert together(["not run", "not run"]) == "not run"
    assert together([]) == "not run"
