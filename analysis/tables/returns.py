"""The main table in raw scores."""

import pandas as pd

from analysis.frames.load import Results
from analysis.tables import cells
from analysis.tables.groups import SUCCESSES, Row, summary_of, table_rows
from analysis.tables.notes import interval_notes
from analysis.tables.table import Shown, present


def returns_table(results: Results) -> pd.DataFrame:
    """The same groups in raw scores: means of `first_before_return`, `first_after_return` and `second_return`."""
    rows: list[Row] = []
    for row, trials in table_rows(results.finals):
        for name in (*SUCCESSES, "retention_last_5", "auc_second"):
            row |= summary_of(trials, f"{name}_return").columns(f"{name}_return")
        rows.append(row)
    return pd.DataFrame(rows)


def show_returns(results: Results) -> Shown:
    """`returns_table`: raw scores; no rows of success rates."""
    data, task = returns_table(results) if results.measure == "score" else pd.DataFrame(), results.words.task
    names = {f"first {task} before": "first_before", f"first {task} after": "first_after"}
    names |= {f"second {task}": "second", f"first {task}, last 5": "retention_last_5"}
    names |= {f"second {task}, AUC": "auc_second"}
    columns = cells.estimates({title: f"{name}_return" for title, name in names.items()})
    caption = [
        f"Mean raw scores of whole episodes, each seed's own mean first; scores of different {task}s do not compare."
    ]
    if len(data):
        caption += interval_notes(data, "first_before_return", "first_after_return", "second_return")
    return present("returns", "Raw scores", data, columns, caption, before_figures=True)
