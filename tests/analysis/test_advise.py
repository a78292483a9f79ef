import numpy as np
import pytest
from synthetic_store import FIRST, NBSP_REPORT, SECOND, learn_first, learn_second, plan_of

import analysis
from analysis.advise import advice_notes
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
    assert first.behind_best.mean == pytest.approx(0.3)
    assert best.behind_best.n == 0
    assert last.behind_best.mean == pytest.approx(0.3)
    assert np.isnan([count.best_share for count in advice.counts]).all(), "of two seeds a resample says nothing"


def test_a_clear_lead_of_several_seeds_is_said(store):
    results = filled(
        store, {0.1: [(2, 8), (3, 8), (3, 7)], 0.2: [(8, 8), (9, 8), (8, 9)], 0.8: [(9, 0), (9, 1), (8, 0)]}
    )
    (advice,) = analysis.advise(results, 0.5)
    # Behind by 0.3, 0.3, 0.35: 0.316667 -+ 4.302653 x 0.016667.
    assert advice.counts[0].behind_best.low == pytest.approx(0.316667 - 4.302653 * 0.0166667, abs=1e-5)
    assert advice.ties == []
    assert "every other count is worse, beyond what 3 seeds leave open" in advice.sentence()
    assert [count.best_share for count in advice.counts] == [0, 1, 0]


def test_two_seeds_with_the_same_lead_cannot_tell(store):
    """The difference is exactly .05 in both: an interval without width is no certainty."""
    results = filled(store, {0.1: [(7, 8), (5, 8)], 0.2: [(8, 8), (6, 8)], 0.8: [(1, 0), (2, 0)]})
    (advice,) = analysis.advise(results, 0.5)
    behind = advice.counts[0].behind_best
    assert (behind.n, behind.mean, behind.equal) == (2, pytest.approx(0.05), True)
    assert [count.label for count in advice.ties] == ["0.1", "0.8"]
    assert "2 seeds are too few to tell it apart from 0.1, 0.8" in advice.sentence()


def test_a_lead_that_is_the_same_in_every_seed_cannot_tell_either(store):
    results = filled(store, {0.1: [(7, 8)] * 4, 0.2: [(8, 8)] * 4, 0.8: [(1, 0), (2, 0), (1, 1), (1, 0)]})
    (advice,) = analysis.advise(results, 0.5)
    assert [count.label for count in advice.ties] == ["0.1"]
    assert "the same in every seed, which has no interval: 0.1" in advice.sentence()
    # All resamples agree on the two, which is no certainty; of the third they may be asked.
    shares = [count.best_share for count in advice.counts]
    assert np.isnan(shares[:2]).all()
    assert shares[2] == 0


def test_trials_whose_neurons_were_drawn_at_random_are_left_out_in_a_second_advice(store):
    plan = plan_of(methods=("nbsp",), skill_neurons=(0.2, 0.8), seeds=(0, 1, 2))
    for trial in plan.trials:
        learn_first(store, plan, trial, 9)
        undefined = trial.seed == 2
        after = 10 if undefined and trial.skill_neurons == 0.8 else 5 if trial.skill_neurons == 0.2 else 2
        learn_second(store, plan, trial, after, 5, **{**NBSP_REPORT, "score_undefined": undefined})
    every, without = analysis.advise(analysis.load(store.root, plan), 1.0)
    assert (every.seeds, without.seeds) == (3, 2)
    assert without.label == "reach > avoid, nbsp, without undefined scores"
    assert every.counts[1].value.mean == pytest.approx((0.2 + 0.2 + 1.0) / 3)
    assert without.counts[1].value.mean == pytest.approx(0.2)
    assert "drawn at random" in " ".join(advice_notes(analysis.load(store.root, plan), 1.0))


def test_the_weight_decides(store):
    results = filled(store, {0.1: [(2, 10), (3, 10)], 0.2: [(6, 6), (6, 6)], 0.8: [(10, 0), (10, 1)]})
    assert [analysis.advise(results, weight)[0].best.label for weight in (0.0, 1.0)] == ["0.1", "0.8"]


def test_it_says_what_the_data_cannot_tell_apart(store):
    # 0.2 leads by 0.1 on average, but the seeds disagree: differences 0.2, -0.1 and 0.2.
    results = filled(
        store, {0.1: [(4, 8), (9, 8), (4, 8)], 0.2: [(8, 8), (7, 8), (8, 8)], 0.8: [(1, 0), (1, 0), (2, 0)]}
    )
    (advice,) = analysis.advise(results, 0.5)
    assert advice.best.label == "0.2"
    assert "0.1" in [count.label for count in advice.ties]
    assert "3 seeds cannot tell it apart from 0.1" in advice.sentence()
    shares = [count.best_share for count in advice.counts]
    # With the second seed twice a sample is at a tie (6 of 27, shared), with it three times 0.1 is ahead (1 of 27).
    assert shares == pytest.approx([4 / 27, 23 / 27, 0], abs=0.03)


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
