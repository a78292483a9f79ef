import numpy as np
import pytest
from synthetic_store import FIRST, SECOND, find, learn_first, learn_second, plan_of

import analysis
from analysis.paper import TABLE_1, is_paper_pair
from analysis.tables.first_task import individual_sequential_table
from nbsp_ray.benchmarks import get_benchmark


def test_individual_and_sequential_as_in_table_1(results):
    (row,) = individual_sequential_table(results).to_dict("records")
    assert (row["individual_mean"], row["sequential_mean"]) == pytest.approx((0.6, 0.05))
    assert np.isnan(row["paper_individual"])
    assert not row["paper_pair"]


def test_table_1_without_base_has_the_individual_success_of_each_first_phase_once(full):
    plan = plan_of(methods=("nbsp", "mask_only"))
    (row,) = individual_sequential_table(analysis.load(full.root, plan)).to_dict("records")
    assert (row["seeds"], row["individual_n"], row["sequential_n"]) == (2, 2, 0)
    assert row["individual_mean"] == pytest.approx(0.6)


def test_the_papers_numbers_stand_beside_ours(store):
    pair = ("drawer-close", "drawer-open")
    plan = plan_of(benchmark="metaworld", pairs=(pair, ("drawer-close", "door-close")), methods=("base",), seeds=(0,))
    trial = find(plan, "base", 0, pair)
    learn_first(store, plan, trial, 10)
    learn_second(store, plan, trial, 5, 0)
    paper, other = individual_sequential_table(analysis.load(store.root, plan)).to_dict("records")
    assert (paper["sequential_mean"], paper["paper_sequential"], paper["paper_sequential_spread"]) == (0.5, 0.62, 0.2)
    assert paper["paper_pair"]
    assert not other["paper_pair"]
    assert np.isnan(other["paper_individual"])


def test_the_papers_pairs_are_those_of_its_benchmark():
    assert {pair for _, pair in TABLE_1} == {" > ".join(pair) for pair in get_benchmark("metaworld").pairs}
    assert not is_paper_pair("toy", (FIRST, SECOND))
