"""Over all pairs of a benchmark at once: the IQM and the chance to be better than base, with bootstrap intervals.

A pair is a stratum: resampling draws seeds within it. A method that has runs on fewer pairs than another is not
comparable with it, so the number of pairs stands in every row.
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
)
from analysis.tables.numbers import BASE

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


def strata(trials: pd.DataFrame, measure: str) -> dict[str, Floats]:
    """The runs of each pair (n_p, 1), missing ones left out; pairs without a run left out."""
    present = trials[trials[measure].notna()]
    return {
        str(pair): of_pair[[measure]].to_numpy(dtype=np.float64)
        for pair, of_pair in present.groupby("pair", sort=False)
    }


def across_pairs_table(results: Results) -> pd.DataFrame:
    """One row per method, count and settings: IQM over pairs and seeds, and the probability to be better than base.

    Of a measure `x`: `x_iqm`, `x_iqm_low`, `x_iqm_high` (95 % stratified bootstrap), `x_runs`, `x_pairs`;
    `x_optimality_gap` with the same suffixes; and `x_improvement` over the seeds that both have and whose trials differ
    in nothing else.
    """
    base = results.finals[results.finals["method"] == BASE]
    rows: list[Row] = []
    for identity, trials in configurations(results.finals):
        row = identity | {"seeds": len(trials)}
        for measure in MEASURES:
            found = bootstrap_interval(list(strata(trials, measure).values()), pooled_interquartile_mean)
            row |= _columns(f"{measure}_iqm", found) | {f"{measure}_runs": found.runs, f"{measure}_pairs": found.strata}
            gap = bootstrap_interval(list(strata(trials, measure).values()), optimality_gap)
            row |= _columns(f"{measure}_optimality_gap", gap)
            better = _improvement(trials, base, measure) if identity["method"] != BASE else None
            row |= _columns(f"{measure}_improvement", better or bootstrap_interval([], probability_of_improvement))
        rows.append(row)
    return pd.DataFrame(rows)


def _improvement(trials: pd.DataFrame, base: pd.DataFrame, measure: str) -> Interval:
    both = trials[["pair", "comparable", measure]].merge(base[["comparable", measure]], on="comparable")
    both = both.dropna(subset=[f"{measure}_x", f"{measure}_y"])
    pairs = [
        rows[[f"{measure}_x", f"{measure}_y"]].to_numpy(dtype=np.float64)
        for _, rows in both.groupby("pair", sort=False)
    ]
    return bootstrap_interval(pairs, probability_of_improvement)


def _columns(name: str, found: Interval) -> Row:
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
