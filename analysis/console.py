"""The short table that a terminal shows after `run` and `report`."""

from rich.table import Table
from rich.text import Text

from analysis.load import Results
from analysis.show import show_results, what_ran

LEFT_TO_THE_REPORT = ["seeds", "forgetting, learnt only", "remarks"]


def console_table(results: Results, *, title: str = "") -> tuple[Table, list[str]]:
    """One row per pair, method and number of skill neurons; and the sentences that belong under the table.

    A cell is `0.62 ± 0.20 (n=3 of 5)`: the t intervals are left to the report.
    """
    shown = show_results(results, interval=False)
    text = shown.text.drop(columns=LEFT_TO_THE_REPORT, errors="ignore")
    pairs = shown.data["pair"].tolist()
    table = Table(title=title or None, title_justify="left")
    for name in text.columns:
        table.add_column(str(name))
    for row, pair, following in zip(text.to_numpy().tolist(), pairs, [*pairs[1:], None], strict=True):
        table.add_row(*map(Text, row), end_section=pair != following)
    return table, [what_ran(results), *shown.caption]
