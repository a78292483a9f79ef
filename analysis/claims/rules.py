"""The rules of claims, fixed before any run at the paper's settings: from one number per seed to a verdict.

An effect is *confirmed* where its 95 % interval lies on the claimed side of 0 and it is at least 0.05; *refuted* where
the interval lies on the other side of 0 or wholly within (-0.05, 0.05); else *inconclusive*. Of what must hold
altogether all must be confirmed, and one that is refuted refutes it. Of a level, seeds within 0.05 of one another count
as equal: their spread says no more of a seed that may be wholly otherwise than none does.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from analysis.claims.loader import MEASURES, ClaimTest
from analysis.inference import equal_seeds, seeds_to_settle
from analysis.statistics import Limits, Summary, clopper_pearson, summary

Verdict = Literal["confirmed", "refuted", "inconclusive", "not run"]
SMALLEST = 0.05
"""An effect smaller than this is none (and what plasticity may lose where it is said not to be lower)."""
WIDE = "the interval is too wide"
MOST_SPREAD = 1_000
"""More seeds than these to settle a claim are said as more than these."""
MOST_EQUAL = 1_000
"""Where the search for how many equal seeds would settle a claim ends."""


@dataclass(frozen=True)
class Decided:
    """A verdict, and on what it rests."""

    verdict: Verdict
    found: Summary
    why: str = ""
    """Why it is inconclusive, and how many seeds would settle it if that can be said; else empty."""


def together(verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict of what must hold altogether."""
    found = set(verdicts)
    if "refuted" in found:
        return "refuted"
    if len(found) == 1:
        return found.pop()
    return "inconclusive" if found else "not run"


def limits_of(test: ClaimTest) -> Limits:
    """What the number of a test can be: its least and its greatest value."""
    if test.rule in ("rises", "falls", "probe"):
        return -1.0, 1.0
    low, high = MEASURES[test.measure][1]
    return (low - high, high - low) if len(test.methods) == 2 else (low, high)


def decide(test: ClaimTest, numbers: Sequence[float], limits: Limits) -> Decided:
    """What a rule says of one number per seed (S,) of one pair."""
    found = summary(numbers, limits)
    spread = found.standard_error * math.sqrt(found.n)
    if test.rule == "reached":
        low, high = clopper_pearson(round(sum(numbers)), len(numbers))
        found = Summary(found.n, found.mean, found.standard_error, low, high)
        return decide_by(test, found, spread, limits)
    if test.rule == "level" and found.has_interval and np.ptp(numbers) < SMALLEST and all(map(math.isfinite, limits)):
        found, spread = replace(found, low=math.nan, high=math.nan), 0.0
    return decide_by(test, equal_seeds(found, limits), spread, limits)


def decide_by(test: ClaimTest, found: Summary, spread: float, limits: Limits) -> Decided:
    """What a rule says of an interval, from numbers of which the seeds spread so (their standard deviation)."""
    if found.n == 0:
        return Decided("not run", found)
    if math.isnan(found.low):
        few = f"{found.n} of at least 3 seeds" if found.n < 3 else f"all {found.n} seeds are equal"
        return Decided("inconclusive", found, f"{few}: there is no interval")
    verdict = _rule(test, found)
    if verdict != "inconclusive":
        return Decided(verdict, found)
    return Decided(verdict, found, _open(test, found, spread, limits))


def _open(test: ClaimTest, found: Summary, spread: float, limits: Limits) -> str:
    """Why an interval settles nothing, and how many seeds would."""
    if spread == 0:
        equal = f"all {found.n} seeds are {'equal' if found.equal else f'within {SMALLEST:g} of one another'}"
        for n in range(found.n + 1, MOST_EQUAL + 1):
            verdict = _rule(test, equal_seeds(Summary(n, found.mean, 0.0, math.nan, math.nan), limits))
            if verdict != "inconclusive":
                return f"{equal}; {n} such seeds would have it {verdict}"
        return equal
    # What the rule would make of this mean without a spread.
    verdict = _rule(test, Summary(found.n, found.mean, 0.0, found.mean, found.mean))
    if verdict == "inconclusive":
        return WIDE
    seeds = seeds_to_settle(found.mean, spread, lambda *numbers: _sides(test, *numbers)[verdict == "refuted"])
    # If these are enough, the spread of these seeds says so, and the interval of these seeds says otherwise.
    if seeds is None or seeds <= found.n:
        return WIDE
    many = f"about {seeds}" if seeds <= MOST_SPREAD else f"more than {MOST_SPREAD:,}"
    return f"{WIDE}; {many} seeds of such spread would have it {verdict} (power 0.8)"


def _rule(test: ClaimTest, found: Summary) -> Verdict:
    """The verdict of an interval."""
    confirmed, refuted = _sides(test, found.mean, found.low, found.high)
    return "confirmed" if confirmed else "refuted" if refuted else "inconclusive"


def _sides(test: ClaimTest, mean: Any, low: Any, high: Any) -> tuple[Any, Any]:
    """Whether a mean and its interval confirm, and whether they refute; numbers, or arrays of many."""
    match test.rule:
        case "level" | "reached":
            if test.below is not None:
                return high < test.below, low > test.below
            lowest = test.at_least if test.low_at_least is None else test.low_at_least
            return (mean >= test.at_least) & (low >= lowest), high < test.at_least
        case "not_lower":
            return low > -SMALLEST, high < -SMALLEST
        case "below" | "falls":
            mean, low, high = -mean, -high, -low
    return (low > 0) & (mean >= SMALLEST), (high < 0) | ((low > -SMALLEST) & (high < SMALLEST))
