"""The status of a sweep, from folders in every state."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from phase_files import path_of, paths_of
from rich.console import Console
from stored import firsts, new_store, seconds, small_plan, write_done, write_evaluations, write_result

from nbsp_ray import status as status_module
from nbsp_ray.errors import DamagedPhaseError
from nbsp_ray.specs import Plan, PlannedPhase
from nbsp_ray.status import (
    SILENT_SECONDS,
    PhaseStatus,
    StatusReader,
    SweepStatus,
    is_complete,
    sweep_status,
)
from nbsp_ray.store import Store
from nbsp_ray.terminal.status import render, summary
from nbsp_ray.units import clock, count, duration


@pytest.fixture
def plan() -> Plan:
    return small_plan()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return new_store(tmp_path)


def tell(store: Store, phase: PlannedPhase, **progress: Any) -> None:
    """What a worker on this machine tells."""
    here = {"host": socket.gethostname(), "pid": os.getpid(), "stage": "learning", "env_steps": 250}
    store.phase(phase.key).write_progress(here | {"env_steps_per_second": 50.0, "success": 0.5} | progress)


def grow_old(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """As if so much time had passed since all was written."""
    now = time.time
    monkeypatch.setattr(status_module.time, "time", lambda: now() + seconds)


def of(status: SweepStatus, phase: PlannedPhase) -> PhaseStatus:
    return next(found for found in status.phases if found.key == phase.key)


def text(status: SweepStatus, width: int = 120) -> str:
    console = Console(width=width, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(render(status))
    console.file.close()
    return console.export_text()


def test_a_new_sweep_waits(plan: Plan, store: Store) -> None:
    status = sweep_status(plan, store)
    assert {phase.state for phase in status.phases} == {"waiting"}
    assert (status.env_steps, status.budget, status.eta_seconds) == (0, 4_000, None)
    assert status.left == list(plan.phases)
    assert summary(status) == "0 of 6 phases done (first 0 of 2, second 0 of 4), 6 waiting; 0 of 4000 env steps"


def test_every_state_at_once(plan: Plan, store: Store) -> None:
    (first, broken), (one, two, *rest) = firsts(plan), seconds(plan)
    write_done(store, first)
    tell(store, one)
    write_result(store, two)
    tell(store, two, stage="evaluating")
    store.phase(broken.key).write_failure({"error": "ValueError: no", "traceback": "...", "final": True})
    status = sweep_status(plan, store)
    assert [of(status, phase).state for phase in (first, broken, one, two)] == [
        "done",
        "failed",
        "learning",
        "evaluating",
    ]
    blocked = [phase for phase in rest if broken.key in phase.spec.needs]
    assert status.blocked == [phase.key for phase in blocked]
    assert status.failed == [broken.key]
    assert status.done == [first.key]
    assert len(status.left) == 5
    assert of(status, first).success == 0.75
    assert of(status, broken).error == "ValueError: no"
    shown = text(status)
    assert "ValueError: no" in shown
    assert str(store.phase(broken.key).path / "failures") in shown.replace("\n", "")
    assert "250/500" in shown
    assert "success 0.50" in shown
    assert "1 of 6 phases done (first 1 of 2, second 0 of 4), 2 at work, 1 waiting, 1 failed, 1 blocked" in shown


def test_a_phase_without_its_evaluations_is_not_done(plan: Plan, store: Store) -> None:
    first = firsts(plan)[0]
    write_result(store, first)
    assert not is_complete(first, store)
    assert of(sweep_status(plan, store), first).state == "waiting"
    assert of(sweep_status(plan, store), first).budget == 400
    write_evaluations(store, first)
    assert is_complete(first, store)
    assert of(sweep_status(plan, store), first).state == "done"


def test_a_phase_without_a_buffer_that_another_needs_is_not_done(plan: Plan, store: Store) -> None:
    first = firsts(plan)[0]
    write_result(store, first, buffer=False)
    write_evaluations(store, first)
    assert not is_complete(first, store)
    assert of(sweep_status(plan, store), first).state == "waiting"


def test_what_was_saved_or_has_fallen_silent_is_stopped(
    plan: Plan, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved, silent = firsts(plan)
    dead, elsewhere, *_ = seconds(plan)
    tell(store, saved, stopped=True)
    tell(store, silent)
    child = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    tell(store, dead, pid=int(child.stdout))
    tell(store, elsewhere, pid=int(child.stdout), host="another")
    assert of(sweep_status(plan, store), saved).state == "stopped"
    assert of(sweep_status(plan, store), dead).state == "learning"
    grow_old(monkeypatch, 60)
    status = sweep_status(plan, store)
    assert [of(status, phase).state for phase in (silent, dead, elsewhere)] == ["learning", "stopped", "learning"]
    grow_old(monkeypatch, SILENT_SECONDS + 1)
    assert of(sweep_status(plan, store), silent).state == "stopped"
    assert of(sweep_status(plan, store), silent).env_steps == 250


def test_a_failed_attempt_is_tried_again_until_it_is_final(
    plan: Plan, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = firsts(plan)[0]
    tell(store, first)
    store.phase(first.key).write_failure({"error": "OSError: disk", "traceback": "..."})
    found = of(sweep_status(plan, store), first)
    assert (found.state, found.attempts, found.error) == ("waiting", 1, "OSError: disk")
    tell(store, first)
    found = of(sweep_status(plan, store), first)
    assert (found.state, found.attempts) == ("learning", 1)
    store.phase(first.key).write_failure({"error": "OSError: disk", "traceback": "..."})
    grow_old(monkeypatch, SILENT_SECONDS + 1)
    assert of(sweep_status(plan, store), first).state == "failed"
    store.phase(first.key).forget_failures()
    assert of(sweep_status(plan, store), first).state == "stopped"


def test_a_damaged_folder_is_a_finding_and_no_crash(plan: Plan, store: Store) -> None:
    first = firsts(plan)[0]
    write_done(store, first)
    path_of(store, store.phase(first.key), "result.json").write_text("{")
    found = of(sweep_status(plan, store), first)
    assert found.state == "damaged"
    assert "`nbsp-ray run` sets it aside and trains it anew" in (found.error or "")
    assert "1 damaged" in text(sweep_status(plan, store))
    assert store.mend(plan.phases)
    assert of(sweep_status(plan, store), first).state == "waiting"
    write_done(store, first)
    found = of(sweep_status(plan, store), first)
    assert found.state == "done"
    assert found.notes[0].startswith("an earlier result was damaged and set aside: ")


@pytest.mark.parametrize("name", ["curve.jsonl", "manifest.json", "evaluations/"])
def test_what_only_a_report_reads_is_mended_too(plan: Plan, store: Store, name: str) -> None:
    first = firsts(plan)[0]
    write_done(store, first)
    path = next(path for file, path in paths_of(store, first.key).items() if file.startswith(name))
    path.write_bytes(path.read_bytes() + b" ")
    (said,) = store.mend(plan.phases)
    assert str(path) in said
    assert of(sweep_status(plan, store), first).state != "done"
    assert not store.mend(plan.phases)


def test_what_is_set_aside_while_it_is_watched_is_not_done_any_more(plan: Plan, store: Store) -> None:
    first, reader = firsts(plan)[0], StatusReader(plan, store)
    write_done(store, first)
    assert of(reader.read(), first).state == "done"
    store.phase(first.key).set_aside(DamagedPhaseError(first.key, "agent.safetensors", "it is missing"))
    assert of(reader.read(), first).state == "waiting"


EPISODE = 25
"""Env steps of the toy's."""
FIRST, SECOND = 2 * 4 * EPISODE, 4 * 4 * EPISODE
"""Env steps of final evaluations: four episodes of each task, drawn and not."""


def evaluating(steps: int, speed: float) -> float:
    """Seconds of evaluations where learning goes on at `speed`, by hand: the reference's 90, scaled to this network."""
    reference = 90 * 19_660_800 / ((7 * 256 + 256 * 256 + 256) * 256)
    return steps / (2_500 * speed / reference)


def test_the_eta_is_what_is_left_by_speed_and_never_shorter_than_a_chain(plan: Plan, store: Store) -> None:
    first, other = firsts(plan)
    tell(store, first, env_steps=500, env_steps_per_second=10.0)
    tell(store, other, env_steps=500, env_steps_per_second=10.0)
    # 500 + 500 left of the first phases and 4 x 500 of the second ones; the longest chain is 500 + 500.
    whole = 3_000 / 10 + evaluating(2 * FIRST + 4 * SECOND, 10)
    chain = 1_000 / 10 + evaluating(FIRST + SECOND, 10)
    assert sweep_status(plan, store).eta_seconds == pytest.approx(whole / 2)
    assert sweep_status(plan, store, concurrent=1).eta_seconds == pytest.approx(whole)
    assert sweep_status(plan, store, concurrent=100).eta_seconds == pytest.approx(chain)
    assert of(sweep_status(plan, store), first).eta_seconds == pytest.approx(500 / 10 + evaluating(FIRST, 10))


def test_a_phase_that_is_evaluated_has_an_eta_too(plan: Plan, store: Store) -> None:
    first = firsts(plan)[0]
    write_result(store, first, speed=10.0)
    tell(store, first, stage="evaluating")
    record = next(iter(first.evaluations))
    assert of(sweep_status(plan, store), first).eta_seconds == pytest.approx(evaluating(FIRST, 10))
    store.phase(first.key).write_evaluation(record, {"success_rate": 1.0}, None)
    assert of(sweep_status(plan, store), first).eta_seconds == pytest.approx(evaluating(FIRST // 2, 10))


def test_speeds_of_finished_phases_serve_where_none_is_at_work(plan: Plan, store: Store) -> None:
    write_done(store, firsts(plan)[0], speed=20.0)
    assert sweep_status(plan, store).eta_seconds is None
    # 1,000 + 4 x 500 are left, at 20 a second, one at a time.
    whole = 3_000 / 20 + evaluating(FIRST + 4 * SECOND, 20)
    assert sweep_status(plan, store, concurrent=1).eta_seconds == pytest.approx(whole)


def test_speed_and_host_of_what_is_at_work_are_shown_at_any_width(plan: Plan, store: Store) -> None:
    tell(store, firsts(plan)[0], host="node-7", env_steps_per_second=63.4)
    status = sweep_status(plan, store)
    words = ["reach, first phase, seed 0", "250/1000", "63 env steps/s", "success 0.50", "ETA ", "on node-7"]
    for width in (30, 60, 80, 200):
        shown = text(status, width=width)
        assert [word for word in words if word not in " ".join(shown.split())] == []
        assert max(map(len, shown.splitlines())) <= width


def test_the_eta_of_a_search_counts_what_it_is_yet_to_choose(store: Store) -> None:
    """One seed of two is planned; the other is of the whole plan alone."""
    part, whole = small_plan(seeds=(0,)), small_plan()
    tell(store, firsts(part)[0], env_steps=500, env_steps_per_second=10.0)
    status = StatusReader(part, store, concurrent=1, whole=whole).read()
    assert (len(status.phases), status.beyond) == (3, 3)
    assert status.eta_seconds == pytest.approx(3_500 / 10 + evaluating(2 * FIRST + 4 * SECOND, 10))
    assert summary(status).endswith(", with 3 phases that the search is yet to choose")


def test_json_has_counts_and_one_object_for_each_phase(plan: Plan, store: Store) -> None:
    write_done(store, firsts(plan)[0])
    store.phase(firsts(plan)[1].key).write_failure({"error": "no", "traceback": "", "final": True})
    data = json.loads(json.dumps(sweep_status(plan, store).to_json()))
    assert data["counts"] == {"first": {"done": 1, "failed": 1}, "second": {"waiting": 2, "blocked": 2}}
    assert len(data["phases"]) == 6
    assert data["phases"][0]["env_steps"] == 400


def test_reading_again_looks_only_at_what_was_not_done(
    plan: Plan, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for phase in plan.phases.values():
        write_done(store, phase)
    reader = StatusReader(plan, store)
    assert reader.read().left == []
    monkeypatch.setattr(Store, "phase", None)
    assert reader.read().left == []


def test_a_large_sweep_not_begun_is_read_at_once(tmp_path: Path) -> None:
    plan = small_plan(seeds=tuple(range(1_000)))
    reader = StatusReader(plan, new_store(tmp_path))
    began = time.process_time()
    assert len(reader.read().left) == 3_000
    assert time.process_time() - began < 5


def test_many_at_work_are_cut_short(store: Store) -> None:
    plan = small_plan(seeds=tuple(range(30)))
    for phase in firsts(plan):
        tell(store, phase)
    shown = text(sweep_status(plan, store))
    assert "and 10 more at work" in shown
    assert shown.count("success") == 20


@pytest.mark.parametrize(
    ("number", "says"),
    [(0, "0"), (9_999, "9999"), (22_500, "22.5k"), (412_345, "412k"), (999_499, "999k"), (1_000_000, "1.0M")],
)
def test_counts_are_short(number: int, says: str) -> None:
    assert count(number) == says


@pytest.mark.parametrize(("number", "says"), [(40, "40 s"), (360, "6 min"), (9_000, "2.5 h"), (3 * 86_400, "3.0 days")])
def test_durations_are_short(number: float, says: str) -> None:
    assert duration(number) == says


def test_a_clock_of_another_day_names_it() -> None:
    now = time.mktime((2026, 11, 22, 12, 0, 0, 0, 0, -1))
    assert clock(now + 60, now=now) == "12:01"
    assert clock(now + 86_400, now=now) == "Mon 12:00"


def test_it_needs_neither_torch_nor_ray_nor_pandas() -> None:
    code = "import sys, nbsp_ray.terminal.live; print({'torch', 'ray', 'pandas', 'metaworld'} & {*sys.modules})"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
