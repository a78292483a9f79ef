"""From numbers by pair and seed to verdicts, by rules that were fixed before any run at the paper's settings.

An effect is *confirmed* where its 95 % interval lies on the claimed side of 0 and it is at least 0.05; *refuted* where
the interval lies on the other side of 0 or wholly within (-0.05, 0.05); else *inconclusive*. A claim is confirmed if
all its tests are, refuted if one is, not run if none has numbers. What is not the paper's pair or scale has a verdict
of its own, and never counts for the paper's.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from analysis.claims.loader import MEASURES, Claim, ClaimTest
from analysis.claims.measures import Value, by_pair, read, values
from analysis.frames.load import Known
from analysis.inference import BySeed, by_seed, effect, equal_seeds, holm, seeds_to_settle, t_or_sign_test
from analysis.statistics import UNLIMITED, Limits, Summary, clopper_pearson, summary
from nbsp_ray.benchmarks import get_benchmark
from nbsp_ray.store import Store

Verdict = Literal["confirmed", "refuted", "inconclusive", "not run"]
Scope = Literal["paper", "at reduced scale"]
SMALLEST = 0.05
"""An effect smaller than this is none (and what plasticity may lose where it is said not to be lower)."""
PROBABILITY = 0.05
WIDE = "the interval is too wide"
MOST_EQUAL = 1_000
"""Where the search for how many equal seeds would settle a claim ends."""


@dataclass(frozen=True)
class Decided:
    """A verdict, and on what it rests."""

    verdict: Verdict
    found: Summary
    why: str = ""
    """Why it is inconclusive, and how many seeds would settle it if that can be said; else empty."""


@dataclass(frozen=True)
class Part:
    """One comparison of a claim."""

    test: ClaimTest
    comparison: str
    values: Mapping[str, BySeed]
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
    scored: bool
    """Whether its tasks are judged by their scores, which have no limits."""
    verdict: Verdict
    without: Verdict
    """The same without first phases that did not learn."""
    defined: Verdict
    """The same without undefined scores."""
    parts: tuple[Part, ...]
    parts_defined: tuple[Part, ...]
    """Those whose scores were undefined for some seeds, without these."""
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
    def undefined(self) -> int:
        """Numbers that rest on neurons drawn at random, as the score was undefined."""
        return sum(one.undefined for one in self.values)

    @property
    def scale(self) -> list[str]:
        """In what it is less than the paper."""
        return sorted({what for one in self.values for what in one.scale})

    @property
    def keys(self) -> list[str]:
        """The phases it rests on."""
        return sorted({key for one in self.values for key in one.keys})


def evaluate(claim: Claim, store: Store, known: Known | None = None) -> list[Outcome]:
    """The claim's outcome for the paper's own pairs and scale; and at reduced scale, if there is anything of it.

    Claims of one store share what was read of it, if they are given one `known` (`analysis.frames.load`).
    """
    if not claim.sweeps:
        return [_outcome(claim, "paper", [], scored=False)]
    data = read(claim, store, {} if known is None else known)
    found = [(test, values(data, test)) for test in claim.tests]
    scored = any(get_benchmark(sweep.benchmark).judged_by.kind == "score" for sweep in claim.loaded)
    outcomes = [_outcome(claim, "paper", _of(found, reduced=False), scored=scored)]
    reduced = _outcome(claim, "at reduced scale", _of(found, reduced=True), scored=scored)
    return [*outcomes, reduced] if reduced.values else outcomes


def _of(found: Iterable[tuple[ClaimTest, list[Value]]], *, reduced: bool) -> list[tuple[ClaimTest, list[Value]]]:
    return [(test, [one for one in numbers if bool(one.scale) == reduced]) for test, numbers in found]


def _outcome(claim: Claim, scope: Scope, found: Sequence[tuple[ClaimTest, list[Value]]], *, scored: bool) -> Outcome:
    parts, verdict = _parts(claim, found, scored=scored)
    learnt = [(test, [one for one in numbers if one.learnt_first]) for test, numbers in found]
    _, without = _parts(claim, learnt, scored=scored)
    known = [(test, [one for one in numbers if not one.undefined]) for test, numbers in found]
    parts_defined, defined = _parts(claim, known, scored=scored)
    numbers = tuple(one for _, of_test in found for one in of_test)
    random = {one.comparison for one in numbers if one.undefined}
    parts_defined = tuple(part for part in parts_defined if part.comparison in random)
    return Outcome(claim, scope, scored, verdict, without, defined, parts, parts_defined, numbers)


def _parts(
    claim: Claim, found: Sequence[tuple[ClaimTest, list[Value]]], *, scored: bool
) -> tuple[tuple[Part, ...], Verdict]:
    named = [
        (test, name, by_pair(one for one in numbers if one.comparison == name))
        for test, numbers in found
        for name in dict.fromkeys(one.comparison for one in numbers)
    ]
    missing = [test for test, numbers in found if not numbers]
    p_values = [_p_value(test, by_seed(numbers)) for test, _, numbers in named]
    # A test that is not run yet stays in the family: its numbers may not make those of the others worth less later.
    corrected = holm([*p_values, *[math.nan] * len(missing)]) if claim.family else [math.nan] * len(named)
    parts = tuple(
        _part(claim, test, name, numbers, p, scored=scored)
        for (test, name, numbers), p in zip(named, corrected, strict=False)
    )
    verdicts: list[Verdict] = [part.verdict for part in parts]
    return parts, together([*verdicts, "not run"] if missing or not found else verdicts)


def together(verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict of what must hold altogether."""
    found = set(verdicts)
    if "refuted" in found:
        return "refuted"
    if len(found) == 1:
        return found.pop()
    return "inconclusive" if found else "not run"


def _part(claim: Claim, test: ClaimTest, name: str, numbers: Mapping[str, BySeed], p: float, *, scored: bool) -> Part:
    limits = UNLIMITED if scored else _limits(test)
    pairs = {pair: decide(test, list(of_seed.values()), limits) for pair, of_seed in numbers.items()}
    spread = summary(list(by_seed(numbers).values()))
    if len(pairs) == 1:
        over = next(iter(pairs.values()))
    else:
        of_all = effect(numbers).over_pairs
        found = Summary(of_all.seeds, of_all.value, math.nan, of_all.low, of_all.high)
        over = _decided(test, equal_seeds(found, limits), spread.standard_error * math.sqrt(spread.n), limits)
    verdict = together([one.verdict for one in pairs.values()]) if claim.each_pair else over.verdict
    if claim.family and verdict in ("confirmed", "refuted") and not p < PROBABILITY and _by_side(test, over.found):
        verdict = "inconclusive"
    return Part(test, name, numbers, over, pairs, p, verdict)


def _p_value(test: ClaimTest, numbers: BySeed) -> float:
    """That the mean is 0; where it is said not to be lower, that it is -0.05."""
    shift = SMALLEST if test.rule == "not_lower" else 0.0
    return t_or_sign_test([one + shift for one in numbers.values()])


def _by_side(test: ClaimTest, found: Summary) -> bool:
    """Whether a verdict rests on the side on which the interval lies, and not on its being close to 0."""
    return test.rule == "not_lower" or not (found.low > -SMALLEST and found.high < SMALLEST)


def _limits(test: ClaimTest) -> Limits:
    """What the number of a test can be."""
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
        return _decided(test, found, spread, limits)
    return _decided(test, equal_seeds(found, limits), spread, limits)


def _decided(test: ClaimTest, found: Summary, spread: float, limits: Limits) -> Decided:
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
        equal = f"all {found.n} seeds are equal"
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
    known = seeds is not None and seeds > found.n
    return f"{WIDE}; about {seeds} seeds of such spread would have it {verdict} (power 0.8)" if known else WIDE


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
