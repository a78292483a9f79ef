"""A table as it is shown: its rounded cells and its caption beside its unrounded data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd

from analysis.tables.cells import Cells

OPTIONAL = ("neurons", "settings", "remarks")
"""Columns that are left out of a table in which all their cells are empty."""


@dataclass(frozen=True)
class Shown:
    """A table for people and for programs."""

    name: str
    """Of its file."""
    title: str
    data: pd.DataFrame
    """Unrounded."""
    text: pd.DataFrame
    """Cells as shown."""
    caption: list[str]
    """Sentences under it: what its numbers are, and what to beware of."""


def as_text(data: pd.DataFrame, columns: Mapping[str, Callable[[Cells], str]]) -> pd.DataFrame:
    """Cells as text, those that say which group it is first."""
    rows = [{str(name): value for name, value in row.items()} for row in data.to_dict("records")]
    shown = [identity(row) | {title: cell(row) for title, cell in columns.items()} for row in rows]
    text = pd.DataFrame(shown, columns=list(shown[0]) if shown else None, dtype=object)
    return text.drop(columns=[name for name in OPTIONAL if name in text and not text[name].any()])


def identity(row: Cells) -> dict[str, str]:
    """Which group it is, as text; `neurons` and `settings` are empty where they mean nothing."""
    found = {"pair": str(row["pair"])} if "pair" in row else {}
    if "method" in row:
        found["method"] = str(row["method"])
        found["neurons"] = "" if pd.isna(row["skill_neurons"]) else str(row["skill_neurons"])
    return found | {"settings": str(row["variant"])}
