"""From numbers by pair and seed to the outcomes of claims.

A claim is confirmed if all its tests are (`analysis.claims.rules`), refuted if one is, not run if none has numbers.
What is not the paper's pair or scale has a verdict of its own, and never counts for the paper's. No verdict falls
before all seeds of a pair that its sweeps ask for are there, nor one at the paper's scale before all pairs are.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from analysis.claims.loader import Claim, ClaimTest
from analysis.claims.measures import Cell, Value, by_pair, missing, read, values
from analysis.claims.rules import SMALLEST, Decided, Verdict, decide, decide_by, limits_of, together
from analysis.claims.scale import is_reduced
from analysis.frames.load import Known
from analysis.inference import BySeed, by_seed, effect, equal_seeds, holm, t_or_sign_test
from analysis.statistics import UNLIMITED, Summary, summary
from nbsp_ray.benchmarks import get_benchmark
from nbsp_ray.store import Store

Scope = Literal["paper", "at reduced scale"]
PROBABILITY = 0.05
Numbers = tuple[ClaimTest, list[Value], set[Cell]]
"""Of one test: those there are, and where others are asked for."""


@dataclass(frozen=True)
class Part:
    """One comparison of a claim."""

    test: ClaimTest
    comparison: str
    values: Mapping[str, BySeed]
    over_pairs: Decided
    pairs: Mapping[str, Decided]
    missing: Mapping[str, int]
    """By pair, how many seeds that the claim's sweeps ask for are not there yet."""
    p_holm: float
    """Corrected for the claim's family; NaN where there is none."""
    verdict: Verdict

    @property
    def seeds(self) -> str:
        """How many each pair has: `5`, or `5 + 2`."""
        counts = [len(of_seed) for of_seed in self.values.values()]
        return str(counts[0]) if len(set(counts)) == 1 else " + ".join(map(str, counts))


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
    shown: tuple[tuple[ClaimTest, tuple[Value, ...]], ...]
    """What stands beside these and decides nothing."""
    trials: pd.DataFrame
    """All that its sweeps have at this scale, rows of `Data.finals`."""

    @property
    def seeds(self) -> int:
        """Different seeds."""
        return len({one.seed for one in self.values})

    @property
    def pairs(self) -> int:
        """Different pairs (or tasks), each setting of one counted."""
        return len({one.pair for one in self.values})

    @property
    def not_run(self) -> list[ClaimTest]:
        """Tests that have no number yet."""
        begun = [part.test for part in self.parts]
        return [test for test in self.claim.tests if test.rule != "shown" and all(test is not one for one in begun)]

    @property
    def blocks(self) -> tuple[int, int]:
        """Blocks of one pair and seed that have all their numbers; and those that sweeps ask for of the pairs begun."""
        found = {part.comparison: set[tuple[str, int]]() for part in self.parts}
        for one in self.values:
            found[one.comparison].add((one.pair, one.seed))
        whole = asked = 0
        for pair, tasks in {one.pair: one.tasks for one in self.values}.items():
            of_pair = [
                ({block for block in found[part.comparison] if block[0] == pair}, part.missing.get(tasks, 0))
                for part in self.parts
                if pair in part.pairs or tasks in part.missing
            ]
            whole += 0 if self.not_run else len(set.intersection(*(there for there, _ in of_pair)))
            asked += max(len(there) + missing for there, missing in of_pair)
        return whole, asked

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
        return [_outcome(claim, "paper", [], pd.DataFrame(), scored=False)]
    data = read(claim, store, {} if known is None else known)
    found = [(test, numbers := values(data, test), missing(data, test, numbers)) for test in claim.tests]
    scored = any(get_benchmark(sweep.benchmark).judged_by.kind == "score" for sweep in claim.loaded)
    less = np.array([is_reduced(claim, row) for _, row in data.finals.iterrows()], dtype=bool)
    paper = _outcome(claim, "paper", _of(found, reduced=False), data.finals[~less], scored=scored)
    reduced = _outcome(claim, "at reduced scale", _of(found, reduced=True), data.finals[less], scored=scored)
    return [paper, reduced] if reduced.values else [paper]


def _of(found: Iterable[Numbers], *, reduced: bool) -> list[Numbers]:
    """What there is at one scale, and what is missing there."""
    return [
        (
            test,
            [one for one in numbers if bool(one.scale) == reduced],
            {gap for gap in gaps if gap.reduced == reduced},
        )
        for test, numbers, gaps in found
    ]


def _outcome(claim: Claim, scope: Scope, of_tests: Sequence[Numbers], trials: pd.DataFrame, *, scored: bool) -> Outcome:
    found = [one for one in of_tests if one[0].rule != "shown"]
    shown = tuple((test, tuple(numbers)) for test, numbers, _ in of_tests if test.rule == "shown")
    parts, verdict = _parts(claim, scope, found, scored=scored)
    learnt = [(test, [one for one in numbers if one.learnt_first], gaps) for test, numbers, gaps in found]
    _, without = _parts(claim, scope, learnt, scored=scored)
    known = [(test, [one for one in numbers if not one.undefined], gaps) for test, numbers, gaps in found]
    parts_defined, defined = _parts(claim, scope, known, scored=scored)
    numbers = tuple(one for _, of_test, _ in found for one in of_test)
    random = {one.comparison for one in numbers if one.undefined}
    parts_defined = tuple(part for part in parts_defined if part.comparison in random)
    return Outcome(claim, scope, scored, verdict, without, defined, parts, parts_defined, numbers, shown, trials)


def _parts(claim: Claim, scope: Scope, found: Sequence[Numbers], *, scored: bool) -> tuple[tuple[Part, ...], Verdict]:
    named: list[Numbers] = [
        (test, [one for one in numbers if one.comparison == name], gaps)
        for test, numbers, gaps in found
        for name in dict.fromkeys(one.comparison for one in numbers)
    ]
    not_run = [test for test, numbers, _ in found if not numbers]
    p_values = [_p_value(test, by_seed(by_pair(numbers))) for test, numbers, _ in named]
    # A test that is not run yet stays in the family: its numbers may not make those of the others worth less later.
    corrected = holm([*p_values, *[math.nan] * len(not_run)]) if claim.family else [math.nan] * len(named)
    parts = tuple(_part(claim, scope, numbers, p, scored=scored) for numbers, p in zip(named, corrected, strict=False))
    verdicts: list[Verdict] = [part.verdict for part in parts]
    return parts, together([*verdicts, "not run"] if not_run or not found else verdicts)


def _part(claim: Claim, scope: Scope, found: Numbers, p: float, *, scored: bool) -> Part:
    test, of_part, gaps = found
    numbers = by_pair(of_part)
    limits = UNLIMITED if scored else limits_of(test)
    begun = {one.pair: one.tasks for one in of_part}
    missing = Counter(gap.pair for gap in sorted(gaps))
    # At reduced scale it is steps that are run one after the other: pairs of a later one do not hold up these.
    awaited = {pair: seeds for pair, seeds in missing.items() if scope == "paper" or pair in begun.values()}
    absent: list[Verdict] = ["not run" for pair in awaited if pair not in begun.values()]
    found_in = {pair: decide(test, list(of_seed.values()), limits) for pair, of_seed in numbers.items()}
    if len(found_in) == 1:
        (over,) = found_in.values()
    else:
        of_all, spread = effect(numbers).over_pairs, summary(list(by_seed(numbers).values()))
        mean = Summary(of_all.seeds, of_all.value, math.nan, of_all.low, of_all.high)
        over = decide_by(test, equal_seeds(mean, limits), spread.standard_error * math.sqrt(spread.n), limits)
    over = _when_whole(over, sum(awaited.values()))
    if claim.family and over.verdict in ("confirmed", "refuted") and not p < PROBABILITY and _by_side(test, over.found):
        over = replace(over, verdict="inconclusive", why=f"{over.verdict} but for Holm's correction")
    if len(found_in) == 1 and not absent:
        pairs = dict.fromkeys(found_in, over)
    else:
        pairs = {pair: _when_whole(decided, missing[begun[pair]]) for pair, decided in found_in.items()}
    verdict = together([*(one.verdict for one in pairs.values()), *absent]) if claim.each_pair else over.verdict
    return Part(test, of_part[0].comparison, numbers, over, pairs, missing, p, verdict)


def _when_whole(decided: Decided, missing: int) -> Decided:
    """No verdict while numbers are missing that could still turn it: who stops when it suits sees what suits."""
    if not missing or decided.verdict not in ("confirmed", "refuted"):
        return decided
    numbers = f"{missing} number{'s' * (missing != 1)}"
    return replace(decided, verdict="inconclusive", why=f"{decided.verdict} so far, and {numbers} not there yet")


def _p_value(test: ClaimTest, numbers: BySeed) -> float:
    """That the mean is 0; where it is said not to be lower, that it is -0.05."""
    shift = SMALLEST if test.rule == "not_lower" else 0.0
    return t_or_sign_test([one + shift for one in numbers.values()])


def _by_side(test: ClaimTest, found: Summary) -> bool:
    """Whether a verdict rests on the side on which the interval lies, and not on its being close to 0."""
    return test.rule == "not_lower" or not (found.low > -SMALLEST and found.high < SMALLEST)
