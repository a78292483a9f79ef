"""What decides a claim: effects per pair and over pairs, corrected families, shares, rank correlations, seeds needed.

Pure functions of numbers by pair and seed; nothing here knows of stores, plans or claims. An interval is missing where
the seeds allow none (`analysis.statistics`), and what is missing decides nothing.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.statistics import (
    CONFIDENCE,
    EQUAL,
    FEWEST,
    UNLIMITED,
    Floats,
    Interval,
    Limits,
    Summary,
    all_equal,
    bootstrap_interval,
    clopper_pearson,
    mean_of_pairs,
    runs_by_seed,
    summary,
)

BySeed = Mapping[int, float]
"""A number for each seed: a success rate, or the difference of two methods that share their first phase."""
MOST_SEEDS = 100_000
"""Where `seeds_to_settle` gives up."""
GRID = 400
"""Means, and spreads, of its grid."""
Bools = npt.NDArray[np.bool_]
Rule = Callable[[Floats, Floats, Floats], Bools]
"""Which of many means, lower and upper ends settle a question; each an array, all of shapes that broadcast."""


@dataclass(frozen=True)
class Effect:
    """A number by pair and seed, summed up."""

    pairs: Mapping[str, Summary]
    """Per pair the mean over its seeds, with Student's t interval."""
    over_pairs: Interval
    """Mean of the pairs' means (pairs weigh alike), with a bootstrap that draws seeds jointly over pairs."""


def differences(method: Mapping[str, BySeed], other: Mapping[str, BySeed]) -> dict[str, dict[int, float]]:
    """method - other by pair and seed, of the seeds that both have; a missing one (NaN) counts as none."""
    both = {
        pair: {seed: value - other[pair][seed] for seed, value in of_pair.items() if seed in other[pair]}
        for pair, of_pair in method.items()
        if pair in other
    }
    return {pair: _known(of_pair) for pair, of_pair in both.items()}


def by_seed(values: Mapping[str, BySeed]) -> dict[int, float]:
    """The mean of each seed over the pairs that have it."""
    seeds = sorted(set[int]().union(*values.values()))
    return {seed: float(np.mean([one[seed] for one in values.values() if seed in one])) for seed in seeds}


def _known(of_seed: BySeed) -> dict[int, float]:
    return {seed: value for seed, value in of_seed.items() if not math.isnan(value)}


def effect(values: Mapping[str, BySeed], limits: Limits = UNLIMITED) -> Effect:
    """The effect of `values` by pair and seed, such as `differences`; `limits` are what a value can be.

    Pairs without a seed are in `pairs`, with n = 0, and not in the mean over pairs.
    """
    of_pairs = {pair: summary(list(of_pair.values()), limits) for pair, of_pair in values.items()}
    runs = runs_by_seed([{seed: [value] for seed, value in of_pair.items()} for of_pair in values.values()])
    return Effect(of_pairs, bootstrap_interval(runs, mean_of_pairs))


def t_test(values: Sequence[float] | Floats) -> float:
    """Two-sided p-value of Student's t test that the mean of `values` (S,) is 0, by seed; missing ones not counted.

    It agrees with `summary`: p < 0.05 where the 95 % interval misses 0. NaN where there is no interval.
    """
    from scipy.stats import ttest_1samp

    present = np.asarray(values, dtype=np.float64)
    present = present[~np.isnan(present)]
    return float(ttest_1samp(present, 0.0).pvalue) if summary(present).has_interval else np.nan


def equal_seeds(found: Summary, limits: Limits) -> Summary:
    """The interval that n equal seeds allow without a distribution: at least so many of all seeds are as these.

    With Clopper and Pearson's lower end s for the share of n of n, the mean of all seeds lies between
    s x mean + (1 - s) x the least, and the same with the greatest, that the number can be (`limits`). `found` itself if
    it has an interval, and for fewer than three seeds or a number without limits, which still have none.
    """
    if found.has_interval or found.n < FEWEST or not all(map(math.isfinite, limits)):
        return found
    share, _ = clopper_pearson(found.n, found.n)
    low, high = (share * found.mean + (1 - share) * limit for limit in limits)
    return Summary(found.n, found.mean, found.standard_error, low, high)


def t_or_sign_test(values: Sequence[float]) -> float:
    """`t_test`; of three or more equal seeds off 0, which have none, the two-sided sign test's p-value, 2 / 2^n."""
    found = summary(values)
    return 2.0 ** (1 - found.n) if found.n >= FEWEST and found.equal and abs(found.mean) > EQUAL else t_test(values)


@dataclass(frozen=True)
class Corrected:
    """One comparison of a family."""

    uncorrected: Summary
    p: float
    """Of `t_test`."""
    p_holm: float
    """Corrected for the family."""
    corrected: Summary
    """The same values with the corrected interval."""


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's corrected p-values (1979) of a family of m tests: max over j <= i of min(1, (m - j + 1) p_(j)).

    A test without a p-value (NaN) stays in the family, as one that does not reject, and stays NaN.
    """
    m, corrected, highest = len(p_values), [math.nan] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(m), key=lambda place: _last(p_values[place]))):
        if not math.isnan(p_values[place]):
            highest = max(highest, min(1.0, (m - rank) * p_values[place]))
            corrected[place] = highest
    return corrected


def _last(p: float) -> float:
    return math.inf if math.isnan(p) else p


def family(comparisons: Mapping[str, BySeed], limits: Limits = UNLIMITED) -> dict[str, Corrected]:
    """Differences by seed of several comparisons, corrected together: one method against each of several others.

    Holm's correction is of p-values; the intervals follow its steps. In the order of the p-values the i-th of m has the
    interval at confidence 1 - 0.05 / (m - i + 1), down to the first whose corrected p is not below 0.05; those after it
    have that one's confidence. So a corrected interval misses 0 exactly where the corrected p is below 0.05, and in at
    most 5 % of families does any miss a true 0. That is all it promises: for intervals that hold all their means at
    once in 95 % of families, take 1 - 0.05 / m (Bonferroni) throughout.
    """
    values = {name: np.array(list(of_seed.values()), dtype=np.float64) for name, of_seed in comparisons.items()}
    p_values = {name: t_test(of_seed) for name, of_seed in values.items()}
    corrected = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    found: dict[str, Corrected] = {}
    left = len(values)
    for name in sorted(values, key=lambda name: _last(p_values[name])):
        interval = summary(values[name], limits, confidence=1 - (1 - CONFIDENCE) / left)
        found[name] = Corrected(summary(values[name], limits), p_values[name], corrected[name], interval)
        left -= corrected[name] < 1 - CONFIDENCE
    return {name: found[name] for name in comparisons}


def spearman(x: Sequence[float] | Floats, y: Sequence[float] | Floats) -> float:
    """Spearman's rank correlation of two (n,), ties at their mean rank; NaN of fewer than two or if one is constant."""
    from scipy.stats import spearmanr

    both = np.array([x, y], dtype=np.float64)
    both = np.round(both[:, ~np.isnan(both).any(axis=0)], 9)  # ties are ties, but for rounding (`statistics.EQUAL`)
    if both.shape[1] < 2 or any(all_equal(one) for one in both):
        return np.nan
    return float(spearmanr(*both).statistic)


def spearman_within(groups: Mapping[str, Mapping[int, tuple[Sequence[float], Sequence[float]]]]) -> Effect:
    """Spearman's rho of x and y within each (pair, seed), as an effect: Figure 15's counts against stability.

    A group in which x or y is constant has no order and no rho; it is left out, and the n of its pair says so.
    """
    rho = {pair: {seed: spearman(*both) for seed, both in of_pair.items()} for pair, of_pair in groups.items()}
    return effect({pair: _known(of_pair) for pair, of_pair in rho.items()}, (-1.0, 1.0))


def seeds_to_settle(mean: float, spread: float, settles: Rule, power: float = 0.8) -> int | None:
    """How many seeds it takes until a rule settles a question with that power, if mean and spread are the true ones.

    The numbers are taken to be normal, with Student's t interval, and the chance is the share of a grid of means and
    spreads of n seeds that are all equally likely.

    Args:
        mean: The true mean: the measured one, or the smallest that matters.
        spread: The true standard deviation over seeds, as measured (n - 1 in its denominator). Of few seeds it is
            uncertain itself: from 5, the true one may be 0.6 to 2.9 times as large (95 %).
        settles: Which means with their 95 % intervals do.
        power: The chance of such a one.

    Returns:
        The least n; None if the spread is 0 or unknown, or if it would take more than `MOST_SEEDS`.
    """
    from scipy.stats import chi2, norm, t

    if not spread > 0:
        return None
    likely = (np.arange(GRID) + 0.5) / GRID
    shifts = norm.ppf(likely)[:, None]

    def reached(n: int) -> bool:
        means = mean + spread / math.sqrt(n) * shifts
        errors = spread * np.sqrt(chi2.ppf(likely, n - 1) / (n - 1) / n)
        half = errors * t.ppf((1 + CONFIDENCE) / 2, n - 1)
        return bool(np.mean(settles(means, means - half, means + half)) >= power)

    high = 2
    while not reached(high):
        high *= 2
        if high > MOST_SEEDS:
            return None
    low = high // 2  # too few, unless 2 are enough
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high
