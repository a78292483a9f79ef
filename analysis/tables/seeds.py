"""The seeds behind each mean success rate: worst, median, best, and the share that is good.

A forgotten task is bimodal: a mean of 0.6 may be three ones and two zeros, of which a t interval knows nothing.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from analysis.frames.load import Results
from analysis.statistics import clopper_pearson
from analysis.tables import cells
from analysis.tables.cells import Cells
from analysis.tables.groups import SUCCESSES, table_rows
from analysis.tables.table import Shown, present

GOOD = 0.9
"""Success rate from which a seed counts as good: the paper's threshold of a mastered task (Table 2)."""
RATES = (*SUCCESSES, "retention_last_5")
Row = dict[str, Any]


def seeds_table(results: Results) -> pd.DataFrame:
    """One row per pair, method and number of skill neurons; no rows of scores.

    Of each rate `x`: `x_n`, `x_mean`, `x_worst`, `x_median`, `x_best`, `x_good` (seeds at or above 0.9), `x_share` (of
    the n) with Clopper and Pearson's 95 % interval in `x_share_low` and `x_share_high`.
    """
    if results.measure == "score":
        return pd.DataFrame()
    rows: list[Row] = []
    for row, trials in table_rows(results.finals):
        for name in RATES:
            row |= {f"{name}_{what}": value for what, value in _of_seeds(trials[name].dropna()).items()}
        rows.append(row)
    return pd.DataFrame(rows)


def _of_seeds(rates: "pd.Series[float]") -> Row:
    n, good = len(rates), int((rates >= GOOD - 1e-9).sum())
    low, high = clopper_pearson(good, n)
    found: Row = {"n": n, "mean": rates.mean(), "worst": rates.min(), "median": rates.median(), "best": rates.max()}
    return found | {"good": good, "share": good / n if n else np.nan, "share_low": low, "share_high": high}


def show_seeds(results: Results) -> Shown:
    """`seeds_table`, to be read beside the main one."""
    data = seeds_table(results)
    titles = ("first task before", "first task after", "second task", "first task, last 5")
    columns: dict[str, Callable[[Cells], str]] = {}
    for title, name in zip(titles, RATES, strict=True):
        columns |= {title: partial(_spread, name=name), f"{title} ≥ {GOOD:g}": partial(_share, name=name)}
    caption = [
        "Of each success rate the mean over seeds, then its worst, median and best seed; forgetting makes seeds all or "
        "nothing, and a mean of 0.60 may be three ones and two zeros.",
        f"Beside it the seeds with a rate of at least {GOOD:g}, and in brackets Clopper and Pearson's exact 95 % "
        "interval for the share of all seeds that would have one.",
    ]
    return present("seeds", "Seed by seed: worst, median, best", data, columns, caption, before_figures=True)


def _spread(row: Cells, name: str) -> str:
    if not row[f"{name}_n"]:
        return cells.NONE
    digits = cells.digits_of(row[f"{name}_worst"], row[f"{name}_best"])
    mean, *seeds = (cells.number(row[f"{name}_{what}"], digits) for what in ("mean", "worst", "median", "best"))
    return f"{mean}: {', '.join(seeds)}"


def _share(row: Cells, name: str) -> str:
    if not row[f"{name}_n"]:
        return cells.NONE
    share = cells.within(row[f"{name}_share_low"], row[f"{name}_share_high"])
    return f"{row[f'{name}_good']} of {row[f'{name}_n']} {share}"
