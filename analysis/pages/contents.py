"""What a report says, block by block: what ran, tables, figures, definitions, cost."""

import datetime
from collections import Counter
from collections.abc import Iterator, Mapping

import pandas as pd

from analysis import metrics
from analysis.blocks import (
    Block,
    Bullets,
    Contents,
    Facts,
    Heading,
    Paragraph,
    Picture,
    Section,
    TextTable,
    join,
)
from analysis.frames.load import Results
from analysis.pages.finding import finding
from analysis.tables.notes import score_notes, what_ran
from analysis.tables.table import Shown
from analysis.tables.trials import ROOT
from nbsp_ray.config.schema import Learning
from nbsp_ray.specs import ALGORITHM_VERSION
from nbsp_ray.states import STORED
from nbsp_ray.sweepfile.scope import Scope
from nbsp_ray.units import duration

OFTEN = 3
"""A sentence under so many tables is said once, for all."""


def report_blocks(
    results: Results, shown: list[Shown], pictures: list[Picture], *, title: str, scope: Scope, root: str
) -> Iterator[Block]:
    """The whole report; `root` is the path from its page to the results root."""
    yield Heading(title, level=1)
    if part := scope.sentence():
        yield Paragraph(f"**{part}**")
    yield Paragraph(finding(results), lead=True)
    yield from pictures[:1]
    yield Facts(_facts(results, scope))
    yield Contents()
    ran = list(_what_ran(results, scope))
    if ran:
        yield Section("What ran", ran, open=True)
    counts = Counter(sentence for table in shown for sentence in table.caption)
    common = [sentence for sentence, n in counts.items() if n >= OFTEN]
    opened = True
    for table in (one for one in shown if one.before_figures):
        yield section(table, common, root, unfolded=opened)
        opened = False
    for picture in pictures[1:]:
        yield Section(f"Figure: {picture.title[0].lower()}{picture.title[1:]}", [picture], open=True)
    for table in (one for one in shown if not one.before_figures):
        yield section(table, common, root)
    if common:
        yield Section("Under all tables", [Bullets(common)], open=True)
    yield Section("What the numbers mean", list(_definitions(results)))
    yield Section("Cost and versions", list(_cost(results)))
    yield Paragraph(
        "Unrounded tables are in `tables/` (CSV, and LaTeX; `paper.tex` has the shape of a paper's table), figures in "
        "`figures/` (SVG, PDF, PNG), the data that all were made from, down to every episode, and what each column "
        "means in `data/`."
    )


def section(table: Shown, common: list[str], root: str, *, unfolded: bool = False) -> Section:
    """A table under its title, its caption below without what is said in `common`; links lead to the results root."""
    text = table.text.map(lambda cell: cell.replace(f"]({ROOT}", f"]({root}/") if isinstance(cell, str) else cell)
    return Section(
        table.title, [TextTable(text), Bullets([one for one in table.caption if one not in common])], unfolded
    )


def _facts(results: Results, scope: Scope) -> Mapping[str, str]:
    """What ran, what it cost, when and where, by which command."""
    done = results.phases[results.phases["env_steps"].notna()]
    env_steps, seconds = int(done["env_steps"].sum()), float(done["seconds"].sum())
    machines = [
        f"{host} ({join(of_host['device'].dropna()) or 'device not recorded'})"
        for host, of_host in done.groupby("host")
    ]
    return {
        "Trials": what_ran(results),
        "Cost": f"{duration(seconds)} of learning (wall time of {len(done)} phases, final evaluations not included): "
        f"{env_steps:,} env steps",
        "Machines": ", ".join(machines) or "not recorded",
        "Made": _dates(results),
        "Command": f"`{scope.command('run')}`",
        "Results root": f"`{results.store.address}`",
    }


def _dates(results: Results) -> str:
    """From the day on which the first phase was begun to that on which the last was finished."""
    manifests = [phase.folder.manifest() or {} for phase in results.phase_data.values() if phase.result]
    times = [float(one[name]) for one in manifests for name in ("started", "finished") if one.get(name)]
    days = [datetime.datetime.fromtimestamp(when, tz=datetime.UTC).strftime("%-d %B %Y") for when in sorted(times)]
    if not days:
        return "not recorded"
    return days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"


def _what_ran(results: Results, scope: Scope) -> Iterator[Block]:
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
        "What is not done is missing from tables and figures, never estimated; "
        f"`{scope.command('run')}` does the rest, `{scope.command('status')}` says what failed."
    )


def _other_versions(results: Results) -> int:
    """Phases in the results root that another algorithm version made."""
    store = results.store
    specs = (store.phase(key).spec() for key in store.phases() if key not in results.plan.phases)
    return sum(spec is not None and spec.get("algorithm_version") != ALGORITHM_VERSION for spec in specs)


def _definitions(results: Results) -> Iterator[Block]:
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
        "Forgetting: first task before - first task after, of the final evaluations.",
        f"Retention (`first task, last 5`): mean of the last {metrics.RETENTION_EVALUATIONS} evaluations of the "
        "first task in the last phase; a single late evaluation is noisy.",
        "AUC: mean height of the curve of the second task's evaluations over the budget. After an early stop the final "
        "evaluation is carried forward, never the value that triggered the stop.",
        "Forward transfer: (AUC - AUC from scratch) / (1 - AUC from scratch), where the plan learns the second "
        "task first with the same seed, SAC and budget; else missing.",
        f"Not learnt: a first task with a success rate below {metrics.LEARNT} before the second is learnt.",
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
        f"Forgetting: first {task} before - first {task} after, normalised.",
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
    yield Bullets(lines)
