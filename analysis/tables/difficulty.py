"""How hard each task is: the env steps that the first phases took to succeed stably (the paper's Section C.2)."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.blocks import join
from analysis.frames.load import Results
from analysis.metrics import censored_median
from analysis.statistics import clopper_pearson
from analysis.tables import cells
from analysis.tables.cells import Cells
from analysis.tables.table import Shown, present
from nbsp_ray.config.schema import Learning

Row = dict[str, Any]


def difficulty_table(results: Results) -> pd.DataFrame:
    """One row per task that some first phase learns, the easiest first; no rows of scores.

    `reached` of `ended` first phases succeeded stably: as many evaluations in a row reached the threshold as the stop
    rule asks for; `env_steps_median` is over all that ended, those that never did counted as later than any, and
    missing unless more than half did; `env_steps_lowest` and `_highest` are of those that did. `share_low` and
    `share_high` are Clopper and Pearson's 95 % interval for the share that does.
    """
    firsts = results.phases[results.phases["phase"] == 0]
    if results.measure == "score" or not firsts["env_steps"].notna().any():
        return pd.DataFrame()
    rows: list[Any] = [
        {"benchmark": benchmark, "task": task} | _of_task(phases)
        for (benchmark, task), phases in firsts.groupby(["benchmark", "task"], sort=False)
    ]
    ordered: list[Row] = sorted(rows, key=_hardness)
    return pd.DataFrame(ordered)


def _hardness(row: Row) -> tuple[bool, float, float]:
    """Sorts tasks without a median behind those with one, by the share that succeeded."""
    unknown = bool(np.isnan(row["env_steps_median"]))
    return unknown, 0.0 if unknown else row["env_steps_median"], -row["reached"] / max(1, row["ended"])


def _of_task(phases: pd.DataFrame) -> Row:
    whole = phases[(~phases["curve_truncated"]).fillna(False).astype(bool)]
    steps = whole["env_steps_to_threshold"].astype("float64")
    known = np.asarray(steps, dtype=np.float64)
    ended, reached = len(whole), int(steps.notna().sum())
    low, high = clopper_pearson(reached, ended)
    return {
        "seeds": phases["seed"].nunique(),
        "phases": len(phases),
        "ended": ended,
        "reached": reached,
        "share_low": low,
        "share_high": high,
        "env_steps_median": censored_median(known),
        "env_steps_lowest": steps.min(),
        "env_steps_highest": steps.max(),
        "budget": join(int(budget) for budget in phases["budget"]),
    }


def show_difficulty(results: Results) -> Shown:
    """`difficulty_table`: tasks in order of difficulty."""
    data = difficulty_table(results)
    columns: dict[str, Callable[[Cells], str]] = {
        "task": lambda row: str(row["task"]),
        "env steps, median": lambda row: cells.number(row["env_steps_median"], digits=0),
        "fewest to most": _range,
        "succeeded stably": _share,
        "budget": lambda row: str(row["budget"]),
        "first phases ended": lambda row: f"{row['ended']} of {row['phases']}",
    }
    learning = [phase.spec.learning for phase in results.plan.phases.values() if phase.spec.index == 0]
    caption = [
        "Env steps of a first phase until stable success, the easiest task first: the first of "
        f"{join(one.stop_evaluations for one in learning)} evaluations in a row of at least "
        f"{join(one.stop_threshold for one in learning)}, each of {join(one.eval_episodes for one in learning)} "
        f"episodes{_confirmed(learning)}. The median counts phases that never succeeded stably as later than any, and "
        "is shown if more than half did; the fewest and the most are of those that did. In brackets Clopper and "
        "Pearson's exact 95 % interval for the share of all seeds that would."
    ]
    if len(data) and (data["phases"] > data["seeds"]).any():
        caption.append("A task has several first phases of one seed where settings differ; they are taken together.")
    return present("difficulty", "Difficulty of the tasks", data, columns, caption)


def _confirmed(learning: Sequence[Learning]) -> str:
    """Where a stop had to be confirmed, only what was counts."""
    episodes = [one.stop_confirm_episodes for one in learning if one.stop != "fixed" and one.stop_confirm_episodes]
    return f", confirmed by {join(episodes)} more" if episodes else ""


def _share(row: Cells) -> str:
    if not row["ended"]:
        return cells.NONE
    return f"{row['reached']} of {row['ended']} {cells.within(row['share_low'], row['share_high'])}"


def _range(row: Cells) -> str:
    lowest, highest = (cells.number(row[f"env_steps_{which}"], digits=0) for which in ("lowest", "highest"))
    return lowest if lowest == highest else f"{lowest} to {highest}"
