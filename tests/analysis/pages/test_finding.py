from synthetic_store import FIRST, SECOND, find, learn_first, learn_second, plan_of

import analysis
from analysis.pages.finding import finding


def filled(store, plan, after):
    """`after[method]`: successes of 10 on both tasks, by seed."""
    for trial in plan.trials:
        learn_first(store, plan, trial, 9)
        learn_second(store, plan, trial, *after[trial.method][trial.seed])
    return analysis.load(store.root, plan)


def test_a_method_against_base_with_n_and_interval(store):
    after = {"base": [(0, 9), (1, 8), (2, 9)], "nbsp": [(8, 9), (8, 7), (9, 9)]}
    # Ahead by 0.8, 0.7, 0.7 and by 0, -0.1, 0.
    assert finding(filled(store, plan_of(seeds=(0, 1, 2)), after)) == (
        "Against `base`, paired by seed, `nbsp` is higher on the first task after by 0.73 [0.59, 0.88], and cannot be "
        "told apart on the second task: -0.03 [-0.18, 0.11] (n = 3 seeds)."
    )


def test_one_seed_is_no_result(store):
    found = finding(filled(store, plan_of(seeds=(0,)), {"base": [(1, 9)], "nbsp": [(8, 9)]}))
    assert found == (
        "Against `base`, paired by seed, `nbsp` is 0.70 higher on the first task after, and is equal on the second "
        "task (n = 1 seed): one seed ranks nothing, so this is no result yet."
    )


def test_a_lead_that_is_the_same_in_every_seed_is_no_certainty(store):
    after = {"base": [(1, 9), (2, 8), (3, 9)], "nbsp": [(8, 9), (9, 8), (10, 9)]}
    assert finding(filled(store, plan_of(seeds=(0, 1, 2)), after)) == (
        "Against `base`, paired by seed, `nbsp` is 0.70 higher on the first task after (the same in every seed, which "
        "has no interval), and is equal on the second task (the same in every seed, which has no interval) "
        "(n = 3 seeds)."
    )


def test_undefined_scores_are_said(store):
    plan = plan_of(seeds=(0, 1, 2))
    for trial in plan.trials:
        learn_first(store, plan, trial, 9)
        report = {"score_undefined": trial.seed == 1} if trial.method == "nbsp" else {}
        learn_second(store, plan, trial, trial.seed, 9, **report)
    assert finding(analysis.load(store.root, plan)).endswith(
        " In 1 of its 3 trials the score was undefined, and the neurons were drawn at random."
    )


def test_counts_are_told_by_the_advice(store):
    plan = plan_of(methods=("nbsp",), skill_neurons=(0.1, 0.8), seeds=(0, 1, 2))
    for trial in plan.trials:
        learn_first(store, plan, trial, 9)
        learn_second(store, plan, trial, 4 + trial.seed if trial.skill_neurons == 0.1 else 8, 8)
    results = analysis.load(store.root, plan)
    (advice,) = analysis.advise(results, 0.5)
    assert finding(results) == f"Stability and plasticity weighed alike, of reach > avoid, nbsp: {advice.sentence()}"


def test_plain_sac_loses_what_it_loses(store):
    plan = plan_of(methods=("base",), seeds=(0, 1, 2))
    found = finding(filled(store, plan, {"base": [(0, 9), (1, 8), (2, 9)]}))
    assert found == (
        "`base` goes from 0.90 on the first task before to 0.10 after the second is learnt: it loses 0.80 [0.55, 1.00] "
        "(n = 3 seeds)."
    )


def test_what_is_half_done_is_said_and_pairs_that_only_some_have_are_no_rivals(store):
    plan = plan_of(pairs=((FIRST, SECOND), (SECOND, FIRST)), seeds=(0,))
    assert finding(analysis.load(store.root, plan)) == (
        "So far: No trial has both tasks evaluated yet, so there is nothing to compare."
    )
    for pair in ((FIRST, SECOND), (SECOND, FIRST)):
        learn_first(store, plan, find(plan, "base", 0, pair), 9)
        learn_second(store, plan, find(plan, "base", 0, pair), 1, 9)
    learn_second(store, plan, find(plan, "nbsp", 0), 9, 9)
    assert finding(analysis.load(store.root, plan)).startswith("So far: `base` goes from 0.90 on the first task before")


def test_the_best_of_several_is_named_and_base_where_it_is_better(store):
    after = {"base": [(9, 9)], "replay_only": [(1, 9)], "nbsp": [(8, 9)]}
    found = finding(filled(store, plan_of(methods=("base", "replay_only", "nbsp"), seeds=(0,)), after))
    assert found.startswith(
        "Of 3 methods `base` has the highest mean of both tasks, 0.90; the next is `nbsp`, 0.85. Against `base`, "
        "paired by seed, `nbsp` is 0.10 lower on the first task after, and is equal on the second task (n = 1 seed)"
    )
