"""Groups of trials that differ in their seed alone, which a row of most tables sums up over its seeds.

A statistic of a metric `x` is in five columns: `x_n` (seeds it rests on), `x_mean`, `x_se` (standard error), `x_low`
and `x_high` (Student t interval). How many seeds were planned is in `seeds`, so that no mean hides a missing one. Where
the score of some seeds was undefined, a group has two rows (`scopes`).
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from analysis.metrics import limits
from analysis.statistics import Summary, summary

GROUP = ["benchmark", "pair", "method", "skill_neurons_given", "variant"]
"""Trials that agree in these differ in their seed alone."""
BASE = "base"
SUCCESSES = ("first_before", "first_after", "second")
Row = dict[str, Any]


def groups(finals: pd.DataFrame) -> Iterator[tuple[Row, pd.DataFrame]]:
    """Groups of trials with their identity: pair by pair, within it in the order of the plan."""
    for _, of_pair in finals.groupby(["benchmark", "pair"], sort=False):
        for _, trials in of_pair.groupby(GROUP[2:], sort=False, dropna=False):
            identity = {
                name: trials[name].iloc[0]
                for name in [*GROUP, "skill_neurons", "measure", "paper_pair", "paper_method"]
            }
            yield identity, trials


def scopes(trials: pd.DataFrame) -> Iterator[tuple[Row, pd.DataFrame]]:
    """The trials of a row; and again without those whose score was undefined, if it has such and others.

    Where the score was undefined the method drew its neurons at random (Eq. 4 says nothing there), so a mean over its
    seeds is in part that of another method. Every table whose rows are means goes through here: `score_undefined`
    counts such trials, `scope` is `all` or `defined`.
    """
    undefined = is_true(trials["score_undefined"])
    yield {"score_undefined": int(undefined.sum()), "scope": "all"}, trials
    if undefined.any() and not undefined.all():
        yield {"score_undefined": 0, "scope": "defined"}, trials[~undefined]


def table_rows(finals: pd.DataFrame) -> Iterator[tuple[Row, pd.DataFrame]]:
    """`groups`, each in its `scopes`: what identifies a row of a table, its counts, and its trials."""
    for identity, of_group in groups(finals):
        for scope, trials in scopes(of_group):
            yield identity | scope | counts(trials), trials


def is_true(flags: pd.Series) -> pd.Series:
    """Where a flag is known and true."""
    return flags.fillna(False).astype(bool)


def counts(trials: pd.DataFrame) -> Row:
    """How many trials were planned, and how many of them are done."""
    return {"seeds": len(trials), "done": int((trials["status"] == "done").sum())}


def summary_of(trials: pd.DataFrame, name: str) -> Summary:
    """The metric `name` over trials that are judged alike; its interval is cut at what the metric can be."""
    values = trials[name].to_numpy(dtype=np.float64)
    return summary(values, limits(trials["measure"].iloc[0], name)) if len(values) else summary(values)
