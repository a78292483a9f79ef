"""The gate as Tune sees it: every hook answers, none raises. Without a cluster."""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nbsp_ray.orchestration import gated_search as search_module
from nbsp_ray.orchestration.attempts import Attempts
from nbsp_ray.orchestration.gate import Gate
from nbsp_ray.orchestration.gated_search import GAVE_UP, LEAVES, NODE, GatedSearch, phase_key
from nbsp_ray.states import State


def tries(retries: int) -> Attempts:
    """All machines are well."""
    return Attempts(retries, lambda machine: True)


NEEDS: dict[str, tuple[str, ...]] = {"a": (), "b": (), "a1": ("a",)}


@pytest.fixture(autouse=True)
def _trials_are_their_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    def create(spec: dict[str, Any], parser: object, *, trial_id: str, experiment_tag: str) -> SimpleNamespace:
        return SimpleNamespace(trial_id=trial_id, config=spec["config"], error_file="")

    monkeypatch.setattr(search_module, "_create_trial_from_spec", create)


def keys(gate: Gate, state: State) -> list[str]:
    """Keys in one state, in plan order."""
    return [key for key, found in gate.states.items() if found is state]


def started(search: GatedSearch) -> list[str]:
    """All that starts now."""
    found: list[str] = []
    while (trial := search.next_trial()) is not None:
        found.append(trial.trial_id)
    return found


def test_a_phase_whose_worker_dies_is_tried_again_so_many_times() -> None:
    gate = Gate(NEEDS, lambda key: False)
    search = GatedSearch(gate, lambda key: {}, attempts=tries(2))
    assert started(search) == ["a-0", "b-0"]
    for attempt in range(2):
        search.on_trial_complete(trial_id=f"a-{attempt}", error=True)
        assert started(search) == [f"a-{attempt + 1}"]
    search.on_trial_complete(trial_id="a-2", error=True)
    assert started(search) == []
    assert keys(gate, State.FAILED) == ["a"]
    assert keys(gate, State.BLOCKED) == ["a1"]
    assert not search.is_finished()
    search.on_trial_complete(trial_id="b-0", result={})
    assert search.is_finished()


def test_a_phase_that_was_given_up_is_not_tried_again() -> None:
    gate = Gate(NEEDS, lambda key: False)
    search = GatedSearch(gate, lambda key: {}, attempts=tries(2))
    started(search)
    search.on_trial_complete(trial_id="a-0", result={GAVE_UP: True})
    assert keys(gate, State.FAILED) == ["a"]


def test_when_tune_stops_what_was_interrupted_is_left_and_not_failed() -> None:
    gate = Gate(NEEDS, lambda key: False)
    search = GatedSearch(gate, lambda key: {}, attempts=tries(2))
    started(search)
    search.set_finished()
    search.on_trial_complete(trial_id="a-0", result={"done": True})
    search.on_trial_complete(trial_id="b-0", error=True)
    assert search.is_finished()
    assert started(search) == []
    assert Counter(gate.states.values()) == {State.READY: 2, State.WAITING: 1}


def test_a_phase_without_a_config_fails_alone() -> None:
    def config(key: str) -> dict[str, Any]:
        if key == "a":
            raise ValueError("no config")
        return {"key": key}

    gate = Gate(NEEDS, lambda key: False)
    search = GatedSearch(gate, config, attempts=tries(2))
    trial = search.next_trial()
    assert trial is not None
    assert trial.config == {"key": "b"}
    assert keys(gate, State.FAILED) == ["a"]


def test_a_broken_store_ends_the_experiment_and_raises_nothing() -> None:
    answers = iter([False, False, False])  # while the gate is made; then nothing more is known

    gate = Gate(NEEDS, lambda key: next(answers))
    search = GatedSearch(gate, lambda key: {}, attempts=tries(2))
    assert search.next_trial() is None
    assert search.is_finished()
    search.on_trial_complete(trial_id="unheard of", error=True)


def test_the_key_is_in_the_trial_id() -> None:
    assert phase_key("0123456789abcdef0123-7") == "0123456789abcdef0123"


def test_a_phase_whose_machine_is_taken_away_goes_on_elsewhere_and_that_is_no_failure() -> None:
    looked: list[str] = []
    gate = Gate(NEEDS, lambda key: False)
    search = GatedSearch(gate, lambda key: {}, attempts=tries(0), look=lambda: looked.append("at the machines"))
    started(search)
    search.on_trial_result("a-0", {NODE: "one", "env_steps": 5})
    assert search.machines == {"a": "one"}
    search.on_trial_complete("a-0", {"done": True, LEAVES: True})
    assert (search.machines, looked, started(search)) == ({}, ["at the machines"], ["a-1"])


def test_a_machine_on_which_no_worker_gets_to_work_is_refused(tmp_path: Path) -> None:
    needs: dict[str, tuple[str, ...]] = {name: () for name in "abc"}
    refused, good = list[tuple[str, str]](), {"one"}

    def refuse(machine: str, why: str) -> None:
        refused.append((machine, why))
        good.clear()

    told = tmp_path / "error.txt"
    told.write_text("ray::Trainable.__init__() (pid=7, ip=10.9.0.11, ...)\nImportError: libGL.so.1\n")
    gate = Gate(needs, lambda key: False)
    search = GatedSearch(
        gate,
        lambda key: {},
        attempts=Attempts(1, good.__contains__),
        machine_at={"10.9.0.11": "one"}.get,
        refuse=refuse,
    )
    for _ in range(3):
        trials: list[Any] = [search.next_trial() for _ in needs]
        for trial in trials:
            trial.error_file = str(told)
            search.on_trial_complete(trial.trial_id, error=True)
        assert keys(gate, State.READY) == ["a", "b", "c"]
    assert refused[0] == ("one", "lets no worker get to work (ImportError: libGL.so.1)")
