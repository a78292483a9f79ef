"""The columns of the tidy frames: type, unit and meaning, said once.

The frames are built by these tables and the data dictionary of a report is written from them, so a column cannot exist
without its explanation. This module must not know where the numbers come from.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from nbsp_ray.layout import NETWORKS


@dataclass(frozen=True)
class Column:
    """One column: `text` (str), `count` (Int64), `number` (float64), `flag` (boolean); any may be missing."""

    kind: Literal["text", "count", "number", "flag"]
    unit: str
    meaning: str


Columns = Mapping[str, Column]
DTYPES: Mapping[str, Any] = {
    "text": pd.StringDtype(na_value=np.nan),
    "count": "Int64",
    "number": "float64",
    "flag": "boolean",
}


PERFORMANCE = "rate in [0, 1], or normalised score"
"""Unit of what judges a trial: its success rate, or its score with random play at 0 and a human at 1 (Eq. 8)."""


def frame(rows: Iterable[Mapping[str, Any]], columns: Columns) -> pd.DataFrame:
    """Rows as a frame with exactly `columns`, each of its type even without rows; what a row lacks is missing."""
    rows = list(rows)
    return table(lambda name: [row.get(name) for row in rows], columns)


def table(values: Callable[[str], Sequence[Any] | npt.NDArray[Any]], columns: Columns) -> pd.DataFrame:
    """The values (N,) of each of `columns` as a frame; None and NaN are missing."""
    # One column after the other: there may be millions of rows.
    return pd.DataFrame({name: pd.array(values(name), DTYPES[column.kind]) for name, column in columns.items()})


def _text(meaning: str) -> Column:
    return Column("text", "", meaning)


def _rate(meaning: str) -> Column:
    return Column("number", "rate in [0, 1]", meaning)


def _performance(meaning: str) -> Column:
    return Column("number", PERFORMANCE, meaning)


def _return(meaning: str) -> Column:
    return Column("number", "score", f"{meaning} (benchmarks judged by score).")


def _count(unit: str, meaning: str) -> Column:
    return Column("count", unit, meaning)


def _flag(meaning: str) -> Column:
    return Column("flag", "", meaning)


IDENTITY: Columns = {
    "benchmark": _text("Benchmark of the tasks."),
    "pair": _text("The tasks in the order in which they are learnt, `first > second`."),
    "first_task": _text("First task."),
    "second_task": _text("Last task; the second of two."),
    "method": _text("Method of the phases after the first."),
    "skill_neurons": Column(
        "number",
        "fraction of a network's neurons, or neurons",
        "Neurons to select per network, as a number: 0.2 is a fraction, 102 a count. Missing for methods that select "
        "none. 1 may be either: `skill_neurons_given` tells, and `skill_neurons_count` has the count.",
    ),
    "skill_neurons_given": _text("The same as the sweep says it: `1.0` is all neurons, `1` is one."),
    "skill_neurons_count": _count("neurons", "The same as a count per network."),
    "variant": _text(
        "Settings in which trials of one pair, method and number of skill neurons differ within this plan, and the "
        "replicate that a trial rests on; else empty."
    ),
    "seed": _count("", "Seed of the trial."),
}

CURVE_ROW: Columns = {
    "kind": _text(
        "`evaluation` of the frozen stochastic policy; `confirmation`, the further episodes that a stop takes; "
        "`training` for one training episode; or `final`: the final evaluation of a finished phase, which after an "
        "early stop is carried forward to the budget."
    ),
    "task": _text("Task that was played: the phase's own or, in evaluations, an earlier one."),
    "env_steps": _count("env steps", "Since the phase began."),
    "updates": _count("updates", "Updates of the critics since the phase began (not of training)."),
    "episode": _count("", "Number of the training episode in its phase, from 0 (training only)."),
    "episodes": _count("episodes", "Episodes that the evaluation, confirmation or final one played (not of training)."),
    "success": _rate(
        "Success rate of the evaluation or confirmation (Eq. 7); 0 or 1 for a training episode; missing where tasks "
        "are judged by their score."
    ),
    "success_last_10": _rate("Mean success of this and the nine episodes before it; missing before the tenth."),
    "env_return": Column(
        "number",
        "reward",
        "Sum of rewards of the training episode (its score, where tasks are judged by that); mean over an evaluation's "
        "episodes.",
    ),
    "return_last_10": Column(
        "number",
        "reward",
        "Mean env_return of this and the nine training episodes before it; missing before the tenth.",
    ),
    "normalised": Column(
        "number",
        "normalised score",
        "env_return on the scale of the reference scores (Eq. 8), in Atari 0 for random play and 1 for a human; "
        "missing of tasks without them.",
    ),
    "critic_loss": Column("number", "", "Loss of both Q networks at the last update (at evaluations of its own task)."),
    "actor_loss": Column("number", "", "Actor loss at the last update (at evaluations of its own task)."),
    "alpha": Column("number", "", "Entropy coefficient (at evaluations of its own task)."),
}

CURVES: Columns = {
    **IDENTITY,
    "phase": _count("", "0 while the first task is learnt, 1 for the second."),
    "key": _text("Content key of the phase, its folder in the store."),
    **CURVE_ROW,
}
"""One row per evaluation, per training episode and per task finally evaluated.

A first phase is shared by all methods and pairs that start from it: its curve stands once per key, with pair,
second_task, method, the columns of skill neurons and variant missing. `finals.key_first` joins it to the trials.
"""

FINALS: Columns = {
    **IDENTITY,
    "measure": _text("What its tasks are judged by: `success` rates or `score`s; the two are never averaged."),
    "skill_neurons_share": _rate("skill_neurons_count as a share of a network's hidden neurons."),
    "status": _text("`done`, `failed` (a phase is not done and its attempts failed), `begun` or `waiting`."),
    "replicate": _count("", "Number of the retraining of imported phases that the trial rests on; else missing."),
    "paper_pair": _flag("Whether the pair is one that the paper compares methods on."),
    "paper_method": _flag("Whether the paper has the method."),
    "key_first": _text("Key of the first phase; trials that share it share its numbers."),
    "key_second": _text("Key of the last phase."),
    "comparable": _text("Trials with the same value differ in nothing but their method: compare these, by seed."),
    "goals": _text(
        "Goals of the final evaluations: those of training (`train`), others (`heldout`), or training's with others in "
        "the columns `*_heldout` (`both`)."
    ),
    "first_before": _performance(
        "First task before the second is learnt, stochastic policy (`individual` in Table 1)."
    ),
    "first_before_n": _count("episodes", "Episodes of `first_before`."),
    "first_before_deterministic": _performance("The same with the policy's mean (or likeliest) action."),
    "first_before_deterministic_n": _count(
        "episodes", "Episodes of `first_before_deterministic`: each variation once."
    ),
    "first_before_heldout": _performance(
        "`first_before` on goals that training never had (`evaluation.goals: both`; else missing)."
    ),
    "first_before_heldout_n": _count("episodes", "Episodes of `first_before_heldout`."),
    "first_after": _performance(
        "First task after the last one was learnt, stochastic policy (`sequential` in Table 1): stability."
    ),
    "first_after_n": _count("episodes", "Episodes of `first_after`."),
    "first_after_deterministic": _performance("The same with the policy's mean (or likeliest) action."),
    "first_after_deterministic_n": _count("episodes", "Episodes of `first_after_deterministic`: each variation once."),
    "first_after_heldout": _performance(
        "`first_after` on goals that training never had (`evaluation.goals: both`; else missing)."
    ),
    "first_after_heldout_n": _count("episodes", "Episodes of `first_after_heldout`."),
    "second": _performance("Second task after it was learnt, stochastic policy: plasticity."),
    "second_n": _count("episodes", "Episodes of `second`."),
    "second_deterministic": _performance("The same with the policy's mean (or likeliest) action."),
    "second_deterministic_n": _count("episodes", "Episodes of `second_deterministic`: each variation once."),
    "second_heldout": _performance(
        "`second` on goals that training never had (`evaluation.goals: both`; else missing)."
    ),
    "second_heldout_n": _count("episodes", "Episodes of `second_heldout`."),
    "first_before_return": _return("Mean raw score behind `first_before`"),
    "first_before_deterministic_return": _return("Mean raw score behind `first_before_deterministic`"),
    "first_after_return": _return("Mean raw score behind `first_after`"),
    "first_after_deterministic_return": _return("Mean raw score behind `first_after_deterministic`"),
    "second_return": _return("Mean raw score behind `second`"),
    "second_deterministic_return": _return("Mean raw score behind `second_deterministic`"),
    "forgetting": Column("number", "difference of these", "first_before - first_after: what the first task lost."),
    "learnt_first": _flag("Whether the first task was learnt at all: first_before >= 0.5. Of scores nothing is said."),
    "retention_last_5": _performance(
        "Mean of the last five evaluations of the first task in the last phase, of those after its first update."
    ),
    "retention_last_5_return": _return("The same as a raw score"),
    "retention_evaluations": _count("evaluations", "How many evaluations `retention_last_5` rests on, at most five."),
    "auc_second": _performance(
        "Mean height of the evaluation curve of the second task over [0, budget]: trapezoids between evaluations; "
        "after an early stop the final evaluation is carried forward, never the one that triggered the stop."
    ),
    "auc_second_return": _return("The same of raw scores"),
    "auc_carried_share": _rate("Share of [0, budget] over which `auc_second` carries the final evaluation forward."),
    "env_steps_to_threshold": _count(
        "env steps",
        "Of the second task's first evaluation of as many in a row as the stop rule asks for (3) that all reach its "
        "threshold (0.9), where further episodes confirm it if the rule asks for these. Missing if there are none "
        "(censored at the end of the phase), if the phase is not done, and of scores.",
    ),
    "second_scratch": _performance(
        "The second task as a new agent learns it in as many env steps: the plan's first phase on it of the same seed "
        "and SAC, by its final evaluation if it ended by then, else by its last evaluation up to there."
    ),
    "auc_scratch": _rate(
        "`auc_second`'s counterpart for learning the second task first: same seed, SAC and env steps."
    ),
    "forward_transfer": Column(
        "number", "", "(auc_second - auc_scratch) / (1 - auc_scratch); missing if that is 1, and of scores."
    ),
    "curve_truncated": _flag("The last phase is done but its curve is cut off: the curve's metrics are missing."),
    "env_steps_first": _count("env steps", "Learnt in the first phase (shared by other trials)."),
    "env_steps_second": _count("env steps", "Learnt in the last phase."),
    "env_steps_auxiliary": _count("env steps", "Learnt in other phases that the method reads (ANCL)."),
    "seconds_first": Column("number", "s", "Wall time of learning in the first phase."),
    "seconds_second": Column("number", "s", "Wall time of learning in the last phase."),
    "stop_reason_first": _text("`stable` (mastered, by the stop rule) or `budget`."),
    "stop_reason_second": _text("The same for the last phase."),
    "replay_share_actor": _rate("Share of the actor's updates whose batch came from the first task's buffer."),
    "replay_share_critic": _rate("The same for the critics."),
    "positive_share": _rate("p, share of scoring steps with q(t) above its mean; the score is undefined at 0 and 1."),
    "score_undefined": _flag("q was constant: the skill neurons (of some phase) were chosen at random instead."),
}
"""One row per trial, whatever is there of it. Neuron columns (`neuron_columns`) follow."""

PHASES: Columns = {
    "key": _text("Content key of the phase."),
    "label": _text("What the phase is, for people."),
    "benchmark": _text("Benchmark of the task."),
    "task": _text("Task that is learnt."),
    "phase": _count("", "0 for a first phase, 1 for a second."),
    "seed": _count("", "Seed of the trials that use it."),
    "status": _text("`done`, `failed`, `begun` or `waiting`; done includes the final evaluations."),
    "env_steps": _count("env steps", "Learnt."),
    "budget": _count("env steps", "The most it may learn."),
    "replicate": _count("", "Number of the retraining of an imported phase; missing of the phase itself."),
    "imported": _flag("Whether it came from an archive."),
    "updates": _count("updates", "Of the critics."),
    "env_steps_to_threshold": _count(
        "env steps", "As in `finals`, of this phase's own task: how hard it is. Missing if it was not reached."
    ),
    "curve_truncated": _flag("The phase is done but its curve is cut off: no metric rests on it."),
    "stop_reason": _text("`stable` or `budget`."),
    "seconds": Column("number", "s", "Wall time of learning, evaluations during learning included, final ones not."),
    "env_steps_per_second": Column("number", "env steps/s", "env_steps / seconds."),
    "host": _text("Machine."),
    "device": _text("`cpu`, or the name of the GPU."),
    "git_commit": _text("Commit of the code; `+changes` if it was altered."),
    "versions": _text("Packages that made the numbers."),
    "error": _text("First line of the last attempt that failed, if the phase is not done."),
    "notes": _text("What is to be known of how it was made, such as that it was not compiled although it was to be."),
}
"""One row per phase of the plan, each once however many trials share it: what the sweep cost."""

EPISODES: Columns = {
    "key": _text("Content key of the phase whose agent played; `finals.key_first` and `key_second` join it to trials."),
    "task": _text("Task that was played."),
    "policy": _text("`stochastic`, as in training, or `deterministic`: the mean (or likeliest) action."),
    "goals": _text("Goals of the episode: those of training (`train`) or others (`heldout`)."),
    "evaluation": _text("Final evaluation it belongs to: the name of its file in the phase's folder `evaluations`."),
    "episode": _count("", "Number of the episode in its evaluation, from 0."),
    "success": _count("", "1 if the task's success flag was set at any of its steps, else 0; missing of scores."),
    "env_return": Column(
        "number",
        "reward",
        "Sum of rewards (the raw score, where tasks are judged by that); missing of an episode that ended at success, "
        "for then it is not a whole episode's.",
    ),
}
"""One row per episode of every final evaluation: a success rate of `finals` is the mean of `success` over its rows."""


def neuron_columns(layers: int) -> dict[str, Column]:
    """Columns on the selected neurons of each network with `layers` hidden layers, numbered from 1 at the input."""
    columns: dict[str, Column] = {}
    for network in NETWORKS:
        numbers = range(1, layers + 1)
        columns[f"{network}_selected"] = _count("neurons", f"Frozen neurons of {network}.")
        columns |= {f"{network}_selected_layer_{n}": _count("neurons", f"Of these in layer {n}.") for n in numbers}
        columns[f"{network}_selected_constant"] = _count("neurons", "Of these constant on all scoring steps.")
        columns[f"{network}_selected_near_constant"] = _count(
            "neurons", "Of these on one side of their mean on at least 99 % of the scoring steps."
        )
        columns[f"{network}_selected_below_constant"] = _count(
            "neurons", "Of these with a score (Eq. 4) below that of a constant prediction, max(p, 1 - p)."
        )
        columns[f"{network}_live"] = _count("neurons", f"Hidden neurons of {network} that are not constant.")
        columns |= {
            f"{network}_constant_layer_{n}": _count("neurons", f"Constant neurons of layer {n}, frozen or not.")
            for n in numbers
        }
        columns[f"{network}_frozen_share"] = _rate(f"Share of {network}'s parameters that are frozen.")
        columns[f"{network}_score_lowest"] = _rate("Lowest score (Eq. 4) among the frozen neurons.")
        columns[f"{network}_score_highest"] = _rate("Highest score among the frozen neurons.")
        columns |= {
            f"{network}_drift_layer_{n}": Column(
                "number",
                "|after - before| / |before|",
                f"Change of layer {n}'s frozen activations, first-task states.",
            )
            for n in numbers
        }
    return columns


def describe(columns: Columns) -> str:
    """The columns as a Markdown table: the data dictionary."""
    lines = ["| column | type | unit | meaning |", "|---|---|---|---|"]
    for name, column in columns.items():
        lines.append(f"| `{name}` | {column.kind} | {column.unit.replace('|', chr(92) + '|')} | {column.meaning} |")
    return "\n".join(lines)
