import io
import re

from rich.console import Console
from synthetic_store import find, learn_first, learn_second, plan_of

import analysis
from analysis.pages.console import console_tables


def shown(results, width=160):
    ((table, notes),) = console_tables(results, title="Toy")
    text = io.StringIO()
    Console(width=width, file=text).print(table)
    return text.getvalue(), notes


def test_one_row_per_method_with_both_tasks(full, plan):
    text, notes = shown(analysis.load(full.root, plan))
    lines = [line for line in text.splitlines() if "reach > avoid" in line]
    assert len(lines) == 2
    # Before, after, last five evaluations (0.8, 0.6, 0.4, 0.2 of both seeds), second task, forgetting.
    assert re.split(r"\s{2,}", lines[0].strip()) == [
        *("reach > avoid", "base"),
        *("0.60 ± 0.30", "0.05 ± 0.05", "0.50 (2 of 2 seeds equal)", "0.75 ± 0.25", "0.55 ± 0.25"),
    ]
    assert notes[0] == "4 trials: 4 done."
    assert any("standard error" in note for note in notes)


def test_missing_seeds_and_single_seeds_are_said(store, plan):
    learn_first(store, plan, find(plan, "base", 0), 9)
    learn_second(store, plan, find(plan, "base", 0), 1, 10)
    text, notes = shown(analysis.load(store.root, plan))
    assert "0.10 (n=1 of 2)" in text
    assert any("One seed ranks nothing" in note for note in notes)


def test_nothing_done_is_a_table_of_dashes(store):
    text, notes = shown(analysis.load(store.root, plan_of()))
    assert "nbsp" in text
    assert "0." not in text.replace("0.2", "")
    assert notes[0] == "4 trials: 4 missing."


def test_the_longest_names_stay_on_one_line_in_a_narrow_terminal(store):
    plan = plan_of(benchmark="metaworld", pairs=(("drawer-close", "drawer-open"),), methods=("nbsp_critic", "base"))
    text, _ = shown(analysis.load(store.root, plan), width=110)
    (line,) = [line for line in text.splitlines() if "nbsp_critic" in line]
    assert line.strip().startswith("drawer-close > drawer-open")
    assert max(map(len, text.splitlines())) <= 110
