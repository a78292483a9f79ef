"""What many seeds say together: means, standard errors, and the intervals that may be named.

Measured for n = 5 on normal data (ux.md): one standard error, the paper's band, covers the mean in 63 % of cases,
Student's t interval in 95 %. So tables carry both and say which is which. With one seed there is no interval.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Summary:
    """A mean over n values, one per seed. What n does not allow is NaN."""

    n: int
    mean: float
    standard_error: float
    """s / sqrt(n), s with n - 1 in its denominator; NaN for n < 2."""
    low: float
    """Student t interval, mean -+ t(n - 1) x standard error, not cut at 0 and 1; NaN for n < 2."""
    high: float


def summary(values: Sequence[float] | npt.NDArray[np.float64], confidence: float = CONFIDENCE) -> Summary:
    """Mean, standard error and two-sided Student t interval of `values` (S,); missing ones (NaN) are not counted."""
    from scipy.special import stdtrit

    present = np.asarray(values, dtype=np.float64)
    present = present[~np.isnan(present)]
    n = len(present)
    if n == 0:
        return Summary(0, np.nan, np.nan, np.nan, np.nan)
    mean = float(present.mean())
    if n == 1:
        return Summary(1, mean, np.nan, np.nan, np.nan)
    error = float(present.std(ddof=1)) / math.sqrt(n)
    half = float(stdtrit(n - 1, (1 + confidence) / 2)) * error
    return Summary(n, mean, error, mean - half, mean + half)


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


def paired_difference(
    values: Mapping[str, float], base: Mapping[str, float], confidence: float = CONFIDENCE
) -> Summary:
    """Summary of values[k] - base[k] over the pairs k (one per seed) that both have.

    Pairing removes what both owe to their common first phase; n counts pairs.
    """
    return summary([value - base[pair] for pair, value in values.items() if pair in base], confidence)
