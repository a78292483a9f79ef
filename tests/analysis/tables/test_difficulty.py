import numpy as np
import pytest
from synthetic_store import FIRST, SECOND, evaluations, find, games_of, learn, plan_of, play_all

import analysis
from analysis.tables.difficulty import difficulty_table, show_difficulty

PAIRS = ((FIRST, SECOND), (SECOND, FIRST))
CURVES = {
    FIRST: ((0, 0, 1, 1, 1), (0, 0, 0.5, 1, 1), (0, 0, 0, 0, 0)),
    SECOND: ((0.9, 0.9, 1, 1, 1), (0, 1, 1, 1, 1), (0, 0, 0, 0, 0)),
}


@pytest.fixture
def results(store):
    """Three seeds of each first task: `reach` is there at 200, never and never, `avoid` at 0, 100 and never."""
    plan = plan_of(pairs=PAIRS, methods=("base",), seeds=(0, 1, 2))
    for tasks in PAIRS:
        for seed, curve in enumerate(CURVES[tasks[0]]):
            learn(store, plan, find(plan, "base", seed, tasks).phases[0], evaluations(tasks[0], curve))
    return analysis.load(store.root, plan)


def test_tasks_stand_in_order_of_their_median(results):
    easy, hard = difficulty_table(results).to_dict("records")
    assert (easy["task"], hard["task"]) == (SECOND, FIRST)
    # 0, 100, later than any: the middle one. Of the other, two of three never.
    assert easy["env_steps_median"] == 100
    assert np.isnan(hard["env_steps_median"])
    assert [(row["reached"], row["ended"], row["seeds"]) for row in (easy, hard)] == [(2, 3, 3), (1, 3, 3)]
    # Clopper and Pearson of 2 of 3.
    assert (easy["share_low"], easy["share_high"]) == pytest.approx((0.09430, 0.99160), abs=1e-5)


def test_what_a_confirmation_refutes_was_luck(store):
    """Three at the threshold by 300, of which further episodes confirm nothing: counting begins again."""
    curve, plan = (0, 0.9, 1, 1, 1, 0.9, 1), plan_of(methods=("base",), seeds=(0, 1, 2))
    for seed, success in enumerate((0.88, 0.9, None)):
        rows = evaluations(FIRST, curve)
        confirmation = rows[3] | {"kind": "confirmation", "success": success, "episodes": 50}
        rows.insert(4, confirmation)
        kept = rows[:4] + rows[5:] if success is None else rows
        learn(store, plan, find(plan, "base", seed).phases[0], kept, env_steps=600)
    found = analysis.load(store.root, plan).phases
    steps = found[found["phase"] == 0].set_index("seed")["env_steps_to_threshold"]
    assert steps.to_dict() == {0: 400, 1: 100, 2: 100}


def test_it_is_shown_with_how_many_reached_it(results):
    shown = show_difficulty(results)
    assert shown.text.iloc[0].to_dict() == {
        "task": SECOND,
        "env steps, median": "100",
        "fewest to most": "0 to 100",
        "succeeded stably": "2 of 3 [0.09, 0.99]",
        "budget": "400",
        "first phases ended": "3 of 3",
    }
    assert shown.text.iloc[1]["env steps, median"] == "-"
    assert "3 evaluations in a row of at least 0.9, each of 10 episodes, confirmed by 50 more." in shown.caption[0]
    assert results.phases["env_steps_to_threshold"].notna().sum() == 3


def test_a_curve_that_is_cut_off_is_not_a_task_that_was_never_learnt(store):
    plan = plan_of(methods=("base",))
    for seed, curve in enumerate(((0, 1, 1, 1, 1), (0, 0))):
        learn(store, plan, find(plan, "base", seed).phases[0], evaluations(FIRST, curve))
    (row,) = difficulty_table(analysis.load(store.root, plan)).to_dict("records")
    assert (row["reached"], row["ended"], row["phases"]) == (1, 1, 2)


def test_games_have_no_such_table(store):
    games = games_of()
    play_all(store, games)
    assert not len(difficulty_table(analysis.load(store.root, games)))
