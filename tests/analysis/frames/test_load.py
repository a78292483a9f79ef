import json
import sys

import numpy as np
import pandas as pd
import pytest
from phase_files import path_of, paths_of
from synthetic_store import (
    BUDGET,
    EPISODES,
    FIRST,
    NBSP_REPORT,
    SECOND,
    SETTINGS,
    evaluate,
    evaluations,
    find,
    learn,
    learn_first,
    learn_second,
    plan_of,
)

import analysis
from analysis.explorer import explorer_data
from analysis.figures.bands import CurveReader
from analysis.frames.columns import CURVES, FINALS, PHASES, neuron_columns
from analysis.frames.columns import EPISODES as EPISODE_COLUMNS
from analysis.pages.contents import report_blocks
from analysis.tables import all_tables
from analysis.tables.results import show_results
from nbsp_ray.config.schema import Sweep
from nbsp_ray.plan.build import make_plan
from nbsp_ray.store import Store
from nbsp_ray.sweepfile.scope import Scope


def trial_of(results, method, seed):
    finals = results.finals
    (row,) = finals[(finals["method"] == method) & (finals["seed"] == seed)].to_dict("records")
    return row


def test_finals_of_a_trial_that_is_done(full, plan):
    row = trial_of(analysis.load(full.root, plan), "nbsp", 1)
    assert row["status"] == "done"
    assert (row["pair"], row["first_task"], row["second_task"]) == ("reach > avoid", FIRST, SECOND)
    assert (row["skill_neurons"], row["skill_neurons_given"], row["skill_neurons_count"]) == (0.2, "0.2", 3)
    assert (row["first_before"], row["first_after"], row["second"]) == (0.3, 0.3, 0.2)
    assert row["first_before_n"] == row["first_after_n"] == row["second_deterministic_n"] == EPISODES
    assert (row["forgetting"], row["learnt_first"]) == (0.0, False)
    # Evaluations of the first task after the first update: 0.8, 0.6, 0.4 (the phase stopped at 300).
    assert row["retention_last_5"] == pytest.approx(0.6)
    assert row["retention_evaluations"] == 3
    # It stopped at 300 of 400 with evaluations 0, 1, 1, 1; the final one is 0.2: 0.5 x 100 + 1 x 200 + 0.2 x 100.
    assert row["auc_second"] == pytest.approx(270 / 400)
    assert row["auc_carried_share"] == pytest.approx(0.25)
    assert row["env_steps_to_threshold"] == 100
    assert (row["env_steps_first"], row["env_steps_second"], row["stop_reason_second"]) == (BUDGET, 300, "stable")
    assert row["env_steps_auxiliary"] == 0


def test_neurons_are_flat_columns(full, plan):
    results = analysis.load(full.root, plan)
    row = trial_of(results, "nbsp", 0)
    assert (row["q1_selected"], row["q1_selected_layer_1"], row["q1_selected_layer_2"]) == (3, 2, 1)
    assert (row["actor_selected_constant"], row["actor_constant_layer_1"]) == (1, 4)
    assert (row["q2_frozen_share"], row["q2_drift_layer_1"], row["positive_share"]) == (0.25, 0, 0.4)
    assert np.isnan(row["q2_drift_layer_2"])
    base = trial_of(results, "base", 0)
    assert pd.isna(base["q1_selected"])
    assert pd.isna(base["score_undefined"])
    assert list(results.finals.columns) == [*FINALS, *neuron_columns(2)]


def test_curves_have_a_shared_first_phase_once(full, plan):
    curves = analysis.load(full.root, plan).curves
    assert list(curves.columns) == list(CURVES)
    first = curves[curves["phase"] == 0]
    assert first["method"].isna().all()
    assert first["pair"].isna().all()
    assert set(first["first_task"]) == {FIRST}
    assert first.groupby("key").size().tolist() == [5 + 16 + 1, 5 + 16 + 1]
    second = curves[(curves["phase"] == 1) & (curves["method"] == "nbsp") & (curves["seed"] == 1)]
    assert second["task"].tolist() == [FIRST, SECOND] * 5
    # Four evaluations of each, then the final ones.
    assert second["kind"].tolist() == ["evaluation"] * 8 + ["final"] * 2
    assert second["success"].tolist() == [1, 0, 0.8, 1, 0.6, 1, 0.4, 1, 0.3, 0.2]


def test_training_success_is_the_mean_of_ten_episodes(full, plan):
    curves = analysis.load(full.root, plan).curves
    training = curves[(curves["kind"] == "training") & (curves["seed"] == 0)]
    assert training["success_last_10"].isna().tolist() == [True] * 9 + [False] * 7
    assert training["success_last_10"].tolist()[9:] == pytest.approx([0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1])
    assert training["updates"].isna().all()


def test_an_empty_store_gives_all_rows_and_no_numbers(store, plan):
    results = analysis.load(store.root, plan)
    assert results.finals["status"].tolist() == ["waiting"] * 4
    assert (
        results.finals[["first_before", "first_after", "second", "auc_second", "actor_selected"]].isna().all(axis=None)
    )
    assert results.finals["curve_truncated"].isna().all()
    assert list(results.curves.columns) == list(CURVES)
    assert len(results.curves) == 0
    assert len(results.phases) == 6
    assert not results.any_begun
    assert not results.any_done


def test_types_do_not_depend_on_what_is_there(store, full, plan, tmp_path):
    empty, there = analysis.load(tmp_path / "nowhere", plan), analysis.load(full.root, plan)
    for name in ("curves", "finals", "phases"):
        pd.testing.assert_series_equal(getattr(empty, name).dtypes, getattr(there, name).dtypes)


def test_a_sweep_half_done(store, plan):
    base, nbsp = find(plan, "base", 0), find(plan, "nbsp", 0)
    learn_first(store, plan, base, 9)
    learn(store, plan, base.phases[1], evaluations(SECOND, [0, 1, 1, 1, 1]))
    evaluate(store, plan, base.phases[1], FIRST, 2)
    store.phase(nbsp.phases[1]).write_failure({"error": "out of memory"})
    results = analysis.load(store.root, plan)
    done, failed = trial_of(results, "base", 0), trial_of(results, "nbsp", 0)
    assert done["status"] == "begun"  # The second task is not evaluated yet.
    assert done["first_after"] == 0.2
    assert np.isnan(done["second"])
    assert np.isnan(done["first_after_deterministic"])
    assert done["auc_second"] == pytest.approx(0.875)
    assert failed["status"] == "failed"
    assert failed["first_before"] == 0.9
    assert np.isnan(failed["forgetting"])
    assert trial_of(results, "base", 1)["status"] == "waiting"
    assert results.any_begun
    assert not results.any_done


def test_a_running_phase_shows_its_curve_and_no_metrics_of_it(store, plan):
    trial = find(plan, "base", 0)
    learn_first(store, plan, trial, 9)
    folder = store.phase(trial.phases[1])
    folder.write_progress({"env_steps": 200})
    folder.attempt().save(
        env_steps=200,
        counters={},
        curve=evaluations(SECOND, [0, 0.5, 1]),
        tensors={"w": np.zeros(1)},
        added=0,
        capacity=1,
        rows=lambda start, end: np.zeros((end - start, 1)),
    )
    results = analysis.load(store.root, plan)
    row = trial_of(results, "base", 0)
    assert row["status"] == "begun"
    assert np.isnan(row["auc_second"])
    assert pd.isna(row["env_steps_second"])
    assert results.curves[results.curves["phase"] == 1]["success"].tolist() == [0, 0.5, 1]


def test_metrics_of_a_curve_that_is_cut_off_are_missing(store, plan):
    """As one of store format 1 can be, which has no digests."""
    trial = find(plan, "base", 0)
    learn_first(store, plan, trial, 9)
    key = trial.phases[1]
    learn(store, plan, key, evaluations(SECOND, [0, 1])[:-1])
    evaluate(store, plan, key, FIRST, 1)
    row = trial_of(analysis.load(store.root, plan), "base", 0)
    assert row["curve_truncated"] is True
    assert np.isnan([row["auc_second"], row["retention_last_5"]]).all()
    assert row["first_after"] == 0.1


@pytest.mark.parametrize("name", ["result.json", "curve.jsonl", "manifest.json", "evaluations/e"])
def test_a_damaged_phase_is_a_failed_one_that_says_what_is_wrong(full, plan, name):
    key = find(plan, "base", 0).phases[1]
    path = next(path for file, path in paths_of(full, key).items() if file.startswith(name[:-1]))
    path.write_bytes(path.read_bytes()[:-3])
    results = analysis.load(full.root, plan)
    assert trial_of(results, "base", 0)["status"] == "failed"
    assert trial_of(results, "base", 1)["status"] == "done"
    error = results.phases.set_index("key")["error"][key]
    assert str(path) in error
    assert "`nbsp-ray run` sets it aside" in error
    assert np.isnan(trial_of(results, "base", 0)["auc_second"])


def test_forward_transfer_compares_with_the_first_phase_on_the_second_task(store):
    plan = plan_of(pairs=((FIRST, SECOND), (SECOND, FIRST)), methods=("base",), seeds=(0,))
    there, back = find(plan, "base", 0), find(plan, "base", 0, (SECOND, FIRST))
    learn_first(store, plan, there, 9)
    learn_first(store, plan, back, 9, curve=(0, 0, 1, 1, 1))
    learn_second(store, plan, there, 1, 9, curve=(0, 1, 1, 1, 1))
    row = analysis.load(store.root, plan).finals.iloc[0]
    assert row["auc_scratch"] == pytest.approx(0.625)
    assert row["second_scratch"] == 0.9  # Its final evaluation, as it learnt for as many env steps.
    assert row["forward_transfer"] == pytest.approx((0.875 - 0.625) / 0.375)


def test_a_scratch_curve_that_stopped_early_is_carried_forward_by_its_final_evaluation(store):
    plan = plan_of(pairs=((FIRST, SECOND), (SECOND, FIRST)), methods=("base",), seeds=(0,))
    there, back = find(plan, "base", 0), find(plan, "base", 0, (SECOND, FIRST))
    learn(store, plan, back.phases[0], evaluations(SECOND, [1, 1, 1]), env_steps=200, stop_reason="stable")
    learn_second(store, plan, there, 1, 9, curve=(0, 1, 1, 1, 1))
    row = analysis.load(store.root, plan).finals.iloc[0]
    assert np.isnan([row["auc_scratch"], row["forward_transfer"]]).all()  # Not evaluated yet.
    evaluate(store, plan, back.phases[0], SECOND, 6)
    row = analysis.load(store.root, plan).finals.iloc[0]
    # 1 over half of the budget, then the 0.6 of the final evaluation.
    assert row["auc_scratch"] == pytest.approx(0.8)
    assert row["forward_transfer"] == pytest.approx((0.875 - 0.8) / 0.2)


def test_a_longer_scratch_curve_counts_up_to_the_second_phases_budget(store):
    longer = {"env_steps": 800, "eval_every": 100}
    plan = plan_of(pairs=((FIRST, SECOND), (SECOND, FIRST)), methods=("base",), seeds=(0,), first=longer)
    key = find(plan, "base", 0, (SECOND, FIRST)).phases[0]
    learn(store, plan, key, evaluations(SECOND, [0, 0.2, 0.4, 0.2, 0.6, 1, 1, 1, 1]), env_steps=800)
    evaluate(store, plan, key, SECOND, 9)
    learn_second(store, plan, find(plan, "base", 0), 1, 9, curve=(0, 1, 1, 1, 1))
    row = analysis.load(store.root, plan).finals.iloc[0]
    assert row["second_scratch"] == 0.6
    assert row["auc_scratch"] == pytest.approx((0.1 + 0.3 + 0.3 + 0.4) / 4)
    assert show_results(analysis.load(store.root, plan)).text["second task from scratch"].tolist() == ["0.60", "-"]


def test_no_forward_transfer_without_a_scratch_curve_as_long(store):
    other_budget = {"env_steps": 200, "eval_every": 100}
    plan = plan_of(pairs=((FIRST, SECOND), (SECOND, FIRST)), methods=("base",), seeds=(0,), first=other_budget)
    trial = find(plan, "base", 0)
    learn_first(store, plan, find(plan, "base", 0, (SECOND, FIRST)), 9, curve=(0, 1, 1))
    learn_second(store, plan, trial, 1, 9)
    row = analysis.load(store.root, plan).finals.iloc[0]
    assert not np.isnan(row["auc_second"])
    assert np.isnan(row["forward_transfer"])


def test_heldout_goals_come_from_their_own_evaluation(store):
    plan = plan_of(methods=("base",), seeds=(0,), evaluation={"episodes": EPISODES, "goals": "heldout"})
    trial = find(plan, "base", 0)
    learn(store, plan, trial.phases[0], evaluations(FIRST, [0, 1, 1, 1, 1]))
    folder = store.phase(trial.phases[0])
    folder.write_evaluation(f"{FIRST}.rollouts.{EPISODES}.train", {"success": [1] * EPISODES}, None)
    assert np.isnan(analysis.load(store.root, plan).finals["first_before"].iloc[0])
    folder.write_evaluation(f"{FIRST}.stochastic.{EPISODES}.heldout", {"success": [1, 0] * 5}, None)
    row = analysis.load(store.root, plan).finals.iloc[0]
    assert (row["first_before"], row["goals"]) == (0.5, "heldout")


def test_heldout_goals_beside_those_of_training(store):
    plan = plan_of(methods=("base",), seeds=(0,), evaluation={"episodes": EPISODES, "goals": "both"})
    trial = find(plan, "base", 0)
    learn_first(store, plan, trial, 9)
    learn_second(store, plan, trial, 4, 8)
    for key, task, wins in ((trial.phases[0], FIRST, 7), (trial.phases[1], FIRST, 2), (trial.phases[1], SECOND, 6)):
        record = f"{task}.stochastic.{EPISODES}.heldout"
        path = store.phase(key)
        path_of(store, path, f"evaluations/{record}.json").unlink()
        if (key, task) == (trial.phases[1], SECOND):
            assert analysis.load(store.root, plan).finals["status"].iloc[0] == "begun"
        path.write_evaluation(record, {"success": [1] * wins + [0] * (EPISODES - wins)}, None)
    row = analysis.load(store.root, plan).finals.iloc[0]
    assert (row["first_before"], row["first_after"], row["second"]) == (0.9, 0.4, 0.8)
    assert (row["first_before_heldout"], row["first_after_heldout"], row["second_heldout"]) == (0.7, 0.2, 0.6)
    assert {row[f"{name}_heldout_n"] for name in ("first_before", "first_after", "second")} == {EPISODES}
    assert (row["goals"], row["status"]) == ("both", "done")
    shown = show_results(analysis.load(store.root, plan))
    assert shown.text["first task after, held out"].tolist() == ["0.20"]
    assert "Held out: the same agents on goals that training never had." in shown.caption


def test_without_heldout_goals_no_table_has_a_column_for_them(full, plan):
    assert not any("held out" in column for column in show_results(analysis.load(full.root, plan)).text.columns)


def test_a_confirmation_is_no_evaluation(store, plan):
    trial = find(plan, "base", 0)
    learn_first(store, plan, trial, 9)
    confirmation = {"kind": "confirmation", "updates": 50, "task": SECOND, "episodes": 50}
    rows = [*evaluations(SECOND, [0, 1, 1, 1, 1]), {**confirmation, "env_steps": BUDGET, "success": 0.5}]
    learn(store, plan, trial.phases[1], rows)
    results = analysis.load(store.root, plan)
    row = results.finals.iloc[0]
    # (0.5 + 1 + 1 + 1) / 4: the area of (0, 1, 1, 1, 1), and nothing of the confirmation.
    assert row["auc_second"] == pytest.approx(0.875)
    assert row["env_steps_to_threshold"] == 100
    assert not row["curve_truncated"]
    assert CurveReader(results).evaluation(trial.phases[1], SECOND).heights.tolist() == [0, 1, 1, 1, 1]
    kept = results.curves[results.curves["kind"] == "confirmation"]
    assert (kept["episodes"].tolist(), kept["success"].tolist()) == ([50], [0.5])


def test_variants_name_the_settings_in_which_trials_of_one_cell_differ():
    sweeps = [
        Sweep.model_validate({**SETTINGS, "method": {"score": score}, "evaluation": {"deterministic": False}})
        for score in ("paper", "balanced")
    ]
    results = analysis.load("nowhere", make_plan("x", sweeps))
    nbsp = results.finals[results.finals["method"] == "nbsp"]
    assert set(nbsp["variant"]) == {'mask.score="paper"', 'mask.score="balanced"'}
    assert set(results.finals[results.finals["method"] == "base"]["variant"]) == {""}


def test_trials_are_comparable_if_they_differ_in_their_method_alone():
    sweeps = [
        Sweep.model_validate({**SETTINGS, "second": {"env_steps": steps}, "methods": methods})
        for steps, methods in ((100, ("base",)), (200, ("base", "nbsp")))
    ]
    finals = analysis.load("nowhere", make_plan("x", sweeps)).finals
    keys = finals.set_index(["method", "variant", "seed"])["comparable"]
    assert keys["nbsp", "", 0] == keys["base", "second.env_steps=200", 0]
    assert keys["nbsp", "", 0] != keys["base", "second.env_steps=100", 0]
    assert keys["nbsp", "", 0] != keys["nbsp", "", 1]


def test_one_neuron_and_all_neurons_are_not_the_same():
    finals = analysis.load("nowhere", plan_of(methods=("nbsp",), seeds=(0,), skill_neurons=(1, 1.0))).finals
    assert finals["skill_neurons_given"].tolist() == ["1", "1.0"]
    assert finals["skill_neurons_count"].tolist() == [1, 16]


def test_every_episode_is_a_row_and_a_rate_is_their_mean(full, plan):
    results = analysis.load(full.root, plan)
    episodes = results.episodes
    assert list(episodes.columns) == list(EPISODE_COLUMNS)
    trial = results.finals.iloc[0]
    own = episodes[(episodes["key"] == trial["key_second"]) & (episodes["policy"] == "stochastic")]
    rates = own.groupby("task")["success"].mean()
    assert (rates[FIRST], rates[SECOND]) == (trial["first_after"], trial["second"]) == (0.1, 1.0)
    assert own["episode"].tolist() == [*range(10), *range(10)]
    # Two first phases with two evaluations of ten episodes, four second phases with four.
    assert len(episodes) == 2 * 2 * 10 + 4 * 4 * 10


def test_every_column_of_every_frame_is_described(full, plan):
    results = analysis.load(full.root, plan)
    described = results.describe()
    assert list(described.columns) == ["frame", "column", "type", "unit", "meaning"]
    for name in ("finals", "curves", "phases", "episodes"):
        assert described.query("frame == @name")["column"].tolist() == list(getattr(results, name).columns)
    assert repr(results).startswith("<Results of x in ")
    assert len(repr(results)) < 200


def test_phases_say_what_the_sweep_cost(full, plan):
    phases = analysis.load(full.root, plan).phases
    assert list(phases.columns) == list(PHASES)
    assert phases["env_steps"].sum() == 5 * 400 + 300
    assert set(phases["versions"]) == {"python 3.11.8, torch 2.11"}
    assert set(phases["status"]) == {"done"}


def test_a_method_that_froze_nothing_reports_nothing(store, plan):
    trial = find(plan, "nbsp", 0)
    report = json.loads(json.dumps(dict(NBSP_REPORT))) | {"score_undefined": True, "positive_share": 1.0}
    del report["neurons"]["actor"]
    learn_second(store, plan, trial, 1, 1, **report)
    row = trial_of(analysis.load(store.root, plan), "nbsp", 0)
    assert pd.isna(row["actor_selected"])
    assert row["q1_selected"] == 3
    assert row["score_undefined"] is True


def test_the_store_is_opened_once(full, plan, monkeypatch):
    opened = []

    class Counted(Store):
        def __init__(self, *args, **options):
            opened.append(args)
            super().__init__(*args, **options)

    for name, module in list(sys.modules.items()):
        if name.startswith("analysis") and hasattr(module, "Store"):
            monkeypatch.setattr(module, "Store", Counted)
    results = analysis.load(full.root, plan)
    tables = all_tables(results)
    scope = Scope.of_all("x", "X", full.root, len(plan.trials))
    assert list(report_blocks(results, tables, [], title="X", scope=scope, root=".."))
    assert explorer_data(results, scope, full.root)["trials"]
    assert opened == [(full.root,)]


def test_what_was_read_for_one_plan_is_not_read_again_for_another(full, plan):
    known = {}
    fewer = plan_of(evaluation={"episodes": EPISODES, "deterministic": False})
    assert fewer.phases.keys() == plan.phases.keys()
    assert np.isnan(trial_of(analysis.load(full.root, fewer, known), "nbsp", 1)["second_deterministic"])
    read = list(known.values())
    of_nbsp = plan_of(methods=("nbsp",), evaluation={"episodes": EPISODES, "deterministic": False})
    again = analysis.load(full.root, of_nbsp, known)
    assert all(any(phase is one for one in read) for phase in again.phase_data.values())
    assert trial_of(again, "nbsp", 1)["second"] == 0.2
    # A plan that wants more evaluations of the same phases is not answered with what was read without them.
    assert trial_of(analysis.load(full.root, plan, known), "nbsp", 1)["second_deterministic_n"] == EPISODES
