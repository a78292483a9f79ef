"""What a report says, block by block: what ran, tables, figures, definitions, cost."""

from collections.abc import Iterator

import pandas as pd

from analysis import metrics
from analysis.blocks import Block, Bullets, Heading, Paragraph, Picture, TextTable, join
from analysis.frames.load import Results
from analysis.tables.notes import score_notes, what_ran
from analysis.tables.table import Shown
from nbsp_ray.config.schema import Learning
from nbsp_ray.specs import ALGORITHM_VERSION
from nbsp_ray.states import STORED
from nbsp_ray.units import duration


def report_blocks(
    results: Results, shown: list[Shown], pictures: list[Picture], name: str, title: str
) -> Iterator[Block]:
    """The whole report."""
    yield Heading(title, level=1)
    yield from _what_ran(results, name)
    for table in (one for one in shown if one.before_figures):
        yield from section(table)
    for picture in pictures:
        yield Heading(f"Figure: {picture.title[0].lower()}{picture.title[1:]}")
        yield picture
    for table in (one for one in shown if not one.before_figures):
        yield from section(table)
    yield from _definitions(results)
    yield from _cost(results)
    yield Paragraph(
        "Unrounded tables are in `tables/` (CSV, and LaTeX with booktabs), figures in `figures/` (SVG, PDF, PNG), the "
        "data that all were made from and what each column means in `data/`."
    )


def section(table: Shown) -> Iterator[Block]:
    """A table under its title, its caption below."""
    yield Heading(table.title)
    yield TextTable(table.text)
    yield Bullets(table.caption)


def _what_ran(results: Results, name: str) -> Iterator[Block]:
    yield Heading("What ran")
    yield Paragraph(what_ran(results))
    others = _other_versions(results)
    if others:
        yield Paragraph(
            f"This results root also has {others} phases made by another version of the algorithm than this one "
            f"({ALGORITHM_VERSION}). Their numbers cannot be mixed with these, and none of them is in this report."
        )
    notes = results.phases["notes"].dropna().value_counts()
    if len(notes):
        yield Paragraph(f"Noted while phases were learnt, of {len(results.phases)} phases:")
        yield TextTable(pd.DataFrame({"phases": notes.to_numpy(), "note": notes.index}))
    if set(results.finals["status"]) == {"done"}:
        return
    counts = results.finals.groupby(["pair", "method"], sort=False)["status"].value_counts().unstack(fill_value=0)
    yield TextTable(counts[[status for status in STORED if status in counts]].reset_index())
    failed = results.phases[results.phases["status"] == "failed"]
    if len(failed):
        yield Paragraph(f"Failed phases ({len(failed)}), with the first line of their last error:")
        yield TextTable(
            pd.DataFrame({"phase": failed["label"], "error": failed["error"].fillna("-"), "key": failed["key"]})
        )
    yield Paragraph(
        f"What is not done is missing from tables and figures, never estimated; `nbsp-ray run {name}` does the rest, "
        f"`nbsp-ray status {name}` says what failed."
    )


def _other_versions(results: Results) -> int:
    """Phases in the results root that another algorithm version made."""
    store = results.store
    specs = (store.phase(key).spec() for key in store.phases() if key not in results.plan.phases)
    return sum(spec is not None and spec.get("algorithm_version") != ALGORITHM_VERSION for spec in specs)


def _definitions(results: Results) -> Iterator[Block]:
    yield Heading("What the numbers mean")
    parts = results.parts()
    for part in parts.values():
        if len(parts) > 1:
            yield Paragraph(f"{part.words.performance.capitalize()}s ({join(part.finals['benchmark'])}):")
        yield Bullets(_of_rates(part) if part.words.is_rate else _of_scores(part))


def _of_rates(results: Results) -> list[str]:
    learning = _learning(results)
    return [
        "Success of an episode: the task's own success flag was set at any of its steps. A success rate is the "
        "share of successful episodes (Eq. 7).",
        f"Final evaluations: {_sizes(results)} per task, on {_goals(results)}. The policy acts as in training "
        "(stochastic); its mean action is in the columns `*_deterministic` of `data/finals.csv`, each goal once.",
        f"Evaluations while learning: {join(one.eval_episodes for one in learning)} episodes per task every "
        f"{join(one.eval_every for one in learning)} env steps, stochastic policy.",
        f"Stop rule of the last phase: {join(map(_stop_rule, learning))}.",
        f"Threshold: the first of {join(one.stop_evaluations for one in learning)} evaluations in a row of at "
        f"least {join(one.stop_threshold for one in learning)}.",
        "Forgetting: individual - sequential, of the final evaluations.",
        f"Retention (`first task, last 5`): mean of the last {metrics.RETENTION_EVALUATIONS} evaluations of the "
        "first task in the last phase; a single late evaluation is noisy.",
        "AUC: mean height of the curve of the second task's evaluations over the budget. After an early stop the final "
        "evaluation is carried forward, never the value that triggered the stop.",
        "Forward transfer: (AUC - AUC from scratch) / (1 - AUC from scratch), where the plan learns the second "
        "task first with the same seed, SAC and budget; else missing.",
        f"Not learnt: a first task whose individual success is below {metrics.LEARNT}.",
    ]


def _of_scores(results: Results) -> list[str]:
    learning, task = _learning(results), results.words.task
    return [
        "Score: the sum of a whole episode's rewards, before they are clipped for learning if they are.",
        *score_notes(results),
        f"Final evaluations: {_sizes(results)} per {task}. The policy acts as in training (stochastic); its likeliest "
        "action is in the columns `*_deterministic` of `data/finals.csv`, each beginning of an episode once.",
        f"Evaluations while learning: {join(one.eval_episodes for one in learning)} episodes of each {task} every "
        f"{join(one.eval_every for one in learning)} env steps, stochastic policy.",
        f"Last phase: {join(one.env_steps for one in learning)} env steps, without a stop rule.",
        "Forgetting: individual - sequential, normalised.",
        f"Retention (`first {task}, last 5`): mean of the last {metrics.RETENTION_EVALUATIONS} evaluations of the "
        f"first {task} in the last phase, normalised; a single late evaluation is noisy.",
        "There is no threshold of success and no forward transfer, which are defined for success rates.",
    ]


def _learning(results: Results) -> list[Learning]:
    last = dict.fromkeys(trial.phases[-1] for trial in results.plan.trials)
    return [results.plan.phases[key].spec.learning for key in last]


def _sizes(results: Results) -> str:
    finals = [trial.finals for trial in results.plan.trials]
    until = join(f"whole episodes until {one.env_steps:,} env steps" for one in finals if one.env_steps)
    episodes = join(one.episodes for one in finals if not one.env_steps)
    return " or ".join(part for part in (until, f"{episodes} episodes" if episodes else "") if part)


def _goals(results: Results) -> str:
    goals = {"train": "the goals of training", "heldout": "goals other than those of training"}
    goals["both"] = "the goals of training, beside them on others"
    return join(goals[trial.finals.goals] for trial in results.plan.trials)


def _stop_rule(learning: Learning) -> str:
    if learning.stop == "fixed":
        return f"none, {learning.env_steps:,} env steps"
    confirmed = f", confirmed by {learning.stop_confirm_episodes} episodes" if learning.stop_confirm_episodes else ""
    return f"{learning.stop}{confirmed}, at most {learning.env_steps:,} env steps"


def _cost(results: Results) -> Iterator[Block]:
    done = results.phases[results.phases["env_steps"].notna()]
    env_steps, seconds = int(done["env_steps"].sum()), float(done["seconds"].sum())
    lines = [
        f"{len(done)} of {len(results.phases)} phases have learnt to their end, each counted once however many trials "
        f"share it: {env_steps:,} env steps in {duration(seconds)} of learning (wall time, summed over phases, final "
        "evaluations not included)."
    ]
    for column, what in (("device", "Device"), ("host", "Machine"), ("git_commit", "Commit"), ("versions", "Versions")):
        found = list(dict.fromkeys(done[column].dropna()))
        lines.append(f"{what}: {'; '.join(map(str, found)) or 'not recorded'}.")
    if len(done["versions"].dropna().unique()) > 1:
        lines.append("The phases were made with different versions: `data/phases.csv` says which with which.")
    yield Heading("Cost and versions")
    yield Bullets(lines)
