"""The tables, as unrounded frames: groups of trials that differ in their seed alone, each summed up over its seeds.

A statistic of a metric `x` is in five columns: `x_n` (seeds it rests on), `x_mean`, `x_se` (standard error), `x_low`
and `x_high` (Student t interval). How many seeds were planned is in `seeds`, so that no mean hides a missing one. How
a table is shown is `analysis.tables.show`'s business.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from analysis.frames.load import Results
from analysis.paper import TABLE_1
from analysis.statistics import Summary, paired_difference, summary, wilson_interval
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


def results_table(results: Results) -> pd.DataFrame:
    """One row per pair, method and number of skill neurons: both tasks' success, forgetting, and what to beware of.

    Of games it is their normalised score. `paper_sequential` is the paper's number of plain SAC (Table 1).

    `forgetting_learnt` leaves out the seeds whose first task was not learnt (individual < 0.5); counts of trials:
    `not_learnt`, `score_undefined`, `stopped_early` (the last phase was `stable` before its budget was spent).
    """
    return pd.DataFrame(
        [identity | _outcome(trials) | _published(identity) for identity, trials in groups(results.finals)]
    )


def _published(identity: Row) -> Row:
    _, published = TABLE_1.get((identity["benchmark"], identity["pair"]), (None, None))
    found = published if identity["method"] == BASE else None
    return {
        "paper_sequential": found.mean if found else np.nan,
        "paper_sequential_spread": found.spread if found else np.nan,
    }


def _outcome(trials: pd.DataFrame) -> Row:
    learnt = trials[_is(trials["learnt_first"])]
    row = _counts(trials)
    for name in (*SUCCESSES, *HELDOUT, "forgetting", "retention_last_5"):
        row |= _summary(trials, name).columns(name)
    row |= _summary(learnt, "forgetting").columns("forgetting_learnt")
    return row | {
        "not_learnt": int(_is(~trials["learnt_first"]).sum()),
        "score_undefined": int(_is(trials["score_undefined"]).sum()),
        "stopped_early": int((trials["stop_reason_second"] == "stable").sum()),
        "ended": int(trials["stop_reason_second"].notna().sum()),
    }


def returns_table(results: Results) -> pd.DataFrame:
    """The same groups in raw scores: means of `individual_return`, `sequential_return` and `second_return`."""
    rows: list[Row] = []
    for identity, trials in groups(results.finals):
        row = identity | _counts(trials)
        for name in (*SUCCESSES, "retention_last_5", "auc_second"):
            row |= _summary(trials, f"{name}_return").columns(f"{name}_return")
        rows.append(row)
    return pd.DataFrame(rows)


def learning_table(results: Results) -> pd.DataFrame:
    """The same groups by their curves: retention during the last phase, and how fast the second task was learnt.

    Env steps to the threshold are censored where it is not reached, so a mean would be wrong: `reached` of `ended` did,
    `env_steps_to_threshold_median` is the median over all ended, missing unless more than half reached it.
    """
    return pd.DataFrame([identity | _speed(trials) for identity, trials in groups(results.finals)])


def _speed(trials: pd.DataFrame) -> Row:
    row = _counts(trials)
    for name in ("retention_last_5", "auc_second", "forward_transfer"):
        row |= _summary(trials, name).columns(name)
    whole = trials[trials["auc_second"].notna()]
    reached = whole["env_steps_to_threshold"].dropna()
    censored = whole["env_steps_to_threshold"].astype("float64").fillna(np.inf)
    median = float(censored.median()) if len(whole) else np.nan
    return row | {
        "reached": len(reached),
        "ended": len(whole),
        "env_steps_to_threshold_median": median if np.isfinite(median) else np.nan,
        "auc_carried_share_highest": whole["auc_carried_share"].max(),
        "curve_truncated": int(_is(trials["curve_truncated"]).sum()),
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
    row |= _counts(trials)
    for name in ("individual", "sequential", "forgetting"):
        row |= _summary(trials, name).columns(name)
    for name, published in zip(("individual", "sequential"), TABLE_1.get((benchmark, pair), (None, None)), strict=True):
        row[f"paper_{name}"] = published.mean if published else np.nan
        row[f"paper_{name}_spread"] = published.spread if published else np.nan
    return row | {"not_learnt": int(_is(~trials["learnt_first"]).sum())}


def differences_table(results: Results) -> pd.DataFrame:
    """Each method minus `base`, paired by seed: over trials that differ in nothing but the method.

    Positive is better than base. No rows if the plan has no base trials.
    """
    base = results.finals[results.finals["method"] == BASE]
    rows: list[Row] = []
    for identity, trials in groups(results.finals[results.finals["comparable"].isin(base["comparable"])]):
        if identity["method"] == BASE:
            continue
        row = identity | _counts(trials)
        for name in COMPARED:
            row |= paired_difference(_by_pair(trials, name), _by_pair(base, name)).columns(f"{name}_difference")
        rows.append(row)
    return pd.DataFrame(rows)


def _by_pair(trials: pd.DataFrame, name: str) -> dict[str, float]:
    return dict(zip(trials["comparable"], trials[name], strict=True))


def neurons_table(results: Results) -> pd.DataFrame:
    """One row per group and network with frozen neurons: how many in which layer, and how far they moved.

    Each column of `frames.columns.neuron_columns` as `_mean`, `_lowest` and `_highest` over seeds: the selection per
    layer swings between seeds, and a mean alone would hide it.
    """
    rows: list[Row] = []
    for identity, trials in groups(results.finals):
        for network in NETWORKS:
            reported = trials[trials[f"{network}_selected"].notna()]
            if not len(reported):
                continue
            row = identity | {"network": network} | _counts(trials) | {"n": len(reported)}
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


def _is(flags: pd.Series) -> pd.Series:
    """Where a flag is known and true."""
    return flags.fillna(False).astype(bool)


def _counts(trials: pd.DataFrame) -> Row:
    return {"seeds": len(trials), "done": int((trials["status"] == "done").sum())}


def _summary(trials: pd.DataFrame, name: str) -> Summary:
    return summary(trials[name].to_numpy(dtype=np.float64))
