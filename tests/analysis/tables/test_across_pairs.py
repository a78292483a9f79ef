import numpy as np
import pytest
from synthetic_store import FIRST, SECOND, learn_first, learn_second, plan_of

import analysis
from analysis.tables.across_pairs import across_pairs_table, show_across_pairs

PAIRS = ((FIRST, SECOND), (SECOND, FIRST))
AFTER = {"base": {PAIRS[0]: (1, 3), PAIRS[1]: (5, 5)}, "nbsp": {PAIRS[0]: (9, 2), PAIRS[1]: (5, 8)}}


@pytest.fixture
def results(store):
    plan = plan_of(pairs=PAIRS)
    for trial in plan.trials:
        learn_first(store, plan, trial, 10)
        learn_second(store, plan, trial, AFTER[trial.method][trial.tasks][trial.seed], 10)
    return analysis.load(store.root, plan)


def test_iqm_and_improvement_by_hand(results):
    base, nbsp = across_pairs_table(results).to_dict("records")
    # Of 0.1, 0.3, 0.5, 0.5 the lowest and the highest are cut; of 0.9, 0.2, 0.5, 0.8 too.
    assert base["first_after_iqm"] == pytest.approx(0.4)
    assert nbsp["first_after_iqm"] == pytest.approx(0.65)
    assert (nbsp["pairs"], nbsp["first_after_pairs"], nbsp["first_after_runs"]) == (2, 2, 4)
    # First pair: 0.9 beats both, 0.2 beats 0.1 alone; second: 0.5 ties twice, 0.8 beats both.
    assert nbsp["first_after_improvement"] == pytest.approx((3 / 4 + (1 + 2) / 4) / 2)
    assert nbsp["second_improvement"] == 0.5
    assert np.isnan(base["first_after_improvement"])
    # Two seeds have no interval.
    assert nbsp["first_after_fewest_seeds"] == 2
    assert np.isnan([nbsp["first_after_iqm_low"], nbsp["first_after_iqm_high"]]).all()


def test_a_seed_that_is_good_in_both_pairs_is_drawn_for_both(store):
    """Seeds 0.2, 0.5, 0.8 in each pair: drawn jointly, an interval goes from one seed to the other, 0.2 to 0.8."""
    plan = plan_of(pairs=PAIRS, seeds=(0, 1, 2), methods=("base",))
    for trial in plan.trials:
        learn_first(store, plan, trial, 10)
        learn_second(store, plan, trial, (2, 5, 8)[trial.seed], 10)
    (row,) = across_pairs_table(analysis.load(store.root, plan)).to_dict("records")
    found = [row[f"first_after_iqm{suffix}"] for suffix in ("", "_low", "_high")]
    assert found == pytest.approx([0.5, 0.2, 0.8])
    # The second task is 1.0 in all runs: no width, no interval.
    assert np.isnan(row["second_iqm_low"])


def test_the_caption_says_interval_seed_and_coverage(results):
    shown = show_across_pairs(results)
    caption = " ".join(shown.caption)
    assert "2,000 resamples, seed 20260" in caption
    assert "about 93 % of cases" in caption
    assert "pair" not in shown.text
    assert shown.text["runs"].tolist() == ["4 of 4", "4 of 4"]


def test_one_pair_has_nothing_across(full, plan):
    assert not len(across_pairs_table(analysis.load(full.root, plan)))


def test_a_missing_pair_is_said(store):
    plan = plan_of(pairs=PAIRS)
    for trial in plan.trials:
        if trial.tasks == PAIRS[0]:
            learn_first(store, plan, trial, 10)
            learn_second(store, plan, trial, 5, 10)
    shown = show_across_pairs(analysis.load(store.root, plan))
    assert shown.text["pairs"].tolist() == ["1 of 2", "1 of 2"]
    assert "cannot be compared" in " ".join(shown.caption)
