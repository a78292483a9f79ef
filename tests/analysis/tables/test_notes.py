from synthetic_store import find, learn_first, learn_second, plan_of

import analysis
from analysis.tables import notes as captions
from analysis.tables.results import show_results


def test_cautions_name_what_to_beware_of(full, plan):
    caption = " ".join(show_results(analysis.load(full.root, plan)).caption)
    assert "1 of 2 first phases did not learn" in caption
    assert "Not one of the paper's pairs: reach > avoid." in caption
    assert "paper's methods" not in caption
    assert "Fewer than three seeds have none" in caption
    assert "Seeds are missing" not in caption


def test_one_seed_ranks_nothing(store):
    plan = plan_of(seeds=(0,))
    learn_first(store, plan, find(plan, "base", 0), 9)
    for method in ("base", "nbsp"):
        learn_second(store, plan, find(plan, method, 0), 1, 10)
    shown = show_results(analysis.load(store.root, plan))
    assert shown.text["first task after"].tolist() == ["0.10", "0.10"]
    assert any("One seed ranks nothing" in sentence for sentence in shown.caption)
    assert not any("Student" in sentence for sentence in shown.caption)


def test_what_ran_counts_trials(full, plan):
    assert captions.what_ran(analysis.load(full.root, plan)) == "4 trials: 4 done."
