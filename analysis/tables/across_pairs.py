"""Over all pairs of a benchmark at once: the IQM and the chance to be better than base, with bootstrap intervals.

Resampling draws seeds jointly over pairs, for a seed is one agent's initialisation in all of them. A method that has
runs on fewer pairs than another is not comparable with it, so the number of pairs stands in every row.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from analysis.frames.load import Results
from analysis.statistics import (
    BOOTSTRAP_SEED,
    RESAMPLES,
    Floats,
    Interval,
    bootstrap_interval,
    optimality_gap,
    pooled_interquartile_mean,
    probability_of_improvement,
    runs_by_seed,
)
from analysis.tables import cells
from analysis.tables.cells import Cells
from analysis.tables.groups import BASE, scopes
from analysis.tables.notes import score_notes
from analysis.tables.table import Shown, present

MEASURES = ("first_after", "second")
"""Stability and plasticity."""
CONFIGURATION = ["benchmark", "method", "skill_neurons_given", "variant"]
"""Trials that agree in these differ in pair and seed alone."""
Row = dict[str, Any]


def configurations(finals: pd.DataFrame) -> Iterator[tuple[Row, pd.DataFrame]]:
    """Trials by method, count and settings, in the order of the plan; of benchmarks with at least two pairs."""
    for _, trials in finals.groupby(CONFIGURATION, sort=False, dropna=False):
        benchmark = finals[finals["benchmark"] == trials["benchmark"].iloc[0]]
        if benchmark["pair"].nunique() > 1:
            identity = {name: trials[name].iloc[0] for name in [*CONFIGURATION, "skill_neurons"]}
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


def show_across_pairs(results: Results) -> Shown:
    """`across_pairs_table`: every method over all pairs."""
    data, words = across_pairs_table(results), results.words
    task = words.task
    columns: dict[str, Callable[[Cells], str]] = {
        "pairs": lambda row: _pairs(row),
        "runs": lambda row: f"{row['first_after_runs']} of {row['seeds']}",
    }
    for name, measure in ((f"first {task} after", "first_after"), (f"second {task}", "second")):
        columns[f"{name}, IQM"] = partial(cells.bootstrapped, name=f"{measure}_iqm")
        if not words.is_rate:
            columns[f"{name}, optimality gap"] = partial(cells.bootstrapped, name=f"{measure}_optimality_gap")
    if len(data) and data["first_after_improvement"].notna().any():
        columns[f"first {task}, P(better than base)"] = partial(cells.bootstrapped, name="first_after_improvement")
        columns[f"second {task}, P(better than base)"] = partial(cells.bootstrapped, name="second_improvement")
    caption = [
        "IQM: mean of the middle half of all runs of all pairs (Agarwal et al. 2021). P(better than base): chance that "
        f"a run of the method has a higher {words.performance} than one of `base` on the same pair, ties as half, "
        "averaged over pairs; 0.50 is no difference.",
        *(
            []
            if words.is_rate
            else [
                "Optimality gap: by how much runs fall short of a normalised score of 1 on average, 0 if none does.",
                *score_notes(results),
            ]
        ),
        f"In brackets the 95 % bootstrap interval ({RESAMPLES:,} resamples, seed {BOOTSTRAP_SEED}; seeds drawn jointly "
        "over pairs, for a seed is one agent's initialisation in all of them; percentiles widened for few seeds after "
        "Hesterberg 2015). With 4 pairs of 5 seeds of normal data such an interval holds the true IQM in about 93 % of "
        "cases, with 3 seeds in about 75 %. There is none if a pair has fewer than three seeds, or if all resamples "
        "agree.",
    ]
    if len(data) and (data["first_after_pairs"] < data["pairs"]).any():
        caption.append("Rows over different pairs cannot be compared with one another.")
    return present("across_pairs", "Across pairs", data, columns, caption)


def _pairs(row: Cells) -> str:
    """`4 of 4`; `4, 3 of 4` if fewer pairs have the second measure (a task without reference scores)."""
    first, second = row["first_after_pairs"], row["second_pairs"]
    return f"{first} of {row['pairs']}" if first == second else f"{first}, {second} of {row['pairs']}"
