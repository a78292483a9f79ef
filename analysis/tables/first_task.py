"""The first task before and after the second is learnt: the paper's Table 1."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from analysis.frames.load import Results
from analysis.paper import TABLE_1
from analysis.tables import cells
from analysis.tables.cells import Cells
from analysis.tables.groups import BASE, Row, counts, is_true, summary_of
from analysis.tables.notes import interval_notes, score_notes
from analysis.tables.table import Shown, present


def first_task_table(results: Results) -> pd.DataFrame:
    """In the manner of the paper's Table 1: the first task before and after plain SAC learns the second.

    The paper's numbers stand beside ours where it has the pair. A pair without base trials has its success before
    from the first phases of the others.
    """
    rows: list[Row] = []
    for (benchmark, pair), trials in results.finals.groupby(["benchmark", "pair"], sort=False):
        base = trials[trials["method"] == BASE]
        parts = [part for _, part in base.groupby("variant", sort=False)] or [_first_phases(trials)]
        rows += [_table_1_row(str(benchmark), str(pair), part) for part in parts]
    return pd.DataFrame(rows)


def _first_phases(trials: pd.DataFrame) -> pd.DataFrame:
    """One row per first phase, without what came after it."""
    return trials.drop_duplicates("key_first").assign(variant="", first_after=np.nan, forgetting=np.nan)


def _table_1_row(benchmark: str, pair: str, trials: pd.DataFrame) -> Row:
    row: Row = {name: trials[name].iloc[0] for name in ("benchmark", "pair", "variant", "measure", "paper_pair")}
    row |= counts(trials)
    for name in ("first_before", "first_after", "forgetting"):
        row |= summary_of(trials, name).columns(name)
    for name, published in zip(
        ("first_before", "first_after"), TABLE_1.get((benchmark, pair), (None, None)), strict=True
    ):
        row[f"paper_{name}"] = published.mean if published else np.nan
        row[f"paper_{name}_spread"] = published.spread if published else np.nan
    return row | {"not_learnt": int(is_true(~trials["learnt_first"]).sum())}


def show_first_task(results: Results) -> Shown:
    """`first_task_table`: the paper's Table 1."""
    data = first_task_table(results)
    columns: dict[str, Callable[[Cells], str]] = {
        **cells.estimates({"before": "first_before", "after (base)": "first_after", "forgetting": "forgetting"})
    }
    task = results.words.task
    caption = [
        f"First {task} alone, and after plain SAC (`base`) has learnt the second, as in the paper's Table 1.",
        *score_notes(results),
    ]
    if data["paper_first_before"].notna().any():
        columns["paper: before"] = lambda row: cells.published(row, "first_before")
        columns["paper: after"] = lambda row: cells.published(row, "first_after")
        caption.append("The paper's numbers are over five seeds; it does not say what its ± is in this table.")
    if data["not_learnt"].any():
        columns["remarks"] = lambda row: (
            f"not learnt: {row['not_learnt']} of {row['first_before_n']}" if row["not_learnt"] else ""
        )
    caption += interval_notes(data, "first_before", "first_after")
    title = f"The first {task} before and after"
    return present("first_task", title, data, columns, caption, before_figures=True)
