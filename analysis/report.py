"""A sweep's report: one Markdown page, its tables as CSV, and the data they were made from.

    <folder>/report.md                    what ran, tables with captions, definitions, cost, versions
            /tables/<name>.csv            each table, unrounded
            /data/<frame>.csv, .parquet   curves, finals, phases
            /data/README.md               every column: type, unit, meaning

Everything is made before the first file is written, and each file is written whole, so a report is never half of one.
"""

import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd

from analysis import markdown, metrics
from analysis.cells import number
from analysis.columns import CURVES, FINALS, PHASES, describe, neuron_columns
from analysis.load import Results
from analysis.phases import STATUSES
from analysis.show import Shown, all_tables, what_ran
from nbsp_ray.config import Learning
from nbsp_ray.errors import NbspError
from nbsp_ray.methods import NETWORKS
from nbsp_ray.store import Files


def write_report(results: Results, folder: str | Path, *, name: str, title: str) -> list[Path]:
    """Write the report of sweep `name` into `folder`; the paths of its files, `report.md` first.

    Raises:
        NbspError: the results root has nothing of the sweep yet.
    """
    shown = _tables(results, name)
    page = "\n\n".join(_page(results, shown, name, title)) + "\n"
    return _write(folder, {"report.md": page.encode(), **_table_files(shown), **_data_files(results)})


def write_tables(results: Results, folder: str | Path, *, name: str) -> list[Path]:
    """Write the report's tables alone, as CSV (unrounded) and Markdown (as shown).

    Raises:
        NbspError: the results root has nothing of the sweep yet.
    """
    shown = _tables(results, name)
    pages = {f"tables/{table.name}.md": ("\n\n".join(_section(table)) + "\n").encode() for table in shown}
    return _write(folder, _table_files(shown) | pages)


def _tables(results: Results, name: str) -> list[Shown]:
    if not results.any_begun:
        raise NbspError(f"{results.root} has nothing of {name} yet: start it with `nbsp-ray run {name}`")
    return all_tables(results)


def _write(folder: str | Path, contents: dict[str, bytes]) -> list[Path]:
    files = Files(Path(folder))
    for name, content in contents.items():
        files.write(name, content)
    return [files.path(name) for name in contents]


def _table_files(shown: list[Shown]) -> dict[str, bytes]:
    return {f"tables/{table.name}.csv": _csv(table.data) for table in shown}


def _data_files(results: Results) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for name in ("curves", "finals", "phases"):
        data: pd.DataFrame = getattr(results, name)
        parquet = io.BytesIO()
        data.to_parquet(parquet, index=False)
        found |= {f"data/{name}.csv": _csv(data), f"data/{name}.parquet": parquet.getvalue()}
    return found | {"data/README.md": _dictionary(results).encode()}


def _csv(data: pd.DataFrame) -> bytes:
    return data.to_csv(index=False, lineterminator="\n").encode()


# The page


def _page(results: Results, shown: list[Shown], name: str, title: str) -> Iterator[str]:
    yield f"# {title}"
    yield from _what_ran(results, name)
    for table in shown:
        yield from _section(table)
    yield from _definitions(results)
    yield from _cost(results)
    yield "Unrounded tables are in `tables/`, the data that they were made from and what each column means in `data/`."


def _what_ran(results: Results, name: str) -> Iterator[str]:
    yield "## What ran"
    yield what_ran(results)
    if set(results.finals["status"]) == {"done"}:
        return
    counts = results.finals.groupby(["pair", "method"], sort=False)["status"].value_counts().unstack(fill_value=0)
    counts = counts[[status for status in STATUSES if status in counts]].reset_index()
    yield markdown.table(counts)
    yield (
        f"What is not done is missing from the tables, never estimated; `nbsp-ray run {name}` does the rest, "
        f"`nbsp-ray status {name}` says what failed."
    )


def _section(table: Shown) -> Iterator[str]:
    yield f"## {table.title}"
    yield markdown.table(table.text)
    yield markdown.bullets(table.caption)


def _definitions(results: Results) -> Iterator[str]:
    last = {trial.phases[-1] for trial in results.plan.trials}
    learning = [results.plan.phases[key].spec.learning for key in last]
    goals = {"train": "the goals of training", "heldout": "goals other than those of training"}
    yield "## What the numbers mean"
    yield markdown.bullets(
        [
            "Success of an episode: the task's own success flag was set at any of its steps. A success rate is the "
            "share of successful episodes (Eq. 7).",
            f"Final evaluations: {_join(trial.episodes for trial in results.plan.trials)} episodes per task, on "
            f"{_join(goals[trial.goals] for trial in results.plan.trials)}. The policy acts as in training "
            "(stochastic); its mean action is in the columns `*_deterministic` of `data/finals.csv`.",
            f"Evaluations while learning: {_join(one.eval_episodes for one in learning)} episodes per task every "
            f"{_join(one.eval_every for one in learning)} env steps, stochastic policy.",
            f"Stop rule of the last phase: {_join(map(_stop_rule, learning))}.",
            f"Threshold: the first of {_join(one.stop_evaluations for one in learning)} evaluations in a row of at "
            f"least {_join(one.stop_threshold for one in learning)}.",
            "Forgetting: individual - sequential, of the final evaluations.",
            f"Retention (`first task, last 5`): mean of the last {metrics.RETENTION_EVALUATIONS} evaluations of the "
            "first task in the last phase; a single late evaluation is noisy.",
            "Forward transfer: (AUC - AUC from scratch) / (1 - AUC from scratch), where the plan learns the second "
            "task first with the same seed, SAC and budget; else missing.",
            f"Not learnt: a first task whose individual success is below {metrics.LEARNT}.",
        ]
    )


def _stop_rule(learning: Learning) -> str:
    if learning.stop == "fixed":
        return f"none, {learning.env_steps:,} env steps"
    return f"{learning.stop}, at most {learning.env_steps:,} env steps"


def _join(values: Iterable[object]) -> str:
    """Different values, each once: several settings in one plan are all named."""
    distinct = dict.fromkeys(f"{value:,}" if isinstance(value, int) else str(value) for value in values)
    return " or ".join(sorted(distinct))


def _cost(results: Results) -> Iterator[str]:
    done = results.phases[results.phases["env_steps"].notna()]
    env_steps, seconds = int(done["env_steps"].sum()), float(done["seconds"].sum())
    lines = [
        f"{len(done)} of {len(results.phases)} phases have learnt to their end, each counted once however many trials "
        f"share it: {env_steps:,} env steps in {_duration(seconds)} of learning (wall time, summed over phases, final "
        "evaluations not included)."
    ]
    for column, what in (("device", "Device"), ("host", "Machine"), ("git_commit", "Commit"), ("versions", "Versions")):
        found = list(dict.fromkeys(done[column].dropna()))
        lines.append(f"{what}: {'; '.join(map(str, found)) or 'not recorded'}.")
    if len(done["versions"].dropna().unique()) > 1:
        lines.append("The phases were made with different versions: `data/phases.csv` says which with which.")
    yield "## Cost and versions"
    yield markdown.bullets(lines)


def _duration(seconds: float) -> str:
    return f"{number(seconds, digits=0)} s" if seconds < 600 else f"{number(seconds / 3600)} h"


DICTIONARY = """\
# Data dictionary

Empty cells are missing values: not done yet, not evaluated, or meaningless in that row. Every file is there as CSV and
as Parquet; Parquet keeps the types (a CSV reader may take the text `1.0` in `skill_neurons`, which is all neurons, for
the number 1, which is one).

## finals

One row per trial of the plan, whether it has run or not.

{finals}

## curves

One row per evaluation and per training episode. A first phase is shared by trials of several methods and pairs: its
curve stands once per `key`, with `pair`, `second_task`, `method`, `skill_neurons` and `variant` missing;
`finals.key_first` joins it to its trials. Curves that stop early are not carried forward here.

{curves}

## phases

One row per phase of the plan.

{phases}

## The files in tables/

Nothing is rounded. `x_n` is the number of seeds that statistic `x` rests on, `x_mean` their mean, `x_se` its standard
error, `x_low` and `x_high` the 95 % Student t interval; `x_wilson_low` and `x_wilson_high` are Wilson's 95 % interval
over the episodes of one agent. `seeds` counts the trials planned, `done` those that are done.
"""


def _dictionary(results: Results) -> str:
    layers = sum(name.startswith(f"{NETWORKS[0]}_drift_layer_") for name in results.finals.columns)
    finals = describe({**FINALS, **neuron_columns(layers)})
    return DICTIONARY.format(finals=finals, curves=describe(CURVES), phases=describe(PHASES))
