"""Every trial by itself."""

from collections.abc import Callable

import pandas as pd

from analysis.frames.load import Results
from analysis.statistics import wilson_interval
from analysis.tables import cells
from analysis.tables.cells import Cells
from analysis.tables.groups import GROUP, SUCCESSES
from analysis.tables.table import Shown, present

KEY_DIGITS = 8
ROOT = "ROOT/"
"""In a link the results root, until the page says where it lies."""


def trials_table(results: Results) -> pd.DataFrame:
    """One row per trial: every seed's numbers, a Wilson interval for each success rate, and where to look further.

    Of scores the raw ones stand in place of the intervals, as `first_before_return` and so on.
    """
    columns = [*GROUP, "skill_neurons", "seed", "status", *SUCCESSES, "forgetting", "retention_last_5", "auc_second"]
    columns += ["env_steps_to_threshold", "forward_transfer", "stop_reason_second", "learnt_first", "score_undefined"]
    columns += ["env_steps_first", "env_steps_second", "env_steps_auxiliary", "measure"]
    scored = results.measure == "score"
    columns += [f"{name}_return" for name in (*SUCCESSES, "retention_last_5", "auc_second") if scored]
    table = results.finals[columns].copy()
    for name in SUCCESSES:
        table[f"{name}_n"] = results.finals[f"{name}_n"]
        if scored:
            continue
        rates, episodes = results.finals[name], results.finals[f"{name}_n"].fillna(0)
        intervals = [wilson_interval(rate, int(n)) for rate, n in zip(rates, episodes, strict=True)]
        table[f"{name}_wilson_low"] = [low for low, _ in intervals]
        table[f"{name}_wilson_high"] = [high for _, high in intervals]
    for name in ("key_first", "key_second"):
        table[name] = results.finals[name]
    return table


def show_trials(results: Results) -> Shown:
    """`trials_table`: every seed."""
    data, words, films = trials_table(results), results.words, films_of(results)
    task, of_agent = words.task, cells.rate_of_agent if words.is_rate else cells.score_of_agent
    columns: dict[str, Callable[[Cells], str]] = {
        "seed": lambda row: str(row["seed"]),
        "status": lambda row: str(row["status"]),
        "keys": lambda row: " ".join(link_of(row[name]) for name in ("key_first", "key_second")),
        f"first {task} before": lambda row: of_agent(row, "first_before"),
        f"first {task} after": lambda row: of_agent(row, "first_after"),
        f"second {task}": lambda row: of_agent(row, "second"),
    }
    if not words.is_rate:
        columns["normalised"] = lambda row: " / ".join(cells.number(row[name]) for name in SUCCESSES)
    columns |= {
        "forgetting": lambda row: cells.number(row["forgetting"]),
        f"first {task}, last 5": lambda row: cells.number(row["retention_last_5"]),
        "AUC": lambda row: cells.number(row["auc_second"]),
        "stopped": lambda row: cells.or_none(row["stop_reason_second"]),
        "env steps": cells.cost,
    }
    if any(films.values()):
        columns["films"] = lambda row: _links(films[row["key_second"]])
    numbers = (
        "In brackets Wilson's 95 % interval over the episodes of that one agent: it says nothing about other seeds."
        if words.is_rate
        else "Raw scores with the number of episodes they are means of; normalised: the same three; forgetting, last 5 "
        "and AUC are normalised too."
    )
    caption = [
        f"{numbers} Env steps: of the first phase (shared by other trials), of the last, and of auxiliary phases that "
        "the method reads. Keys: the first digits of the phases' folders, which they lead to while the results root "
        "is where it was; `nbsp-ray show KEY` says what is in one. `data/episodes.csv` has every episode by its key."
    ]
    return present("trials", "Every trial", data, columns, caption)


def link_of(key: str) -> str:
    """The first digits of a key, as a link to the phase's folder."""
    return f"[`{key[:KEY_DIGITS]}`]({ROOT}phases/{key}/)"


def films_of(results: Results) -> dict[str, list[str]]:
    """Folders of films below the results root, of each trial by the key of its last phase."""
    reports = results.root / "reports"
    of_sweep = [folder for folder in (reports / results.plan.name / "films").glob("*") if folder.is_dir()]
    found: dict[str, list[str]] = {}
    for trial in results.plan.trials:
        folders = [one for one in of_sweep if one.name == trial.name]
        folders += [one for key in trial.phases if (one := reports / "films" / key).is_dir()]
        found[trial.phases[-1]] = [one.relative_to(results.root).as_posix() for one in folders]
    return found


def _links(folders: list[str]) -> str:
    return " ".join(f"[films]({ROOT}{folder}/)" for folder in folders)
