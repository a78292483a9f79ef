"""How the tables are shown: rounded cells, a caption that says n, interval and method, and what to beware of.

A cell reads `0.62 ± 0.20 [0.06, 1.00] (n=3 of 5)`: mean, standard error, Student t interval, and the seeds it rests on
where some are missing. With one seed there is the number alone; with none a dash.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd

from analysis import cells, tables
from analysis.across import across_pairs_table
from analysis.cells import Cells
from analysis.load import Results
from analysis.metrics import LEARNT
from analysis.phases import STATUSES
from analysis.sequences import sequences_table, shown_matrix
from analysis.statistics import BOOTSTRAP_SEED, RESAMPLES

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


def all_tables(results: Results) -> list[Shown]:
    """Every table that has rows."""
    shown = [show_results(results), show_first_task(results), show_learning(results)]
    shown += [show_sequences(results), show_differences(results), show_across_pairs(results)]
    shown += [show_neurons(results), show_trials(results)]
    return [table for table in shown if len(table.data)]


def show_results(results: Results, *, interval: bool = True) -> Shown:
    """`results_table`: the main table; without intervals as a terminal shows it, which has retention beside it.

    A single late evaluation of the first task is noisy; the report has retention in the table of the curves.
    """
    data = tables.results_table(results)
    metrics = {"first task before": "individual", "first task after": "sequential"}
    metrics |= {} if interval else {"first task, last 5": "retention_last_5"}
    metrics |= {"second task after": "second", "forgetting": "forgetting"}
    if data["not_learnt"].any():
        metrics["forgetting, learnt only"] = "forgetting_learnt"
    columns: dict[str, Callable[[Cells], str]] = {
        "seeds": lambda row: f"{row['done']} of {row['seeds']}",
        **cells.estimates(metrics, interval=interval),
        "remarks": cells.remarks,
    }
    caption = [
        "Success rates of the stochastic policy in the final evaluations; first task before and after the second is "
        "learnt; forgetting is the difference.",
        "Seeds: trials done of trials planned."
        if interval
        else "Last 5: mean of the last five evaluations of the first task while the second was learnt.",
        *interval_notes(data, "individual", "sequential", "second", interval=interval),
        *cautions(results),
    ]
    return Shown("results", "Both tasks", data, _text(data, columns), caption)


def show_first_task(results: Results) -> Shown:
    """`individual_sequential_table`: the paper's Table 1."""
    data = tables.individual_sequential_table(results)
    columns: dict[str, Callable[[Cells], str]] = {
        **cells.estimates({"individual": "individual", "sequential (base)": "sequential", "forgetting": "forgetting"})
    }
    caption = ["First task alone, and after plain SAC (`base`) has learnt the second, as in the paper's Table 1."]
    if data["paper_individual"].notna().any():
        columns["paper: individual"] = lambda row: cells.published(row, "individual")
        columns["paper: sequential"] = lambda row: cells.published(row, "sequential")
        caption.append("The paper's numbers are over five seeds; it does not say what its ± is in this table.")
    caption += interval_notes(data, "individual", "sequential")
    return Shown("individual_sequential", "The first task before and after", data, _text(data, columns), caption)


def show_learning(results: Results) -> Shown:
    """`learning_table`: what the evaluations during the last phase say."""
    data = tables.learning_table(results)
    columns: dict[str, Callable[[Cells], str]] = {
        "first task, last 5": lambda row: cells.estimate(row, "retention_last_5"),
        "second task, AUC": lambda row: cells.estimate(row, "auc_second"),
        "reached threshold": lambda row: f"{row['reached']} of {row['ended']}" if row["ended"] else cells.NONE,
        "env steps to it": lambda row: cells.number(row["env_steps_to_threshold_median"], digits=0),
        "forward transfer": lambda row: cells.estimate(row, "forward_transfer"),
        "carried forward": lambda row: cells.number(row["auc_carried_share_highest"]),
    }
    caption = [
        "From the evaluations of the frozen policy during the last phase. AUC: mean height of the second task's curve "
        "over [0, budget] by trapezoids, the last value carried forward after an early stop (over at most the share "
        "shown). Env steps to the threshold: median over the phases that ended, those that never reached it counted as "
        "later than any; shown if more than half reached it.",
        *interval_notes(data, "retention_last_5", "auc_second"),
    ]
    truncated = int(data["curve_truncated"].sum())
    if truncated:
        caption.append(f"{truncated} finished phases have a curve that is cut off; they are left out here.")
    return Shown("learning", "While the second task is learnt", data, _text(data, columns), caption)


def show_sequences(results: Results) -> Shown:
    """`sequences_table`: trials of more than two tasks."""
    data = sequences_table(results)
    names = {"average success": "average_success", "forgetting measure": "forgetting_measure"}
    columns: dict[str, Callable[[Cells], str]] = {
        "seeds": lambda row: f"{row['done']} of {row['seeds']}",
        **cells.estimates(names | {"forward transfer": "forward_transfer"}),
        "success after each phase": shown_matrix,
    }
    caption = [
        "Average success: mean over tasks after the last phase. Forgetting measure: mean over tasks but the last of "
        "the best success after an earlier phase minus the success at the end. Forward transfer: mean over phases but "
        "the first, where the plan learns the task first with the same seed, SAC and budget. Success after each phase: "
        "mean over seeds, phases parted by semicolons.",
        *(interval_notes(data, "average_success", "forgetting_measure") if len(data) else []),
    ]
    return Shown("sequences", "Sequences of tasks", data, _text(data, columns) if len(data) else data, caption)


def show_differences(results: Results) -> Shown:
    """`differences_table`: every method against base."""
    data = tables.differences_table(results)
    names = {"first task after": "sequential", "second task after": "second"}
    names |= {"first task, last 5": "retention_last_5", "second task, AUC": "auc_second"}
    columns = cells.estimates({title: f"{name}_difference" for title, name in names.items()})
    caption = [
        "Method minus `base`, paired by seed: both continue the same first phase and differ in nothing but the method. "
        "n counts pairs; trials without such a base trial are not in this table. An interval that holds 0 leaves open "
        "whether there is a difference; with several methods and columns, some intervals miss 0 by chance.",
    ]
    if len(data):
        caption += interval_notes(data, "sequential_difference", "second_difference")
    return Shown("differences", "Against base, paired by seed", data, _text(data, columns), caption)


def show_across_pairs(results: Results) -> Shown:
    """`across_pairs_table`: every method over all pairs."""
    data = across_pairs_table(results)
    columns: dict[str, Callable[[Cells], str]] = {
        "pairs": lambda row: f"{row['sequential_pairs']} of {row['pairs']}",
        "runs": lambda row: f"{row['sequential_runs']} of {row['seeds']}",
        "first task after, IQM": lambda row: cells.bootstrapped(row, "sequential_iqm"),
        "second task after, IQM": lambda row: cells.bootstrapped(row, "second_iqm"),
    }
    if len(data) and data["sequential_improvement"].notna().any():
        columns["first task, P(better than base)"] = lambda row: cells.bootstrapped(row, "sequential_improvement")
        columns["second task, P(better than base)"] = lambda row: cells.bootstrapped(row, "second_improvement")
    caption = [
        "IQM: mean of the middle half of all runs of all pairs (Agarwal et al. 2021). P(better than base): chance that "
        "a run of the method succeeds more often than one of `base` on the same pair, ties as half, averaged over "
        "pairs; 0.50 is no difference.",
        f"In brackets the 95 % stratified percentile bootstrap interval ({RESAMPLES:,} resamples, seed "
        f"{BOOTSTRAP_SEED}; seeds drawn within each pair). With 4 pairs of 5 seeds of normal data such an interval "
        "holds the true IQM in about 90 % of cases, not in 95 %. There is none if a pair has one seed only.",
    ]
    if len(data) and (data["sequential_pairs"] < data["pairs"]).any():
        caption.append("Rows over different pairs cannot be compared with one another.")
    return Shown("across_pairs", "Across pairs", data, _text(data, columns), caption)


def show_neurons(results: Results) -> Shown:
    """`neurons_table`: which neurons were frozen."""
    data = tables.neurons_table(results)
    columns: dict[str, Callable[[Cells], str]] = {
        "network": lambda row: str(row["network"]),
        "n": lambda row: f"{row['n']} of {row['seeds']}",
        "frozen neurons": lambda row: cells.count(row["selected_mean"]),
        "per layer": lambda row: cells.per_layer(row, "selected", cells.count),
        "of these constant": lambda row: cells.spread(row, "selected_constant", cells.count),
        "constant per layer": lambda row: cells.per_layer(row, "constant", cells.count),
        "frozen parameters": lambda row: cells.spread(row, "frozen_share"),
        "drift per layer": lambda row: cells.per_layer(row, "drift"),
    }
    caption = [
        "Mean over seeds, in brackets the lowest and the highest seed; layers from the input. Constant: the same "
        "activation at all scoring steps. Frozen parameters: share of the network's. Drift: relative change of the "
        "frozen neurons' activations on first-task states over the last phase, 0 in the first layer if strictly frozen."
    ]
    return Shown("neurons", "Frozen neurons", data, _text(data, columns), caption)


def show_trials(results: Results) -> Shown:
    """`trials_table`: every seed."""
    data = tables.trials_table(results)
    columns: dict[str, Callable[[Cells], str]] = {
        "seed": lambda row: str(row["seed"]),
        "status": lambda row: str(row["status"]),
        "first task before": lambda row: cells.rate_of_agent(row, "individual"),
        "first task after": lambda row: cells.rate_of_agent(row, "sequential"),
        "second task after": lambda row: cells.rate_of_agent(row, "second"),
        "forgetting": lambda row: cells.number(row["forgetting"]),
        "first task, last 5": lambda row: cells.number(row["retention_last_5"]),
        "AUC": lambda row: cells.number(row["auc_second"]),
        "stopped": lambda row: cells.or_none(row["stop_reason_second"]),
        "env steps": cells.cost,
        "keys": lambda row: f"`{row['key_first']}` `{row['key_second']}`",
    }
    caption = [
        "In brackets Wilson's 95 % interval over the episodes of that one agent: it says nothing about other seeds. "
        "Env steps: of the first phase (shared by other trials), of the last, and of auxiliary phases that the method "
        "reads. Keys: the first digits of the phases' folders."
    ]
    return Shown("trials", "Every trial", data, _text(data, columns), caption)


def _text(data: pd.DataFrame, columns: Mapping[str, Callable[[Cells], str]]) -> pd.DataFrame:
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


# Sentences


def what_ran(results: Results) -> str:
    """How many trials are done, and what is with the others."""
    counts = results.finals["status"].value_counts()
    there = [f"{counts[status]} {status}" for status in STATUSES if counts.get(status, 0)]
    return f"{len(results.finals)} trial{'s' * (len(results.finals) != 1)}: {', '.join(there)}."


def interval_notes(data: pd.DataFrame, *names: str, interval: bool = True) -> list[str]:
    """What the numbers after a mean are, for the statistics `names` of a table, and what one seed allows."""
    counts = data[[f"{name}_n" for name in names]].to_numpy()
    notes = []
    if (counts > 1).any() and not interval:
        notes.append("Mean ± standard error over seeds; the report has the intervals.")
    elif (counts > 1).any():
        notes.append(
            "Mean ± standard error over seeds, in brackets the 95 % Student t interval of the mean, cut at what the "
            "number can be; one without width means that all seeds agree, not that the next would."
        )
    if (counts == 1).any():
        notes.append("One seed ranks nothing: no interval is possible, and another seed may turn the order round.")
    if (counts < data[["seeds"]].to_numpy()).any():
        notes.append("Seeds are missing: `n=3 of 5` means over the three that are there, a dash that there is none.")
    return notes


def cautions(results: Results) -> list[str]:
    """What must be said under a table that holds all trials."""
    finals = results.finals
    notes = []
    learnt = finals.drop_duplicates("key_first")["learnt_first"].dropna()
    if len(learnt) and not learnt.all():
        notes.append(
            f"{(~learnt).sum()} of {len(learnt)} first phases did not learn their task (individual success below "
            f"{LEARNT}). They have nothing to forget; they are in every number here, except in forgetting where it "
            "says `learnt only`."
        )
    scored = finals["score_undefined"].dropna()
    if scored.any():
        notes.append(
            f"Score undefined in {scored.sum()} of {len(scored)} trials: all scoring steps were alike, and the neurons "
            "were chosen at random."
        )
    for flag, column, what in (("paper_pair", "pair", "pairs"), ("paper_method", "method", "methods")):
        others = list(dict.fromkeys(finals.loc[~finals[flag].astype(bool), column]))
        if others:
            notes.append(f"Not one of the paper's {what}: {', '.join(map(str, others))}.")
    return notes
