"""Sequences of more than two tasks: the matrix and its metrics, by hand."""

from pathlib import Path

import numpy as np
import pytest
from synthetic_store import EPISODES, plan_of

from analysis.frames.load import load
from analysis.tables.sequences import forgetting_measure, matrix_frame, sequences_table, shown_matrix
from analysis.tables.show import all_tables
from nbsp_ray.specs import Plan
from nbsp_ray.store import Store

TASKS = ("reach", "avoid", "reach")


def write(store: Store, plan: Plan, seed: int, matrix: list[dict[str, float]]) -> None:
    """Final evaluations only: what the metrics of a sequence rest on."""
    (trial,) = [trial for trial in plan.trials if trial.seed == seed]
    for number, (key, rates) in enumerate(zip(trial.phases, matrix, strict=False)):
        for task, rate in rates.items():
            mode = "rollouts" if number == 0 else "stochastic"
            good = round(rate * EPISODES)
            data = {"success": [1] * good + [0] * (EPISODES - good), "success_rate": rate}
            store.phase(key).write_evaluation(f"{task}.{mode}.{EPISODES}.train", data, None)


@pytest.fixture
def plan() -> Plan:
    return plan_of(pairs=(TASKS,), methods=("base",))


def test_forgetting_measure_by_hand() -> None:
    nan = np.nan
    success = np.array([[0.9, nan, nan], [0.5, 0.8, nan], [0.2, 0.9, 1.0]])
    # a: max(.9, .5) - .2 = .7; b: .8 - .9 = -.1; c was learnt last
    assert forgetting_measure(success, ("a", "b", "c")) == pytest.approx((0.7 - 0.1) / 2)
    cycle = np.array([[1.0, nan], [0.1, 0.9], [0.8, 0.3]])
    assert forgetting_measure(cycle, ("a", "b", "a")) == pytest.approx(0.9 - 0.3)


def test_the_metrics_of_two_seeds_by_hand(tmp_path: Path, plan: Plan) -> None:
    store = Store(tmp_path, create=True)
    write(store, plan, 0, [{"reach": 1.0}, {"reach": 0.2, "avoid": 0.9}, {"reach": 0.8, "avoid": 0.4}])
    write(store, plan, 1, [{"reach": 1.0}, {"reach": 0.0, "avoid": 1.0}, {"reach": 1.0, "avoid": 0.4}])
    results = load(tmp_path, plan)
    table = sequences_table(results)
    (row,) = table.to_dict("records")
    assert row["average_performance_mean"] == pytest.approx((0.6 + 0.7) / 2)
    assert row["forgetting_measure_mean"] == pytest.approx((0.5 + 0.6) / 2)
    assert row["forgetting_measure_n"] == row["done"] == row["seeds"] == 2
    assert row["success_2_reach"] == pytest.approx(0.1)
    assert shown_matrix(row) == "reach 1.00; reach 0.10, avoid 0.95; reach 0.90, avoid 0.40"
    frame = matrix_frame(results)
    assert len(frame) == 2 * (1 + 2 + 2)
    assert "sequences" in [shown.name for shown in all_tables(results)]


def test_a_sequence_that_has_not_ended_is_counted_but_not_averaged(tmp_path: Path, plan: Plan) -> None:
    store = Store(tmp_path, create=True)
    write(store, plan, 0, [{"reach": 1.0}, {"reach": 0.2, "avoid": 0.9}, {"reach": 0.8, "avoid": 0.4}])
    write(store, plan, 1, [{"reach": 1.0}])
    (row,) = sequences_table(load(tmp_path, plan)).to_dict("records")
    assert (row["average_performance_n"], row["done"], row["seeds"]) == (1, 1, 2)
    assert row["average_performance_mean"] == pytest.approx(0.6)


def test_pairs_have_no_such_table(tmp_path: Path) -> None:
    results = load(Store(tmp_path, create=True).root, plan_of())
    assert not len(sequences_table(results))
    assert "sequences" not in [shown.name for shown in all_tables(results)]
