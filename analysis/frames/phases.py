"""One phase as the store has it: how far it is, its curve, its final evaluations, and the metrics of its curve.

Nothing here fails for what is not there yet: it is missing, or NaN. A phase of which a file cannot be read counts as
failed, with the file and the way out for its error.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis import metrics
from analysis.frames.columns import CURVE_ROW
from nbsp_ray.benchmarks import Benchmark, get_benchmark
from nbsp_ray.errors import StoreError
from nbsp_ray.specs import EvaluationSpec, PlannedPhase
from nbsp_ray.states import State
from nbsp_ray.store import PhaseFolder

Curve = Mapping[str, npt.NDArray[Any]]
"""Columns `CURVE_ROW` of the same length: names as objects, all else as float64, NaN where it is missing.

A frame would cost several milliseconds a phase, of which a paper has thousands.
"""
EVALUATED = ("env_steps", "updates", "success", "env_return", "normalised")
"""Columns of a curve that metrics are computed from."""
FINAL = "final"
"""Kind of the row of a curve that a final evaluation makes."""


@dataclass(frozen=True)
class Final:
    """The numbers of a final evaluation; NaN and None where it is not there."""

    performance: float = np.nan
    """Success rate, or normalised score; NaN also of a task without reference scores."""
    env_return: float = np.nan
    """Mean raw score; NaN of success rates, whose episodes end at success."""
    episodes: int | None = None


@dataclass(frozen=True)
class _Stored:
    """What the store has of a phase."""

    result: Mapping[str, Any]
    manifest: Mapping[str, Any]
    curve: list[dict[str, Any]]
    evaluations: Mapping[str, Mapping[str, Any]]
    imported: bool = False
    damage: str | None = None
    """What of it cannot be read, and the way out."""


@dataclass(frozen=True)
class PhaseData:
    """A planned phase and its folder, each file read once."""

    planned: PlannedPhase
    folder: PhaseFolder

    @cached_property
    def _stored(self) -> "_Stored":
        """All of it, or nothing but what is wrong with it."""
        folder = self.folder
        try:
            found = {name: data for name in self.planned.evaluations if (data := folder.evaluation(name)) is not None}
            return _Stored(
                folder.result() or {}, folder.manifest() or {}, folder.curve(), found, imported=folder.imported()
            )
        except (StoreError, OSError) as error:
            return _Stored({}, {}, [], {}, damage=str(error))

    @property
    def result(self) -> Mapping[str, Any]:
        """The result; empty while the phase is not done, or if it cannot be read."""
        return self._stored.result

    @property
    def manifest(self) -> Mapping[str, Any]:
        """With what it was made; empty like the result."""
        return self._stored.manifest

    @property
    def imported(self) -> bool:
        """Whether it came from an archive."""
        return self._stored.imported

    def status(self, records: Iterable[EvaluationSpec]) -> State:
        """`done` if it has learnt to its end and the final evaluations `records` are there: all its numbers."""
        if self._stored.damage:
            return State.FAILED
        if self.folder.has_all((record.id for record in records), with_buffer=False):
            return State.DONE
        if self.folder.failures():
            return State.FAILED
        begun = bool(self.result) or len(self.curve["kind"]) > 0 or self.folder.progress() is not None
        return State.BEGUN if begun else State.WAITING

    @property
    def error(self) -> str | None:
        """First line of the last failed attempt, or what is damaged; None once the phase has learnt to its end."""
        if self._stored.damage:
            return self._stored.damage
        failures = [] if self.result else self.folder.failures()
        lines = str(failures[-1].get("error", "")).splitlines() if failures else []
        return lines[0] if lines else None

    @cached_property
    def benchmark(self) -> Benchmark:
        """The benchmark of the phase."""
        return get_benchmark(self.planned.spec.benchmark)

    @property
    def is_scored(self) -> bool:
        """True if its tasks are judged by their scores."""
        return self.benchmark.judged_by.kind == "score"

    @cached_property
    def curve(self) -> Curve:
        """All that is known of its curve so far, the rows of final evaluations last."""
        rows: list[Mapping[str, Any]] = [*self._stored.curve, *self._final_rows()]
        self._stored.curve.clear()  # It is kept once.
        curve: dict[str, npt.NDArray[Any]] = {}
        for name, meant in CURVE_ROW.items():
            if meant.kind == "text":  # Each is one object however many rows name it.
                curve[name] = np.array([sys.intern(row[name]) for row in rows], dtype=object)
            else:
                curve[name] = np.array([row.get(name) for row in rows], dtype=np.float64)
        training = curve["kind"] == "training"
        for column, rolled in (("success", "success_last_10"), ("env_return", "return_last_10")):
            curve[rolled][training] = metrics.rolling_mean(curve[column][training])
        if self.is_scored:
            for task in dict.fromkeys(curve["task"]):
                of_it = curve["task"] == task
                curve["normalised"][of_it] = self.normalised(task, curve["env_return"][of_it])
        return curve

    def _final_rows(self) -> Iterator[Mapping[str, Any]]:
        """A row for each task that a finished phase was finally evaluated on, by its stochastic policy.

        Of several evaluations of one task that on the goals of training, and of these the longest.
        """
        chosen: dict[str, EvaluationSpec] = {}
        wanted = (one for one in self.planned.evaluations.values() if one.mode != "deterministic")
        for record in sorted(wanted, key=lambda one: (one.goals == "train", one.env_steps or one.episodes)):
            if self.result and self.finals[record.id].episodes:
                chosen[record.task] = record
        for task, record in chosen.items():
            final = self.finals[record.id]
            row = {"kind": FINAL, "task": task, "env_steps": self.result["env_steps"], "episodes": final.episodes}
            yield row | ({"env_return": final.env_return} if self.is_scored else {"success": final.performance})

    def normalised(self, task: str, scores: metrics.Floats) -> metrics.Floats:
        """Scores on the scale of the reference scores (Eq. 8); NaN of a task that has none."""
        found = [self.benchmark.normalised(task, float(score)) for score in scores]
        return np.array([np.nan if one is None else one for one in found], dtype=np.float64)

    def evaluations(
        self, task: str, *, raw: bool = False, after_first_update: bool = False
    ) -> tuple[metrics.Floats, metrics.Floats]:
        """Env steps (T,) and success rates, or normalised scores (or `raw` ones), of the evaluations of `task` (T,).

        Before its first update the agent is still the one that the phase before left.
        """
        rows = self._evaluations.get(task)
        if rows is None:
            return np.empty(0), np.empty(0)
        wanted = rows["updates"] > 0 if after_first_update else slice(None)
        return rows["env_steps"][wanted], rows[self._height(raw=raw)][wanted]

    @cached_property
    def _evaluations(self) -> Mapping[str, Mapping[str, metrics.Floats]]:
        """The evaluations of each task as arrays (T,): a row of the tables asks for them a dozen times."""
        curve, found = self.curve, {}
        evaluations = curve["kind"] == "evaluation"
        for task in dict.fromkeys(curve["task"][evaluations]):
            of_it = evaluations & (curve["task"] == task)
            found[task] = {name: curve[name][of_it] for name in EVALUATED}
        return found

    def _carried(self, *, raw: bool = False) -> float:
        """The final evaluation of the phase's own task: what is carried forward after an early stop; NaN before it."""
        curve = self.curve
        found = curve[self._height(raw=raw)][(curve["kind"] == FINAL) & (curve["task"] == self.planned.spec.task)]
        return float(found[0]) if len(found) else np.nan

    def _height(self, *, raw: bool) -> str:
        return "env_return" if raw else "normalised" if self.is_scored else "success"

    @property
    def curve_truncated(self) -> bool:
        """True if the phase is done and its curve lacks its end, which is an evaluation at the last env step."""
        env_steps, _ = self.evaluations(self.planned.spec.task)
        return bool(self.result) and (not len(env_steps) or env_steps[-1] < self.result["env_steps"])

    @property
    def has_whole_curve(self) -> bool:
        """True if metrics of the curve mean anything: the phase is done and the curve whole."""
        return bool(self.result) and not self.curve_truncated

    @cached_property
    def auc(self) -> float:
        """Mean height of the evaluation curve of the phase's own task over [0, budget]; NaN until it is whole.

        After an early stop the final evaluation is carried forward; without it there is no area yet.
        """
        return self._area(raw=False)

    @property
    def raw_auc(self) -> float:
        """`auc` of raw scores in place of normalised ones."""
        return self._area(raw=True)

    def _area(self, *, raw: bool) -> float:
        spec = self.planned.spec
        if not self.has_whole_curve:
            return np.nan
        env_steps, heights = self.evaluations(spec.task, raw=raw)
        return metrics.area_under_curve(env_steps, heights, spec.learning.env_steps, self._carried(raw=raw))

    def learnt_by(self, env_steps: int) -> float:
        """Success rate, or normalised score, of the phase's own task at so many env steps.

        That of its final evaluation if it ended by then, else of its last evaluation up to there; NaN until it is done.
        """
        if not self.has_whole_curve:
            return np.nan
        if self.result["env_steps"] <= env_steps:
            return self._carried(raw=False)
        seen, heights = self.evaluations(self.planned.spec.task)
        return float(heights[seen <= env_steps][-1])

    def area_by(self, env_steps: int) -> float:
        """`auc` over [0, env_steps] in place of [0, budget]."""
        if not self.has_whole_curve:
            return np.nan
        seen, heights = self.evaluations(self.planned.spec.task)
        return metrics.area_under_curve(seen, heights, env_steps, self._carried(raw=False))

    @property
    def env_steps_to_threshold(self) -> int | None:
        """Of the first of as many evaluations in a row as the stop rule asks for that all reach its threshold.

        Where a confirmation did not, counting begins again after it, as the stop rule does: these were luck. None if
        there are none, while the curve is not whole, and of scores.
        """
        learning = self.planned.spec.learning
        if self.is_scored or not self.has_whole_curve:
            return None
        env_steps, success = self.evaluations(self.planned.spec.task)
        curve = self.curve
        refuted = (curve["kind"] == "confirmation") & (curve["success"] < learning.stop_threshold)
        success = np.where(np.isin(env_steps, curve["env_steps"][refuted]), 0.0, success)
        found = metrics.env_steps_to_threshold(env_steps, success, learning.stop_threshold, learning.stop_evaluations)
        return None if np.isnan(found) else int(found)

    def final(self, record: EvaluationSpec) -> Final:
        """What a final evaluation of the plan came to."""
        return self.finals.get(record.id, Final())

    @cached_property
    def finals(self) -> Mapping[str, Final]:
        """What each final evaluation of the plan came to, by its id."""
        return {name: self._final(record) for name, record in self.planned.evaluations.items()}

    def episodes(self) -> Iterator[Mapping[str, Any]]:
        """A row for each episode of its final evaluations."""
        for name, data in self._stored.evaluations.items():
            record = self.planned.evaluations[name]
            policy = "deterministic" if record.mode == "deterministic" else "stochastic"
            row = {"key": self.planned.key, "task": record.task, "policy": policy, "goals": record.goals}
            success, env_return = data.get("success") or (), data.get("env_return") or ()
            for number, (won, of_it) in enumerate(zip_longest(success, env_return)):
                yield row | {"evaluation": name, "episode": number, "success": won, "env_return": of_it}

    def _final(self, record: EvaluationSpec) -> Final:
        found = self._stored.evaluations.get(record.id)
        if found is None:
            return Final()
        if not self.is_scored:
            return Final(metrics.success_rate(found["success"]), episodes=len(found["success"]))
        score = float(np.mean(found["env_return"])) if found["env_return"] else np.nan
        (performance,) = self.normalised(record.task, np.array([score]))
        return Final(float(performance), score, len(found["env_return"]))
