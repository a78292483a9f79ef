"""From numbers by pair and seed to verdicts, by rules that were fixed before there were any numbers.

An effect is *confirmed* where its 95 % interval lies on the claimed side of 0 and it is at least 0.05; *refuted* where
the interval lies on the other side of 0 or wholly within (-0.05, 0.05); else *inconclusive*. A claim is confirmed if
all its tests are, refuted if one is, not run if none has numbers. What is not the paper's pair or scale has a verdict
of its own, and never counts for the paper's.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from analysis.claims.inference import (
    BySeed,
    Effect,
    by_seed,
    clopper_pearson,
    effect,
    holm,
    seeds_summary,
    seeds_to_settle,
    t_test,
)
from analysis.claims.loader import MEASURES, Claim, Test
from analysis.claims.measures import Value, by_pair, read, values
from analysis.statistics import Summary
from nbsp_ray.benchmarks import get_benchmark
from nbsp_ray.store import Store

Verdict = Literal["confirmed", "refuted", "inconclusive", "not run"]
Scope = Literal["paper", "at reduced scale"]
SMALLEST = 0.05
"""An effect smaller than this is none (and what plasticity may lose where it is said not to be lower)."""
PROBABILITY = 0.05


@dataclass(frozen=True)
class Decided:
    """A verdict, and on what it rests."""

    verdict: Verdict
    found: Summary
    why: str
    """Why it is inconclusive; else empty."""
    seeds: int | None = None
    """How many would settle it, if that can be said."""


@dataclass(frozen=True)
class Part:
    """One comparison of a claim."""

    test: Test
    comparison: str
    values: Mapping[str, BySeed]
    effect: Effect
    over_pairs: Decided
    pairs: Mapping[str, Decided]
    p_holm: float
    """Corrected for the claim's family; NaN where there is none."""
    verdict: Verdict


@dataclass(frozen=True)
class Outcome:
    """A claim at one scale."""

    claim: Claim
    scope: Scope
    verdict: Verdict
    without: Verdict
    """The same without first phases that did not learn."""
    parts: tuple[Part, ...]
    values: tuple[Value, ...]

    @property
    def seeds(self) -> int:
        """Different seeds."""
        return len({one.seed for one in self.values})

    @property
    def pairs(self) -> int:
        """Different pairs (or tasks), each setting of one counted."""
        return len({one.pair for one in self.values})

    @property
    def not_learnt(self) -> int:
        """Numbers that rest on a first phase that did not learn."""
        return sum(not one.learnt_first for one in self.values)

    @property
    def scale(self) -> list[str]:
        """In what it is less than the paper."""
        return sorted({what for one in self.values for what in one.scale})

    @property
    def keys(self) -> list[str]:
        """The phases it rests on."""
        return sorted({key for one in self.values for key in one.keys})


def evaluate(claim: Claim, store: Store) -> list[Outcome]:
    """The claim's outcome for the paper's own pairs and scale; and at reduced scale, if there is anything of it."""
    if not claim.sweeps:
        return [_outcome(claim, "paper", [], scored=False)]
    data = read(claim, store)
    found = [(test, values(data, test)) for test in claim.tests]
    scored = any(get_benchmark(sweep.benchmark).judged_by.kind == "score" for sweep in claim.loaded)
    outcomes = [_outcome(claim, "paper", _of(found, reduced=False), scored=scored)]
    reduced = _outcome(claim, "at reduced scale", _of(found, reduced=True), scored=scored)
    return [*outcomes, reduced] if reduced.values else outcomes


def _of(found: Iterable[tuple[Test, list[Value]]], *, reduced: bool) -> list[tuple[Test, list[Value]]]:
    return [(test, [one for one in numbers if bool(one.scale) == reduced]) for test, numbers in found]


def _outcome(claim: Claim, scope: Scope, found: Sequence[tuple[Test, list[Value]]], *, scored: bool) -> Outcome:
    parts, verdict = _parts(claim, found, scored=scored)
    learnt = [(test, [one for one in numbers if one.learnt_first]) for test, numbers in found]
    _, without = _parts(claim, learnt, scored=scored)
    numbers = tuple(one for _, of_test in found for one in of_test)
    return Outcome(claim, scope, verdict, without, parts, numbers)


def _parts(
    claim: Claim, found: Sequence[tuple[Test, list[Value]]], *, scored: bool
) -> tuple[tuple[Part, ...], Verdict]:
    named = [
        (test, name, by_pair(one for one in numbers if one.comparison == name))
        for test, numbers in found
        for name in dict.fromkeys(one.comparison for one in numbers)
    ]
    p_values = [_p_value(list(by_seed(numbers).values())) for _, _, numbers in named]
    corrected = holm(p_values) if claim.family else [math.nan] * len(named)
    parts = tuple(
        _part(claim, test, name, numbers, p, scored=scored)
        for (test, name, numbers), p in zip(named, corrected, strict=True)
    )
    missing = [test for test, numbers in found if not numbers] or not found
    verdicts: list[Verdict] = [part.verdict for part in parts]
    return parts, together([*verdicts, "not run"] if missing else verdicts)


def _p_value(numbers: Sequence[float]) -> float:
    """Of the t test, and of equal seeds, which have none, of the sign test: 2 / 2^n."""
    found = seeds_summary(numbers)
    equal = found.n >= 3 and math.isnan(found.low) and found.mean != 0
    return 2.0 ** (1 - found.n) if equal else t_test(numbers)


def together(verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict of what must hold altogether."""
    found = set(verdicts)
    if "refuted" in found:
        return "refuted"
    if len(found) == 1:
        return found.pop()
    return "inconclusive" if found else "not run"


def _part(claim: Claim, test: Test, name: str, numbers: Mapping[str, BySeed], p: float, *, scored: bool) -> Part:
    limits = None if scored else _limits(test)
    pairs = {pair: decide(test, list(of_seed.values()), limits) for pair, of_seed in numbers.items()}
    summed = effect(numbers)
    spread = seeds_summary(list(by_seed(numbers).values()))
    if len(pairs) == 1:
        over = next(iter(pairs.values()))
    else:
        found = summed.over_pairs
        found = equal_seeds(found, limits) if math.isnan(found.low) else found
        over = _decided(test, found, spread.standard_error * math.sqrt(spread.n))
    verdict = together([one.verdict for one in pairs.values()]) if claim.each_pair else over.verdict
    if claim.family and verdict in ("confirmed", "refuted") and not p < PROBABILITY and _by_side(over.found):
        verdict = "inconclusive"
    return Part(test, name, numbers, summed, over, pairs, p, verdict)


def _by_side(found: Summary) -> bool:
    """Whether a verdict rests on the side of 0 on which the interval lies, and not on its being close to 0."""
    return not (found.low > -SMALLEST and found.high < SMALLEST)


def _limits(test: Test) -> tuple[float, float] | None:
    """What the number of a test can be; None if it is not bounded."""
    if test.rule in ("rises", "falls", "probe"):
        return -1.0, 1.0
    low, high = MEASURES[test.measure][1]
    found = (low - high, high - low) if len(test.methods) == 2 else (low, high)
    return found if math.isfinite(found[0]) else None


def decide(test: Test, numbers: Sequence[float], limits: tuple[float, float] | None) -> Decided:
    """What a rule says of one number per seed (S,) of one pair."""
    found = seeds_summary(numbers)
    spread = found.standard_error * math.sqrt(found.n)
    if test.rule == "reached":
        low, high = clopper_pearson(round(sum(numbers)), len(numbers))
        found = Summary(found.n, found.mean, found.standard_error, low, high)
    elif math.isnan(found.low) and found.n and max(numbers) - min(numbers) <= 1e-9:
        found = equal_seeds(found, limits)
    return _decided(test, found, spread)


def equal_seeds(found: Summary, limits: tuple[float, float] | None) -> Summary:
    """An interval that n equal seeds allow without a distribution: at least so many of all seeds are as these.

    With Clopper and Pearson's lower end s for the share of n of n, the mean of all seeds lies between
    s x mean + (1 - s) x the least, and the same with the greatest, that the number can be. There is none for fewer than
    three seeds, or without limits.
    """
    if found.n < 3 or limits is None:
        return found
    share, _ = clopper_pearson(found.n, found.n)
    low, high = (share * found.mean + (1 - share) * limit for limit in limits)
    return Summary(found.n, found.mean, found.standard_error, low, high)


def _decided(test: Test, found: Summary, spread: float) -> Decided:
    if found.n == 0:
        return Decided("not run", found, "")
    if math.isnan(found.low):
        few = f"{found.n} of at least 3 seeds" if found.n < 3 else f"all {found.n} seeds are equal"
        return Decided("inconclusive", found, f"{few}: there is no interval")
    verdict, distance = _rule(test, found)
    if verdict != "inconclusive":
        return Decided(verdict, found, "")
    seeds = seeds_to_settle(distance, spread)
    if seeds is not None and seeds <= found.n:
        seeds = None  # the spread of these seeds says so, and the interval of these seeds says otherwise
    return Decided("inconclusive", found, "the interval allows either", seeds)


def _rule(test: Test, found: Summary) -> tuple[Verdict, float]:
    """The verdict of an interval; and how far the mean is from what would settle the matter."""
    match test.rule:
        case "level" | "reached":
            return _level(test, found)
        case "not_lower":
            return _side(found.low + SMALLEST, found.high + SMALLEST), found.mean + SMALLEST
    sign = -1 if test.rule in ("below", "falls") else 1
    mean, low, high = sign * found.mean, *sorted((sign * found.low, sign * found.high))
    if low > 0 and mean >= SMALLEST:
        return "confirmed", mean
    if high < 0 or (low > -SMALLEST and high < SMALLEST):
        return "refuted", mean
    return "inconclusive", mean if abs(mean) >= SMALLEST else SMALLEST - abs(mean)


def _side(low: float, high: float) -> Verdict:
    return "confirmed" if low > 0 else "refuted" if high < 0 else "inconclusive"


def _level(test: Test, found: Summary) -> tuple[Verdict, float]:
    if test.below is not None:
        return _side(test.below - found.high, test.below - found.low), test.below - found.mean
    assert test.at_least is not None
    lowest = test.low_at_least if test.low_at_least is not None else test.at_least
    if found.mean >= test.at_least and found.low >= lowest:
        return "confirmed", found.mean - lowest
    return ("refuted" if found.high < test.at_least else "inconclusive"), found.mean - lowest
