"""Drawing while a sweep runs: lines without a terminal, a table on one, and never an exception."""

import io
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from stored import firsts, new_store, seconds, small_plan, write_done

from nbsp_ray.specs import Plan
from nbsp_ray.status import StatusReader, SweepStatus, sweep_status
from nbsp_ray.store import Store
from nbsp_ray.terminal.live import LiveStatus, print_status, watch_status

QUICK = 0.02


@pytest.fixture
def plan() -> Plan:
    return small_plan()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return new_store(tmp_path)


def wait_for(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 120  # ends long before, unless the machine is busy
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.01)


def plain() -> Console:
    return Console(file=io.StringIO(), force_terminal=False, width=80)


def test_without_a_terminal_it_prints_what_changes(plan: Plan, store: Store) -> None:
    (first, other), console = firsts(plan), plain()
    out = console.file
    assert isinstance(out, io.StringIO)
    label = first.label
    with LiveStatus(plan, store, console=console, seconds=QUICK) as live:
        wait_for(lambda: "0 of 6 phases done" in out.getvalue())
        live.say("starting Ray here")
        store.phase(first.key).write_progress({"stage": "learning", "env_steps": 50})
        wait_for(lambda: f"started: {label}: 50 of 1,000 env steps" in out.getvalue())
        store.phase(first.key).write_failure({"error": "OSError: no", "traceback": ""})
        wait_for(lambda: f"attempt 1 failed, it is tried again: {label}: OSError: no" in out.getvalue())
        write_done(store, first)
        wait_for(lambda: f"done: {label}: 400 env steps, success 0.75" in out.getvalue())
        store.phase(other.key).write_failure({"error": "ValueError: no", "traceback": "", "final": True})
        wait_for(lambda: f"failed: {other.label}: ValueError: no (" in out.getvalue())
        wait_for(lambda: out.getvalue().count("blocked: ") == 2)
    lines = out.getvalue().splitlines()
    assert any(line.endswith("starting Ray here") for line in lines)
    assert "1 of 6 phases done (first 1 of 2, second 0 of 4), 2 waiting, 1 failed, 2 blocked" in lines[-1]
    assert all(line[2] == ":" for line in lines)


def test_without_a_terminal_a_summary_comes_now_and_then(plan: Plan, store: Store) -> None:
    console = plain()
    out = console.file
    assert isinstance(out, io.StringIO)
    progress = {"stage": "learning", "env_steps": 50, "success": 0.9, "env_steps_per_second": 10.0}
    store.phase(firsts(plan)[0].key).write_progress(progress)
    with LiveStatus(plan, store, console=console, seconds=QUICK, summary_seconds=3 * QUICK):
        wait_for(lambda: out.getvalue().count("50 of 1,000 env steps, success 0.90; 0 of 6 phases done") > 2)
    assert "ETA " in out.getvalue()


def test_on_a_terminal_it_draws_a_table_and_leaves_it_standing(plan: Plan, store: Store) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100, height=20, legacy_windows=False)
    out = console.file
    assert isinstance(out, io.StringIO)
    store.phase(firsts(plan)[0].key).write_progress({"stage": "learning", "env_steps": 50, "success": 0.9})
    with LiveStatus(plan, store, console=console, seconds=QUICK) as live:
        wait_for(lambda: "success 0.90" in out.getvalue())
        live.say("saving and stopping")
        write_done(store, firsts(plan)[0])
        wait_for(lambda: "1 of 6 phases done" in out.getvalue())
    assert "saving and stopping" in out.getvalue()


def test_on_a_terminal_too_each_attempt_that_fails_is_said(plan: Plan, store: Store) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100, height=20, legacy_windows=False)
    out = console.file
    assert isinstance(out, io.StringIO)
    first = firsts(plan)[0]
    store.phase(first.key).write_progress({"stage": "learning", "env_steps": 50})
    with LiveStatus(plan, store, console=console, seconds=QUICK):
        wait_for(lambda: "at work" in out.getvalue())
        for attempt in (1, 2):
            store.phase(first.key).write_failure({"error": "the worker was killed", "traceback": ""})
            said = f"attempt {attempt} failed, it is tried again: {first.label}"
            wait_for(lambda said=said: said in out.getvalue())


def test_what_is_noted_is_said_once(plan: Plan, store: Store) -> None:
    console = plain()
    out = console.file
    assert isinstance(out, io.StringIO)
    with LiveStatus(plan, store, console=console, seconds=QUICK) as live:
        for phase in firsts(plan):
            store.phase(phase.key).write_progress({"stage": "learning", "env_steps": 50, "notes": ["not compiled: no"]})
        wait_for(lambda: live.status is not None and live.status.notes == {"not compiled: no": 2})
        time.sleep(3 * QUICK)
    assert out.getvalue().count("not compiled: no") == 1
    assert f"noted: {firsts(plan)[0].label}: not compiled: no" in out.getvalue()


def test_whatever_goes_wrong_in_drawing_stays_there(plan: Plan, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: StatusReader) -> SweepStatus:
        raise OSError("the disk is gone")

    monkeypatch.setattr(StatusReader, "read", broken)
    with LiveStatus(plan, store, console=plain(), seconds=QUICK) as live:
        live.say("still there")
        time.sleep(5 * QUICK)
    with pytest.raises(ValueError, match="of the run"), LiveStatus(plan, store, console=plain(), seconds=QUICK):
        raise ValueError("of the run")


def test_a_callback_gets_the_status_in_place_of_a_drawing(
    plan: Plan, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[SweepStatus] = []
    with LiveStatus(plan, store, on_status=seen.append, seconds=QUICK) as live:
        live.concurrent = 3
        live.say("nobody reads this")
        wait_for(lambda: len(seen) > 2)
    assert seen[-1].concurrent == 3
    assert capsys.readouterr() == ("", "")


def test_watching_ends_when_nothing_is_left_to_wait_for(
    plan: Plan, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    for phase in (*firsts(plan), *seconds(plan)):
        write_done(store, phase)
    watch_status(plan, store)
    assert "6 of 6 phases done" in capsys.readouterr().out


def test_a_status_can_be_printed(plan: Plan, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    print_status(sweep_status(plan, store))
    assert "0 of 6 phases done" in capsys.readouterr().out
