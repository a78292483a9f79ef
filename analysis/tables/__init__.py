"""The tables: each a file with its numbers, its columns, its caption and its notes.

`<table>_table` makes the unrounded frame, `show_<table>` the rounded cells and the sentences under them. What several
tables share is in `groups` (trials that differ in their seed alone), `cells`, `notes` and `table`.
"""

from collections.abc import Callable
from dataclasses import replace

from analysis.frames.load import Results
from analysis.tables.across_pairs import show_across_pairs
from analysis.tables.differences import show_differences
from analysis.tables.difficulty import show_difficulty
from analysis.tables.first_task import show_first_task
from analysis.tables.learning import show_learning
from analysis.tables.neurons import show_neurons
from analysis.tables.paper import show_references, show_settings
from analysis.tables.results import show_results
from analysis.tables.returns import show_returns
from analysis.tables.seeds import show_seeds
from analysis.tables.sequences import show_sequences
from analysis.tables.table import Shown
from analysis.tables.trials import show_trials

TABLES: tuple[Callable[[Results], Shown], ...] = (
    show_results,
    show_returns,
    show_first_task,
    show_seeds,
    show_learning,
    show_sequences,
    show_differences,
    show_across_pairs,
    show_difficulty,
    show_neurons,
    show_trials,
    show_settings,
    show_references,
)
"""In the order of the report."""


def all_tables(results: Results) -> list[Shown]:
    """Every table that has rows; of success rates and of scores each its own, for the two are never averaged."""
    shown: list[Shown] = []
    for part in results.parts().values():
        words = part.words
        shown += [
            replace(table, name=table.name + words.suffix, title=table.title + words.title)
            for table in (show(part) for show in TABLES)
            if len(table.data)
        ]
    return shown
