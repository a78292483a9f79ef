"""What a sweep comes to in a sentence or two: computed, with n and interval, and as hedged as the seeds are few."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.advise import WITHOUT_UNDEFINED, advise
from analysis.frames.load import Results
from analysis.inference import BySeed, effect
from analysis.metrics import limits
from analysis.statistics import FEWEST, Limits, difference_limits
from analysis.tables.across_pairs import CONFIGURATION
from analysis.tables.cells import number, value_within
from analysis.tables.groups import BASE, is_true
from nbsp_ray.errors import NbspError

BOTH = ["first_after", "second"]
ByPair = Mapping[str, BySeed]


def finding(results: Results) -> str:
    """What there is to say of the results so far."""
    finals = results.finals
    head = "" if set(finals["status"]) == {"done"} else "So far: "
    return head + " ".join(_of_part(part) for part in results.parts().values())


def _of_part(results: Results) -> str:
    done = results.finals.dropna(subset=BOTH)
    words = results.words
    if not len(done):
        return f"No trial has both {words.task}s evaluated yet, so there is nothing to compare."
    return _of_counts(results) or _of_methods(results, done)


def _of_counts(results: Results) -> str:
    """The advice at equal weights, over all pairs if there are several; nothing if no method has several counts."""
    try:
        advice = [one for one in advise(results, 0.5) if WITHOUT_UNDEFINED not in one.label]
    except NbspError:
        return ""
    one = advice[-1]
    return f"Stability and plasticity weighed alike, of {one.label}: {one.sentence()}"


@dataclass(frozen=True)
class _Effect:
    """A mean by pair and seed, summed up over both."""

    mean: float
    low: float
    high: float
    seeds: int
    """Of the pair that has the fewest."""
    pairs: int

    @property
    def text(self) -> str:
        return value_within(self.mean, self.low, self.high)

    @property
    def basis(self) -> str:
        """`n = 5 seeds on each of 4 pairs`; of the fewest seeds that a pair has."""
        of_pairs = f" on each of {self.pairs} pairs" if self.pairs > 1 else ""
        return f"n = {self.seeds} seed{'s' * (self.seeds != 1)}{of_pairs}"


def _effect(values: ByPair, within_limits: Limits) -> _Effect:
    found = effect(values, within_limits)
    known = [one for one in found.pairs.values() if one.n]
    if len(known) == 1:
        return _Effect(known[0].mean, known[0].low, known[0].high, known[0].n, 1)
    over = found.over_pairs
    return _Effect(over.value, over.low, over.high, over.seeds, over.pairs)


def _by_pair(trials: pd.DataFrame, values: "pd.Series[float]") -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    for pair, seed, value in zip(trials["pair"], trials["seed"], values.astype("float64"), strict=True):
        found.setdefault(str(pair), {})[int(seed)] = float(value)
    return found


def _of_methods(results: Results, done: pd.DataFrame) -> str:
    groups = {_name(trials): trials for _, trials in done.groupby(CONFIGURATION, sort=False, dropna=False)}
    widest = max(trials["pair"].nunique() for trials in groups.values())
    # A mean over other pairs is no rival.
    groups = {name: trials for name, trials in groups.items() if trials["pair"].nunique() == widest}
    base = done[done["method"] == BASE]
    others = {name: trials for name, trials in groups.items() if trials["method"].iloc[0] != BASE}
    if not others:
        return _of_base(results, base)
    value = {name: _mean_of_both(trials) for name, trials in groups.items()}
    best, top = (max(of, key=lambda name: value[name]) for of in (others, groups))
    both = f"mean of both {results.words.task}s"
    highest = f"Of {len(groups)} methods `{top}` has the highest {both}, {number(value[top])}"
    highest += f"; the next is `{best}`, {number(value[best])}. " if top != best else ". "
    highest = highest if len(others) > 1 else ""
    paired = others[best].merge(base[["comparable", *BOTH]], on="comparable", suffixes=("", "_base"))
    random = int(is_true(others[best]["score_undefined"]).sum())
    beware = (
        f" In {random} of its {len(others[best])} trials the score was undefined, and the neurons were drawn at random."
        if random
        else ""
    )
    if not len(paired):
        return highest + _alone(results, others[best], best) + beware
    return highest + _against_base(results, best, paired, picked=len(others)) + beware


def _against_base(results: Results, name: str, paired: pd.DataFrame, *, picked: int) -> str:
    words, measure = results.words, results.measure
    first, second = (
        _effect(_by_pair(paired, paired[one] - paired[f"{one}_base"]), difference_limits(limits(measure, one)))
        for one in BOTH
    )
    told = [_told(first, f"the first {words.task} after"), _told(second, f"the second {words.task}")]
    sentence = f"Against `{BASE}`, paired by seed, `{name}` {told[0]}, and {told[1]} ({first.basis})."
    if first.seeds < FEWEST:
        few = "one seed ranks nothing" if first.seeds == 1 else f"{first.seeds} seeds have no interval"
        return f"{sentence[:-1]}: {few}, so this is no result yet."
    if picked > 2:
        sentence += f" It was picked for being the highest of {picked}: read a narrow lead with care."
    return sentence


def _told(found: _Effect, what: str) -> str:
    size, direction = number(abs(found.mean)), "higher" if found.mean > 0 else "lower"
    if np.isnan(found.low):
        alike = " (the same in every seed, which has no interval)" if found.seeds >= FEWEST else ""
        return f"is {size} {direction} on {what}{alike}" if round(abs(found.mean), 9) else f"is equal on {what}{alike}"
    if found.low > 0 or found.high < 0:
        return f"is {direction} on {what} by {found.text}"
    return f"cannot be told apart on {what}: {found.text}"


def _of_base(results: Results, base: pd.DataFrame) -> str:
    lost = _effect(_by_pair(base, base["forgetting"]), difference_limits(limits(results.measure, "first_after")))
    before, after = (number(float(base.groupby("pair")[one].mean().mean())) for one in ("first_before", "first_after"))
    task = results.words.task
    hedge = ": one seed ranks nothing" if lost.seeds == 1 else ""
    return (
        f"`{BASE}` goes from {before} on the first {task} before to {after} after the second is learnt: it loses "
        f"{lost.text} ({lost.basis}){hedge}."
    )


def _alone(results: Results, trials: pd.DataFrame, name: str) -> str:
    first, second = (_effect(_by_pair(trials, trials[one]), limits(results.measure, one)) for one in BOTH)
    task = results.words.task
    return (
        f"`{name}` has {first.text} on the first {task} after and "
        f"{second.text} on the second {task} ({first.basis}); `{BASE}` does not "
        "stand beside it to compare."
    )


def _name(trials: pd.DataFrame) -> str:
    """A method with its number of neurons and its settings."""
    row = trials.iloc[0]
    parts = [row["method"], row["variant"]]
    return " ".join(str(part) for part in parts if part)


def _mean_of_both(trials: pd.DataFrame) -> float:
    """Mean over pairs of the seeds' mean of both tasks."""
    return float(trials.groupby("pair")[BOTH].mean().mean(axis=1).mean())
