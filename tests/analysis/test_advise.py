import numpy as np
import pytest
from synthetic_store import FIRST, SECOND, learn_first, learn_second, plan_of

import analysis
from nbsp_ray.errors import NbspError

COUNTS = (0.1, 0.2, 0.8)


def filled(store, values, pairs=((FIRST, SECOND),), **changes):
    """A sweep over counts; `values[count]` are successes of 10 on both tasks, one pair of numbers per seed."""
    seeds = tuple(range(max(map(len, values.values()))))
    plan = plan_of(methods=("nbsp",), skill_neurons=COUNTS, seeds=seeds, pairs=pairs, **changes)
    for trial in plan.trials:
        learn_first(store, plan, trial, 9)
        of_count = values[trial.skill_neurons]
        if trial.seed < len(of_count):
            learn_second(store, plan, trial, *of_count[trial.seed])
    return analysis.load(store.root, plan)


def test_the_best_count_by_hand(store):
    results = filled(store, {0.1: [(2, 8), (3, 8)], 0.2: [(8, 8), (9, 8)], 0.8: [(10, 0), (10, 1)]})
    (advice,) = analysis.advise(results, 0.5)
    assert advice.best.label == "0.2"
    assert [count.value.mean for count in advice.counts] == pytest.approx([0.525, 0.825, 0.525])
    first, best, last = advice.counts
    # Behind by 0.3 in both seeds: an interval without width.
    assert (first.behind_best.mean, first.behind_best.low) == pytest.approx((0.3, 0.3))
    assert best.behind_best.n == 0
    # Behind by 0.3 and 0.3 too.
    assert last.behind_best.mean == pytest.approx(0.3)
    assert advice.ties == []
    assert [count.best_share for count in advice.counts] == [0, 1, 0]
    assert "every other count is worse" in advice.sentence()


def test_the_weight_decides(store):
    results = filled(store, {0.1: [(2, 10), (3, 10)], 0.2: [(6, 6), (6, 6)], 0.8: [(10, 0), (10, 1)]})
    assert [analysis.advise(results, weight)[0].best.label for weight in (0.0, 1.0)] == ["0.1", "0.8"]


def test_it_says_what_the_data_cannot_tell_apart(store):
    # 0.2 leads by 0.05 on average, but the seeds disagree: differences 0.2 and -0.1.
    results = filled(store, {0.1: [(4, 8), (9, 8)], 0.2: [(8, 8), (7, 8)], 0.8: [(1, 0), (1, 0)]})
    (advice,) = analysis.advise(results, 0.5)
    assert advice.best.label == "0.2"
    assert [count.label for count in advice.ties] == ["0.1"]
    assert "2 seeds cannot tell it apart from 0.1" in advice.sentence()
    shares = [count.best_share for count in advice.counts]
    # Of the four samples of two seeds, 0.1 is ahead in one (the second seed twice).
    assert shares == pytest.approx([0.25, 0.75, 0], abs=0.03)


def test_one_seed_is_no_advice(store):
    results = filled(store, {0.1: [(4, 8)], 0.2: [(8, 8)], 0.8: [(1, 0)]})
    (advice,) = analysis.advise(results, 0.5)
    assert "one seed ranks nothing" in advice.sentence()
    assert np.isnan(advice.counts[0].best_share)


def test_equal_counts_give_the_smallest(store):
    results = filled(store, {count: [(5, 5), (6, 6)] for count in COUNTS})
    (advice,) = analysis.advise(results, 0.5)
    assert advice.best.label == "0.1"
    assert [count.label for count in advice.ties] == ["0.2", "0.8"]


def test_only_seeds_that_all_counts_have_are_compared(store):
    results = filled(store, {0.1: [(4, 8), (4, 8)], 0.2: [(8, 8)], 0.8: []})
    (advice,) = analysis.advise(results, 0.5)
    assert advice.seeds == 1
    assert advice.left_out == ("0.8",)


def test_several_pairs_are_also_taken_together(store):
    values = {0.1: [(2, 8), (3, 8)], 0.2: [(8, 8), (9, 8)], 0.8: [(10, 0), (10, 1)]}
    results = filled(store, values, pairs=((FIRST, SECOND), (SECOND, FIRST)))
    assert [advice.label for advice in analysis.advise(results, 0.5)] == [
        "reach > avoid, nbsp",
        "avoid > reach, nbsp",
        "all 2 pairs, nbsp",
    ]


def test_bad_input_is_said(store, plan):
    results = analysis.load(store.root, plan)
    with pytest.raises(NbspError, match="takes a number in"):
        analysis.advise(results, 1.5)
    with pytest.raises(NbspError, match="one number of skill neurons"):
        analysis.advise(results, 0.5)
    with pytest.raises(NbspError, match="no two numbers"):
        analysis.advise(analysis.load(store.root, plan_of(methods=("nbsp",), skill_neurons=COUNTS)), 0.5)
