"""The main numbers in the shape of a paper's table: a row for each method, two columns for each pair."""

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.frames.load import Results
from analysis.statistics import Summary
from analysis.tables.best import NONE_IS_BEST, RULE, Identity, best_groups, identity
from analysis.tables.cells import NONE, from_row
from analysis.tables.results import results_table
from analysis.tables.table import LEFT_OUT, UNDEFINED, UNDEFINED_NOTE

MEASURES = ("first_after", "second")
Place = tuple[str, str]
"""Benchmark and pair."""


@dataclass(frozen=True)
class Cell:
    """One number of the table."""

    found: Summary
    best: bool


Cells = dict[Place, Sequence[Cell | None]]


@dataclass(frozen=True)
class PaperTable:
    """Rows of cells, by method; columns by pair, and within it by measure."""

    pairs: Sequence[str]
    heads: Sequence[str]
    """Of the columns within a pair."""
    names: Sequence[str]
    """Heads of what names a row."""
    rows: Sequence[tuple[Sequence[str], Sequence[Cell | None]]]
    """What names a row, and its cells."""
    caption: Sequence[str]


def paper_table(results: Results) -> PaperTable:
    """Of each pair and method the first task after and the second task, mean and standard error over seeds.

    A method of which nothing is done has no row. Where the score of some seeds was undefined, a method has a second row
    without them, as in every table.
    """
    data = results_table(results)
    best = {measure: best_groups(results.finals, measure) for measure in MEASURES}
    places: dict[Place, None] = {}
    every: dict[Identity, Cells] = {}
    defined: dict[Identity, Cells] = {}
    undefined: dict[Identity, dict[Place, str]] = {}
    for row in data.to_dict("records"):
        named, place = {str(name): value for name, value in row.items()}, (str(row["benchmark"]), str(row["pair"]))
        places[place] = None
        whole, method = row["scope"] == "all", identity(named)[2:]
        cells = [Cell(from_row(named, name), whole and identity(named) in best[name]) for name in MEASURES]
        (every if whole else defined).setdefault(method, {})[place] = cells
        if whole and row["score_undefined"]:
            undefined.setdefault(method, {})[place] = f"{row['score_undefined']} of {row['seeds']}"
    rows: list[tuple[Sequence[str], Cells]] = []
    for method, of_row in every.items():
        marks = undefined.get(method, {})
        rows.append(((*method, ", ".join(marks.get(place, NONE) for place in places) if marks else ""), of_row))
        if method in defined:  # A pair without such seeds has nothing to leave out.
            rows.append(((*method, LEFT_OUT), of_row | defined[method]))
    words = results.words
    seeds = sorted({int(n) for name in MEASURES for n in data.loc[data["scope"] == "all", f"{name}_n"] if n})
    caption = [
        f"{words.performance.capitalize()}s of the first {words.task} after the second was learnt, and of the second "
        f"{words.task}: mean ± standard error over n = {' or '.join(map(str, seeds)) or '0'} seeds; a mean without ± "
        "is of one seed, or of seeds that are all equal and say nothing of the next.",
        *([RULE if any(best.values()) else NONE_IS_BEST] if len(every) > 1 else []),
        *([UNDEFINED_NOTE] if undefined else []),
    ]
    empty: list[Cell | None] = [None] * len(MEASURES)
    body = [(name, [cell for place in places for cell in of_row.get(place, empty)]) for name, of_row in rows]
    body = [(name, cells) for name, cells in body if any(cell is not None and cell.found.n for cell in cells)]
    names = ["method", "neurons", "settings", UNDEFINED]
    return PaperTable([pair for _, pair in places], ["first after", "second"], names, body, caption)
