import numpy as np
import pytest
from synthetic_store import FIRST, SECOND, find, learn_first, learn_second, plan_of

import analysis
from analysis.paper import TABLE_1, is_paper_pair
from analysis.tables.first_task import first_task_table
from nbsp_ray.benchmarks import get_benchmark


def test_before_and_after_as_in_table_1(results):
    (row,) = first_task_table(results).to_dict("records")
    assert (row["first_before_mean"], row["first_after_mean"]) == pytest.approx((0.6, 0.05))
    assert np.isnan(row["paper_first_before"])
    assert not row["paper_pair"]


def test_table_1_without_base_has_the_success_of_each_first_phase_once(full):
    plan = plan_of(methods=("nbsp", "mask_only"))
    (row,) = first_task_table(analysis.load(full.root, plan)).to_dict("records")
    assert (row["seeds"], row["first_before_n"], row["first_after_n"]) == (2, 2, 0)
    assert row["first_before_mean"] == pytest.approx(0.6)


def test_the_papers_numbers_stand_beside_ours(store):
    pair = ("drawer-close", "drawer-open")
    plan = plan_of(benchmark="metaworld", pairs=(pair, ("drawer-close", "door-close")), methods=("base",), seeds=(0,))
    trial = find(plan, "base", 0, pair)
    learn_first(store, plan, trial, 10)
    learn_second(store, plan, trial, 5, 0)
    paper, other = first_task_table(analysis.load(store.root, plan)).to_dict("records")
    assert (paper["first_after_mean"], paper["paper_first_after"], paper["paper_first_after_spread"]) == (
        0.5,
        0.62,
        0.2,
    )
    assert paper["paper_pair"]
    assert not other["paper_pair"]
    assert np.isnan(other["paper_first_before"])


def test_the_papers_pairs_are_those_of_its_benchmark():
    assert {pair for _, pair in TABLE_1} == {" > ".join(pair) for pair in get_benchmark("metaworld").pairs}
    assert not is_paper_pair("toy", (FIRST, SECOND))
