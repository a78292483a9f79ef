"""Which neurons were frozen: how many in which layer, and how far they moved."""

from collections.abc import Callable
from itertools import groupby, product

import pandas as pd

from analysis.frames.load import Results
from analysis.tables import cells
from analysis.tables.cells import Cells
from analysis.tables.groups import Row, table_rows
from analysis.tables.table import Shown, present
from nbsp_ray.layout import NETWORKS


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


def show_neurons(results: Results) -> Shown:
    """`neurons_table`: which neurons were frozen."""
    data = neurons_table(results)
    columns: dict[str, Callable[[Cells], str]] = {
        "network": lambda row: str(row["network"]),
        "n": lambda row: f"{row['n']} of {row['seeds']}",
        "frozen neurons": lambda row: cells.count(row["selected_mean"]),
        "per layer": lambda row: cells.per_layer(row, "selected", cells.count),
        "of these constant": lambda row: cells.spread(row, "selected_constant", cells.count),
        "near-constant": lambda row: cells.spread(row, "selected_near_constant", cells.count),
        "below constant": lambda row: cells.spread(row, "selected_below_constant", cells.count),
        "constant per layer": lambda row: cells.per_layer(row, "constant", cells.count),
        "frozen parameters": lambda row: cells.spread(row, "frozen_share"),
        "drift per layer": lambda row: cells.per_layer(row, "drift"),
    }
    caption = [
        "Mean over seeds, in brackets the lowest and the highest seed; layers from the input, parted by strokes. "
        "Constant: the same activation at all scoring steps. Near-constant: on one side of its mean on at least 99 % "
        "of them. Below constant: with a score (Eq. 4) below that of a constant prediction, max(p, 1 - p), so that a "
        "constant says more. All three are of the frozen neurons; a dash where the method did not report it.",
        "Frozen parameters: share of the network's weights and biases; as many neurons are not as many of these, so a "
        "difference between methods may be one of capacity. Drift: relative change of the frozen neurons' activations "
        "on first-task states over the last phase, 0 in the first layer if strictly frozen.",
    ]
    return present("neurons", "Frozen neurons", data, columns, caption)
