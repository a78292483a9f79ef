"""Over all pairs of a benchmark at once: the IQM and the chance to be better than base, with bootstrap intervals.

Resampling draws seeds jointly over pairs, for a seed is one agent's initialisation in all of them. A method that has
runs on fewer pairs than another is not comparable with it, so the number of pairs stands in every row.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from analysis.frames.load import Results
from analysis.statistics import (
    Floats,
    Interval,
    bootstrap_interval,
    optimality_gap,
    pooled_interquartile_mean,
    probability_of_improvement,
    runs_by_seed,
)
from analysis.tables.numbers import BASE, scopes

MEASURES = ("sequential", "second")
"""Stability and plasticity."""
CONFIGURATION = ["benchmark", "method", "skill_neurons", "variant"]
"""Trials that agree in these differ in pair and seed alone."""
Row = dict[str, Any]


def configurations(finals: pd.DataFrame) -> Iterator[tuple[Row, pd.DataFrame]]:
    """Trials by method, count and settings, in the order of the plan; of benchmarks with at least two pairs."""
    for _, trials in finals.groupby(CONFIGURATION, sort=False, dropna=False):
        benchmark = finals[finals["benchmark"] == trials["benchmark"].iloc[0]]
        if benchmark["pair"].nunique() > 1:
            identity = {name: trials[name].iloc[0] for name in CONFIGURATION}
            yield identity | {"pairs": benchmark["pair"].nunique()}, trials


def runs_of(trials: pd.DataFrame, *measures: str) -> Floats:
    """The runs (S, P, K) of K columns of trials, those that have all of them; pairs without a run left out."""
    present = trials.dropna(subset=list(measures))
    pairs = [
        dict(zip(of_pair["seed"].tolist(), of_pair[list(measures)].to_numpy(dtype=np.float64).tolist(), strict=True))
        for _, of_pair in present.groupby("pair", sort=False)
    ]
    return runs_by_seed(pairs)


def across_pairs_table(results: Results) -> pd.DataFrame:
    """One row per method, count and settings: IQM over pairs and seeds, and the probability to be better than base.

    Of a measure `x`: `x_iqm`, `x_iqm_low`, `x_iqm_high` (95 % bootstrap), `x_runs`, `x_pairs`, `x_fewest_seeds` (of the
    pair that has the fewest); `x_optimality_gap` with the same suffixes; and `x_improvement` over the seeds that both
    have and whose trials differ in nothing else.
    """
    base = results.finals[results.finals["method"] == BASE]
    rows: list[Row] = []
    every = ((identity, *one) for identity, of_all in configurations(results.finals) for one in scopes(of_all))
    for identity, scope, trials in every:
        row = identity | scope | {"seeds": len(trials)}
        for measure in MEASURES:
            runs = runs_of(trials, measure)
            found = bootstrap_interval(runs, pooled_interquartile_mean)
            row |= _columns(f"{measure}_iqm", found) | {f"{measure}_runs": found.runs, f"{measure}_pairs": found.pairs}
            row[f"{measure}_fewest_seeds"] = found.seeds
            gap = bootstrap_interval(runs, optimality_gap)
            row |= _columns(f"{measure}_optimality_gap", gap)
            better = _improvement(trials, base[:0] if identity["method"] == BASE else base, measure)
            row |= _columns(f"{measure}_improvement", better)
        rows.append(row)
    return pd.DataFrame(rows)


def _improvement(trials: pd.DataFrame, base: pd.DataFrame, measure: str) -> Interval:
    both = trials[["pair", "seed", "comparable", measure]].merge(base[["comparable", measure]], on="comparable")
    return bootstrap_interval(runs_of(both, f"{measure}_x", f"{measure}_y"), probability_of_improvement)


def _columns(name: str, found: Interval) -> Row:
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
