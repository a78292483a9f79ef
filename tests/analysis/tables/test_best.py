from synthetic_store import learn_first, learn_second, plan_of

import analysis
from analysis.tables.best import NONE_IS_BEST, RULE, best_groups
from analysis.tables.results import show_results


def filled(store, base, nbsp):
    """Successes of 10 on the first task after, one for each seed; on the second task 9 always."""
    plan = plan_of(seeds=tuple(range(len(base))))
    for trial in plan.trials:
        learn_first(store, plan, trial, 9)
        learn_second(store, plan, trial, (base if trial.method == "base" else nbsp)[trial.seed], 9)
    return analysis.load(store.root, plan)


def test_the_best_is_bold_where_the_interval_allows(store):
    # Ahead by 0.8, 0.7, 0.7.
    results = filled(store, (0, 1, 2), (8, 8, 9))
    assert best_groups(results.finals, "first_after") == {("toy", "reach > avoid", "nbsp", "0.2", "")}
    assert best_groups(results.finals, "second") == set()
    shown = show_results(results)
    assert shown.text["first task after"].tolist() == ["0.10 ± 0.06 [0.00, 0.35]", "**0.83 ± 0.03 [0.69, 0.98]**"]
    assert RULE in shown.caption
    assert "**" not in str(show_results(results, interval=False).text)


def test_a_lead_that_the_seeds_leave_open_is_not(store):
    # Ahead by 0.8, -0.1, 0.7: 0.467 -+ 4.30 x 0.285.
    results = filled(store, (0, 9, 2), (8, 8, 9))
    assert best_groups(results.finals, "first_after") == set()
    assert NONE_IS_BEST in show_results(results).caption


def test_two_seeds_have_no_best(store):
    assert best_groups(filled(store, (0, 1), (8, 8)).finals, "first_after") == set()


def test_intervals_of_rates_are_cut_alike_in_every_place(store, tmp_path):
    """(0, 0, 2) of 10: 0.067 -+ 4.30 x 0.067 would be -0.22."""
    results = filled(store, (0, 0, 2), (0, 0, 2))
    row = analysis.tables.results.results_table(results).iloc[0]
    assert (row["first_after_low"], round(row["first_after_high"], 3)) == (0.0, 0.354)
    assert show_results(results).text["first task after"].iloc[0] == "0.07 ± 0.07 [0.00, 0.35]"
