import pytest
from synthetic_store import find, games_of, learn_first, learn_second, plan_of, play_all

import analysis
from analysis.tables.seeds import seeds_table, show_seeds


@pytest.fixture
def results(store):
    """Five seeds of base: 1, 1, 0.9, 0 and 0 on the first task, 0.8 on the second."""
    plan = plan_of(methods=("base",), seeds=range(5))
    for seed, after in enumerate((10, 10, 9, 0, 0)):
        learn_first(store, plan, find(plan, "base", seed), 10)
        learn_second(store, plan, find(plan, "base", seed), after, 8)
    return analysis.load(store.root, plan)


def test_worst_median_best_and_the_share_of_good_seeds_by_hand(results):
    (row,) = seeds_table(results).to_dict("records")
    found = [row[f"first_after_{what}"] for what in ("mean", "worst", "median", "best", "good", "share")]
    assert found == pytest.approx([0.58, 0, 0.9, 1, 3, 0.6])
    # Clopper and Pearson of 3 of 5, of 5 of 5 and of 0 of 5.
    assert (row["first_after_share_low"], row["first_after_share_high"]) == pytest.approx((0.14663, 0.94726), abs=1e-5)
    assert (row["first_before_share_low"], row["first_before_share_high"]) == pytest.approx((0.025**0.2, 1))
    assert (row["second_share_low"], row["second_share_high"]) == pytest.approx((0, 1 - 0.025**0.2))


def test_they_stand_beside_the_mean(results):
    text = show_seeds(results).text.iloc[0]
    assert text["first task after"] == "0.58: 0.00, 0.90, 1.00"
    assert text["first task after ≥ 0.9"] == "3 of 5 [0.15, 0.95]"
    assert text["second task ≥ 0.9"] == "0 of 5 [0.00, 0.52]"


def test_seeds_that_differ_are_never_printed_alike(store):
    """0.995 is 1.00 to two digits."""
    plan = plan_of(methods=("base",), seeds=range(3), evaluation={"episodes": 200})
    for seed, after in enumerate((199, 200, 200)):
        learn_first(store, plan, find(plan, "base", seed), 200)
        learn_second(store, plan, find(plan, "base", seed), after, 160)
    text = show_seeds(analysis.load(store.root, plan)).text.iloc[0]
    assert text["first task after"] == "0.998: 0.995, 1.000, 1.000"
    assert text["first task before"] == "1.00: 1.00, 1.00, 1.00"


def test_nothing_done_is_a_dash_and_scores_have_no_such_table(store):
    text = show_seeds(analysis.load(store.root, plan_of(methods=("base",)))).text.iloc[0]
    assert text["first task after"] == text["first task after ≥ 0.9"] == "-"
    games = games_of()
    play_all(store, games)
    assert not len(show_seeds(analysis.load(store.root, games)).data)
