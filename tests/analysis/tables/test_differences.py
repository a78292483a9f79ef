import pytest
from synthetic_store import plan_of, row_of

import analysis
from analysis.tables.differences import differences_table


def test_differences_are_paired_by_seed(results):
    table = differences_table(results)
    assert table["method"].tolist() == ["nbsp"]
    row = row_of(table, "nbsp")
    # After: 0.8 - 0.1 and 0.3 - 0.0; second task: 0.9 - 1.0 and 0.2 - 0.5.
    assert (row["first_after_difference_n"], row["first_after_difference_mean"]) == (2, pytest.approx(0.5))
    assert row["second_difference_mean"] == pytest.approx(-0.2)


def test_no_differences_without_base(full):
    results = analysis.load(full.root, plan_of(methods=("nbsp",)))
    assert len(differences_table(results)) == 0
