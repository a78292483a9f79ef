"""The main numbers in the shape of a paper's table: a row for each method, two columns for each pair."""

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.frames.load import Results
from analysis.statistics import Summary
from analysis.tables.best import NONE_IS_BEST, RULE, Identity, best_groups, identity
from analysis.tables.results import results_table

MEASURES = ("first_after", "second")


@dataclass(frozen=True)
class Cell:
    """One number of the table."""

    found: Summary
    best: bool


@dataclass(frozen=True)
class PaperTable:
    """Rows of cells, by method; columns by pair, and within it by measure."""

    pairs: Sequence[str]
    heads: Sequence[str]
    """Of the columns within a pair."""
    rows: Sequence[tuple[Sequence[str], Sequence[Cell | None]]]
    """What names a row (method, neurons, settings), and its cells."""
    caption: Sequence[str]


def paper_table(results: Results) -> PaperTable:
    """Of each pair and method the first task after and the second task, mean and standard error over seeds."""
    data = results_table(results)
    data = data[data["scope"] == "all"]
    best = {measure: best_groups(results.finals, measure) for measure in MEASURES}
    places: dict[tuple[str, str], None] = {}
    rows: dict[Identity, dict[tuple[str, str], list[Cell]]] = {}
    for row in data.to_dict("records"):
        named, place = {str(name): value for name, value in row.items()}, (str(row["benchmark"]), str(row["pair"]))
        places[place] = None
        cells = [
            Cell(
                Summary(
                    int(row[f"{name}_n"]), *(float(row[f"{name}_{part}"]) for part in ("mean", "se", "low", "high"))
                ),
                identity(named) in best[name],
            )
            for name in MEASURES
        ]
        rows.setdefault(identity(named)[2:], {})[place] = cells
    words = results.words
    seeds = sorted({int(n) for name in MEASURES for n in data[f"{name}_n"] if n})
    marked = any(best.values())
    caption = [
        f"{words.performance.capitalize()}s of the first {words.task} after the second was learnt, and of the second "
        f"{words.task}: mean ± standard error over n = {' or '.join(map(str, seeds)) or '0'} seeds.",
        *([RULE if marked else NONE_IS_BEST] if data.groupby(["benchmark", "pair"]).size().max() > 1 else []),
    ]
    empty: list[Cell | None] = [None] * len(MEASURES)
    body = [(name, [cell for place in places for cell in of_row.get(place, empty)]) for name, of_row in rows.items()]
    return PaperTable([pair for _, pair in places], ["first after", "second"], body, caption)
