"""The cells of a table as text: what a number is rounded to, and how much of a statistic its n allows."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pandas as pd

NONE = "-"
RATES = {"individual", "sequential", "second", "retention_last_5", "auc_second"}
RATES |= {"individual_heldout", "sequential_heldout", "second_heldout"}
Cells = Mapping[str, Any]
"""A row of a table by column."""


def number(value: float, digits: int = 2) -> str:
    """A number rounded to `digits`, a dash if it is missing; never `-0.00`."""
    if pd.isna(value):
        return NONE
    return f"{round(float(value), digits) + 0.0:,.{digits}f}"


def count(value: float) -> str:
    """A mean of counts: `3`, or `3.5`."""
    return number(value, digits=1).removesuffix(".0")


def estimate(row: Cells, name: str, *, interval: bool = True) -> str:
    """The statistic `name` of a row: `0.62 ± 0.20 [0.06, 1.00] (n=3 of 5)`, as much of it as n allows."""
    n, seeds = row[f"{name}_n"], row["seeds"]
    text = number(row[f"{name}_mean"])
    if n > 1:
        text += f" ± {number(row[f'{name}_se'])}"
        is_rate = row.get("measure", "success") == "success"
        low, high = row[f"{name}_low"], row[f"{name}_high"]
        shown = _cut(name, low, high) if is_rate else f"[{number(low)}, {number(high)}]"
        text += f" {shown}" if interval else ""
    return f"{text} (n={n} of {seeds})" if 0 < n < seeds else text


def bootstrapped(row: Cells, name: str) -> str:
    """A number with its bootstrap interval: `0.85 [0.71, 0.93]`; without one the number alone."""
    if pd.isna(row[f"{name}_low"]):
        return number(row[name])
    return f"{number(row[name])} [{number(row[f'{name}_low'])}, {number(row[f'{name}_high'])}]"


def _cut(name: str, low: float, high: float) -> str:
    """An interval, cut at what the number can be: a rate is in [0, 1], a difference of rates in [-1, 1]."""
    least = -math.inf if name == "forward_transfer" else 0.0 if name in RATES else -1.0
    return f"[{number(max(low, least))}, {number(min(high, 1.0))}]"


def estimates(metrics: Mapping[str, str], *, interval: bool = True) -> dict[str, Callable[[Cells], str]]:
    """The statistics `metrics` (heading -> name) as columns."""
    return {title: partial(estimate, name=name, interval=interval) for title, name in metrics.items()}


def spread(row: Cells, name: str, show: Callable[[float], str] = number) -> str:
    """`0.18 (0.07 to 0.28)`: mean, lowest and highest; the number alone if they agree."""
    mean, lowest, highest = (show(row[f"{name}_{which}"]) for which in ("mean", "lowest", "highest"))
    return mean if lowest == highest else f"{mean} ({lowest} to {highest})"


def remarks(row: Cells) -> str:
    """What to beware of in a group, in a few words."""
    found = []
    if row["not_learnt"]:
        found.append(f"first task not learnt: {row['not_learnt']} of {row['individual_n']}")
    if row["score_undefined"]:
        found.append(f"score undefined: {row['score_undefined']} of {row['ended']}")
    if row["stopped_early"]:
        found.append(f"stopped early: {row['stopped_early']} of {row['ended']}")
    return "; ".join(found)


def rate_of_agent(row: Cells, name: str) -> str:
    """One agent's success rate with Wilson's interval over its episodes: `0.90 [0.60, 0.98]`."""
    if pd.isna(row[name]):
        return NONE
    return f"{number(row[name])} [{number(row[f'{name}_wilson_low'])}, {number(row[f'{name}_wilson_high'])}]"


def score_of_agent(row: Cells, name: str) -> str:
    """One agent's mean raw score over its games: `23.4 (12 games)`."""
    if pd.isna(row[f"{name}_return"]):
        return NONE
    games = int(row[f"{name}_n"])
    return f"{number(row[f'{name}_return'], digits=1)} ({games} game{'s' * (games != 1)})"


def published(row: Cells, name: str) -> str:
    """The paper's number, `0.98 ± 0.04`, or a dash if it has none."""
    if math.isnan(row[f"paper_{name}"]):
        return NONE
    return f"{number(row[f'paper_{name}'])} ± {number(row[f'paper_{name}_spread'])}"


def or_none(value: Any) -> str:
    """A text, or a dash if it is missing."""
    return NONE if pd.isna(value) else str(value)


def cost(row: Cells) -> str:
    """Env steps of a trial's first, last and auxiliary phases: `25,000 + 15,000`, `25,000 + 15,000 + 15,000 (aux.)`."""
    parts = [number(row[f"env_steps_{name}"], digits=0) for name in ("first", "second")]
    auxiliary = row["env_steps_auxiliary"]
    if not pd.isna(auxiliary) and auxiliary:
        parts.append(f"{number(auxiliary, digits=0)} (aux.)")
    return " + ".join(parts)


def per_layer(row: Cells, name: str, show: Callable[[float], str] = number) -> str:
    """The `spread` of each layer, from the input: `2 (1 to 3) + 1`."""
    layers = sum(column.startswith(f"{name}_layer_") and column.endswith("_mean") for column in row)
    return " + ".join(spread(row, f"{name}_layer_{layer}", show) for layer in range(1, layers + 1))
