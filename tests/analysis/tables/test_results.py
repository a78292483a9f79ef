import numpy as np
import pandas as pd
import pytest
from synthetic_store import (
    FIRST,
    SECOND,
    SETTINGS,
    evaluate,
    find,
    learn_first,
    learn_second,
    plan_of,
    row_of,
)

import analysis
from analysis.tables.results import results_table, show_results
from nbsp_ray.config.schema import Sweep
from nbsp_ray.plan.build import make_plan


def test_results_by_hand(results):
    table = results_table(results)
    assert table["method"].tolist() == ["base", "nbsp"]
    row = row_of(table, "base")
    assert (row["seeds"], row["done"], row["first_after_n"]) == (2, 2, 2)
    # Successes 0.9 and 0.3 before, 0.1 and 0.0 after.
    assert row["first_before_mean"] == pytest.approx(0.6)
    assert row["first_before_se"] == pytest.approx(0.3)
    assert row["first_after_mean"] == pytest.approx(0.05)
    assert row["forgetting_mean"] == pytest.approx(0.55)
    assert np.isnan(row["forgetting_high"])
    assert (row["forgetting_learnt_n"], row["forgetting_learnt_mean"]) == (1, pytest.approx(0.8))
    assert (row["not_learnt"], row["stopped_early"], row["ended"], row["score_undefined"]) == (1, 0, 2, 0)
    assert row_of(table, "nbsp")["stopped_early"] == 1


def test_a_missing_seed_is_counted_not_averaged_away(store, plan):
    learn_first(store, plan, find(plan, "base", 0), 9)
    learn_second(store, plan, find(plan, "base", 0), 1, 10)
    row = row_of(results_table(analysis.load(store.root, plan)), "base")
    assert (row["seeds"], row["done"], row["first_after_n"], row["first_after_mean"]) == (2, 1, 1, 0.1)
    assert np.isnan([row["first_after_se"], row["first_after_low"]]).all()
    other = row_of(results_table(analysis.load(store.root, plan)), "nbsp")
    assert (other["done"], other["first_before_n"], other["first_after_n"]) == (0, 1, 0)
    assert np.isnan(other["first_after_mean"])


def test_methods_stand_in_the_order_of_the_plan_and_pairs_stay_together(tmp_path):
    sweeps = [
        Sweep.model_validate({**SETTINGS, "pairs": ((FIRST, SECOND), (SECOND, FIRST)), "methods": ("nbsp", "base")}),
        Sweep.model_validate({**SETTINGS, "methods": ("mask_only", "nbsp"), "skill_neurons": (0.2, 5, 1, 1.0)}),
    ]
    table = results_table(analysis.load(tmp_path, make_plan("x", sweeps)))
    there = table[table["pair"] == "reach > avoid"]
    assert table["pair"].tolist() == ["reach > avoid"] * len(there) + ["avoid > reach"] * 2
    cells = zip(there["method"], there["skill_neurons_given"].fillna(""), strict=True)
    of_mask_only = [("mask_only", count) for count in ("0.2", "5", "1", "1.0")]
    more_nbsp = [("nbsp", count) for count in ("5", "1", "1.0")]
    assert list(cells) == [("nbsp", "0.2"), ("base", ""), *of_mask_only, *more_nbsp]


def test_variants_are_not_averaged_together(tmp_path):
    sweeps = [Sweep.model_validate({**SETTINGS, "method": {"score": score}}) for score in ("paper", "balanced")]
    table = results_table(analysis.load(tmp_path, make_plan("x", sweeps)))
    assert table["seeds"].tolist() == [2, 2, 2]
    assert table["variant"].tolist() == ["", 'mask.score="paper"', 'mask.score="balanced"']


def test_evaluations_of_other_lengths_are_not_taken(store, plan):
    trial = find(plan, "base", 0)
    evaluate(store, plan_of(evaluation={"episodes": 20}), trial.phases[0], FIRST, 20)
    assert pd.isna(analysis.load(store.root, plan).finals["first_before"]).all()


def test_the_bounds_of_a_table_are_those_of_its_file(store):
    """Individual 1, 1, 0: the t interval would end at 2.10; text and data end at 1."""
    plan = plan_of(seeds=(0, 1, 2), methods=("base",))
    for trial, first_before in zip(plan.trials, (10, 10, 0), strict=True):
        learn_first(store, plan, trial, first_before)
    shown = show_results(analysis.load(store.root, plan))
    assert shown.data[["first_before_low", "first_before_high"]].to_numpy().tolist() == [[0.0, 1.0]]
    assert shown.text["first task before"].tolist() == ["0.67 ± 0.33 [0.00, 1.00]"]


def test_columns_that_say_nothing_are_left_out(full, plan):
    shown = show_results(analysis.load(full.root, plan))
    assert "settings" not in shown.text
    assert shown.text["neurons"].tolist() == ["", "0.2"]
    without = show_results(analysis.load(full.root, plan_of(methods=("base",))))
    assert "neurons" not in without.text
