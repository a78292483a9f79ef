import io

from rich.console import Console
from synthetic_store import find, learn_first, learn_second, plan_of

import analysis
from analysis.console import console_table


def shown(results):
    table, notes = console_table(results, title="Toy")
    text = io.StringIO()
    Console(width=160, file=text).print(table)
    return text.getvalue(), notes


def test_one_row_per_method_with_both_tasks(full, plan):
    text, notes = shown(analysis.load(full.root, plan))
    lines = [line for line in text.splitlines() if "reach > avoid" in line]
    assert len(lines) == 2
    assert [cell.strip() for cell in lines[0].split("│")[1:-1]] == [
        *("reach > avoid", "base", ""),
        *("0.60 ± 0.30", "0.05 ± 0.05", "0.75 ± 0.25", "0.55 ± 0.25"),
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
