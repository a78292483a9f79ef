"""Choosing numbers of skill neurons: as a function, as a loop over a store, and with real trials on a real Ray."""

import json
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray
from phase_files import path_of
from stored import new_store, write_result

from nbsp_ray.config.schema import Sweep
from nbsp_ray.orchestration.choose_count import choose, run_search
from nbsp_ray.orchestration.launch import Outcome, run_plan
from nbsp_ray.plan.build import make_plan
from nbsp_ray.plan.search import CountSearch, resolve_searches
from nbsp_ray.specs import Plan
from nbsp_ray.store import Store

LEARNING = {"env_steps": 300, "stop": "fixed", "eval_every": 150, "eval_episodes": 2}
SETTINGS: dict[str, Any] = {
    "benchmark": "toy",
    "pairs": (("reach", "avoid"),),
    "methods": ("nbsp",),
    "seeds": (0,),
    "sac": {"hidden": [16, 16], "batch_size": 16, "learning_starts": 100},
    "first": LEARNING,
    "second": LEARNING,
    "evaluation": {"episodes": 4},
    "search": {"trials": 4, "start": 2},
    "resources": {"checkpoint_minutes": 0.005},
}


def sweep_of(**changes: Any) -> Sweep:
    return Sweep.model_validate(SETTINGS | changes)


# The choice


def peak(count: int) -> float:
    return math.exp(-(((count - 150) / 120) ** 2))


def test_a_choice_is_a_function_of_what_is_known() -> None:
    values = {0: 0.2, 256: 0.7, 512: 0.1}
    untried = [count for count in range(513) if count not in values]
    chosen = choose(values, untried, 3)
    assert chosen == choose(dict(reversed(values.items())), untried, 3)
    assert len(set(chosen)) == 3
    assert not set(chosen) & set(values)


def test_what_is_suggested_again_is_moved_to_the_nearest_that_is_free() -> None:
    assert sorted(choose({4: 1.0, 0: 0.0}, [1, 2, 3], 3)) == [1, 2, 3]


def test_it_finds_a_peak_in_fewer_trials_than_a_grid_of_that_width() -> None:
    values = {count: peak(count) for count in (0, 171, 341, 512)}
    for _ in range(5):
        (count,) = choose(values, [one for one in range(513) if one not in values], 1)
        values[count] = peak(count)
    assert abs(max(values, key=lambda count: values[count]) - 150) <= 10
    assert sum(abs(count - 150) <= 100 for count in values) >= 5  # not spread over all of the range


# The loop, with results written by hand


def by_hand(store: Store, worth: Callable[[int], float | None], plans: list[Plan]) -> Callable[[Plan], Outcome]:
    """Runs a plan: every phase succeeds as often as its number of neurons is worth, or fails if that is None."""

    def run(plan: Plan) -> Outcome:
        plans.append(plan)
        failed = 0
        for key, phase in plan.phases.items():
            counts = [int(one["counts"]["actor"]) for one in phase.spec.ingredients if one["kind"] == "mask"]
            success = worth(counts[0] if counts else 0) if phase.spec.index else 1.0
            if success is None:
                failed += 1
            elif not store.phase(key).done():
                write_result(store, phase)
                for record in phase.evaluations:
                    store.phase(key).write_evaluation(record, {"success_rate": success}, None)
        return Outcome(len(plan.phases) - failed, failed, 0, 0, interrupted=False)

    return run


def test_the_budget_is_spent_and_every_number_is_tried_once(tmp_path: Path) -> None:
    store, plans, said = new_store(tmp_path), list[Plan](), list[str]()
    sweep = sweep_of(search={"trials": 7, "start": 3, "at_once": 2})
    outcome = run_search(
        "x", [sweep], store, by_hand(store, lambda count: 1 - abs(count - 20) / 32, plans), said.append
    )
    tried = CountSearch(sweep, store).tried
    assert len(set(tried)) == len(tried) == 7
    assert [len(plan.trials) for plan in plans] == [3, 5, 7]
    assert outcome == Outcome(8, 0, 0, 0, interrupted=False)
    assert said[0].startswith("search: 3 of 7 numbers of skill neurons tried, the best so far 16 with 0.875; next ")
    assert min(abs(count - 20) for count in tried) <= 2


def test_running_again_chooses_nothing_new_and_a_larger_budget_goes_on(tmp_path: Path) -> None:
    store, plans = new_store(tmp_path), list[Plan]()
    run = by_hand(store, lambda count: count / 32, plans)
    run_search("x", [sweep_of()], store, run, lambda text: None)
    before = CountSearch(sweep_of(), store).tried
    run_search("x", [sweep_of()], store, run, lambda text: None)
    assert CountSearch(sweep_of(), store).tried == before
    more = sweep_of(search={"trials": 6, "start": 2})
    run_search("x", [more], store, run, lambda text: None)
    assert CountSearch(more, store).tried[:4] == before
    assert len(CountSearch(more, store).tried) == 6


def test_a_search_that_goes_on_chooses_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    whole, parts = new_store(tmp_path / "whole"), new_store(tmp_path / "parts")
    sweep = sweep_of(search={"trials": 6, "start": 2})
    run_search("x", [sweep], whole, by_hand(whole, peak, []), lambda text: None)
    for trials in (3, 5, 6):
        part = sweep_of(search={"trials": trials, "start": 2})
        run_search("x", [part], parts, by_hand(parts, peak, []), lambda text: None)
    assert CountSearch(sweep, parts).tried == CountSearch(sweep, whole).tried


def test_a_number_whose_trials_fail_is_passed_over_and_a_search_without_any_value_ends(tmp_path: Path) -> None:
    store, plans = new_store(tmp_path / "some"), list[Plan]()
    outcome = run_search(
        "x", [sweep_of()], store, by_hand(store, lambda n: None if n == 32 else 0.5, plans), lambda text: None
    )
    assert (outcome.failed, len(CountSearch(sweep_of(), store).tried)) == (1, 4)
    store, plans = new_store(tmp_path / "none"), list[Plan]()
    outcome = run_search("x", [sweep_of()], store, by_hand(store, lambda n: None, plans), lambda text: None)
    assert (outcome.failed, len(plans)) == (2, 1)


def test_sweeps_beside_a_search_are_run_with_it(tmp_path: Path) -> None:
    store, plans = new_store(tmp_path), list[Plan]()
    grid = Sweep.model_validate(SETTINGS | {"methods": ("base",), "search": {}})
    run_search("x", [grid, sweep_of()], store, by_hand(store, lambda n: 0.5, plans), lambda text: None)
    assert [trial.method for trial in plans[-1].trials] == ["base", "nbsp", "nbsp", "nbsp", "nbsp"]


# With real trials


@pytest.mark.ray
def test_a_search_interrupted_on_a_real_ray_goes_on_and_repeats_nothing(cluster: None, tmp_path: Path) -> None:
    sweep, store, plans = sweep_of(search={"trials": 3, "start": 2}), new_store(tmp_path), list[Plan]()
    search = CountSearch(sweep, store)
    over = threading.Event()

    def run(plan: Plan) -> Outcome:
        plans.append(plan)
        return run_plan(plan, store, on_status=lambda status: None, max_concurrent=1)

    def stop_when_one_was_chosen() -> None:
        while not over.wait(0.02):
            chosen = len(search.tried) == 3 and any(not store.phase(key).done() for key in plans[-1].phases)
            if chosen and callable(signal.getsignal(signal.SIGTERM)):  # before it is ours it would end this process
                os.kill(os.getpid(), signal.SIGTERM)
                return

    thread = threading.Thread(target=stop_when_one_was_chosen)
    thread.start()
    try:
        outcome = run_search("x", [sweep], store, run, lambda text: None)
    finally:
        over.set()
        thread.join()
    assert (outcome.interrupted, outcome.left, outcome.exit_code) == (True, 1, 3)
    chosen = search.tried
    assert len(chosen) == 3
    finished = {key: _finished(store, key) for key in plans[-1].phases if store.phase(key).done()}
    assert len(finished) == 3  # the first phase, and the two numbers it begins with

    outcome = run_search("x", [sweep], store, run, lambda text: None)
    assert outcome == Outcome(done=4, failed=0, blocked=0, left=0, interrupted=False)
    assert search.tried == chosen
    assert {key: _finished(store, key) for key in finished} == finished
    (grid,) = resolve_searches([sweep], store)
    assert set(store.phases()) == set(make_plan("x", [grid]).phases)
    assert all(search.value(count) is not None for count in search.tried)


def _finished(store: Store, key: str) -> int:
    return path_of(store, store.phase(key), "result.json").stat().st_mtime_ns


@pytest.mark.ray
def test_a_search_connects_to_ray_once_for_all_its_rounds(cluster: None, tmp_path: Path) -> None:
    short = dict.fromkeys(("first", "second"), LEARNING | {"env_steps": 150})
    (tmp_path / "mine.yaml").write_text(json.dumps(SETTINGS | short | {"search": {"trials": 2, "start": 1}}))
    address = ray.get_runtime_context().gcs_address
    words = ["run", str(tmp_path / "mine.yaml"), "--root", str(tmp_path / "results"), "--address", address]
    words += ["--max-concurrent", "1"]
    done = subprocess.run([sys.executable, "-m", "nbsp_ray", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("connecting to Ray at") == 1
    assert done.stderr.count("numbers of skill neurons tried") == 1
    assert "3 of 3 phases done" in done.stderr
