"""Effects over pairs and seeds, corrected families, and how many seeds would settle a question.

Pure functions of numbers by pair and seed. An interval is missing (NaN) for fewer than three seeds and where all seeds
are equal: one without width would read as certainty.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.statistics import BOOTSTRAP_SEED, CONFIDENCE, RESAMPLES, Summary, summary

BySeed = Mapping[int, float]
FEWEST = 3
EQUAL = 1e-9
"""Values no further apart than this differ by rounding only."""
MOST_SEEDS = 1_000


@dataclass(frozen=True)
class Effect:
    """A number by pair and seed, summed up."""

    pairs: Mapping[str, Summary]
    """Per pair the mean over its seeds, with Student's t interval."""
    over_pairs: Summary
    """Mean of the pairs' means; of several pairs its interval is a bootstrap that draws seeds jointly over pairs. Its n
    is the number of seeds of the pair that has the fewest."""


def seeds_summary(values: Sequence[float]) -> Summary:
    """Mean and Student's t interval of one number per seed (S,); no interval of few or of equal seeds."""
    found = summary(values)
    if 0 < found.n < FEWEST or (found.n and max(values) - min(values) <= EQUAL):
        return Summary(found.n, found.mean, found.standard_error, math.nan, math.nan)
    return found


def effect(values: Mapping[str, BySeed]) -> Effect:
    """The effect of numbers by pair and seed; pairs weigh alike."""
    pairs = {pair: seeds_summary(list(of_seed.values())) for pair, of_seed in values.items() if of_seed}
    if len(pairs) < 2:
        return Effect(pairs, next(iter(pairs.values()), seeds_summary([])))
    mean = float(np.mean([one.mean for one in pairs.values()]))
    n = min(one.n for one in pairs.values())
    return Effect(pairs, Summary(n, mean, math.nan, *_joint_bootstrap([v for v in values.values() if v], n)))


def _joint_bootstrap(pairs: Sequence[BySeed], n: int) -> tuple[float, float]:
    """Percentile interval of the mean of the pairs' means; a seed is one initialisation in all pairs, drawn for all."""
    if n < FEWEST:
        return math.nan, math.nan
    seeds = sorted(set().union(*pairs))
    runs = np.array([[of_seed.get(seed, math.nan) for of_seed in pairs] for seed in seeds])
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    drawn = runs[rng.integers(len(seeds), size=(RESAMPLES, len(seeds)))]
    there = ~np.isnan(drawn)
    whole = there.any(axis=1).all(axis=1)  # a draw that leaves a pair without any seed has no mean
    means = (np.nansum(drawn, axis=1)[whole] / there.sum(axis=1)[whole]).mean(axis=1)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return (float(low), float(high)) if high - low > EQUAL else (math.nan, math.nan)


def by_seed(values: Mapping[str, BySeed]) -> dict[int, float]:
    """The mean over the pairs that each seed has."""
    seeds = sorted(set().union(*values.values())) if values else []
    return {seed: float(np.mean([one[seed] for one in values.values() if seed in one])) for seed in seeds}


def t_test(values: Sequence[float]) -> float:
    """Two-sided p-value of Student's t test that the mean of one number per seed is 0; NaN without an interval."""
    from scipy.special import stdtr

    found = seeds_summary(values)
    if math.isnan(found.low):
        return math.nan
    return float(2 * stdtr(found.n - 1, -abs(found.mean) / found.standard_error))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's corrected p-values (1979): max over j <= i of min(1, (m - j + 1) p_(j)). NaN counts as not rejecting."""
    order = sorted(range(len(p_values)), key=lambda i: math.inf if math.isnan(p_values[i]) else p_values[i])
    found, highest = [math.nan] * len(p_values), 0.0
    for rank, i in enumerate(order):
        if not math.isnan(p_values[i]):
            highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
            found[i] = highest
    return found


def clopper_pearson(successes: int, n: int) -> tuple[float, float]:
    """Clopper and Pearson's exact 95 % interval for a share, from `successes` of `n`; NaN, NaN if n = 0."""
    from scipy.special import betaincinv

    if n == 0:
        return math.nan, math.nan
    tail = (1 - CONFIDENCE) / 2
    low = 0.0 if successes == 0 else float(betaincinv(successes, n - successes + 1, tail))
    high = 1.0 if successes == n else float(betaincinv(successes + 1, n - successes, 1 - tail))
    return low, high


def spearman(x: Sequence[float], y: Sequence[float]) -> float:
    """Spearman's rank correlation of two (n,), ties at their mean rank; NaN of fewer than three or a constant one."""
    from scipy.stats import rankdata

    if len(x) < 3 or max(x) - min(x) <= EQUAL or max(y) - min(y) <= EQUAL:
        return math.nan
    return float(np.corrcoef(rankdata(np.round(x, 9)), rankdata(np.round(y, 9)))[0, 1])


def seeds_to_settle(difference: float, spread: float, power: float = 0.8) -> int | None:
    """The least n for which a two-sided t test at 5 % finds a mean `difference` with that power.

    n >= (t(0.975, n - 1) + t(power, n - 1))^2 spread^2 / difference^2, `spread` the standard deviation over seeds. None
    where nothing can be said, or where it would be more than `MOST_SEEDS`.
    """
    from scipy.special import stdtrit

    if not (spread > 0 and abs(difference) > 0):
        return None
    for n in range(FEWEST, MOST_SEEDS + 1):
        wanted = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2) + stdtrit(n - 1, power))
        if n >= (wanted * spread / difference) ** 2:
            return n
    return None
