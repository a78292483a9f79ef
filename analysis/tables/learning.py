"""While the second task is learnt: how much of the first is retained, and how fast the second is learnt."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from analysis.frames.load import Results
from analysis.metrics import censored_median
from analysis.tables import cells
from analysis.tables.cells import Cells
from analysis.tables.groups import Row, is_true, summary_of, table_rows
from analysis.tables.notes import interval_notes, score_notes
from analysis.tables.table import Shown, present


def learning_table(results: Results) -> pd.DataFrame:
    """The same groups by their curves: retention during the last phase, and how fast the second task was learnt.

    Env steps to the threshold are censored where it is not reached, so a mean would be wrong: `reached` of `ended` did,
    `env_steps_to_threshold_median` is the median over all ended, missing unless more than half reached it.
    """
    return pd.DataFrame([identity | _speed(trials) for identity, trials in table_rows(results.finals)])


def _speed(trials: pd.DataFrame) -> Row:
    row: Row = {}
    for name in ("retention_last_5", "auc_second", "forward_transfer"):
        row |= summary_of(trials, name).columns(name)
    whole = trials[trials["auc_second"].notna()]
    reached = whole["env_steps_to_threshold"].dropna()
    return row | {
        "reached": len(reached),
        "ended": len(whole),
        "env_steps_to_threshold_median": censored_median(
            whole["env_steps_to_threshold"].to_numpy(np.float64, na_value=np.nan)
        ),
        "auc_carried_share_highest": whole["auc_carried_share"].max(),
        "curve_truncated": int(is_true(trials["curve_truncated"]).sum()),
    }


def show_learning(results: Results) -> Shown:
    """`learning_table`: what the evaluations during the last phase say."""
    data, words = learning_table(results), results.words
    columns: dict[str, Callable[[Cells], str]] = {
        f"first {words.task}, last 5": lambda row: cells.estimate(row, "retention_last_5"),
        f"second {words.task}, AUC": lambda row: cells.estimate(row, "auc_second"),
    }
    if words.is_rate:
        columns |= {
            "reached threshold": lambda row: f"{row['reached']} of {row['ended']}" if row["ended"] else cells.NONE,
            "env steps to it": lambda row: cells.number(row["env_steps_to_threshold_median"], digits=0),
            "forward transfer": lambda row: cells.estimate(row, "forward_transfer"),
        }
    columns["carried forward"] = lambda row: cells.number(row["auc_carried_share_highest"])
    caption = [
        f"From the evaluations of the frozen policy during the last phase ({words.performance}s). AUC: mean height of "
        f"the second {words.task}'s curve over [0, budget] by trapezoids. After an early stop the final evaluation is "
        "carried forward, over at most the share of the budget in `carried forward`; the value that triggered the stop "
        "would be too high.",
        *(
            [
                "Env steps to the threshold: median over the phases that ended, those that never reached it counted as "
                "later than any; shown if more than half reached it."
            ]
            if words.is_rate
            else score_notes(results)
        ),
        *interval_notes(data, "retention_last_5", "auc_second"),
    ]
    truncated = int(data["curve_truncated"].sum())
    if truncated:
        caption.append(f"{truncated} finished phases have a curve that is cut off; they are left out here.")
    return present("learning", f"While the second {words.task} is learnt", data, columns, caption)
