import numpy as np
import pytest
from synthetic_store import (
    BUDGET,
    FIRST,
    SECOND,
    evaluations,
    find,
    learn,
    learn_first,
    learn_second,
    plan_of,
    training,
)

import analysis
from analysis.figures.bands import POINTS, CurveReader, SeedCurve, make_band


def curve(env_steps, success, *, done=True, end=0, stopped_early=False, carried=np.nan):
    values = np.array(env_steps, dtype=float), np.array(success, dtype=float)
    return SeedCurve(0, *values, done, end or env_steps[-1], stopped_early, carried)


def at(band, env_steps):
    return int(np.argmin(abs(band.env_steps - env_steps)))


def test_mean_and_standard_error_by_hand():
    band = make_band([curve([0, 100], [0, 1]), curve([0, 100], [0, 0])], 100)
    assert (band.n, band.planned, len(band.mean)) == (2, 2, POINTS)
    middle = at(band, 50)
    assert band.mean[middle] == pytest.approx(0.25)
    # Values 0.5 and 0: s = 0.353553, s / sqrt(2) = 0.25.
    assert band.standard_error[middle] == pytest.approx(0.25)


def test_an_early_stop_is_carried_forward_by_its_final_evaluation_and_remembered():
    early = curve([0, 40], [0, 1], stopped_early=True, carried=0.8)
    late = curve([0, 80], [0, 0.5], stopped_early=True, carried=0.3)
    band = make_band([early, late], 100)
    assert band.mean[-1] == pytest.approx((0.8 + 0.3) / 2)
    # At 60: 0.8 of the one that stopped, 0.375 of the other.
    assert band.mean[at(band, 60)] == pytest.approx((0.8 + 0.375) / 2)
    assert band.mean[at(band, 40)] == pytest.approx((1 + 0.25) / 2)
    assert (band.stops, band.carried_from) == ((40, 80), 80)


def test_without_a_final_evaluation_nothing_is_carried_forward():
    band = make_band([curve([0, 40], [0, 1], stopped_early=True)], 100)
    assert np.isnan(band.mean[at(band, 60)])


def test_the_final_evaluation_of_each_task_is_carried_forward(full, plan):
    reader = CurveReader(analysis.load(full.root, plan))
    key = find(plan, "nbsp", 1).phases[1]
    # It stopped with its evaluations of the second task at 1; the final ones are 2 and, of the first task, 3 of 10.
    assert (reader.evaluation(key, SECOND).heights[-1], reader.evaluation(key, SECOND).carried) == (1, 0.2)
    assert reader.evaluation(key, FIRST).carried == 0.3
    assert reader.training(key).carried == 0.2


def test_nothing_is_drawn_before_all_seeds_have_a_value():
    band = make_band([curve([0, 100], [1, 1]), curve([50, 100], [1, 1])], 100)
    assert np.isnan(band.mean[at(band, 40)])
    assert band.mean[at(band, 60)] == 1


def test_unfinished_seeds_are_in_no_mean():
    band = make_band([curve([0, 100], [1, 1]), curve([0, 30], [0, 0], done=False)], 100)
    assert (band.n, band.planned, len(band.unfinished)) == (1, 2, 1)
    assert np.isnan(band.standard_error).all()
    assert (band.mean == 1).all()


def test_no_curve_is_no_band():
    band = make_band([], 100)
    assert band.n == 0
    assert np.isnan(band.mean).all()


def test_the_training_curve_is_the_mean_of_ten_episodes(store, plan):
    trial = find(plan, "base", 0)
    learn_first(store, plan, trial, 9)
    found = CurveReader(analysis.load(store.root, plan)).training(trial.phases[0])
    # Sixteen episodes, six failures first: the tenth ends four successes, the last ten.
    assert found.env_steps.tolist() == [25.0 * n for n in range(10, 17)]
    assert found.heights.tolist() == pytest.approx([0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    assert (found.done, found.end) == (True, BUDGET)


def test_a_cut_off_curve_is_in_no_mean(store, plan):
    trial = find(plan, "base", 0)
    learn_first(store, plan, trial, 9)
    learn(store, plan, trial.phases[1], evaluations(SECOND, [0, 1]) + training(SECOND, [1] * 12))
    assert not CurveReader(analysis.load(store.root, plan)).training(trial.phases[1]).done


def test_a_phase_that_trials_share_counts_once(store):
    plan = plan_of(methods=("replay_only", "nbsp"), skill_neurons=(0.0, 0.2), seeds=(0,))
    shared, same, other = plan.trials
    assert shared.phases == same.phases
    for trial in (shared, other):
        learn_first(store, plan, trial, 9)
        learn_second(store, plan, trial, 5, 5)
    results = analysis.load(store.root, plan)
    reader = CurveReader(results)
    for trial in plan.trials:
        assert reader.evaluation(trial.phases[1], FIRST).heights.tolist() == [1, 0.8, 0.6, 0.4, 0.2]
