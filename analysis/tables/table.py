"""A table as it is shown: its rounded cells and its caption beside its unrounded data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd

from analysis.tables.cells import Cells

UNDEFINED, LEFT_OUT = "score undefined", "left out"
UNDEFINED_NOTE = (
    "Score undefined: all scoring steps were alike there, and the neurons were drawn at random. A row says of how many "
    "of its seeds that is so; if of some only, the next row leaves them out."
)
OPTIONAL = ("neurons", "settings", UNDEFINED, "remarks")
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
    before_figures: bool = False
    """Whether a report has it before the figures: what they draw, in numbers."""


def present(
    name: str,
    title: str,
    data: pd.DataFrame,
    columns: Mapping[str, Callable[[Cells], str]],
    caption: list[str],
    *,
    before_figures: bool = False,
) -> Shown:
    """A table with the cells `columns`, and with what must be said under any table that holds undefined scores."""
    text = as_text(data, columns)
    sentences = [*caption, UNDEFINED_NOTE] if UNDEFINED in text else caption
    return Shown(name, title, data, text, sentences, before_figures)


def as_text(data: pd.DataFrame, columns: Mapping[str, Callable[[Cells], str]]) -> pd.DataFrame:
    """Cells as text, those that say which group it is first."""
    rows = [{str(name): value for name, value in row.items()} for row in data.to_dict("records")]
    shown = [identity(row) | {title: cell(row) for title, cell in columns.items()} for row in rows]
    text = pd.DataFrame(shown, columns=list(shown[0]) if shown else None, dtype=object)
    return text.drop(columns=[name for name in OPTIONAL if name in text and not text[name].any()])


def identity(row: Cells) -> dict[str, str]:
    """Which group it is, as text; what is in `OPTIONAL` is empty where it means nothing."""
    found = {"pair": str(row["pair"])} if "pair" in row else {}
    if "method" in row:
        found["method"] = str(row["method"])
        found["neurons"] = "" if pd.isna(row["skill_neurons_given"]) else str(row["skill_neurons_given"])
    return found | {"settings": str(row.get("variant", "")), UNDEFINED: _undefined(row)}


def _undefined(row: Cells) -> str:
    """Of how many seeds of the row, or whether of its trial, the score was undefined."""
    found = row.get("score_undefined")
    if pd.isna(found) or not found:
        return LEFT_OUT if row.get("scope") == "defined" else ""
    return f"{found} of {row['seeds']}" if "seeds" in row else "yes"
