"""Every method against `base`, paired by seed."""

import pandas as pd

from analysis.frames.load import Results
from analysis.metrics import limits
from analysis.statistics import difference_limits, paired_difference
from analysis.tables import cells
from analysis.tables.groups import BASE, Row, table_rows
from analysis.tables.notes import interval_notes
from analysis.tables.table import Shown, present

COMPARED = ("first_after", "second", "retention_last_5", "auc_second")
"""Not forgetting: as both share the first phase, its difference is that of `first_after` with the sign turned."""


def differences_table(results: Results) -> pd.DataFrame:
    """Each method minus `base`, paired by seed: over trials that differ in nothing but the method.

    Positive is better than base. No rows if the plan has no base trials.
    """
    base = results.finals[results.finals["method"] == BASE]
    rows: list[Row] = []
    for row, trials in table_rows(results.finals[results.finals["comparable"].isin(base["comparable"])]):
        if row["method"] == BASE:
            continue
        for name in COMPARED:
            widest = difference_limits(limits(row["measure"], name))
            found = paired_difference(_by_pair(trials, name), _by_pair(base, name), widest)
            row |= found.columns(f"{name}_difference")
        rows.append(row)
    return pd.DataFrame(rows)


def _by_pair(trials: pd.DataFrame, name: str) -> dict[str, float]:
    return dict(zip(trials["comparable"], trials[name], strict=True))


def show_differences(results: Results) -> Shown:
    """`differences_table`: every method against base."""
    data = differences_table(results)
    task = results.words.task
    names = {f"first {task} after": "first_after", f"second {task}": "second"}
    names |= {f"first {task}, last 5": "retention_last_5", f"second {task}, AUC": "auc_second"}
    columns = cells.estimates({title: f"{name}_difference" for title, name in names.items()})
    caption = [
        "Method minus `base`, paired by seed: both continue the same first phase and differ in nothing but the method. "
        "n counts pairs; trials without such a base trial are not in this table. An interval that holds 0 leaves open "
        "whether there is a difference; with several methods and columns, some intervals miss 0 by chance.",
    ]
    if len(data):
        caption += interval_notes(data, "first_after_difference", "second_difference")
    return present("differences", "Against base, paired by seed", data, columns, caption)
