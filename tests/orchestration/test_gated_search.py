"""The gate as Tune sees it: every hook answers, none raises. Without a cluster."""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nbsp_ray.orchestration import gated_search as search_module
from nbsp_ray.orchestration.attempts import Attempts
from nbsp_ray.orchestration.gate import Gate
from nbsp_ray.orchestration.gated_search import GatedSearch
from nbsp_ray.orchestration.jobs import (
    DONE,
    FAILED,
    GAVE_UP,
    LEAVES,
    NODE,
    PHASES,
    PUT_BACK,
    ROOM,
    WORKER,
)
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
    def config(keys: list[str]) -> dict[str, Any]:
        if keys == ["a"]:
            raise ValueError("no config")
        return {"keys": keys}

    gate = Gate(NEEDS, lambda key: False)
    search = GatedSearch(gate, config, attempts=tries(2))
    trial = search.next_trial()
    assert trial is not None
    assert trial.config == {"keys": ["b"]}
    assert keys(gate, State.FAILED) == ["a"]


def test_a_broken_store_ends_the_experiment_and_raises_nothing() -> None:
    answers = iter([False, False, False])  # while the gate is made; then nothing more is known

    gate = Gate(NEEDS, lambda key: next(answers))
    search = GatedSearch(gate, lambda key: {}, attempts=tries(2))
    assert search.next_trial() is None
    assert search.is_finished()
    search.on_trial_complete(trial_id="unheard of", error=True)


def test_a_phase_whose_machine_is_taken_away_goes_on_elsewhere_and_that_is_no_failure() -> None:
    looked: list[str] = []
    gate = Gate(NEEDS, lambda key: False)
    search = GatedSearch(gate, lambda key: {}, attempts=tries(0), look=lambda: looked.append("at the machines"))
    started(search)
    search.on_trial_result("a-0", {NODE: "one", "env_steps": 5})
    assert search.trials.machines() == ["one"]
    search.on_trial_complete("a-0", {"done": True, LEAVES: True})
    assert (search.trials.machines(), looked, started(search)) == ([], ["at the machines"], ["a-1"])


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


class Pack:
    """A worker with a pack, as the search sees it."""

    def __init__(self) -> None:
        self.handed: list[list[str]] = []
        self.halted = 0
        self.hand, self.halt = SimpleNamespace(remote=self.handed.append), SimpleNamespace(remote=self._halt)

    def _halt(self) -> None:
        self.halted += 1


@pytest.fixture
def pack(monkeypatch: pytest.MonkeyPatch) -> Pack:
    found = Pack()
    monkeypatch.setattr(search_module.cloudpickle, "loads", lambda data: found)
    return found


def packed(gate: Gate, lanes: int = 3, **how: Any) -> GatedSearch:
    """A search that starts so many phases together."""
    return GatedSearch(
        gate,
        lambda keys: {"phases": keys},
        together=lambda kind, ready: min(lanes, ready),
        **{"attempts": tries(1)} | how,
    )


def result(number: int, room: int, *phases: tuple[str, int, str | None]) -> dict[str, Any]:
    return {"training_iteration": number, PHASES: list(phases), ROOM: room, WORKER: "", NODE: "one"}


def test_a_pack_is_one_trial_and_is_handed_what_is_ready_for_its_room(pack: Pack) -> None:
    done = set[str]()
    needs: dict[str, tuple[str, ...]] = {"a": (), "b": (), "c": (), "d": (), "a1": ("a",), "d1": ("d",)}
    gate = Gate(needs, done.__contains__)
    gate.has_room = lambda places: places.total() <= 1
    search = packed(gate)
    trial = search.next_trial()
    assert trial is not None
    assert trial.config == {"phases": ["a", "d", "b"]}  # what others wait for goes first
    assert search.next_trial() is None
    name = trial.trial_id
    search.on_trial_result(name, result(1, 0, ("a", 5, None), ("d", 5, None), ("b", 5, None)))
    assert search.trials.machines() == ["one"] * 3
    done.add("a")
    search.on_trial_result(name, result(2, 2, ("a", 9, DONE), ("d", 9, None), ("b", 9, None)))
    assert pack.handed == [["c", "a1"]]
    search.on_trial_result(name, result(3, 1, ("d", 9, GAVE_UP)))
    assert (keys(gate, State.FAILED), keys(gate, State.BLOCKED)) == (["d"], ["d1"])
    done.update("bc")
    search.on_trial_result(name, result(4, 0, ("a1", 1, PUT_BACK), ("b", 9, DONE), ("c", 9, DONE)))
    search.on_trial_complete(name, result(4, 0, ("a1", 1, PUT_BACK)))  # Tune tells the last one again
    assert keys(gate, State.READY) == ["a1"]
    assert search.next_trial() is not None


def test_a_lane_that_fails_is_tried_again_and_given_up_by_itself(pack: Pack) -> None:
    given_up: list[str] = []
    gate = Gate({"a": (), "b": ()}, lambda key: False)
    search = packed(gate, gave_up=given_up.append)
    trial = search.next_trial()
    assert trial is not None
    search.on_trial_result(trial.trial_id, result(1, 1, ("a", 0, FAILED), ("b", 5, None)))
    assert (pack.handed, given_up) == ([["a"]], [])
    search.on_trial_result(trial.trial_id, result(2, 1, ("a", 0, FAILED), ("b", 6, None)))
    assert (given_up, keys(gate, State.FAILED), keys(gate, State.RUNNING)) == (["a"], ["a"], ["b"])


def test_a_pack_that_dies_is_tried_again_and_the_second_time_each_of_its_phases_apart(pack: Pack) -> None:
    apart: list[str] = []
    gate = Gate({"a": (), "b": (), "c": ()}, lambda key: False)
    search = packed(gate, attempts=tries(5), apart=apart.append)
    for death in range(2):
        trial = search.next_trial()
        assert trial is not None
        assert trial.config == {"phases": ["a", "b", "c"]}
        assert apart == []
        search.on_trial_result(trial.trial_id, result(1, 0, *((key, 5 * (not death), None) for key in "abc")))
        search.on_trial_complete(trial.trial_id, error=True)
        assert search.trials.keys_of(trial.trial_id) == ["a", "b", "c"]
    assert apart == ["a", "b", "c"]


def test_a_pack_is_asked_to_halt_and_what_it_saved_is_left(pack: Pack) -> None:
    stopped = False
    gate = Gate({"a": (), "b": (), "c": ()}, lambda key: False)
    search = packed(gate, lanes=2, stopped=lambda: stopped)
    trial = search.next_trial()
    assert trial is not None
    stopped = True
    for number in (1, 2):
        search.on_trial_result(trial.trial_id, result(number, 1, ("a", 5, None), ("b", 5, None)))
    assert (pack.halted, pack.handed) == (1, [])
    search.on_trial_complete(trial.trial_id, {"done": True, PHASES: []})
    assert search.is_finished()
    assert Counter(gate.states.values()) == {State.READY: 3}
