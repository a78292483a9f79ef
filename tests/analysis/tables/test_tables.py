import numpy as np
import pandas as pd
import pytest
from synthetic_store import (
    EPISODES,
    FIRST,
    NBSP_REPORT,
    NEURONS,
    SECOND,
    SETTINGS,
    evaluate,
    find,
    learn_first,
    learn_second,
    plan_of,
)

import analysis
from analysis.paper import TABLE_1, is_paper_pair
from analysis.tables import numbers as tables
from analysis.tables import show
from nbsp_ray.benchmarks import get_benchmark
from nbsp_ray.config.schema import Sweep
from nbsp_ray.plan.build import make_plan


@pytest.fixture
def results(full, plan):
    return analysis.load(full.root, plan)


def row_of(table, method):
    (row,) = table[table["method"] == method].to_dict("records")
    return row


def test_results_by_hand(results):
    table = tables.results_table(results)
    assert table["method"].tolist() == ["base", "nbsp"]
    row = row_of(table, "base")
    assert (row["seeds"], row["done"], row["sequential_n"]) == (2, 2, 2)
    # Successes 0.9 and 0.3 before, 0.1 and 0.0 after.
    assert row["individual_mean"] == pytest.approx(0.6)
    assert row["individual_se"] == pytest.approx(0.3)
    assert row["sequential_mean"] == pytest.approx(0.05)
    assert row["forgetting_mean"] == pytest.approx(0.55)
    assert np.isnan(row["forgetting_high"])
    assert (row["forgetting_learnt_n"], row["forgetting_learnt_mean"]) == (1, pytest.approx(0.8))
    assert (row["not_learnt"], row["stopped_early"], row["ended"], row["score_undefined"]) == (1, 0, 2, 0)
    assert row_of(table, "nbsp")["stopped_early"] == 1


def test_a_missing_seed_is_counted_not_averaged_away(store, plan):
    learn_first(store, plan, find(plan, "base", 0), 9)
    learn_second(store, plan, find(plan, "base", 0), 1, 10)
    row = row_of(tables.results_table(analysis.load(store.root, plan)), "base")
    assert (row["seeds"], row["done"], row["sequential_n"], row["sequential_mean"]) == (2, 1, 1, 0.1)
    assert np.isnan([row["sequential_se"], row["sequential_low"]]).all()
    other = row_of(tables.results_table(analysis.load(store.root, plan)), "nbsp")
    assert (other["done"], other["individual_n"], other["sequential_n"]) == (0, 1, 0)
    assert np.isnan(other["sequential_mean"])


def test_methods_stand_in_the_order_of_the_plan_and_pairs_stay_together(tmp_path):
    sweeps = [
        Sweep.model_validate({**SETTINGS, "pairs": ((FIRST, SECOND), (SECOND, FIRST)), "methods": ("nbsp", "base")}),
        Sweep.model_validate({**SETTINGS, "methods": ("mask_only", "nbsp"), "skill_neurons": (0.2, 5, 1, 1.0)}),
    ]
    table = tables.results_table(analysis.load(tmp_path, make_plan("x", sweeps)))
    there = table[table["pair"] == "reach > avoid"]
    assert table["pair"].tolist() == ["reach > avoid"] * len(there) + ["avoid > reach"] * 2
    cells = zip(there["method"], there["skill_neurons"].fillna(""), strict=True)
    of_mask_only = [("mask_only", count) for count in ("0.2", "5", "1", "1.0")]
    more_nbsp = [("nbsp", count) for count in ("5", "1", "1.0")]
    assert list(cells) == [("nbsp", "0.2"), ("base", ""), *of_mask_only, *more_nbsp]


def test_variants_are_not_averaged_together(tmp_path):
    sweeps = [Sweep.model_validate({**SETTINGS, "method": {"score": score}}) for score in ("paper", "balanced")]
    table = tables.results_table(analysis.load(tmp_path, make_plan("x", sweeps)))
    assert table["seeds"].tolist() == [2, 2, 2]
    assert table["variant"].tolist() == ["", 'mask.score="paper"', 'mask.score="balanced"']


def test_learning_by_hand(results):
    table = tables.learning_table(results)
    base, nbsp = row_of(table, "base"), row_of(table, "nbsp")
    # Areas of (0, .5, 1, 1, 1) and (0, 0, 0, 0, .8): 0.75 and 0.1; the threshold is reached at 200 and never.
    assert base["auc_second_mean"] == pytest.approx(0.425)
    assert (base["reached"], base["ended"]) == (1, 2)
    assert np.isnan(base["env_steps_to_threshold_median"])
    # At 200 and at 100; the second stopped at 300 of 400.
    assert (nbsp["reached"], nbsp["env_steps_to_threshold_median"]) == (2, 150)
    assert nbsp["auc_carried_share_highest"] == pytest.approx(0.25)


def test_differences_are_paired_by_seed(results):
    table = tables.differences_table(results)
    assert table["method"].tolist() == ["nbsp"]
    row = row_of(table, "nbsp")
    # After: 0.8 - 0.1 and 0.3 - 0.0; second task: 0.9 - 1.0 and 0.2 - 0.5.
    assert (row["sequential_difference_n"], row["sequential_difference_mean"]) == (2, pytest.approx(0.5))
    assert row["second_difference_mean"] == pytest.approx(-0.2)


def test_no_differences_without_base(full):
    results = analysis.load(full.root, plan_of(methods=("nbsp",)))
    assert len(tables.differences_table(results)) == 0


def test_individual_and_sequential_as_in_table_1(results):
    (row,) = tables.individual_sequential_table(results).to_dict("records")
    assert (row["individual_mean"], row["sequential_mean"]) == pytest.approx((0.6, 0.05))
    assert np.isnan(row["paper_individual"])
    assert not row["paper_pair"]


def test_table_1_without_base_has_the_individual_success_of_each_first_phase_once(full):
    plan = plan_of(methods=("nbsp", "mask_only"))
    (row,) = tables.individual_sequential_table(analysis.load(full.root, plan)).to_dict("records")
    assert (row["seeds"], row["individual_n"], row["sequential_n"]) == (2, 2, 0)
    assert row["individual_mean"] == pytest.approx(0.6)


def test_the_papers_numbers_stand_beside_ours(store):
    pair = ("drawer-close", "drawer-open")
    plan = plan_of(benchmark="metaworld", pairs=(pair, ("drawer-close", "door-close")), methods=("base",), seeds=(0,))
    trial = find(plan, "base", 0, pair)
    learn_first(store, plan, trial, 10)
    learn_second(store, plan, trial, 5, 0)
    paper, other = tables.individual_sequential_table(analysis.load(store.root, plan)).to_dict("records")
    assert (paper["sequential_mean"], paper["paper_sequential"], paper["paper_sequential_spread"]) == (0.5, 0.62, 0.2)
    assert paper["paper_pair"]
    assert not other["paper_pair"]
    assert np.isnan(other["paper_individual"])


def test_the_papers_pairs_are_those_of_its_benchmark():
    assert {pair for _, pair in TABLE_1} == {" > ".join(pair) for pair in get_benchmark("metaworld").pairs}
    assert not is_paper_pair("toy", (FIRST, SECOND))


def test_neurons_by_network(results):
    table = tables.neurons_table(results)
    assert table["method"].unique().tolist() == ["nbsp"]
    assert table["network"].tolist() == ["actor", "q1", "q2"]
    row = table.iloc[0]
    assert (row["n"], row["selected_mean"], row["selected_layer_1_mean"]) == (2, 3, 2)
    assert (row["frozen_share_lowest"], row["drift_layer_1_highest"]) == (0.25, 0)
    assert np.isnan(row["drift_layer_2_mean"])


def test_every_trial_has_a_row_with_wilson_intervals(results):
    table = tables.trials_table(results)
    assert len(table) == 4
    row = table.iloc[0]
    assert (row["seed"], row["individual"], row["individual_n"]) == (0, 0.9, EPISODES)
    # Wilson for 9 of 10.
    assert (row["individual_wilson_low"], row["individual_wilson_high"]) == pytest.approx((0.5958, 0.9821), abs=1e-4)
    assert row["key_first"] == results.finals["key_first"][0][:8]


def test_tables_of_an_empty_store_have_all_rows(store, plan):
    results = analysis.load(store.root, plan)
    for make in (tables.results_table, tables.learning_table):
        assert make(results)["seeds"].tolist() == [2, 2]
    assert tables.trials_table(results)["status"].tolist() == ["missing"] * 4
    assert len(tables.neurons_table(results)) == 0
    assert tables.individual_sequential_table(results)["individual_n"].tolist() == [0]


def test_evaluations_of_other_lengths_are_not_taken(store, plan):
    trial = find(plan, "base", 0)
    evaluate(store, plan_of(evaluation={"episodes": 20}), trial.phases[0], FIRST, 20)
    assert pd.isna(analysis.load(store.root, plan).finals["individual"]).all()


def test_what_methods_freeze_of_a_network_stands_beside_each_other(store):
    plan = plan_of(methods=("nbsp", "random_nbsp"), seeds=(0, 1))
    for trial in plan.trials:
        learn_first(store, plan, trial, 9)
        judged = (
            {"selected_near_constant": 1 + trial.seed, "selected_below_constant": 2} if trial.method == "nbsp" else {}
        )
        share = 0.25 if trial.method == "nbsp" else 0.5
        neurons = {network: NEURONS | judged | {"frozen_parameters": share} for network in ("actor", "q1", "q2")}
        learn_second(store, plan, trial, 1, 1, **(NBSP_REPORT | {"neurons": neurons}))
    shown = show.show_neurons(analysis.load(store.root, plan))
    assert shown.text["network"].tolist() == ["actor", "actor", "q1", "q1", "q2", "q2"]
    assert shown.text["method"].tolist() == ["nbsp", "random_nbsp"] * 3
    # What a method does not report is a dash.
    assert shown.text["near-constant"].tolist() == ["1.5 (1 to 2)", "-"] * 3
    assert shown.text["below constant"].tolist() == ["2", "-"] * 3
    assert shown.text["frozen parameters"].tolist() == ["0.25", "0.50"] * 3
    # Of 16 hidden neurons 4 are constant.
    assert shown.data["live_mean"].tolist() == [12.0] * 6
