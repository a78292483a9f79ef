"""The short tables that a terminal shows after `run` and `report`: one of success rates, one of scores."""

from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from analysis.frames.load import Results
from analysis.tables.notes import what_ran
from analysis.tables.results import show_results
from analysis.tables.table import UNDEFINED, Shown

IDENTIFYING = ("pair", "method", "neurons", "settings", UNDEFINED)
LEFT_TO_THE_REPORT = ["seeds", "forgetting, learnt only", "remarks"]
NUMBER_WIDTH = len("0.60 ± 0.30")


def console_tables(results: Results, *, title: str = "") -> Iterator[tuple[Table, list[str]]]:
    """One row per pair, method and number of skill neurons; and the sentences that belong under the table.

    A cell is `0.62 ± 0.20 (n=3 of 5)`: the t intervals are left to the report. In a narrow terminal headings and what
    is in brackets go on the next line; what says which row it is, and the numbers, do not.
    """
    for part in results.parts().values():
        shown = show_results(part, interval=False)
        yield _table(shown, title), [what_ran(part), *shown.caption]


def _table(shown: Shown, title: str) -> Table:
    text = shown.text.drop(columns=LEFT_TO_THE_REPORT, errors="ignore")
    pairs = shown.data["pair"].tolist()
    table = Table(
        title=Text(title) if title else None,
        title_justify="left",
        box=SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )
    for name in map(str, text.columns):
        if name in IDENTIFYING:
            table.add_column(name, no_wrap=name != "settings")
        else:
            table.add_column(name, min_width=NUMBER_WIDTH)
    for row, pair, following in zip(text.to_numpy().tolist(), pairs, [*pairs[1:], None], strict=True):
        table.add_row(*map(Text, row), end_section=pair != following)
    return table
