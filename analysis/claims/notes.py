"""What must be said of outcomes beside their numbers: scale, what they lack, where there is no room for an effect."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from analysis.claims.loader import MEASURES
from analysis.claims.rules import SMALLEST
from analysis.claims.verdicts import Outcome, Part
from analysis.tables.cells import number

OVER_PAIRS = "over pairs"


def notes(outcome: Outcome, before: Sequence[Outcome]) -> Iterator[str]:
    """Sentences; `before` are the outcomes above it on the page."""
    if outcome.claim.note:
        yield outcome.claim.note
    if outcome.scale:
        yield f"At reduced scale: {'; '.join(_scale(outcome))}."
    if outcome.not_learnt:
        yield (
            f"{outcome.not_learnt} of {len(outcome.values)} numbers rest on a first phase that did not learn its task "
            f"(success below 0.5). Without them: {outcome.without}."
        )
    else:
        yield "Every first phase learnt its task, so the verdict without those that did not is the same."
    if outcome.undefined:
        yield (
            f"{outcome.undefined} of {len(outcome.values)} numbers rest on neurons that were drawn at random, as the "
            f"score was undefined: all scoring steps were alike. Without them: {outcome.defined}."
        )
    for part in outcome.parts:
        yield from _of_part(part, outcome)
    yield from _waiting(outcome)
    yield from _shared(outcome, before)


def _scale(outcome: Outcome) -> Iterator[str]:
    """In what it is less than the paper, and where if not everywhere."""
    everywhere = {one.pair for one in outcome.values}
    for what in outcome.scale:
        where = dict.fromkeys(one.pair for one in outcome.values if what in one.scale)
        yield what if len(where) == len(everywhere) else f"{what} ({', '.join(where)})"


def _of_part(part: Part, outcome: Outcome) -> Iterator[str]:
    if not math.isnan(part.p_holm):
        p = number(part.p_holm, 3)
        yield f"{part.comparison}: p = {p} after Holm's correction; the interval is uncorrected."
    full = without_room(part, outcome)
    for pair, decided in (part.pairs if outcome.claim.each_pair else {OVER_PAIRS: part.over_pairs}).items():
        if decided.why and pair not in full:
            yield f"{part.comparison}{f', {pair}' if len(part.pairs) > 1 else ''}: {decided.why}."
    for pair, mean in ({OVER_PAIRS: full[OVER_PAIRS]} if OVER_PAIRS in full else full).items():
        what = f"{part.comparison}{f', {pair}' if pair != OVER_PAIRS else ''}: {part.test.methods[1]}"
        yield f"{what} is at {number(mean)}, which leaves no room for an effect of {number(SMALLEST)}."


def without_room(part: Part, outcome: Outcome) -> Mapping[str, float]:
    """Pairs, and `OVER_PAIRS`, where the method that is compared with leaves no room; with its mean there."""
    if part.test.rule not in ("above", "below") or len(part.test.methods) < 2 or outcome.scored:
        return {}
    low, high = MEASURES[part.test.measure][1]
    of_pairs: dict[str, list[float]] = {}
    for one in outcome.values:
        if one.comparison == part.comparison:
            of_pairs.setdefault(one.pair, []).append(one.of[1][1])
    means = {pair: float(np.mean(numbers)) for pair, numbers in of_pairs.items()}
    means[OVER_PAIRS] = float(np.mean(list(means.values())))
    rooms = {pair: high - mean if part.test.rule == "above" else mean - low for pair, mean in means.items()}
    return {pair: mean for pair, mean in means.items() if rooms[pair] < SMALLEST}


def _waiting(outcome: Outcome) -> Iterator[str]:
    """What the sweeps ask for and is not there yet: some numbers of a comparison, or all."""
    lacking: dict[str, list[str]] = {}
    for part in outcome.parts:
        lacking.setdefault(", ".join(f"{n} of {pair}" for pair, n in part.missing.items()), []).append(part.comparison)
    for numbers, comparisons in lacking.items():
        if numbers:
            of_it = f" ({'; '.join(comparisons)})" if len(comparisons) < len(outcome.parts) else ""
            yield f"Numbers not there yet: {numbers}{of_it}."
    for test in outcome.not_run:
        what = test.measure if test.methods else test.rule
        yield f"Not run yet: {what}{' of ' if test.methods else ''}{' - '.join(test.methods)}."


def _shared(outcome: Outcome, before: Sequence[Outcome]) -> Iterator[str]:
    """That claims before this one rest on the same numbers."""

    def numbers(of: Outcome) -> set[tuple[str, str, int, tuple[str, ...]]]:
        return {(one.comparison, one.pair, one.seed, one.keys) for one in of.values}

    own = numbers(outcome)
    others = {one.claim.id: shared for one in before if (shared := own & numbers(one))}
    if others:
        count = len(set[Any]().union(*others.values()))
        yield f"{count} of its {len(own)} numbers are those of {' and '.join(others)}, and no further evidence."


def what_was_found(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """What came of all claims, in a few sentences."""
    for scope in ("paper", "at reduced scale"):
        own = [one for one in outcomes if one.scope == scope and one.verdict != "not run"]
        where = "At the paper's scale" if scope == "paper" else "At reduced scale, which never counts for the paper's"
        verdicts = [f"{verdict} {', '.join(ids)}" for verdict, ids in _ids(own).items()]
        if verdicts or scope == "paper":
            yield f"{where}: {'; '.join(verdicts) or 'nothing has run yet'}."
    begun = {one.claim.id for one in outcomes if one.verdict != "not run"}
    idle = dict.fromkeys(one.claim.id for one in outcomes if one.claim.id not in begun)
    if idle:
        yield f"Not run at any scale: {', '.join(idle)}."
    full: dict[str, dict[str, dict[str, float]]] = {}
    for outcome in outcomes:
        for part in outcome.parts:
            for pair, mean in without_room(part, outcome).items():
                if pair != OVER_PAIRS:
                    full.setdefault(pair, {}).setdefault(part.test.measure, {})[part.test.methods[1]] = mean
    for pair, measures in full.items():
        at_limit = "; ".join(
            f"{measure} of {', '.join(f'{method} {number(mean)}' for method, mean in of_it.items())}"
            for measure, of_it in measures.items()
        )
        yield f"{pair} leaves no room to see what a method adds to what is at the limit there: {at_limit}."


def _ids(outcomes: Sequence[Outcome]) -> Mapping[str, list[str]]:
    """Claims by verdict; those that are decided in their own words."""
    by_verdict: dict[str, list[str]] = {"confirmed": [], "refuted": [], "inconclusive": []}
    for one in outcomes:
        decided = one.verdict != "inconclusive"
        by_verdict[one.verdict].append(f"{one.claim.id} ({one.claim.claim})" if decided else one.claim.id)
    return {verdict: ids for verdict, ids in by_verdict.items() if ids}
