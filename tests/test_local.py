"""A trial in this process: all it needs in the right order, and Ctrl-C."""

import os
import signal
from pathlib import Path

import pytest
from interrupted import what_it_left
from phase_files import path_of
from toy_phases import run_whole, toy_plan, trial_of

from nbsp_ray.learning.run import Progress
from nbsp_ray.local import run_plan, run_trial
from nbsp_ray.store import Store

BEFORE = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
PLAN = toy_plan(methods=("base", "ancl", "nbsp"), seeds=(0,))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results", create=True)


class Reports(list[tuple[str, Progress]]):
    """What a trial told."""

    def __call__(self, label: str, progress: Progress) -> None:
        self.append((label, progress))

    @property
    def labels(self) -> list[str]:
        return list(dict.fromkeys(label for label, _ in self))


def test_a_trial_and_all_it_needs_each_after_what_it_needs(store: Store) -> None:
    reports, trial = Reports(), trial_of(PLAN, "ancl")
    assert run_trial(PLAN, trial, store, reports, seconds=60)
    assert reports.labels == [
        "reach, first phase, seed 0",
        "reach > avoid, base, seed 0",
        "reach > avoid, ancl, seed 0",
    ]
    assert all(store.phase(key).done() for key in (*trial.phases, trial_of(PLAN, "base").phases[1]))
    assert not store.phase(trial_of(PLAN, "nbsp").phases[1]).done()
    for key in trial.phases:
        folder, phase = store.phase(key), PLAN.phases[key]
        assert all(folder.has_evaluation(record) for record in phase.evaluations)
    again = Reports()
    assert run_trial(PLAN, trial, store, again, seconds=60)
    assert [progress.stage for _, progress in again] == ["done"] * 3


def test_it_reports_every_few_seconds(store: Store) -> None:
    reports = Reports()
    assert run_trial(PLAN, trial_of(PLAN, "base"), store, reports, seconds=0)
    first = [progress for label, progress in reports if "first" in label]
    assert [progress.env_steps for progress in first[:8]] == list(range(25, 201, 25))
    assert [progress.done for progress in first] == [False] * (len(first) - 1) + [True]
    assert {progress.stage for progress in first} == {"learning", "evaluating", "done"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_saved_and_it_goes_on_bit_identical(number: signal.Signals, store: Store) -> None:
    def stop(label: str, progress: Progress) -> None:
        if progress.env_steps == 100:
            os.kill(os.getpid(), number)

    trial = trial_of(PLAN, "base")
    assert not run_trial(PLAN, trial, store, stop, seconds=0)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == BEFORE
    folder = store.phase(trial.phases[0])
    assert not folder.done()
    assert next(folder.checkpoints()).read().env_steps == 100
    reports = Reports()
    assert run_trial(PLAN, trial, store, reports, seconds=0)
    assert reports[0][1].env_steps == 125
    other = Store(store.root / "other", create=True)
    for key in trial.phases:
        expected = run_whole(other, PLAN.phases[key])
        assert (store.phase(key).result() or {})["digest"] == expected["digest"]


def test_a_signal_during_the_last_helping_is_no_failure(store: Store) -> None:
    def stop(label: str, progress: Progress) -> None:
        if progress.done and "base" in label:
            os.kill(os.getpid(), signal.SIGINT)

    assert run_trial(PLAN, trial_of(PLAN, "base"), store, stop, seconds=60)


def test_a_second_signal_stops_at_once(store: Store) -> None:
    def stop(label: str, progress: Progress) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run_trial(PLAN, trial_of(PLAN, "base"), store, stop, seconds=0)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == BEFORE


def test_a_whole_plan_in_lanes_is_what_it_is_trial_by_trial(store: Store, tmp_path: Path) -> None:
    short = {"first": {"env_steps": 100}, "second": {"env_steps": 100}}
    plans = [toy_plan(methods=("base", "nbsp"), resources={"lanes": lanes}, **short) for lanes in (1, 3)]
    alone, packed = Store(tmp_path / "alone", create=True), store
    for phase in plans[0].phases.values():
        run_whole(alone, phase)
    reports = Reports()
    assert run_plan(plans[1], packed, reports) == {}
    assert {label for label, progress in reports if progress.done} == {one.label for one in plans[1].phases.values()}
    for phase in plans[0].phases.values():
        assert what_it_left(packed, phase) == what_it_left(alone, phase)
    assert run_plan(plans[1], packed) == {}, "nothing is left"


@pytest.mark.parametrize("name", ["agent.safetensors", "evaluations/reach.rollouts.5.train.json"])
def test_a_flipped_bit_is_seen_by_whoever_reads_it_and_made_good(name: str, store: Store) -> None:
    trial = trial_of(PLAN, "nbsp")
    first, second = trial.phases
    digest = run_whole(store, PLAN.phases[first])["digest"]
    path = path_of(store, store.phase(first), name)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert run_trial(PLAN, trial, store, seconds=60)
    assert (store.phase(first).result() or {})["digest"] == digest
    assert store.phase(second).done()
    assert store.phase(first).has_evaluation("reach.rollouts.5.train")
    assert len(store.phase(first).aside()) == (not name.startswith("evaluations"))


def test_in_lanes_what_is_found_damaged_is_made_anew_and_no_failure(store: Store) -> None:
    short = {"first": {"env_steps": 100}, "second": {"env_steps": 100}}
    plan = toy_plan(methods=("nbsp",), resources={"lanes": 2}, **short)
    first = plan.trials[0].phases[0]
    digest = run_whole(store, plan.phases[first])["digest"]
    path = path_of(store, store.phase(first), "agent.safetensors")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert run_plan(plan, store) == {}
    assert (store.phase(first).result() or {})["digest"] == digest
    assert len(store.phase(first).aside()) == 1
    assert all(store.phase(key).done() for key in plan.phases)
