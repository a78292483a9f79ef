import numpy as np
import pandas as pd
import pytest
from synthetic_store import find, learn_first, learn_second, plan_of

import analysis
from analysis import metrics
from analysis.pages import markdown
from analysis.tables import cells, show
from analysis.tables import notes as captions

NAN = float("nan")


def test_numbers_are_rounded_and_never_minus_zero():
    assert [cells.number(value) for value in (0.625, -0.001, 1234.5, float("nan"))] == ["0.62", "0.00", "1,234.50", "-"]
    assert [cells.count(value) for value in (3.0, 3.5)] == ["3", "3.5"]


def statistic(n, mean=0.62, se=0.2, low=0.06, high=1.0, seeds=5):
    return {"x_n": n, "x_mean": mean, "x_se": se, "x_low": low, "x_high": high, "seeds": seeds}


def test_an_estimate_shows_as_much_as_n_allows():
    assert cells.estimate(statistic(5), "x") == "0.62 ± 0.20 [0.06, 1.00]"
    assert cells.estimate(statistic(3), "x") == "0.62 ± 0.20 [0.06, 1.00] (n=3 of 5)"
    assert cells.estimate(statistic(3), "x", interval=False) == "0.62 ± 0.20 (n=3 of 5)"
    assert cells.estimate(statistic(2, low=NAN, high=NAN, seeds=2), "x") == "0.62 ± 0.20"
    assert cells.estimate(statistic(1, se=NAN, low=NAN, high=NAN, seeds=1), "x") == "0.62"
    assert cells.estimate(statistic(1, se=NAN, low=NAN, high=NAN), "x") == "0.62 (n=1 of 5)"
    assert cells.estimate(statistic(0, mean=NAN, low=NAN), "x") == "-"


@pytest.mark.parametrize("interval", [True, False])
def test_equal_seeds_are_never_read_as_certainty(interval):
    equal = statistic(5, mean=1.0, se=0.0, low=NAN, high=NAN)
    assert cells.estimate(equal, "x", interval=interval) == "1.00 (5 of 5 seeds equal)"
    assert cells.estimate(equal | {"x_n": 3}, "x", interval=interval) == "1.00 (3 of 3 seeds equal) (n=3 of 5)"


@pytest.mark.parametrize(
    ("name", "low", "high"), [("sequential", 0, 1), ("forgetting", -1, 1), ("forward_transfer", -np.inf, 1)]
)
def test_an_interval_is_cut_at_what_the_number_can_be_of_rates_alone(name, low, high):
    assert metrics.limits("success", name) == (low, high)
    assert metrics.limits("score", name) == (-np.inf, np.inf)


def test_the_bounds_of_a_table_are_those_of_its_file(store):
    """Individual 1, 1, 0: the t interval would end at 2.10; text and data end at 1."""
    plan = plan_of(seeds=(0, 1, 2), methods=("base",))
    for trial, individual in zip(plan.trials, (10, 10, 0), strict=True):
        learn_first(store, plan, trial, individual)
    shown = show.show_results(analysis.load(store.root, plan))
    assert shown.data[["individual_low", "individual_high"]].to_numpy().tolist() == [[0.0, 1.0]]
    assert shown.text["first task before"].tolist() == ["0.67 ± 0.33 [0.00, 1.00]"]


def test_the_lowest_and_highest_seed_stand_beside_the_mean():
    row = {"x_mean": 0.18, "x_lowest": 0.07, "x_highest": 0.28}
    assert cells.spread(row, "x") == "0.18 (0.07 to 0.28)"
    assert cells.spread(dict.fromkeys(row, 3.0), "x", cells.count) == "3"


def test_columns_that_say_nothing_are_left_out(full, plan):
    shown = show.show_results(analysis.load(full.root, plan))
    assert "settings" not in shown.text
    assert shown.text["neurons"].tolist() == ["", "0.2"]
    without = show.show_results(analysis.load(full.root, plan_of(methods=("base",))))
    assert "neurons" not in without.text


def test_cautions_name_what_to_beware_of(full, plan):
    caption = " ".join(show.show_results(analysis.load(full.root, plan)).caption)
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
    shown = show.show_results(analysis.load(store.root, plan))
    assert shown.text["first task after"].tolist() == ["0.10", "0.10"]
    assert any("One seed ranks nothing" in sentence for sentence in shown.caption)
    assert not any("Student" in sentence for sentence in shown.caption)


def test_a_table_without_rows_is_left_out(store, plan):
    names = [table.name for table in show.all_tables(analysis.load(store.root, plan))]
    assert names == ["results", "individual_sequential", "seeds", "learning", "differences", "trials", "settings"]


def test_what_ran_counts_trials(full, plan):
    assert captions.what_ran(analysis.load(full.root, plan)) == "4 trials: 4 done."


def test_markdown_escapes_what_would_break_a_row():
    text = pd.DataFrame({"a|b": ["x|y", "two\nlines"]})
    assert markdown.table(text) == "| a\\|b |\n| --- |\n| x\\|y |\n| two lines |"
