"""How the tables are shown: rounded cells, a caption that says n, interval and method, and what to beware of.

A cell reads `0.62 ± 0.20 [0.06, 1.00] (n=3 of 5)`: mean, standard error, Student t interval, and the seeds it rests on
where some are missing. With two seeds there is no interval, with one the number alone, with none a dash; seeds that
are all equal read `1.00 (5 of 5 seeds equal)`.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pandas as pd

from analysis.difficulty import show_difficulty
from analysis.frames.load import Results
from analysis.seeds import show_seeds
from analysis.statistics import BOOTSTRAP_SEED, RESAMPLES
from analysis.tables import cells
from analysis.tables import numbers as tables
from analysis.tables.across_pairs import across_pairs_table
from analysis.tables.cells import Cells
from analysis.tables.notes import cautions, interval_notes, score_notes
from analysis.tables.paper import show_references, show_settings
from analysis.tables.sequences import sequences_table, shown_matrix
from analysis.tables.table import Shown, present


def all_tables(results: Results) -> list[Shown]:
    """Every table that has rows; of success rates and of scores each its own, for the two are never averaged."""
    shown: list[Shown] = []
    for part in results.parts().values():
        found = [show_results(part), show_returns(part), show_first_task(part), show_seeds(part), show_learning(part)]
        found += [show_sequences(part), show_differences(part), show_across_pairs(part), show_difficulty(part)]
        found += [show_neurons(part), show_trials(part), show_settings(part), show_references(part)]
        words = part.words
        shown += [
            replace(table, name=table.name + words.suffix, title=table.title + words.title)
            for table in found
            if len(table.data)
        ]
    return shown


def show_results(results: Results, *, interval: bool = True) -> Shown:
    """`results_table`: the main table; without intervals as a terminal shows it, which has retention beside it.

    A single late evaluation of the first task is noisy; the report has retention in the table of the curves.
    """
    data, words = tables.results_table(results), results.words
    task = words.task
    metrics = {f"first {task} before": "individual", f"first {task} after": "sequential"}
    metrics |= {} if interval else {f"first {task}, last 5": "retention_last_5"}
    metrics |= {f"second {task} after": "second", "forgetting": "forgetting"}
    if data["not_learnt"].any():
        metrics["forgetting, learnt only"] = "forgetting_learnt"
    has_heldout = bool((data[[f"{name}_n" for name in tables.HELDOUT]] > 0).any(axis=None))
    if has_heldout:
        places = (f"first {task} before", f"first {task} after", f"second {task} after")
        metrics |= {f"{place}, held out": name for place, name in zip(places, tables.HELDOUT, strict=True)}
    columns: dict[str, Callable[[Cells], str]] = {
        "seeds": lambda row: f"{row['done']} of {row['seeds']}",
        **cells.estimates(metrics, interval=interval),
    }
    if interval and data["paper_sequential"].notna().any():
        columns["paper: first task after"] = lambda row: cells.published(row, "sequential")
    columns["remarks"] = cells.remarks
    caption = [
        f"{words.performance.capitalize()}s of the stochastic policy in the final evaluations; first {task} before and "
        "after the second is learnt; forgetting is the difference.",
        "Seeds: trials done of trials planned."
        if interval
        else f"Last 5: mean of the last five evaluations of the first {task} while the second was learnt.",
        *score_notes(results),
        *interval_notes(data, "individual", "sequential", "second", interval=interval),
        *cautions(results),
    ]
    if has_heldout:
        caption.append("Held out: the same agents on goals that training never had.")
    if interval:
        caption.append("The bars of the figures by method and by number of skill neurons are `first task after`.")
        caption[-1] = caption[-1].replace("first task", f"first {task}")
    return present("results", f"Both {task}s", data, columns, caption)


def show_returns(results: Results) -> Shown:
    """`returns_table`: raw scores; no rows of success rates."""
    data, task = tables.returns_table(results) if results.measure == "score" else pd.DataFrame(), results.words.task
    names = {f"first {task} before": "individual", f"first {task} after": "sequential"}
    names |= {f"second {task} after": "second", f"first {task}, last 5": "retention_last_5"}
    names |= {f"second {task}, AUC": "auc_second"}
    columns = cells.estimates({title: f"{name}_return" for title, name in names.items()})
    caption = [
        f"Mean raw scores of whole episodes, each seed's own mean first; scores of different {task}s do not compare."
    ]
    if len(data):
        caption += interval_notes(data, "individual_return", "sequential_return", "second_return")
    return present("returns", "Raw scores", data, columns, caption)


def show_first_task(results: Results) -> Shown:
    """`individual_sequential_table`: the paper's Table 1."""
    data = tables.individual_sequential_table(results)
    columns: dict[str, Callable[[Cells], str]] = {
        **cells.estimates({"individual": "individual", "sequential (base)": "sequential", "forgetting": "forgetting"})
    }
    task = results.words.task
    caption = [
        f"First {task} alone, and after plain SAC (`base`) has learnt the second, as in the paper's Table 1.",
        *score_notes(results),
    ]
    if data["paper_individual"].notna().any():
        columns["paper: individual"] = lambda row: cells.published(row, "individual")
        columns["paper: sequential"] = lambda row: cells.published(row, "sequential")
        caption.append("The paper's numbers are over five seeds; it does not say what its ± is in this table.")
    if data["not_learnt"].any():
        columns["remarks"] = lambda row: (
            f"not learnt: {row['not_learnt']} of {row['individual_n']}" if row["not_learnt"] else ""
        )
    caption += interval_notes(data, "individual", "sequential")
    return present("individual_sequential", f"The first {task} before and after", data, columns, caption)


def show_learning(results: Results) -> Shown:
    """`learning_table`: what the evaluations during the last phase say."""
    data, words = tables.learning_table(results), results.words
    columns: dict[str, Callable[[Cells], str]] = {
        f"first {words.task}, last 5": lambda row: cells.estimate(row, "retention_last_5"),
        f"second {words.task}, AUC": lambda row: cells.estimate(row, "auc_second"),
    }
    if words.is_rate:
        columns |= {
            "reached threshold": lambda row: f"{row['reached']} of {row['ended']}" if row["ended"] else cells.NONE,
            "env steps to it": lambda row: cells.number(row["env_steps_to_threshold_median"], digits=0),
            "forward transfer": lambda row: cells.estimate(row, "forward_transfer"),
        }
    columns["carried forward"] = lambda row: cells.number(row["auc_carried_share_highest"])
    caption = [
        f"From the evaluations of the frozen policy during the last phase ({words.performance}s). AUC: mean height of "
        f"the second {words.task}'s curve over [0, budget] by trapezoids. After an early stop the final evaluation is "
        "carried forward, over at most the share of the budget in `carried forward`; the value that triggered the stop "
        "would be too high.",
        *(
            [
                "Env steps to the threshold: median over the phases that ended, those that never reached it counted as "
                "later than any; shown if more than half reached it."
            ]
            if words.is_rate
            else score_notes(results)
        ),
        *interval_notes(data, "retention_last_5", "auc_second"),
    ]
    truncated = int(data["curve_truncated"].sum())
    if truncated:
        caption.append(f"{truncated} finished phases have a curve that is cut off; they are left out here.")
    return present("learning", f"While the second {words.task} is learnt", data, columns, caption)


def show_sequences(results: Results) -> Shown:
    """`sequences_table`: trials of more than two tasks."""
    data = sequences_table(results)
    words = results.words
    what = "success" if words.is_rate else "score"
    names = {f"average {what}": "average_performance", "forgetting measure": "forgetting_measure"}
    columns: dict[str, Callable[[Cells], str]] = {
        "seeds": lambda row: f"{row['done']} of {row['seeds']}",
        **cells.estimates(names | ({"forward transfer": "forward_transfer"} if words.is_rate else {})),
        f"{what} after each phase": shown_matrix,
    }
    caption = [
        f"Average {what}: mean over {words.task}s after the last phase. Forgetting measure: mean over {words.task}s "
        f"but the last of the best {what} after an earlier phase minus that at the end.",
        *(
            [
                "Forward transfer: mean over phases but the first, where the plan learns the task first with the same "
                "seed, SAC and budget."
            ]
            if words.is_rate
            else score_notes(results)
        ),
        f"{what.capitalize()} after each phase: mean over seeds, phases parted by semicolons.",
        *(interval_notes(data, "average_performance", "forgetting_measure") if len(data) else []),
    ]
    return present("sequences", f"Sequences of {words.task}s", data, columns, caption)


def show_differences(results: Results) -> Shown:
    """`differences_table`: every method against base."""
    data = tables.differences_table(results)
    task = results.words.task
    names = {f"first {task} after": "sequential", f"second {task} after": "second"}
    names |= {f"first {task}, last 5": "retention_last_5", f"second {task}, AUC": "auc_second"}
    columns = cells.estimates({title: f"{name}_difference" for title, name in names.items()})
    caption = [
        "Method minus `base`, paired by seed: both continue the same first phase and differ in nothing but the method. "
        "n counts pairs; trials without such a base trial are not in this table. An interval that holds 0 leaves open "
        "whether there is a difference; with several methods and columns, some intervals miss 0 by chance.",
    ]
    if len(data):
        caption += interval_notes(data, "sequential_difference", "second_difference")
    return present("differences", "Against base, paired by seed", data, columns, caption)


def show_across_pairs(results: Results) -> Shown:
    """`across_pairs_table`: every method over all pairs."""
    data, words = across_pairs_table(results), results.words
    task = words.task
    columns: dict[str, Callable[[Cells], str]] = {
        "pairs": lambda row: _pairs(row),
        "runs": lambda row: f"{row['sequential_runs']} of {row['seeds']}",
    }
    for name, measure in ((f"first {task} after", "sequential"), (f"second {task} after", "second")):
        columns[f"{name}, IQM"] = partial(cells.bootstrapped, name=f"{measure}_iqm")
        if not words.is_rate:
            columns[f"{name}, optimality gap"] = partial(cells.bootstrapped, name=f"{measure}_optimality_gap")
    if len(data) and data["sequential_improvement"].notna().any():
        columns[f"first {task}, P(better than base)"] = partial(cells.bootstrapped, name="sequential_improvement")
        columns[f"second {task}, P(better than base)"] = partial(cells.bootstrapped, name="second_improvement")
    caption = [
        "IQM: mean of the middle half of all runs of all pairs (Agarwal et al. 2021). P(better than base): chance that "
        f"a run of the method has a higher {words.performance} than one of `base` on the same pair, ties as half, "
        "averaged over pairs; 0.50 is no difference.",
        *(
            []
            if words.is_rate
            else [
                "Optimality gap: by how much runs fall short of a normalised score of 1 on average, 0 if none does.",
                *score_notes(results),
            ]
        ),
        f"In brackets the 95 % bootstrap interval ({RESAMPLES:,} resamples, seed {BOOTSTRAP_SEED}; seeds drawn jointly "
        "over pairs, for a seed is one agent's initialisation in all of them; percentiles widened for few seeds after "
        "Hesterberg 2015). With 4 pairs of 5 seeds of normal data such an interval holds the true IQM in about 93 % of "
        "cases, with 3 seeds in about 75 %. There is none if a pair has fewer than three seeds, or if all resamples "
        "agree.",
    ]
    if len(data) and (data["sequential_pairs"] < data["pairs"]).any():
        caption.append("Rows over different pairs cannot be compared with one another.")
    return present("across_pairs", "Across pairs", data, columns, caption)


def _pairs(row: Cells) -> str:
    """`4 of 4`; `4, 3 of 4` if fewer pairs have the second measure (a task without reference scores)."""
    first, second = row["sequential_pairs"], row["second_pairs"]
    return f"{first} of {row['pairs']}" if first == second else f"{first}, {second} of {row['pairs']}"


def show_neurons(results: Results) -> Shown:
    """`neurons_table`: which neurons were frozen."""
    data = tables.neurons_table(results)
    columns: dict[str, Callable[[Cells], str]] = {
        "network": lambda row: str(row["network"]),
        "n": lambda row: f"{row['n']} of {row['seeds']}",
        "frozen neurons": lambda row: cells.count(row["selected_mean"]),
        "per layer": lambda row: cells.per_layer(row, "selected", cells.count),
        "of these constant": lambda row: cells.spread(row, "selected_constant", cells.count),
        "near-constant": lambda row: cells.spread(row, "selected_near_constant", cells.count),
        "below constant": lambda row: cells.spread(row, "selected_below_constant", cells.count),
        "constant per layer": lambda row: cells.per_layer(row, "constant", cells.count),
        "frozen parameters": lambda row: cells.spread(row, "frozen_share"),
        "drift per layer": lambda row: cells.per_layer(row, "drift"),
    }
    caption = [
        "Mean over seeds, in brackets the lowest and the highest seed; layers from the input. Constant: the same "
        "activation at all scoring steps. Near-constant: on one side of its mean on at least 99 % of them. Below "
        "constant: with a score (Eq. 4) below that of a constant prediction, max(p, 1 - p), so that a "
        "constant says more. All three are of the frozen neurons; a dash where the method did not report it.",
        "Frozen parameters: share of the network's weights and biases; as many neurons are not as many of these, so a "
        "difference between methods may be one of capacity. Drift: relative change of the frozen neurons' activations "
        "on first-task states over the last phase, 0 in the first layer if strictly frozen.",
    ]
    return present("neurons", "Frozen neurons", data, columns, caption)


def show_trials(results: Results) -> Shown:
    """`trials_table`: every seed."""
    data, words = tables.trials_table(results), results.words
    task, of_agent = words.task, cells.rate_of_agent if words.is_rate else cells.score_of_agent
    columns: dict[str, Callable[[Cells], str]] = {
        "seed": lambda row: str(row["seed"]),
        "status": lambda row: str(row["status"]),
        f"first {task} before": lambda row: of_agent(row, "individual"),
        f"first {task} after": lambda row: of_agent(row, "sequential"),
        f"second {task} after": lambda row: of_agent(row, "second"),
    }
    if not words.is_rate:
        columns["normalised"] = lambda row: " / ".join(cells.number(row[name]) for name in tables.SUCCESSES)
    columns |= {
        "forgetting": lambda row: cells.number(row["forgetting"]),
        f"first {task}, last 5": lambda row: cells.number(row["retention_last_5"]),
        "AUC": lambda row: cells.number(row["auc_second"]),
        "stopped": lambda row: cells.or_none(row["stop_reason_second"]),
        "env steps": cells.cost,
        "keys": lambda row: f"`{row['key_first']}` `{row['key_second']}`",
    }
    numbers = (
        "In brackets Wilson's 95 % interval over the episodes of that one agent: it says nothing about other seeds."
        if words.is_rate
        else "Raw scores with the number of episodes they are means of; normalised: the same three; forgetting, last 5 "
        "and AUC are normalised too."
    )
    caption = [
        f"{numbers} Env steps: of the first phase (shared by other trials), of the last, and of auxiliary phases that "
        "the method reads. Keys: the first digits of the phases' folders."
    ]
    return present("trials", "Every trial", data, columns, caption)
