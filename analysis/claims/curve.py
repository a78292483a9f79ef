"""The curve behind a claim on numbers of skill neurons (Figure 15): stability against plasticity, with its knee."""

from collections.abc import Iterator, Sequence

import pandas as pd

from analysis.blocks import Block, Picture, TextTable
from analysis.claims.measures import OVER_COUNTS
from analysis.claims.verdicts import Outcome
from analysis.tables import cells
from analysis.tradeoff import MEASURES, Series, all_series
from analysis.words import words_of


def curve_blocks(outcome: Outcome, name: str) -> Iterator[Block]:
    """A row for each number of skill neurons, and the curve as a figure of this name; nothing of other claims."""
    claim = outcome.claim
    methods = {method for test in claim.tests if test.rule in OVER_COUNTS for method in test.methods}
    if methods:
        trials = outcome.trials[outcome.trials["method"].isin(methods)]
        series = [one for one in all_series(trials) if len(one.numbers) > 1]
        yield TextTable(pd.DataFrame(row for one in series for row in _rows(one)))
        yield _picture(series, name, f"{claim.id}: stability against plasticity")


def _rows(series: Series) -> Iterator[dict[str, str]]:
    measures = MEASURES[series.measure]["final"]
    front, knee = series.front_and_knee(measures)
    for place, count in enumerate(series.counts):
        stability, plasticity = count.summaries(measures)
        yield {
            "pair": ", ".join(part for part in (series.pair, series.variant) if part),
            "method": series.method,
            "skill neurons": count.label,
            "per network": f"{count.neurons:,}",
            "n": str(stability.n),
            "stability": cells.of_summary(stability),
            "plasticity": cells.of_summary(plasticity),
            "Pareto front": "knee" if place == knee else "yes" if place in front else "",
        }


def _picture(series: Sequence[Series], name: str, title: str) -> Picture:
    import matplotlib

    from analysis.figures.overview import both_tasks
    from analysis.figures.style import STYLE, render

    with matplotlib.rc_context(STYLE):
        canvas, caption = both_tasks(series, words_of([one.benchmark for one in series]))
        return render(name, title, caption, canvas)
