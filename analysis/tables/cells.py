"""The cells of a table as text: what a number is rounded to, and how much of a statistic its n allows.

A cell reads `0.62 ± 0.20 [0.06, 1.00] (n=3 of 5)`: mean, standard error, Student t interval, and the seeds it rests on
where some are missing. With two seeds there is no interval, with one the number alone, with none a dash; seeds that
are all equal read `1.00 (5 of 5 seeds equal)`.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pandas as pd

from analysis.statistics import Summary
from nbsp_ray.units import rounded

NONE = "-"
DIGITS, MOST_DIGITS = 2, 9
Cells = Mapping[str, Any]
"""A row of a table by column."""


def number(value: float, digits: int = DIGITS) -> str:
    """A number rounded to `digits` (`nbsp_ray.units.rounded`), a dash if it is missing."""
    return NONE if pd.isna(value) else rounded(value, digits)


def count(value: float) -> str:
    """A mean of counts: `3`, or `3.5`."""
    return number(value, digits=1).removesuffix(".0")


def estimate(row: Cells, name: str, *, interval: bool = True) -> str:
    """The statistic `name` of a row: `0.62 ± 0.20 [0.06, 1.00] (n=3 of 5)`, as much of it as the seeds allow.

    Seeds that are all equal have no interval, which would have no width: `1.00 (5 of 5 seeds equal)`.
    """
    found = from_row(row, name)
    text = of_summary(found, interval=interval)
    return f"{text} (n={found.n} of {row['seeds']})" if 0 < found.n < row["seeds"] else text


def from_row(row: Cells, name: str) -> Summary:
    """The statistic `name` of a row, out of its five columns."""
    numbers = (row[f"{name}_{column}"] for column in ("mean", "se", "low", "high"))
    return Summary(int(row[f"{name}_n"]), *numbers)


def of_summary(found: Summary, *, error: bool = True, interval: bool = True) -> str:
    """A mean with its standard error and interval, those that are asked for and that its seeds allow."""
    digits = digits_of(found.low, found.high, found.standard_error)
    text = number(found.mean, digits)
    if found.equal:
        return f"{text} ({found.n} of {found.n} seeds equal)"
    text += f" ± {number(found.standard_error, digits)}" if error and found.n > 1 else ""
    return f"{text} {within(found.low, found.high, digits)}" if interval and found.has_interval else text


def digits_of(low: float, high: float, standard_error: float = math.nan) -> int:
    """Two; or as many as it takes for a spread that is there not to read as none: seeds of 1, 1, 1, 1 and 0.995 are
    `0.999 ± 0.001 [0.996, 1.000]`, never `1.00 ± 0.00 [1.00, 1.00]`.
    """

    def tell(digits: int) -> bool:
        ends = not high > low or number(low, digits) != number(high, digits)
        return ends and (not standard_error > 0 or number(standard_error, digits) != number(0, digits))

    return next((digits for digits in range(DIGITS, MOST_DIGITS) if tell(digits)), DIGITS)


def within(low: float, high: float, digits: int | None = None) -> str:
    """An interval, `[0.06, 1.00]`, to so many digits or to those of `digits_of`; a dash if there is none."""
    digits = digits_of(low, high) if digits is None else digits
    return NONE if pd.isna(low) else f"[{number(low, digits)}, {number(high, digits)}]"


def value_within(value: float, low: float, high: float) -> str:
    """A number with its interval: `0.85 [0.71, 0.93]`; without one the number alone."""
    digits = digits_of(low, high)
    return number(value, digits) if pd.isna(low) else f"{number(value, digits)} {within(low, high, digits)}"


def bootstrapped(row: Cells, name: str) -> str:
    """A number with its bootstrap interval."""
    return value_within(row[name], row[f"{name}_low"], row[f"{name}_high"])


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
        found.append(f"first task not learnt: {row['not_learnt']} of {row['first_before_n']}")
    if row["stopped_early"]:
        found.append(f"stopped early: {row['stopped_early']} of {row['ended']}")
    return "; ".join(found)


def rate_of_agent(row: Cells, name: str) -> str:
    """One agent's success rate with Wilson's interval over its episodes: `0.90 [0.60, 0.98]`."""
    if pd.isna(row[name]):
        return NONE
    return f"{number(row[name])} [{number(row[f'{name}_wilson_low'])}, {number(row[f'{name}_wilson_high'])}]"


def score_of_agent(row: Cells, name: str) -> str:
    """One agent's mean raw score over its episodes: `23.4 (12 episodes)`."""
    if pd.isna(row[f"{name}_return"]):
        return NONE
    episodes = int(row[f"{name}_n"])
    return f"{number(row[f'{name}_return'], digits=1)} ({episodes} episode{'s' * (episodes != 1)})"


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
    """The `spread` of each layer, from the input: `2 (1 to 3) / 1`."""
    layers = sum(column.startswith(f"{name}_layer_") and column.endswith("_mean") for column in row)
    return " / ".join(spread(row, f"{name}_layer_{layer}", show) for layer in range(1, layers + 1))
