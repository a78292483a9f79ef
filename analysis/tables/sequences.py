"""Trials of more than two tasks: the success (or score) of every task after every phase, and what the whole comes to.

A task may come back (a, b, a, b), so the matrix has a row per phase and a column per distinct task. Trials of two tasks
are in the other tables.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis import metrics
from analysis.frames.load import Results
from analysis.frames.phases import PhaseData
from analysis.frames.trials import scratch_phase
from analysis.statistics import summary
from analysis.tables import cells
from analysis.tables.cells import Cells
from analysis.tables.groups import GROUP, scopes
from analysis.tables.notes import interval_notes, score_notes
from analysis.tables.table import Shown, present
from nbsp_ray.specs import Trial

METRICS = ("average_performance", "forgetting_measure", "forward_transfer")
Row = dict[str, Any]


def forgetting_measure(success: metrics.Floats, tasks: tuple[str, ...]) -> float:
    """Mean over tasks but the last of (best success after an earlier phase - success at the end), in [-1, 1].

    Args:
        success: (K, J), of each distinct task (in the order in which they first come) after each of K phases; NaN
            before a task was learnt.
        tasks: The K tasks as they were learnt.
    """
    distinct = list(dict.fromkeys(tasks))
    lost = [
        np.max(success[tasks.index(task) : -1, column]) - success[-1, column]
        for column, task in enumerate(distinct)
        if task != tasks[-1]
    ]
    return float(np.mean(lost)) if lost else np.nan


@dataclass(frozen=True)
class Sequence:
    """One trial of more than two tasks."""

    trial: Trial
    success: metrics.Floats
    """(K, J), as in `forgetting_measure`."""
    transfer: metrics.Floats
    """Forward transfer (K - 1,) of each phase but the first; NaN where no first phase learnt that task."""

    def row(self) -> Row:
        """Its three metrics; NaN while the sequence has not ended."""
        known = self.transfer[~np.isnan(self.transfer)]
        return {
            "average_performance": float(np.mean(self.success[-1])),
            "forgetting_measure": forgetting_measure(self.success, self.trial.tasks),
            "forward_transfer": float(known.mean()) if len(known) else np.nan,
        }


def sequences(results: Results) -> Iterator[Sequence]:
    """All trials of more than two tasks, as far as the store has them."""
    data = results.phase_data
    for trial in results.plan.trials:
        if len(trial.tasks) > 2:
            phases = [data[key] for key in trial.phases]
            yield Sequence(trial, _success(trial, phases), np.array([_transfer(p, data) for p in phases[1:]]))


def _success(trial: Trial, phases: list[PhaseData]) -> metrics.Floats:
    distinct = list(dict.fromkeys(trial.tasks))
    found = np.full((len(phases), len(distinct)), np.nan)
    for number, phase in enumerate(phases):
        for column, task in enumerate(distinct):
            if task in trial.tasks[: number + 1]:
                found[number, column] = phase.final(trial.finals.evaluation(task, number)).performance
    return found


def _transfer(phase: PhaseData, data: Mapping[str, PhaseData]) -> float:
    scratch = scratch_phase(phase.planned.spec, data)
    if scratch is None or phase.is_scored:
        return np.nan
    return metrics.forward_transfer(phase.auc, scratch.area_by(phase.planned.spec.learning.env_steps))


def sequences_table(results: Results) -> pd.DataFrame:
    """One row per group of trials that differ in their seed alone: `METRICS` summed up over its seeds.

    Each metric has the five columns of `analysis.tables.groups`; beside them the mean success after each phase is in
    `success_<phase>_<task>`.
    """
    found = list(sequences(results))
    if not found:
        return pd.DataFrame()
    identity = results.finals[[*GROUP, "skill_neurons", "measure", "seed", "score_undefined"]].reset_index(drop=True)
    places = [place for place, trial in enumerate(results.plan.trials) if len(trial.tasks) > 2]
    frame = identity.iloc[places].reset_index(drop=True)
    rows: list[Row] = []
    of_groups = [trials for _, trials in frame.groupby(GROUP, sort=False, dropna=False)]
    for scope, trials in (one for of_group in of_groups for one in scopes(of_group)):
        members = [found[place] for place in trials.index]
        row: Row = (
            {name: trials[name].iloc[0] for name in (*GROUP, "skill_neurons", "measure")}
            | scope
            | {"seeds": len(members)}
        )
        numbers = pd.DataFrame([member.row() for member in members])
        row["done"] = int(numbers["average_performance"].notna().sum())
        for name in METRICS:
            row |= summary(numbers[name].to_numpy(dtype=np.float64), metrics.limits(row["measure"], name)).columns(name)
        rows.append(row | _mean_matrix(members))
    return pd.DataFrame(rows)


def _mean_matrix(members: list[Sequence]) -> Row:
    """Mean success over the seeds that have it, phase by phase, as text for people and as numbers."""
    stacked = np.stack([member.success for member in members])
    counts = (~np.isnan(stacked)).sum(axis=0)
    sums = np.nansum(stacked, axis=0)
    means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    distinct = list(dict.fromkeys(members[0].trial.tasks))
    tasks = members[0].trial.tasks
    return {
        f"success_{number + 1}_{distinct[column]}": mean
        for (number, column), mean in np.ndenumerate(means)
        if distinct[column] in tasks[: number + 1]
    }


def show_sequences(results: Results) -> Shown:
    """`sequences_table`: trials of more than two tasks."""
    data = sequences_table(results)
    words = results.words
    what = "success" if words.is_rate else "score"
    names = {f"average {what}": "average_performance", "forgetting measure": "forgetting_measure"}
    columns: dict[str, Callable[[Cells], str]] = {
        "seeds": lambda row: f"{row['done']} of {row['seeds']}",
        **cells.estimates(names | ({"forward transfer": "forward_transfer"} if words.is_rate else {})),
        f"{what} after each phase": shown_matrix,
    }
    caption = [
        f"Average {what}: mean over {words.task}s after the last phase. Forgetting measure: mean over {words.task}s "
        f"but the last of the best {what} after an earlier phase minus that at the end.",
        *(
            [
                "Forward transfer: mean over phases but the first, where the plan learns the task first with the same "
                "seed, SAC and budget."
            ]
            if words.is_rate
            else score_notes(results)
        ),
        f"{what.capitalize()} after each phase: mean over seeds, phases parted by semicolons.",
        *(interval_notes(data, "average_performance", "forgetting_measure") if len(data) else []),
    ]
    return present("sequences", f"Sequences of {words.task}s", data, columns, caption)


def shown_matrix(row: cells.Cells) -> str:
    """`a 0.98; a 0.10, b 0.90; ...`: mean success of each task after each phase."""
    phases: dict[int, list[str]] = {}
    for name, value in row.items():
        if str(name).startswith("success_") and not pd.isna(value):
            _, number, task = str(name).split("_", 2)
            phases.setdefault(int(number), []).append(f"{task} {cells.number(value)}")
    return "; ".join(", ".join(phases[number]) for number in sorted(phases))
