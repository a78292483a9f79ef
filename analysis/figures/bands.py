"""Training curves of several seeds as one line with a band: what a figure draws, without knowing how.

A point of a curve is the success of the last ten training episodes (Table 2), or the mean raw score of the last ten
episodes. Only phases that are done are averaged; one that stopped early is carried forward to the budget by its final
evaluation, never by the value that triggered the stop. Curves of unfinished phases are kept apart.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.frames.load import Results
from analysis.frames.phases import FINAL
from analysis.metrics import Floats

POINTS = 201
NO_ROWS = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class SeedCurve:
    """One phase's curve: success or raw score (T,) at env steps (T,)."""

    seed: int
    env_steps: Floats
    heights: Floats
    done: bool
    """Learnt to its end, with its whole curve: it may be averaged."""
    end: int
    """Env steps learnt, if done."""
    stopped_early: bool
    carried: float = np.nan
    """The final evaluation of the task, which is carried forward from the end; NaN while there is none."""


@dataclass(frozen=True)
class Band:
    """Mean and standard error over seeds on a common grid of env steps (T,); NaN where a seed has no value yet."""

    env_steps: Floats
    mean: Floats
    standard_error: Floats
    """NaN for a single seed."""
    n: int
    planned: int
    stops: tuple[int, ...]
    """Env steps at which seeds stopped early."""
    carried_from: int
    """Env steps after which every value is carried forward; the budget if one seed went that far."""
    unfinished: tuple[SeedCurve, ...]


class CurveReader:
    """Curves by the key of their phase, of results that are all judged by success or all by score."""

    def __init__(self, results: Results) -> None:
        curves, finals = results.curves, results.finals
        self._plan = results.plan
        # Trials may share their last phase too (NBSP without skill neurons is replay_only): its curve stands once each.
        copies = finals["key_second"].value_counts()
        rows = curves.groupby("key", sort=False).indices
        self._rows = {str(key): at[: len(at) // max(1, copies.get(key, 1))] for key, at in rows.items()}
        self._env_steps = curves["env_steps"].to_numpy(dtype=np.float64)
        scored = results.measure == "score"
        self._heights = curves["env_return" if scored else "success"].to_numpy(dtype=np.float64)
        self._rolling = curves["return_last_10" if scored else "success_last_10"].to_numpy(dtype=np.float64)
        self._evaluated = curves["task"].where(curves["kind"] == "evaluation", "").to_numpy(dtype=object)
        self._final = curves["task"].where(curves["kind"] == FINAL, "").to_numpy(dtype=object)
        self._phases: dict[Any, Any] = results.phases.set_index("key").to_dict("index")
        self._truncated = set(finals.loc[finals["curve_truncated"].fillna(False).astype(bool), "key_second"])

    def training(self, key: str) -> SeedCurve:
        """Success, or mean score, of the last ten training episodes; empty if there are fewer."""
        rows = self._rows.get(key, NO_ROWS)
        rows = rows[~np.isnan(self._rolling[rows])]
        return self._curve(key, self._plan.phases[key].spec.task, self._env_steps[rows], self._rolling[rows])

    def evaluation(self, key: str, task: str) -> SeedCurve:
        """Success, or mean score, of the evaluations of `task` in that phase."""
        rows = self._rows.get(key, NO_ROWS)
        rows = rows[self._evaluated[rows] == task]
        return self._curve(key, task, self._env_steps[rows], self._heights[rows])

    def band(self, keys: Iterable[str], task: str | None = None) -> Band:
        """The band of the training curves of phases, or of their evaluations of `task`; each phase counts once."""
        distinct = list(dict.fromkeys(keys))
        curves = [self.training(key) if task is None else self.evaluation(key, task) for key in distinct]
        budget = max((self._plan.phases[key].spec.learning.env_steps for key in distinct), default=1)
        return make_band(curves, budget)

    def _curve(self, key: str, task: str, env_steps: Floats, heights: Floats) -> SeedCurve:
        phase, rows = self._phases[key], self._rows.get(key, NO_ROWS)
        final = self._heights[rows[self._final[rows] == task]]
        learnt = 0 if pd.isna(phase["env_steps"]) else int(phase["env_steps"])
        done = learnt > 0 and key not in self._truncated and len(env_steps) > 0
        stopped_early = done and phase["stop_reason"] == "stable"
        carried = float(final[0]) if len(final) else np.nan
        return SeedCurve(int(phase["seed"]), env_steps, heights, done, learnt, stopped_early, carried)


def make_band(curves: Sequence[SeedCurve], budget: int) -> Band:
    """Mean over the finished curves on a grid over [0, budget]."""
    finished = [curve for curve in curves if curve.done]
    n = len(finished)
    grid = np.linspace(0, budget, POINTS)
    values = np.array([_on_grid(curve, grid) for curve in finished]).reshape(n, POINTS)
    return Band(
        env_steps=grid,
        mean=values.mean(axis=0) if n else np.full(POINTS, np.nan),
        standard_error=values.std(axis=0, ddof=1) / math.sqrt(n) if n > 1 else np.full(POINTS, np.nan),
        n=n,
        planned=len(curves),
        stops=tuple(curve.end for curve in finished if curve.stopped_early and curve.end < budget),
        carried_from=min(budget, max((curve.end for curve in finished), default=budget)),
        unfinished=tuple(curve for curve in curves if not curve.done and len(curve.env_steps)),
    )


def _on_grid(curve: SeedCurve, grid: Floats) -> Floats:
    """Linear between points, missing before the first; the final evaluation beyond the end of an early stop.

    A training curve of a whole phase ends with its last episode, a little before the budget: its last value stays.
    """
    values = np.interp(grid, curve.env_steps, curve.heights, left=np.nan)
    return np.where(curve.stopped_early & (grid > curve.end), curve.carried, values)
