"""Which row of a pair is the best, where the seeds allow to say so."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.inference import family
from analysis.metrics import limits
from analysis.statistics import FEWEST, difference_limits
from analysis.tables.groups import GROUP

Identity = tuple[str, ...]
RULE = (
    "Bold: the best of its pair, beyond what the seeds leave open. Its differences to every other row of the pair, "
    "paired by seed, have 95 % intervals above 0 after Holm's correction."
)
NONE_IS_BEST = "No number is bold as the best of its pair: the seeds cannot tell the highest from all others."


def identity(row: Mapping[str, Any] | pd.Series) -> Identity:
    """Which group of trials a row is of."""
    return tuple("" if pd.isna(row[name]) else str(row[name]) for name in GROUP)


def best_groups(finals: pd.DataFrame, measure: str) -> set[Identity]:
    """The groups that are the best of their pair in `measure` (greatest), one for each pair that has one at all.

    Groups are compared by the trials that differ in nothing but their method; one that has fewer than three seeds, or
    none in common with the best, leaves the pair without a best.
    """
    return set(_of_pairs(finals, measure))


def _of_pairs(finals: pd.DataFrame, measure: str) -> Iterator[Identity]:
    for _, of_pair in finals.groupby(["benchmark", "pair"], sort=False):
        found = {
            identity(trials.iloc[0]): trials.set_index("comparable")[measure].astype("float64").dropna()
            for _, trials in of_pair.groupby(GROUP[2:], sort=False, dropna=False)
        }
        if len(found) < 2 or min(map(len, found.values())) < FEWEST:
            continue
        best = max(found, key=lambda one: float(found[one].mean()))
        widest = difference_limits(limits(str(of_pair["measure"].iloc[0]), measure))
        leads = {str(other): _lead(found[best], values) for other, values in found.items() if other != best}
        if all(one.corrected.low > 0 for one in family(leads, widest).values()):
            yield best


def _lead(best: "pd.Series[float]", other: "pd.Series[float]") -> dict[int, float]:
    both: Sequence[float] = (best - other).dropna().to_numpy(dtype=np.float64).tolist()
    return dict(enumerate(both))
