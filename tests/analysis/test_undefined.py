"""Trials whose score was undefined, so that their neurons were drawn at random: marked in every table."""

import pytest
from pages import data_of
from synthetic_store import FIRST, NBSP_REPORT, SECOND, find, learn, learn_first, learn_second, plan_of

import analysis
from analysis.figures import all_figures
from analysis.tables import all_tables
from analysis.tables.across_pairs import across_pairs_table
from analysis.tables.differences import differences_table
from analysis.tables.learning import learning_table
from analysis.tables.results import results_table
from analysis.tables.sequences import sequences_table
from analysis.tables.table import UNDEFINED, UNDEFINED_NOTE

PAIRS = ((FIRST, SECOND), (SECOND, FIRST))
NO_SCORE_IN_IT = {"first_task", "difficulty", "settings"}
"""The first task before and after plain SAC, which has no score; first phases; no trials at all."""


@pytest.fixture
def results(store):
    """Two pairs, three seeds; of nbsp the score of seed 2 was undefined. After: base 1, nbsp 6, 8 and 1 of 10."""
    plan = plan_of(pairs=PAIRS, seeds=(0, 1, 2))
    for trial in plan.trials:
        learn_first(store, plan, trial, 9)
        if trial.method == "base":
            learn_second(store, plan, trial, 1, 9)
        else:
            report = NBSP_REPORT | {"score_undefined": trial.seed == 2}
            learn_second(store, plan, trial, (6, 8, 1)[trial.seed], 9, **report)
    return analysis.load(store.root, plan)


def rows_of(table):
    """Rows of nbsp on the first pair."""
    return [row for row in table.to_dict("records") if (row["method"], row["pair"]) == ("nbsp", "reach > avoid")]


def test_every_table_marks_them(results):
    shown = {table.name: table for table in all_tables(results)}
    marked = {name for name, table in shown.items() if UNDEFINED in table.text}
    assert marked == set(shown) - NO_SCORE_IN_IT
    assert marked >= {"results", "seeds", "learning", "differences", "across_pairs", "neurons", "trials"}
    assert all((UNDEFINED_NOTE in shown[name].caption) == (name in marked) for name in shown)
    for name in marked - {"trials"}:
        text = shown[name].text
        own = text[text["method"] == "nbsp"][UNDEFINED]
        assert set(own) == {"2 of 6" if name == "across_pairs" else "1 of 3", "left out"}
        assert not text[text["method"] == "base"][UNDEFINED].any()
    assert shown["trials"].text[UNDEFINED].tolist().count("yes") == 2


def test_means_are_given_with_them_and_without(results):
    every, without = rows_of(results_table(results))
    assert (every["scope"], every["seeds"], every["score_undefined"]) == ("all", 3, 1)
    assert (without["scope"], without["seeds"], without["score_undefined"]) == ("defined", 2, 0)
    assert (every["first_after_mean"], without["first_after_mean"]) == pytest.approx((0.5, 0.7))
    found = [row["first_after_difference_mean"] for row in rows_of(differences_table(results))]
    assert found == pytest.approx([0.4, 0.6])
    assert [row["auc_second_n"] for row in rows_of(learning_table(results))] == [3, 2]
    # .1 .1 .6 .6 .8 .8, one cut at each end; then .6 .6 .8 .8.
    found = [row["first_after_iqm"] for row in across_pairs_table(results).to_dict("records")]
    assert found == pytest.approx([0.1, (0.1 + 0.6 + 0.6 + 0.8) / 4, 0.7])


def test_a_group_all_of_whose_scores_are_undefined_has_one_marked_row(store):
    plan = plan_of(methods=("nbsp",))
    for seed in (0, 1):
        learn_second(store, plan, find(plan, "nbsp", seed), 1, 1, score_undefined=True)
    shown = {table.name: table for table in all_tables(analysis.load(store.root, plan))}
    assert shown["results"].text[UNDEFINED].tolist() == ["2 of 2"]


def test_nothing_is_said_where_all_scores_are_defined(full, plan):
    for table in all_tables(analysis.load(full.root, plan)):
        assert UNDEFINED not in table.text
        assert UNDEFINED_NOTE not in table.caption


def test_of_a_sequence_an_earlier_phase_counts_too(store):
    plan = plan_of(pairs=((FIRST, SECOND, FIRST),), methods=("nbsp",))
    for trial in plan.trials:
        for key, undefined in zip(trial.phases[1:], (trial.seed == 1, False), strict=True):
            learn(store, plan, key, [], score_undefined=undefined)
    results = analysis.load(store.root, plan)
    assert results.finals["score_undefined"].tolist() == [False, True]
    rows = sequences_table(results).to_dict("records")
    assert [(row["scope"], row["seeds"]) for row in rows] == [("all", 2), ("defined", 1)]


def test_figures_say_of_how_many_trials_it_is_so(store):
    plan = plan_of(methods=("nbsp",))
    for seed in (0, 1):
        learn_second(store, plan, find(plan, "nbsp", seed), 1, 1, score_undefined=seed == 1)
    captions = {one.name: " ".join(one.caption) for one in all_figures(analysis.load(store.root, plan))}
    assert list(captions) == ["methods", "first_tasks"]
    assert "Score undefined in 1 of 2 trials" in captions["methods"]
    assert "Score undefined" not in captions["first_tasks"]


def test_the_explorer_says_so_in_its_table_and_of_a_trial(results):
    data = data_of(results)
    assert [count["undefined"] for one in data["series"] for count in one["counts"]] == [0, 1, 0, 1]
    assert [trial["undefined"] for trial in data["trials"]].count(True) == 2
    assert any("drawn at random" in rule for rule in data["rules"])
