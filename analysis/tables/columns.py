"""What each column of each table's CSV is: a column cannot be written without its explanation.

Most are a column of a frame with the suffix of a statistic: `first_after_low` is the lower end of the interval of the
mean of `finals.first_after`.
"""

import re
from collections.abc import Iterable, Mapping

from analysis.frames.columns import FINALS, PHASES, neuron_columns
from analysis.statistics import CUT
from analysis.tables.table import Shown
from nbsp_ray.layout import NETWORKS

OWN: Mapping[str, str] = {
    "seeds": "Trials planned, one for each seed (of difficulty: seeds).",
    "done": "Trials that are done.",
    "scope": "`all` trials of the row, or only those whose score is `defined` (a second row, where some are not).",
    "score_undefined": "Trials of the row whose score was undefined, so that their neurons were drawn at random "
    "(of every trial: whether its was).",
    "not_learnt": "First phases that did not learn their task (success below 0.5).",
    "stopped_early": "Trials whose last phase was mastered before its budget was spent.",
    "ended": "Phases that have learnt to their end, with a whole curve: what `reached` and `stopped_early` are of.",
    "reached": "Of these those that reached the threshold of stable success.",
    "forgetting_learnt": "`forgetting` of the seeds whose first task was learnt.",
    "average_performance": "Mean over tasks of the final evaluation after the last phase.",
    "forgetting_measure": "Mean over tasks but the last: the best success after an earlier phase less that at the end.",
    "pairs": "Pairs of the benchmark in this plan.",
    "phases": "First phases planned.",
    "network": "Network that the row is about.",
    "n": "Seeds that reported on it.",
    "share": "Share of the first phases that ended which reached the threshold.",
    "budget": "The most env steps of such a phase.",
    "env_steps_median": "Median env steps to the threshold, phases that never reached it counted as later than any.",
    "env_steps_lowest": "Fewest env steps to it, of the phases that reached it.",
    "env_steps_highest": "Most env steps to it, of the phases that reached it.",
    "curve_truncated": "Finished phases with a curve that is cut off; none of its metrics rests on them.",
    "parameter": "Parameter as the paper calls it.",
    "setting": "Its name here.",
    "here": "Its value in these trials.",
    "paper": "Its value in the paper's Table 2.",
    "normalised 0": "Raw score that is 0 when normalised.",
    "normalised 1": "Raw score that is 1 when normalised.",
    "paper_first_before": "The paper's mean of `first_before` (Table 1).",
    "paper_first_after": "The paper's mean of `first_after` (Table 1).",
}
SUFFIXES: Mapping[str, str] = {
    "share_low": "lower end of Clopper and Pearson's 95 % interval for the share of all seeds that would be good",
    "share_high": "upper end of that interval",
    "wilson_low": "lower end of Wilson's 95 % interval over the episodes of that one agent",
    "wilson_high": "upper end of that interval",
    "spread": "the number after ± there",
    "iqm": "interquartile mean of all runs of all pairs",
    "optimality_gap": "mean shortfall of all runs of all pairs from 1",
    "improvement": "chance that a run of the method is better than one of `base` on the same pair, ties as half",
    "difference": "this method's less that of `base`, paired by seed",
    "runs": "runs (pairs times seeds) that it rests on",
    "pairs": "pairs that it rests on",
    "fewest_seeds": "seeds of the pair that has the fewest",
    "n": "seeds that it rests on",
    "mean": "mean over seeds",
    "se": "standard error of that mean",
    "low": "lower end of its 95 % interval",
    "high": "upper end of its 95 % interval",
    "worst": "worst seed",
    "median": "median over seeds",
    "best": "best seed",
    "good": "seeds of at least 0.9",
    "share": "share of such seeds",
    "lowest": "lowest seed",
    "highest": "highest seed",
}
_MOST_LAYERS = 16
_NEURONS = {
    name.removeprefix(f"{NETWORKS[0]}_"): column.meaning.replace(NETWORKS[0], "the network")
    for name, column in neuron_columns(_MOST_LAYERS).items()
    if name.startswith(f"{NETWORKS[0]}_")
}


def meaning(column: str) -> str:
    """What a column of a table is.

    Raises:
        KeyError: it has no explanation yet.
    """
    if column in OWN:
        return OWN[column]
    for columns in (FINALS, PHASES):
        if column in columns:
            return columns[column].meaning
    if column in _NEURONS:
        return _NEURONS[column]
    if found := re.fullmatch(r"success_(\d+)_(.+)", column):
        return f"Mean success on {found[2]} after phase {found[1]}."
    for suffix, what in SUFFIXES.items():
        rest = column.removesuffix(f"_{suffix}")
        if rest != column and _is_explained(rest):
            return f"Of `{rest}`: {what}."
    raise KeyError(column)


def _is_explained(column: str) -> bool:
    try:
        return bool(meaning(column))
    except KeyError:
        return False


def dictionary(shown: Iterable[Shown]) -> str:
    """Every column of every table, as Markdown."""
    parts = [
        "# The columns of these tables\n\n"
        "Nothing is rounded; empty cells are missing values. What `Of ...` names is a column of the frames, explained "
        "in `data/README.md` of the report (or by `Results.describe()`).\n\n"
        f"{CUT} Fewer than three seeds have no interval, nor have seeds that are all equal. Over pairs (`iqm`, "
        "`optimality_gap`, `improvement`) it is a bootstrap interval, seeds drawn jointly over pairs."
    ]
    for table in shown:
        rows = "\n".join(f"| `{name}` | {meaning(str(name))} |" for name in table.data.columns)
        parts.append(f"## {table.name}.csv: {table.title}\n\n| column | meaning |\n|---|---|\n{rows}")
    return "\n\n".join(parts) + "\n"
