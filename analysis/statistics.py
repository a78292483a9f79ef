"""What many seeds say together: means, standard errors, and the intervals that may be named.

On normal data with n = 5 one standard error, the paper's band, covers the mean in 63 % of cases, Student's t interval
in 95 % (the tests simulate it). So tables carry both and say which is which. Of rates that are 0 or 1 by seed the t
interval covers far less (83 % at a true share of 0.7 and n = 5, 41 % at 0.9), so the seeds themselves and their share
stand beside it (`analysis.tables.seeds`). Fewer than three seeds, or seeds that are all equal, have no interval: one
without width would read as certainty. Over several pairs: a bootstrap that draws seeds jointly over pairs, its
generator seeded. What a claim needs besides is in `analysis.inference`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Limits = tuple[float, float]
"""The least and the greatest that a number can be."""

CONFIDENCE = 0.95
UNLIMITED: Limits = (-math.inf, math.inf)
CUT = (
    "Intervals of means are 95 % Student t intervals, cut at what the number can be: a rate at 0 and 1, a difference "
    "of rates at -1 and 1, a score nowhere."
)
"""Said of every such interval, wherever one is shown; `summary` does it."""
FEWEST = 3
"""Seeds that an interval takes."""
EQUAL = 1e-9
"""Values that differ by no more than this (relative to the largest, if that is above 1) are equal: 0.85 - 0.80 and
0.55 - 0.50 are, but for rounding."""


@dataclass(frozen=True)
class Summary:
    """A mean over n values, one per seed. What n does not allow is NaN."""

    n: int
    mean: float
    standard_error: float
    """s / sqrt(n), s with n - 1 in its denominator; NaN for n < 2, exactly 0 if all values are equal."""
    low: float
    """Student t interval, mean -+ t(n - 1) x standard error, cut at the limits; NaN for n < 3 and of equal values."""
    high: float

    @property
    def equal(self) -> bool:
        """Whether there are several values and all are equal: they have no interval, whatever n is."""
        return self.n > 1 and self.standard_error == 0

    @property
    def has_interval(self) -> bool:
        """Whether the values allow an interval."""
        return not math.isnan(self.low)

    def columns(self, name: str) -> dict[str, float]:
        """The five columns of a statistic in a table: `<name>_n`, `_mean`, `_se`, `_low`, `_high`."""
        values = {"n": self.n, "mean": self.mean, "se": self.standard_error, "low": self.low, "high": self.high}
        return {f"{name}_{column}": value for column, value in values.items()}


def summary(values: Sequence[float] | Floats, limits: Limits = UNLIMITED, *, confidence: float = CONFIDENCE) -> Summary:
    """Mean, standard error and two-sided Student t interval of `values` (S,); missing ones (NaN) are not counted.

    This is the one place where an interval is cut at what its number can be (`limits`; of a rate 0 and 1).
    """
    from scipy.special import stdtrit

    present = np.asarray(values, dtype=np.float64)
    present = present[~np.isnan(present)]
    n = len(present)
    if n == 0:
        return Summary(0, np.nan, np.nan, np.nan, np.nan)
    mean = float(present.mean())
    if n == 1:
        return Summary(1, mean, np.nan, np.nan, np.nan)
    if all_equal(present):
        return Summary(n, mean, 0.0, np.nan, np.nan)
    error = float(present.std(ddof=1)) / math.sqrt(n)
    if n < FEWEST:
        return Summary(n, mean, error, np.nan, np.nan)
    half = float(stdtrit(n - 1, (1 + confidence) / 2)) * error
    return Summary(n, mean, error, max(mean - half, limits[0]), min(mean + half, limits[1]))


def all_equal(values: Floats) -> bool:
    """Whether no two of `values` (n,), n > 0, differ by more than rounding."""
    return bool(np.ptp(values) <= EQUAL * max(1.0, float(np.abs(values).max())))


def difference_limits(limits: Limits) -> Limits:
    """What the difference of two numbers within `limits` can be: of two rates, -1 to 1."""
    low, high = limits
    return low - high, high - low


def wilson_interval(rate: float, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's score interval for the success rate of one agent over `n` independent episodes.

    It speaks of further episodes of the same agent, not of other seeds. NaN, NaN if nothing was played.
    """
    from scipy.special import ndtri

    if n == 0 or math.isnan(rate):
        return np.nan, np.nan
    z = float(ndtri((1 + confidence) / 2))
    centre = (rate + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(rate * (1 - rate) / n + z**2 / (4 * n**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def clopper_pearson(successes: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Clopper and Pearson's exact interval for the share of all seeds that would succeed, from `successes` of `n`.

    It covers the share in at least 95 % of cases, however few the seeds and however close to 0 or 1 the share. NaN,
    NaN if n = 0.
    """
    from scipy.stats import binomtest

    if n == 0:
        return np.nan, np.nan
    found = binomtest(successes, n).proportion_ci(confidence, method="exact")
    return float(found.low), float(found.high)


def paired_difference(
    values: Mapping[str, float],
    base: Mapping[str, float],
    limits: Limits = UNLIMITED,
    *,
    confidence: float = CONFIDENCE,
) -> Summary:
    """Summary of values[k] - base[k] over the pairs k (one per seed) that both have.

    Pairing removes what both owe to their common first phase; n counts pairs. `limits` are those of the difference.
    """
    differences = [value - base[pair] for pair, value in values.items() if pair in base]
    return summary(differences, limits, confidence=confidence)


# Over several pairs: runs (S, P, K), a row per seed, a column per pair, NaN where a pair lacks the seed

Statistic = Callable[[Floats], Floats]
"""From runs with leading axes, (..., S, P, K), to a number (or T numbers) for each of the leading axes."""

RESAMPLES = 2_000
BOOTSTRAP_SEED = 20_260
"""Part of every interval that a report gives: the same data give the same digits."""


@dataclass(frozen=True)
class Interval:
    """A statistic over all runs of several pairs, with a bootstrap interval; NaN where the runs do not allow one."""

    runs: int
    pairs: int
    seeds: int
    """Of the pair that has the fewest."""
    value: float
    low: float
    high: float


def runs_by_seed(pairs: Sequence[Mapping[int, Sequence[float]]]) -> Floats:
    """Runs (S, P, K) from the K numbers of each seed of each of P pairs; seeds are the union over pairs, in order."""
    seeds = sorted(set[int]().union(*pairs))
    wide = max((len(values) for pair in pairs for values in pair.values()), default=1)
    runs = np.full((len(seeds), len(pairs), wide), np.nan)
    for column, pair in enumerate(pairs):
        for seed, values in pair.items():
            runs[seeds.index(seed), column] = values
    return runs


def _there(runs: Floats) -> npt.NDArray[np.bool_]:
    """Which seeds of which pairs (S, P) have a run (S, P, K)."""
    return np.asarray(~np.isnan(runs).any(axis=-1))


def _mean(values: Floats, axis: int | tuple[int, ...]) -> Floats:
    """Mean of what is there along `axis`; something must be."""
    there = ~np.isnan(values)
    return np.asarray(values.sum(axis=axis, where=there) / there.sum(axis=axis))


def interquartile_mean(values: Floats) -> Floats:
    """Mean of the middle half along the last axis (..., n), missing values not counted.

    Of n that are there floor(n / 4) are cut at each end: IQM of Agarwal et al. (2021), over the runs of all tasks
    together; as scipy's `trim_mean(values, 0.25)`.
    """
    n = (~np.isnan(values)).sum(axis=-1, keepdims=True)
    cut = n // 4
    place = np.arange(values.shape[-1])
    middle = (place >= cut) & (place < n - cut)  # missing values are sorted to the end
    return np.asarray(np.sort(values, axis=-1).sum(axis=-1, where=middle) / middle.sum(axis=-1))


def pooled_interquartile_mean(runs: Floats) -> Floats:
    """The IQM of the runs (..., S, P, 1) of all pairs together."""
    return interquartile_mean(runs.reshape(*runs.shape[:-3], -1))


def mean_of_pairs(runs: Floats) -> Floats:
    """The mean over pairs of each pair's mean over its seeds, of runs (..., S, P, 1): pairs weigh alike."""
    return np.asarray(_mean(runs[..., 0], axis=-2).mean(axis=-1))


def optimality_gap(runs: Floats, goal: float = 1.0) -> Floats:
    """By how much the runs (..., S, P, 1) of all pairs fall short of `goal` on average; above it counts as it.

    Agarwal et al. (2021), Section 4.3: goal - mean(min(x, goal)), a mean over all runs; less is better.
    """
    return np.asarray(goal - _mean(np.minimum(runs[..., 0], goal), axis=(-2, -1)))


def probability_of_improvement(runs: Floats) -> Floats:
    """P(X > Y) + P(X = Y) / 2 for a random run of each, averaged over pairs; runs (..., S, P, 2) are X and Y.

    The Mann-Whitney statistic divided by n_p^2 (Agarwal et al. 2021, Section 4.3).
    """
    better = np.sign(runs[..., :, None, :, 0] - runs[..., None, :, :, 1])
    return np.asarray((_mean(better, axis=(-3, -2)).mean(axis=-1) + 1) / 2)


def performance_profile(thresholds: Floats) -> Statistic:
    """The statistic "share of the runs of all pairs (..., S, P, 1) that exceed tau", for each of `thresholds` (T,).

    Agarwal et al. (2021), Section 4.2: the score distribution 1/M sum_m 1/N sum_n 1[x_mn > tau].
    """

    def exceeding(runs: Floats) -> Floats:
        above = (runs > thresholds).sum(axis=-3)
        return np.asarray((above / (~np.isnan(runs)).sum(axis=-3)).mean(axis=-2))

    return exceeding


def resample(runs: Floats, generator: np.random.Generator, resamples: int = RESAMPLES) -> Floats:
    """`resamples` data sets (resamples, S, P, K) of runs (S, P, K): seeds drawn with replacement, jointly over pairs.

    A seed is one agent's initialisation in every pair, so its runs may be good or bad together, and stay together
    here; what a pair lacks of a seed it lacks in the draw. A draw that leaves a pair without any run is drawn again.
    """
    seeds, there = len(runs), _there(runs)
    drawn = generator.integers(seeds, size=(resamples, seeds))
    while len(empty := np.flatnonzero((there[drawn].sum(axis=1) == 0).any(axis=1))):
        drawn[empty] = generator.integers(seeds, size=(len(empty), seeds))
    return runs[drawn]


def percentiles(seeds: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Between which quantiles of a bootstrap an interval from so many seeds lies.

    Plain percentiles are too narrow for few: with n = 5 they would cover 85 % in place of 95 %. Hesterberg (2015, "What
    Teachers Should Know About the Bootstrap", Section 4.2) widens them to Phi(-+ sqrt(n / (n - 1)) t(n - 1)), which for
    a mean of normal data is the width of the t interval.
    """
    from scipy.special import ndtr, stdtrit

    t = float(stdtrit(seeds - 1, (1 + confidence) / 2))
    low = float(ndtr(-math.sqrt(seeds / (seeds - 1)) * t))
    return low, 1 - low


def bootstrap_band(
    runs: Floats,
    statistic: Statistic,
    *,
    seed: int = BOOTSTRAP_SEED,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> tuple[Floats, Floats] | None:
    """Lower and upper ends of a statistic's intervals, of runs (S, P, K); None if some pair has fewer than three seeds.

    On normal data of 4 pairs and 5 seeds, independent or correlated over pairs, the IQM's 95 % interval covers it in
    about 93 % of cases (the tests simulate it), with 3 seeds in about 75 %.
    """
    fewest = int(_there(runs).sum(axis=0).min()) if runs.size else 0
    if fewest < FEWEST:
        return None
    found = statistic(resample(runs, np.random.default_rng(seed), resamples))
    low, high = np.quantile(found, percentiles(fewest, confidence), axis=0)
    return np.asarray(low), np.asarray(high)


def bootstrap_interval(
    runs: Floats,
    statistic: Statistic,
    *,
    seed: int = BOOTSTRAP_SEED,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Interval:
    """A statistic of runs (S, P, K), one number, with its interval (`bootstrap_band`); pairs without runs left out.

    There is none if all resamples give the same: an interval without width would read as certainty.
    """
    there = _there(runs)
    runs = np.where(there[..., None], runs, np.nan)[:, there.any(axis=0)]
    if not there.any():
        return Interval(0, 0, 0, np.nan, np.nan, np.nan)
    counts = there.sum(axis=0)[there.any(axis=0)]
    head = (int(there.sum()), len(counts), int(counts.min()), float(statistic(runs)))
    band = bootstrap_band(runs, statistic, seed=seed, resamples=resamples, confidence=confidence)
    low, high = (np.nan, np.nan) if band is None else (float(end) for end in band)
    return Interval(*head, np.nan, np.nan) if high - low <= EQUAL else Interval(*head, low, high)
