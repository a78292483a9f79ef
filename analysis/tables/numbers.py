"""The tables, as unrounded frames: groups of trials that differ in their seed alone, each summed up over its seeds.

A statistic of a metric `x` is in five columns: `x_n` (seeds it rests on), `x_mean`, `x_se` (standard error), `x_low`
and `x_high` (Student t interval). How many seeds were planned is in `seeds`, so that no mean hides a missing one. Where
the score of some seeds was undefined, a group has two rows (`scopes`). How a table is shown is `analysis.tables.show`'s
business.
"""

from collections.abc import Iterator
from itertools import groupby, product
from typing import Any

import numpy as np
import pandas as pd

from analysis.frames.load import Results
from analysis.metrics import censored_median, limits
from analysis.paper import TABLE_1
from analysis.statistics import Summary, difference_limits, paired_difference, summary, wilson_interval
from nbsp_ray.layout import NETWORKS

GROUP = ["benchmark", "pair", "method", "skill_neurons", "variant"]
"""Trials that agree in these differ in their seed alone."""
BASE = "base"
COMPARED = ("sequential", "second", "retention_last_5", "auc_second")
"""Not forgetting: as both share the first phase, its difference is that of `sequential` with the sign turned."""
SUCCESSES = ("individual", "sequential", "second")
HELDOUT = tuple(f"{name}_heldout" for name in SUCCESSES)
KEY_DIGITS = 8
Row = dict[str, Any]


def groups(finals: pd.DataFrame) -> Iterator[tuple[Row, pd.DataFrame]]:
    """Groups of trials with their identity: pair by pair, within it in the order of the plan."""
    for _, of_pair in finals.groupby(["benchmark", "pair"], sort=False):
        for _, trials in of_pair.groupby(GROUP[2:], sort=False, dropna=False):
            identity = {name: trials[name].iloc[0] for name in [*GROUP, "measure", "paper_pair", "paper_method"]}
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


def results_table(results: Results) -> pd.DataFrame:
    """One row per pair, method and number of skill neurons: both tasks' success, forgetting, and what to beware of.

    Where tasks are judged by their score it is the normalised one. `paper_sequential` is the paper's number of plain
    SAC (Table 1).

    `forgetting_learnt` leaves out the seeds whose first task was not learnt (individual < 0.5); counts of trials:
    `not_learnt`, `stopped_early` (the last phase was `stable` before its budget was spent).
    """
    return pd.DataFrame(
        [identity | _outcome(trials) | _published(identity) for identity, trials in table_rows(results.finals)]
    )


def _published(identity: Row) -> Row:
    _, published = TABLE_1.get((identity["benchmark"], identity["pair"]), (None, None))
    found = published if identity["method"] == BASE else None
    return {
        "paper_sequential": found.mean if found else np.nan,
        "paper_sequential_spread": found.spread if found else np.nan,
    }


def _outcome(trials: pd.DataFrame) -> Row:
    learnt = trials[is_true(trials["learnt_first"])]
    row: Row = {}
    for name in (*SUCCESSES, *HELDOUT, "forgetting", "retention_last_5"):
        row |= _summary(trials, name).columns(name)
    row |= _summary(learnt, "forgetting").columns("forgetting_learnt")
    return row | {
        "not_learnt": int(is_true(~trials["learnt_first"]).sum()),
        "stopped_early": int((trials["stop_reason_second"] == "stable").sum()),
        "ended": int(trials["stop_reason_second"].notna().sum()),
    }


def returns_table(results: Results) -> pd.DataFrame:
    """The same groups in raw scores: means of `individual_return`, `sequential_return` and `second_return`."""
    rows: list[Row] = []
    for row, trials in table_rows(results.finals):
        for name in (*SUCCESSES, "retention_last_5", "auc_second"):
            row |= _summary(trials, f"{name}_return").columns(f"{name}_return")
        rows.append(row)
    return pd.DataFrame(rows)


def learning_table(results: Results) -> pd.DataFrame:
    """The same groups by their curves: retention during the last phase, and how fast the second task was learnt.

    Env steps to the threshold are censored where it is not reached, so a mean would be wrong: `reached` of `ended` did,
    `env_steps_to_threshold_median` is the median over all ended, missing unless more than half reached it.
    """
    return pd.DataFrame([identity | _speed(trials) for identity, trials in table_rows(results.finals)])


def _speed(trials: pd.DataFrame) -> Row:
    row: Row = {}
    for name in ("retention_last_5", "auc_second", "forward_transfer"):
        row |= _summary(trials, name).columns(name)
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


def individual_sequential_table(results: Results) -> pd.DataFrame:
    """In the manner of the paper's Table 1: the first task before and after plain SAC learns the second.

    The paper's numbers stand beside ours where it has the pair. A pair without base trials has its individual success
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
    return trials.drop_duplicates("key_first").assign(variant="", sequential=np.nan, forgetting=np.nan)


def _table_1_row(benchmark: str, pair: str, trials: pd.DataFrame) -> Row:
    row: Row = {name: trials[name].iloc[0] for name in ("benchmark", "pair", "variant", "measure", "paper_pair")}
    row |= counts(trials)
    for name in ("individual", "sequential", "forgetting"):
        row |= _summary(trials, name).columns(name)
    for name, published in zip(("individual", "sequential"), TABLE_1.get((benchmark, pair), (None, None)), strict=True):
        row[f"paper_{name}"] = published.mean if published else np.nan
        row[f"paper_{name}_spread"] = published.spread if published else np.nan
    return row | {"not_learnt": int(is_true(~trials["learnt_first"]).sum())}


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


def neurons_table(results: Results) -> pd.DataFrame:
    """One row per network and group with frozen neurons: how many in which layer, and how far they moved.

    Network by network within a pair, so that what different methods freeze of a network stands beside each other.

    Each column of `frames.columns.neuron_columns` as `_mean`, `_lowest` and `_highest` over seeds: the selection per
    layer swings between seeds, and a mean alone would hide it.
    """
    rows: list[Row] = []
    for _, of_pair in groupby(table_rows(results.finals), key=lambda found: (found[0]["benchmark"], found[0]["pair"])):
        found = list(of_pair)
        for network, (identity, trials) in product(NETWORKS, found):
            reported = trials[trials[f"{network}_selected"].notna()]
            if not len(reported):
                continue
            row = identity | {"network": network, "n": len(reported)}
            for column in (name for name in trials.columns if name.startswith(f"{network}_")):
                values = reported[column].astype("float64")
                name = column.removeprefix(f"{network}_")
                row |= {f"{name}_mean": values.mean(), f"{name}_lowest": values.min(), f"{name}_highest": values.max()}
            rows.append(row)
    return pd.DataFrame(rows)


def trials_table(results: Results) -> pd.DataFrame:
    """One row per trial: every seed's numbers, a Wilson interval for each success rate, and where to look further.

    Of scores the raw ones stand in place of the intervals, as `individual_return` and so on.
    """
    columns = [*GROUP, "seed", "status", *SUCCESSES, "forgetting", "retention_last_5", "auc_second"]
    columns += ["env_steps_to_threshold", "forward_transfer", "stop_reason_second", "learnt_first", "score_undefined"]
    columns += ["env_steps_first", "env_steps_second", "env_steps_auxiliary", "measure"]
    scored = results.measure == "score"
    columns += [f"{name}_return" for name in (*SUCCESSES, "retention_last_5", "auc_second") if scored]
    table = results.finals[columns].copy()
    for name in SUCCESSES:
        table[f"{name}_n"] = results.finals[f"{name}_n"]
        if scored:
            continue
        rates, episodes = results.finals[name], results.finals[f"{name}_n"].fillna(0)
        intervals = [wilson_interval(rate, int(n)) for rate, n in zip(rates, episodes, strict=True)]
        table[f"{name}_wilson_low"] = [low for low, _ in intervals]
        table[f"{name}_wilson_high"] = [high for _, high in intervals]
    for name in ("key_first", "key_second"):
        table[name] = results.finals[name].str.slice(0, KEY_DIGITS)
    return table


def is_true(flags: pd.Series) -> pd.Series:
    """Where a flag is known and true."""
    return flags.fillna(False).astype(bool)


def counts(trials: pd.DataFrame) -> Row:
    """How many trials were planned, and how many of them are done."""
    return {"seeds": len(trials), "done": int((trials["status"] == "done").sum())}


def _summary(trials: pd.DataFrame, name: str) -> Summary:
    values = trials[name].to_numpy(dtype=np.float64)
    return summary(values, limits(trials["measure"].iloc[0], name)) if len(values) else summary(values)
