import io
import re

from rich.console import Console
from synthetic_store import find, learn_first, learn_second, plan_of

import analysis
from analysis.pages.console import console_tables
from nbsp_ray.verbs import report


def shown(results, monkeypatch, width=160):
    """What the verb prints on a console of that width, and the notes below the only table."""
    file = io.StringIO()
    monkeypatch.setattr(report, "plain_console", lambda: Console(width=width, file=file))
    report.print_results(results, title="Toy")
    (table,) = console_tables(results)
    return file.getvalue(), table.notes


def test_one_row_per_method_with_both_tasks(full, plan, monkeypatch):
    text, notes = shown(analysis.load(full.root, plan), monkeypatch)
    lines = [line for line in text.splitlines() if line.strip().startswith("reach > avoid")]
    assert len(lines) == 2
    # Before, after, last five evaluations (0.8, 0.6, 0.4, 0.2 of both seeds), second task, forgetting.
    assert re.split(r"\s{2,}", lines[0].strip()) == [
        *("reach > avoid", "base"),
        *("0.60 ± 0.30", "0.05 ± 0.05", "0.50 (2 of 2 seeds equal)", "0.75 ± 0.25", "0.55 ± 0.25"),
    ]
    assert notes[0] == "4 trials: 4 done."
    assert any("standard error" in note for note in notes)


def test_missing_seeds_and_single_seeds_are_said(store, plan, monkeypatch):
    learn_first(store, plan, find(plan, "base", 0), 9)
    learn_second(store, plan, find(plan, "base", 0), 1, 10)
    text, notes = shown(analysis.load(store.root, plan), monkeypatch)
    assert "0.10 (n=1 of 2)" in text
    assert any("One seed ranks nothing" in note for note in notes)


def test_nothing_done_is_a_table_of_dashes(store, monkeypatch):
    text, notes = shown(analysis.load(store.root, plan_of()), monkeypatch)
    assert "nbsp" in text
    assert "0." not in text.replace("0.2", "")
    assert notes[0] == "4 trials: 4 waiting."


def test_the_longest_names_stay_on_one_line_in_a_narrow_terminal(store, monkeypatch):
    plan = plan_of(benchmark="metaworld", pairs=(("drawer-close", "drawer-open"),), methods=("nbsp_critic", "base"))
    text, _ = shown(analysis.load(store.root, plan), monkeypatch, width=110)
    (line,) = [line for line in text.splitlines() if "nbsp_critic" in line]
    assert line.strip().startswith("drawer-close > drawer-open")
    assert max(map(len, text.splitlines())) <= 110


def test_at_eighty_and_sixty_columns_no_number_is_cut(full, plan, monkeypatch):
    """Where columns do not fit, each row is a list: all numbers of base by hand, as in the wide table."""
    numbers = ("0.60 ± 0.30", "0.05 ± 0.05", "0.50 (2 of 2 seeds equal)", "0.75 ± 0.25", "0.55 ± 0.25")
    for width in (80, 60):
        text, notes = shown(analysis.load(full.root, plan), monkeypatch, width)
        assert max(map(len, text.splitlines())) <= width
        words = text.split()
        assert [word for number in numbers for word in number.split() if word not in words] == []
        assert all(word in words for word in " ".join(notes).split())
