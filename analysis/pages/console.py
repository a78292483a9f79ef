"""The short tables that a terminal shows after `run` and `report`: one of success rates, one of scores."""

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from analysis.frames.load import Results
from analysis.tables.notes import what_ran
from analysis.tables.results import show_results
from analysis.tables.table import UNDEFINED, Shown

IDENTIFYING = ("pair", "method", "neurons", UNDEFINED)
LEFT_TO_THE_REPORT = ["seeds", "forgetting, learnt only", "remarks"]
NUMBER_WIDTH = len("0.60 ± 0.30")


@dataclass(frozen=True)
class ConsoleTable:
    """A table for a terminal, however wide, and the sentences that belong under it."""

    cells: pd.DataFrame
    """As text: a row for each pair, method and number of skill neurons; the columns of `names` first."""
    names: tuple[str, ...]
    """Columns that say which row it is, and are never broken."""
    ends: list[bool]
    """Whether a pair ends with a row."""
    notes: list[str]

    def least(self, name: str) -> int:
        """Characters that a cell of the column must have in one line: a number with its error."""
        return 0 if name in self.names or name == "settings" else NUMBER_WIDTH


def console_tables(results: Results) -> Iterator[ConsoleTable]:
    """Each measure's table.

    A cell is `0.62 ± 0.20 (n=3 of 5)`: the t intervals are left to the report. In a narrow terminal headings and what
    is in brackets go on the next line; what says which row it is, and the numbers, do not.
    """
    for part in results.parts().values():
        shown = show_results(part, interval=False)
        yield _table(shown, [what_ran(part), *shown.caption])


def _table(shown: Shown, notes: list[str]) -> ConsoleTable:
    text = shown.text.drop(columns=LEFT_TO_THE_REPORT, errors="ignore")
    names = tuple(str(name) for name in text.columns if name in IDENTIFYING)
    pairs = shown.data["pair"].tolist()
    ends = [pair != following for pair, following in zip(pairs, [*pairs[1:], None], strict=True)]
    return ConsoleTable(text[[*names, *(name for name in text.columns if name not in names)]], names, ends, notes)
