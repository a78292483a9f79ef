"""Stability against plasticity by number of skill neurons: the points, the Pareto front and its knee.

A series is the trials of one pair, method and settings; its points are its numbers of skill neurons. Pure functions of
frames: the explorer draws what is found here, `advise` chooses among it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis.metrics import Floats, limits
from analysis.statistics import Summary, summary
from analysis.tables.groups import is_true
from nbsp_ray.layout import NETWORKS

SERIES = ["benchmark", "pair", "method", "variant"]


@dataclass(frozen=True)
class Measures:
    """What is taken as stability and plasticity: two columns of `finals`."""

    stability: str
    plasticity: str
    words: str
    """With `{task}` for what a task is called."""


MEASURES: Mapping[str, Mapping[str, Measures]] = {
    "success": {
        "final": Measures("first_after", "second", "final evaluations of both {task}s"),
        "learning": Measures(
            "retention_last_5", "auc_second", "first {task}'s last five evaluations, second {task}'s AUC"
        ),
    },
    "score": {
        "final": Measures("first_after", "second", "normalised scores of both {task}s' final evaluations"),
        "learning": Measures(
            "retention_last_5", "auc_second", "first {task}'s last five, second {task}'s AUC, normalised"
        ),
        "raw": Measures("first_after_return", "second_return", "raw scores of both {task}s' final evaluations"),
    },
}
"""By what trials are judged by: what may be weighed or drawn, the first of each unless something else is asked for.

Raw scores are for looking: those of two tasks cannot be weighed against each other.
"""

FRONT_RULE = (
    "Pareto front: the counts whose mean stability and mean plasticity no other count of the same pair and method "
    "matches or beats in both and beats in one."
)
KNEE_RULE = (
    "Knee: the count on the front that lies farthest beyond the straight line between the front's two ends, in the "
    "units of the axes; none with fewer than three counts on the front or if all lie on or within the line."
)

LIVE_RULE = (
    "Live neurons: those whose activation is not constant on the first task's scoring steps; means over first phases. "
    "Where they end (the mean over networks) only constant ones are left to freeze, in layer order: beyond it the "
    "curve is about dead neurons."
)


@dataclass(frozen=True)
class Count:
    """The trials of a series with one number of skill neurons."""

    label: str
    """As the sweep says it; empty for methods that select none."""
    neurons: int | None
    """Per network."""
    trials: pd.DataFrame
    """Rows of `finals`, one per seed."""

    @property
    def undefined(self) -> int:
        """Trials whose score was undefined, so that their neurons were drawn at random."""
        return int(is_true(self.trials["score_undefined"]).sum())

    def defined(self) -> "Count":
        """The same without such trials."""
        return replace(self, trials=self.trials[~is_true(self.trials["score_undefined"])])

    def both(self, measures: Measures) -> Floats:
        """Stability and plasticity of the seeds that have both (n, 2)."""
        return self.trials[[measures.stability, measures.plasticity]].dropna().to_numpy(dtype=np.float64)

    def summaries(self, measures: Measures) -> tuple[Summary, Summary]:
        """Stability and plasticity over the seeds that have both."""
        both = self.both(measures)
        judged_by = self.trials["measure"].iloc[0]
        stability, plasticity = (limits(judged_by, name) for name in (measures.stability, measures.plasticity))
        return summary(both[:, 0], stability), summary(both[:, 1], plasticity)


@dataclass(frozen=True)
class Series:
    """One pair, method and settings, its counts from few neurons to many."""

    measure: str
    """What it is judged by, `success` or `score`."""
    benchmark: str
    pair: str
    method: str
    variant: str
    counts: tuple[Count, ...]

    @property
    def tasks(self) -> list[str]:
        """As they are learnt."""
        return self.pair.split(" > ")

    @property
    def label(self) -> str:
        """For people."""
        return ", ".join(part for part in (self.pair, self.method, self.variant) if part)

    @property
    def numbers(self) -> list[int]:
        """The numbers of skill neurons per network; none of a method that selects none."""
        return [count.neurons for count in self.counts if count.neurons is not None]

    @property
    def undefined(self) -> bool:
        """Whether the score of some trial was undefined, so that its neurons were drawn at random."""
        return any(count.undefined for count in self.counts)

    def defined(self) -> "Series":
        """The same without such trials."""
        kept = (count.defined() for count in self.counts)
        return replace(self, counts=tuple(count for count in kept if len(count.trials)))

    def live(self) -> dict[str, float]:
        """Mean number of live neurons over the first phases, by network; of networks that some trial reported on."""
        return live_neurons(pd.concat([count.trials for count in self.counts]))

    def live_place(self) -> float | None:
        """Where among the counts that select neurons the live ones end (`live_place`)."""
        return live_place(self.numbers, self.live())

    def live_point(self, measures: Measures) -> tuple[float, float] | None:
        """Where on the line through the means of the counts the live ones end; None if it is not on the line."""
        place = self.live_place()
        if place is None:
            return None
        means = self.means(measures)[[count.neurons is not None for count in self.counts]]
        x, y = (float(np.interp(place, np.arange(len(means)), means[:, axis])) for axis in range(2))
        return None if np.isnan([x, y]).any() else (x, y)

    def means(self, measures: Measures) -> Floats:
        """Mean stability and plasticity of each count (C, 2); NaN where no seed has both."""
        found = [count.summaries(measures) for count in self.counts]
        return np.array([[stability.mean, plasticity.mean] for stability, plasticity in found])

    def front_and_knee(self, measures: Measures) -> tuple[list[int], int | None]:
        """Which counts are on the Pareto front of the means, by stability, and which is its knee."""
        means = self.means(measures)
        front = pareto_front(means)
        return front, knee(means, front)


def all_series(trials: pd.DataFrame) -> Iterator[Series]:
    """Every pair, method and settings among these rows of `finals`."""
    for (benchmark, pair, method, variant), own in trials.groupby(SERIES, sort=False):
        counts = [
            Count("" if pd.isna(label) else str(label), _neurons(of_count), of_count)
            for label, of_count in own.groupby("skill_neurons_given", sort=False, dropna=False)
        ]
        counts.sort(key=lambda count: count.neurons or 0)
        yield Series(str(own["measure"].iloc[0]), str(benchmark), str(pair), str(method), str(variant), tuple(counts))


def _neurons(trials: pd.DataFrame) -> int | None:
    count = trials["skill_neurons_count"].iloc[0]
    return None if pd.isna(count) else int(count)


def live_neurons(trials: pd.DataFrame) -> dict[str, float]:
    """Mean number of live neurons over the first phases of trials, by network; of networks that were reported on."""
    found = {name: trials.dropna(subset=[f"{name}_live"]).drop_duplicates("key_first") for name in NETWORKS}
    return {name: float(firsts[f"{name}_live"].mean()) for name, firsts in found.items() if len(firsts)}


def live_place(counts: Sequence[int], live: Mapping[str, float]) -> float | None:
    """Where among increasing `counts` the live neurons end, by their mean over networks.

    1.5 is halfway between the second count and the third. None if they end before the first or beyond the last.
    """
    if not live or len(counts) < 2:
        return None
    end = float(np.mean(list(live.values())))
    return float(np.interp(end, counts, np.arange(len(counts)))) if counts[0] <= end < counts[-1] else None


def live_sentence(label: str, live: Mapping[str, float]) -> str:
    """How many neurons of each network are live."""
    return f"Live neurons of {label}: {', '.join(f'{name} {mean:.0f}' for name, mean in live.items())}."


def pareto_front(points: Floats) -> list[int]:
    """Which of the points (C, 2) no other matches or beats in both coordinates and beats in one; by the first.

    Points with a missing coordinate are never on it; of equal ones all are.
    """
    present = [i for i, point in enumerate(points) if not np.isnan(point).any()]
    front = [i for i in present if not any(_dominates(points[j], points[i]) for j in present)]
    return sorted(front, key=lambda i: (points[i][0], -points[i][1]))


def _dominates(one: Floats, other: Floats) -> bool:
    return bool((one >= other).all() and (one > other).any())


def knee(points: Floats, front: Sequence[int]) -> int | None:
    """The point of the front farthest beyond the line between its ends; None if there is none (`KNEE_RULE`)."""
    if len(front) < 3:
        return None
    start, end = points[front[0]], points[front[-1]]
    along = end - start
    length = float(np.hypot(*along))
    if length == 0:
        return None
    # Along the front stability rises and plasticity falls: beyond the line is to the left of start -> end.
    beyond = [float(along[0] * (points[i] - start)[1] - along[1] * (points[i] - start)[0]) / length for i in front]
    best = int(np.argmax(beyond))
    return front[best] if beyond[best] > 1e-9 else None
