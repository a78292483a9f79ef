"""The main table: the success of both tasks, forgetting, and what to beware of."""

from collections.abc import Callable, Collection
from functools import partial

import numpy as np
import pandas as pd

from analysis.frames.load import Results
from analysis.paper import TABLE_1
from analysis.tables import cells
from analysis.tables.best import NONE_IS_BEST, RULE, Identity, best_groups, identity
from analysis.tables.cells import Cells
from analysis.tables.groups import BASE, SUCCESSES, Row, is_true, summary_of, table_rows
from analysis.tables.notes import cautions, interval_notes, score_notes
from analysis.tables.table import Shown, present

HELDOUT = tuple(f"{name}_heldout" for name in SUCCESSES)


def results_table(results: Results) -> pd.DataFrame:
    """One row per pair, method and number of skill neurons: both tasks' success, forgetting, and what to beware of.

    Where tasks are judged by their score it is the normalised one. `paper_first_after` is the paper's number of plain
    SAC (Table 1).

    `forgetting_learnt` leaves out the seeds whose first task was not learnt (first_before < 0.5); counts of trials:
    `not_learnt`, `stopped_early` (the last phase was `stable` before its budget was spent).
    """
    return pd.DataFrame(
        [identity | _outcome(trials) | _published(identity) for identity, trials in table_rows(results.finals)]
    )


def _published(identity: Row) -> Row:
    _, published = TABLE_1.get((identity["benchmark"], identity["pair"]), (None, None))
    found = published if identity["method"] == BASE else None
    return {
        "paper_first_after": found.mean if found else np.nan,
        "paper_first_after_spread": found.spread if found else np.nan,
    }


def _outcome(trials: pd.DataFrame) -> Row:
    learnt = trials[is_true(trials["learnt_first"])]
    row: Row = {}
    for name in (*SUCCESSES, *HELDOUT, "second_scratch", "forgetting", "retention_last_5"):
        row |= summary_of(trials, name).columns(name)
    row |= summary_of(learnt, "forgetting").columns("forgetting_learnt")
    return row | {
        "not_learnt": int(is_true(~trials["learnt_first"]).sum()),
        "stopped_early": int((trials["stop_reason_second"] == "stable").sum()),
        "ended": int(trials["stop_reason_second"].notna().sum()),
    }


def show_results(results: Results, *, interval: bool = True) -> Shown:
    """`results_table`: the main table; without intervals as a terminal shows it, which has retention beside it.

    A single late evaluation of the first task is noisy; the report has retention in the table of the curves.
    """
    data, words = results_table(results), results.words
    task = words.task
    metrics = {f"first {task} before": "first_before", f"first {task} after": "first_after"}
    metrics |= {} if interval else {f"first {task}, last 5": "retention_last_5"}
    metrics |= {f"second {task}": "second"}
    has_scratch = interval and bool((data["second_scratch_n"] > 0).any())
    metrics |= {f"second {task} from scratch": "second_scratch"} if has_scratch else {}
    metrics |= {"forgetting": "forgetting"}
    if data["not_learnt"].any():
        metrics["forgetting, learnt only"] = "forgetting_learnt"
    has_heldout = bool((data[[f"{name}_n" for name in HELDOUT]] > 0).any(axis=None))
    if has_heldout:
        places = (f"first {task} before", f"first {task} after", f"second {task}")
        metrics |= {f"{place}, held out": name for place, name in zip(places, HELDOUT, strict=True)}
    columns: dict[str, Callable[[Cells], str]] = {
        "seeds": lambda row: f"{row['done']} of {row['seeds']}",
        **cells.estimates(metrics, interval=interval),
    }
    if interval and data["paper_first_after"].notna().any():
        columns["paper: first task after"] = lambda row: cells.published(row, "first_after")
    if interval and data.groupby(["benchmark", "pair"]).size().max() > 1:
        best = {name: best_groups(results.finals, name) for name in ("first_after", "second")}
        for title, name in ((f"first {task} after", "first_after"), (f"second {task}", "second")):
            columns[title] = partial(_marked, show=columns[title], best=best[name])
        best_note = [RULE if any(best.values()) else NONE_IS_BEST]
    else:
        best_note = []
    columns["remarks"] = cells.remarks
    caption = [
        f"{words.performance.capitalize()}s of the stochastic policy in the final evaluations; first {task} before and "
        "after the second is learnt; forgetting is the difference.",
        "Seeds: trials done of trials planned."
        if interval
        else f"Last 5: mean of the last five evaluations of the first {task} while the second was learnt.",
        *score_notes(results),
        *interval_notes(data, "first_before", "first_after", "second", interval=interval),
        *best_note,
        *cautions(results),
    ]
    if has_scratch:
        caption.append(
            f"From scratch: what a new agent of the same seed has learnt of the second {task} in as many env steps, in "
            "the first phase of another pair; the ceiling where the first is of no help."
        )
    if has_heldout:
        caption.append("Held out: the same agents on goals that training never had.")
    if interval:
        caption.append("The bars of the figures by method and by number of skill neurons are `first task after`.")
        caption[-1] = caption[-1].replace("first task", f"first {task}")
    return present("results", f"Both {task}s", data, columns, caption, before_figures=True)


def _marked(row: Cells, show: Callable[[Cells], str], best: Collection[Identity]) -> str:
    """A cell between stars if its row is the best of its pair."""
    return f"**{show(row)}**" if row["scope"] == "all" and identity(row) in best else show(row)
