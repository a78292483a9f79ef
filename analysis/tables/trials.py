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
        table[name] = results.finals[name].str.slice(0, KEY_DIGITS)
    return table


def show_trials(results: Results) -> Shown:
    """`trials_table`: every seed."""
    data, words = trials_table(results), results.words
    task, of_agent = words.task, cells.rate_of_agent if words.is_rate else cells.score_of_agent
    columns: dict[str, Callable[[Cells], str]] = {
        "seed": lambda row: str(row["seed"]),
        "status": lambda row: str(row["status"]),
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
