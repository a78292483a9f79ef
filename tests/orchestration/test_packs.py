"""Sweeps in lanes on a real Ray: every phase is what it is alone, killed, failing, stopped or packed otherwise."""

import os
import random
import signal
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from interrupted import what_it_left
from stored import firsts, new_store
from test_launch import LEARNING, command_line, meanwhile, run, toy, wait_for, workers
from toy_phases import run_whole

from nbsp_ray.orchestration.launch import Outcome, run_plan
from nbsp_ray.specs import Plan
from nbsp_ray.status import SweepStatus, sweep_status
from nbsp_ray.store import Store

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster")]
RESOURCES: dict[str, Any] = {"checkpoint_minutes": 0.005, "compile": False}


def lanes(number: int, **changes: Any) -> Plan:
    settings: dict[str, Any] = {"methods": ("base", "nbsp", "ewc"), "resources": RESOURCES | {"lanes": number}}
    return toy(**settings | changes)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Each phase of the sweep by itself."""
    store = new_store(tmp_path_factory.mktemp("alone"))
    for phase in lanes(1).phases.values():
        run_whole(store, phase)
    return store


def assert_equal(plan: Plan, alone: Store, store: Store) -> None:
    for phase in plan.phases.values():
        assert what_it_left(store, phase) == what_it_left(alone, phase), phase.label


def test_every_phase_is_what_it_is_alone_whenever_its_worker_is_killed(alone: Store, tmp_path: Path) -> None:
    plan, store, killed, rng = lanes(3), new_store(tmp_path), list[int](), random.Random(7)

    def kill(over: threading.Event) -> None:
        wait_for(lambda: over.is_set() or any(store.phase(key).done() for key in plan.phases))
        while len(killed) < 2 and not over.wait(rng.uniform(0.3, 1.5)):
            if found := workers():
                victim = rng.choice(found)
                with suppress(psutil.Error):
                    victim.kill()
                    killed.append(victim.pid)

    seen: list[SweepStatus] = []
    with meanwhile(kill):
        assert run_plan(plan, store, on_status=seen.append) == Outcome(8, 0, 0, 0, interrupted=False)
    assert killed
    assert max(len(status.running) for status in seen) > 2, "each phase of a pack is seen at work"
    assert_equal(plan, alone, store)


def test_a_lane_that_fails_takes_no_other_down_and_is_tried_again_by_the_next_run(alone: Store, tmp_path: Path) -> None:
    plan, store = lanes(3), new_store(tmp_path)
    broken = firsts(plan)[0]
    in_the_way = store.phase(broken.key).path / "commits"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.write_text("")  # it learns, and cannot be committed
    assert run(plan, store, max_concurrent=3) == Outcome(done=4, failed=1, blocked=3, left=0, interrupted=False)
    (failed,) = (phase for phase in sweep_status(plan, store).phases if phase.state == "failed")
    assert (failed.key, failed.attempts) == (broken.key, 3)
    in_the_way.unlink()
    assert run(lanes(2), store, max_concurrent=2) == Outcome(8, 0, 0, 0, interrupted=False)
    assert_equal(plan, alone, store)


def test_a_signal_saves_every_lane_and_the_sweep_goes_on_in_another_packing(tmp_path: Path) -> None:
    """With two CPUs a pack has processes that play; they end with it."""
    few: dict[str, Any] = {"methods": ("base",), "first": LEARNING | {"env_steps": 800}}
    long_kept = {"checkpoint_minutes": 60, "compile": False, "lanes": 2, "cpus": 2}
    plan = lanes(2, **few, resources=long_kept)
    alone, store, players = new_store(tmp_path / "alone"), new_store(tmp_path), set[int]()

    def stop(over: threading.Event) -> None:
        def learning() -> bool:
            progress = [store.phase(phase.key).progress() for phase in firsts(plan)]
            return over.is_set() or all(found and found["env_steps"] > 200 for found in progress)

        wait_for(learning)
        for worker in workers():
            players.update(child.pid for child in worker.children() if "spawn_main" in command_line(child))
        os.kill(os.getpid(), signal.SIGTERM)

    with meanwhile(stop):
        assert run(plan, store) == Outcome(0, 0, 0, left=4, interrupted=True)
    assert len(players) >= 2
    wait_for(lambda: not any(psutil.pid_exists(pid) for pid in players))
    assert len(sweep_status(plan, store).keys("stopped")) == 2
    for phase in firsts(plan):
        assert next(store.phase(phase.key).checkpoints()).read().env_steps > 200
    assert run(lanes(1, **few), store, max_concurrent=1) == Outcome(4, 0, 0, 0, interrupted=False)
    for phase in plan.phases.values():
        run_whole(alone, phase)
    assert_equal(plan, alone, store)
