"""Cells as text."""

import pandas as pd

from analysis.tables import cells


def test_the_cost_of_a_trial_names_what_others_learnt_for_it() -> None:
    row = {"env_steps_first": 25_000, "env_steps_second": 15_000, "env_steps_auxiliary": 0}
    assert cells.cost(row) == "25,000 + 15,000"
    assert cells.cost(row | {"env_steps_auxiliary": 14_500}) == "25,000 + 15,000 + 14,500 (aux.)"
    assert cells.cost(row | {"env_steps_second": pd.NA, "env_steps_auxiliary": pd.NA}) == "25,000 + -"
