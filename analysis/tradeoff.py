"""Stability against plasticity by number of skill neurons: the points, the Pareto front and its knee.

A series is the trials of one pair, method and settings; its points are its numbers of skill neurons. Pure functions of
frames: the explorer draws what is found here, `advise` chooses among it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.frames.load import Results
from analysis.metrics import Floats
from analysis.statistics import Summary, summary

SERIES = ["benchmark", "pair", "method", "variant"]


@dataclass(frozen=True)
class Measures:
    """What is taken as stability and plasticity: two columns of `finals`."""

    stability: str
    plasticity: str
    words: str


MEASURES: Mapping[str, Mapping[str, Measures]] = {
    "success": {
        "final": Measures("sequential", "second", "final evaluations of both tasks"),
        "learning": Measures("retention_last_5", "auc_second", "first task's last five evaluations, second task's AUC"),
    },
    "score": {
        "final": Measures("sequential", "second", "normalised scores of both games' final evaluations"),
        "learning": Measures("retention_last_5", "auc_second", "first game's last five, second game's AUC, normalised"),
        "raw": Measures("sequential_return", "second_return", "raw scores of both games' final evaluations"),
    },
}
"""By what trials are judged by: what may be weighed or drawn, the first of each unless something else is asked for.

Raw scores are for looking: those of two games cannot be weighed against each other.
"""

FRONT_RULE = (
    "Pareto front: the counts whose mean stability and mean plasticity no other count of the same pair and method "
    "matches or beats in both and beats in one."
)
KNEE_RULE = (
    "Knee: the count on the front that lies farthest beyond the straight line between the front's two ends, in the "
    "units of the axes; none with fewer than three counts on the front or if all lie on or within the line."
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

    def both(self, measures: Measures) -> Floats:
        """Stability and plasticity of the seeds that have both (n, 2)."""
        return self.trials[[measures.stability, measures.plasticity]].dropna().to_numpy(dtype=np.float64)

    def summaries(self, measures: Measures) -> tuple[Summary, Summary]:
        """Stability and plasticity over the seeds that have both."""
        both = self.both(measures)
        return summary(both[:, 0]), summary(both[:, 1])


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

    def means(self, measures: Measures) -> Floats:
        """Mean stability and plasticity of each count (C, 2); NaN where no seed has both."""
        found = [count.summaries(measures) for count in self.counts]
        return np.array([[stability.mean, plasticity.mean] for stability, plasticity in found])


def all_series(results: Results) -> Iterator[Series]:
    """Every pair, method and settings of the plan."""
    for (benchmark, pair, method, variant), trials in results.finals.groupby(SERIES, sort=False):
        counts = [
            Count("" if pd.isna(label) else str(label), _neurons(of_count), of_count)
            for label, of_count in trials.groupby("skill_neurons", sort=False, dropna=False)
        ]
        counts.sort(key=lambda count: count.neurons or 0)
        yield Series(
            str(trials["measure"].iloc[0]), str(benchmark), str(pair), str(method), str(variant), tuple(counts)
        )


def _neurons(trials: pd.DataFrame) -> int | None:
    count = trials["skill_neurons_count"].iloc[0]
    return None if pd.isna(count) else int(count)


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
