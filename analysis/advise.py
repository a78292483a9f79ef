"""Which number of skill neurons serves a stated weighting best, and whether the data can tell.

The value of a trial is w x stability + (1 - w) x plasticity. Counts are compared by seed: all of them continue the same
first phase. Two uncertainties are given, because each hides what the other shows: the paired t interval of the
difference to the best count, and how often each count comes out best when the seeds are drawn again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.frames.load import Results
from analysis.metrics import Floats
from analysis.statistics import (
    BOOTSTRAP_SEED,
    CUT,
    FEWEST,
    RESAMPLES,
    UNLIMITED,
    Limits,
    Summary,
    difference_limits,
    summary,
)
from analysis.tables.cells import number, of_summary
from analysis.tables.groups import is_true
from analysis.tables.notes import unreferenced
from analysis.tradeoff import MEASURES, Count, Series, all_series
from nbsp_ray.errors import NbspError

WITHOUT_UNDEFINED = "without undefined scores"
"""Behind the label of advice that leaves trials out whose neurons were drawn at random."""


@dataclass(frozen=True)
class CountValue:
    """One number of skill neurons under the weighting."""

    label: str
    neurons: int | None
    value: Summary
    """Over the seeds that every compared count has."""
    behind_best: Summary
    """The best count's value minus this one's, paired by seed; of the best itself, no seeds."""
    best_share: float
    """Share of resamples of the seeds in which it is the best; NaN where it has no interval: with fewer than three
    seeds, or if its lead or what it is behind is the same in every seed, as all resamples would agree."""

    @property
    def indistinguishable(self) -> bool:
        """Whether the data cannot tell it from the best: the 95 % interval of the difference holds 0, or there is none.

        Fewer than three seeds have none, nor have seeds that all show the same difference.
        """
        return not self.behind_best.low > 0


@dataclass(frozen=True)
class Advice:
    """What the data say of one pair, or of all pairs of a method together."""

    label: str
    seeds: int
    """On which the comparison rests."""
    counts: tuple[CountValue, ...]
    """From few neurons to many."""
    left_out: tuple[str, ...]
    """Counts without any seed that has both numbers."""

    @property
    def best(self) -> CountValue:
        """The count with the highest mean value; of equal ones the smallest."""
        return max(self.counts, key=lambda count: (round(count.value.mean, 9), -(count.neurons or 0)))

    @property
    def ties(self) -> list[CountValue]:
        """Other counts that the data cannot tell from the best."""
        return [count for count in self.counts if count is not self.best and count.indistinguishable]

    def sentence(self) -> str:
        """The advice in words."""
        best, ties = self.best, self.ties
        value = of_summary(best.value, error=False) if best.value.has_interval else number(best.value.mean)
        head = f"{best.label} ({best.neurons} neurons per network) has the highest value, {value}"
        if self.seeds == 1:
            return f"{head}; one seed ranks nothing, so this is no advice yet."
        if not ties:
            return f"{head}; every other count is worse, beyond what {self.seeds} seeds leave open."
        names = ", ".join(count.label for count in ties)
        if self.seeds < FEWEST:
            return f"{head}; {self.seeds} seeds are too few to tell it apart from {names}."
        alike = ", ".join(count.label for count in ties if count.behind_best.equal and count.behind_best.mean > 0)
        why = f" (behind by the same in every seed, which has no interval: {alike})" if alike else ""
        return f"{head}; {self.seeds} seeds cannot tell it apart from {names}{why}."


def advise(results: Results, weight_stability: float, *, measures: str = "final") -> list[Advice]:
    """Advice for every pair and method with several numbers of skill neurons; then for each method over all its pairs.

    Where the score of some trials was undefined, the advice follows again without them. Scores are weighed normalised;
    a pair with a task that has no reference scores is left out.

    Args:
        results: Of a plan with several numbers of skill neurons.
        weight_stability: w, in [0, 1].
        measures: `final` or `learning`, of `analysis.tradeoff.MEASURES`.

    Raises:
        NbspError: a weight outside [0, 1], or no method of the plan has two numbers of skill neurons with results.
    """
    (advice,) = advise_at(results, (weight_stability,), measures=measures)
    return advice


def advise_at(results: Results, weights: Sequence[float], *, measures: str = "final") -> list[list[Advice]]:
    """`advise` at each of several weights of stability: results are read once, which is what takes time."""
    for weight in weights:
        if not 0 <= weight <= 1:
            raise NbspError(f"the weight of stability is {weight:g}; it takes a number in [0, 1], such as 0.5")
    compared = list(_compared(results, measures))
    if not compared:
        raise NbspError(
            "no two numbers of skill neurons have a finished trial of the same seed yet, so nothing can be advised"
        )
    return [[one.advice(weight) for one in compared] for weight in weights]


@dataclass(frozen=True)
class _Compared:
    """What is compared: one pair, or all pairs of a method together, by the seeds that all compared counts have."""

    label: str
    counts: tuple[str, ...]
    """From few neurons to many (C)."""
    neurons: tuple[int | None, ...]
    stability: Floats
    """By seed and count (S, C), mean over pairs."""
    plasticity: Floats
    limits: Limits
    left_out: tuple[str, ...]

    def advice(self, weight: float) -> Advice:
        """What follows from a weight of stability."""
        values = weight * self.stability + (1 - weight) * self.plasticity
        best = int(np.argmax(values.mean(axis=0).round(9)))
        of_difference = difference_limits(self.limits)
        behind = [
            summary(values[:, best] - one, of_difference) if i != best else summary([])
            for i, one in enumerate(values.T)
        ]
        alike = [one.equal for one in behind]
        alike[best] = any(alike)
        shares = np.where(alike, np.nan, _best_shares(values))
        counts = tuple(
            CountValue(name, neurons, summary(one, self.limits), lag, float(share))
            for name, neurons, one, lag, share in zip(self.counts, self.neurons, values.T, behind, shares, strict=True)
        )
        return Advice(self.label, len(values), counts, self.left_out)


def _compared(results: Results, measures: str) -> Iterator[_Compared]:
    found = [one for one in all_series(results.finals) if len(one.numbers) > 1]
    if not found:
        raise NbspError(
            "this sweep has one number of skill neurons, so there is nothing to choose from; "
            "give it several: skill_neurons=0.1,0.2,0.4"
        )
    unweighed = unreferenced(results)
    found = [one for one in found if not set(one.tasks) & set(unweighed)]
    if not found:
        raise NbspError(
            f"raw scores of two tasks cannot be weighed against each other, and {', '.join(unweighed)} has no "
            "reference scores; `nbsp-ray explore` draws them"
        )
    wanted = [(one.label, [one]) for one in found]
    for series in _over_pairs(found):
        first = series[0]
        label = ", ".join(part for part in (f"all {len(series)} pairs", first.method, first.variant) if part)
        wanted.append((label, series))
    for label, series in wanted:
        every = [_of_series(series, label, measures)]
        if any(one.undefined for one in series):
            every.append(_of_series([one.defined() for one in series], f"{label}, {WITHOUT_UNDEFINED}", measures))
        yield from (one for one in every if one is not None)


def _over_pairs(found: Sequence[Series]) -> Iterator[list[Series]]:
    groups: dict[tuple[str, str, str], list[Series]] = {}
    for one in found:
        groups.setdefault((one.benchmark, one.method, one.variant), []).append(one)
    yield from (series for series in groups.values() if len({one.pair for one in series}) > 1)


def _of_series(series: Sequence[Series], label: str, measures: str) -> _Compared | None:
    """The mean over the pairs of `series`, by the seeds that all pairs and all compared counts have."""
    both = [MEASURES[one.measure][measures] for one in series]
    stability = [_by_seed(one.counts, of.stability) for one, of in zip(series, both, strict=True)]
    plasticity = [_by_seed(one.counts, of.plasticity) for one, of in zip(series, both, strict=True)]
    tables = [x.where(y.notna()) for x, y in zip(stability, plasticity, strict=True)]
    every = list(dict.fromkeys(name for table in tables for name in table.columns))
    columns = [name for name in every if all(name in table and table[name].notna().any() for table in tables)]
    if len(columns) < 2:
        return None
    neurons = {count.label: count.neurons for one in series for count in one.counts}
    columns.sort(key=lambda name: neurons[name] or 0)
    has = pd.concat([table[columns] for table in tables]).groupby(level=0).count().eq(len(tables)).all(axis=1)
    if not has.any():
        return None
    x, y = (
        pd.concat([table[columns] for table in of_pairs]).groupby(level=0).mean()[has].to_numpy(dtype=np.float64)
        for of_pairs in (stability, plasticity)
    )
    limits: Limits = (0.0, 1.0) if series[0].measure == "success" else UNLIMITED
    left_out = tuple(name for name in every if name not in columns)
    return _Compared(label, tuple(columns), tuple(neurons[name] for name in columns), x, y, limits, left_out)


def _by_seed(counts: Sequence[Count], measure: str) -> pd.DataFrame:
    """A row for each seed, a column for each count that selects neurons."""
    columns = {
        count.label: count.trials[measure].set_axis(count.trials["seed"].to_numpy(dtype=np.int64)).astype("float64")
        for count in counts
        if count.neurons is not None
    }
    return pd.DataFrame(columns)


def _best_shares(values: Floats) -> Floats:
    """How often each count (S, C) has the highest mean when seeds are drawn with replacement; ties shared."""
    seeds = len(values)
    if seeds < FEWEST:
        return np.full(values.shape[1], np.nan)
    drawn: npt.NDArray[np.int64] = np.random.default_rng(BOOTSTRAP_SEED).integers(seeds, size=(RESAMPLES, seeds))
    means = values[drawn].mean(axis=1).round(9)
    first = means == means.max(axis=1, keepdims=True)
    return np.asarray((first / first.sum(axis=1, keepdims=True)).mean(axis=0))


def advice_notes(results: Results, weight_stability: float, measures: str = "final") -> list[str]:
    """What the numbers of the advice are, and what it does not speak of."""
    parts = results.parts().items()
    words = "; ".join(MEASURES[measure][measures].words.format(task=part.words.task) for measure, part in parts)
    unweighed = unreferenced(results)
    carried = "Of a second task that stopped early the AUC carries the final evaluation forward."
    undefined = (
        f"Of some trials the score was undefined, and their neurons were drawn at random; `{WITHOUT_UNDEFINED}` leaves "
        "them out."
    )
    lacking = f"Left out: pairs with {', '.join(unweighed)}, without reference scores to be weighed by."
    return [
        f"Value = {weight_stability:g} x stability + {1 - weight_stability:g} x plasticity ({words}).",
        *([carried] if measures == "learning" else []),
        *([lacking] if unweighed else []),
        *([undefined] if is_true(results.finals["score_undefined"]).any() else []),
        f"Mean and interval over seeds. {CUT} Fewer than {FEWEST} seeds, or seeds that are all equal, have none, and "
        "then nothing is told apart. `Behind the best` is paired by seed, and so is "
        f"`best in`, the share of {RESAMPLES:,} resamples of the seeds (bootstrap seed {BOOTSTRAP_SEED}) in which the "
        "count has the highest mean; none where all would agree for want of seeds that differ.",
        "Several counts are compared with one that was picked for being best: read a narrow lead with care.",
    ]
