import numpy as np
from synthetic_store import NBSP_REPORT, NEURONS, learn_first, learn_second, plan_of

import analysis
from analysis.tables.neurons import neurons_table, show_neurons


def test_neurons_by_network(results):
    table = neurons_table(results)
    assert table["method"].unique().tolist() == ["nbsp"]
    assert table["network"].tolist() == ["actor", "q1", "q2"]
    row = table.iloc[0]
    assert (row["n"], row["selected_mean"], row["selected_layer_1_mean"]) == (2, 3, 2)
    assert (row["frozen_share_lowest"], row["drift_layer_1_highest"]) == (0.25, 0)
    assert np.isnan(row["drift_layer_2_mean"])


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
    shown = show_neurons(analysis.load(store.root, plan))
    assert shown.text["network"].tolist() == ["actor", "actor", "q1", "q1", "q2", "q2"]
    assert shown.text["method"].tolist() == ["nbsp", "random_nbsp"] * 3
    # What a method does not report is a dash.
    assert shown.text["near-constant"].tolist() == ["1.5 (1 to 2)", "-"] * 3
    assert shown.text["below constant"].tolist() == ["2", "-"] * 3
    assert shown.text["frozen parameters"].tolist() == ["0.25", "0.50"] * 3
    # Of 16 hidden neurons 4 are constant.
    assert shown.data["live_mean"].tolist() == [12.0] * 6
