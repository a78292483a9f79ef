"""The gate, against random graphs, failures, lies and orders of completion; no Ray."""

import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbsp_ray.orchestration.gate import Gate
from nbsp_ray.states import State

ENDS = {State.DONE, State.FAILED, State.BLOCKED}


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, tuple[str, ...]]:
    """Keys and what they need, in an order of the plan that has nothing to do with the needs."""
    names = [f"k{number}" for number in range(draw(st.integers(1, 12)))]
    needs = {
        name: tuple(draw(st.sets(st.sampled_from(names[:place]), max_size=3))) if place else ()
        for place, name in enumerate(names)
    }
    return {name: needs[name] for name in draw(st.permutations(names))}


def keys(gate: Gate, state: State) -> list[str]:
    """Keys in one state, in plan order."""
    return [key for key, found in gate.states.items() if found is state]


def reachable(needs: dict[str, tuple[str, ...]], key: str) -> set[str]:
    """All that wait for `key`, directly or not."""
    found: set[str] = set()
    while more := {name for name, wanted in needs.items() if {key, *found} & set(wanted)} - found:
        found |= more
    return found


@settings(deadline=None)
@given(graphs(), st.data())
def test_whatever_happens_the_gate_keeps_its_promises(needs: dict[str, tuple[str, ...]], data: st.DataObject) -> None:
    names = list(needs)
    store = set(data.draw(st.sets(st.sampled_from(names)), label="done before"))
    before = set(store)
    fails = data.draw(st.sets(st.sampled_from(names)), label="fail")
    limit = data.draw(st.none() | st.integers(1, 4), label="max_concurrent")
    gate = Gate(needs, store.__contains__, max_concurrent=limit)
    issued: list[str] = []
    put_back: list[str] = []
    running: list[str] = []
    while not gate.is_finished:
        if data.draw(st.booleans()) and (missing := sorted(set(names) - store - set(running))):
            store.add(data.draw(st.sampled_from(missing), label="done elsewhere"))
        while (key := gate.next()) is not None:
            assert key not in store
            assert set(needs[key]) <= store
            issued.append(key)
            running.append(key)
            assert limit is None or len(running) <= limit
        if not running:
            break
        key = running.pop(data.draw(st.integers(0, len(running) - 1)))
        if key not in put_back and data.draw(st.booleans(), label="put back"):
            put_back.append(key)
            gate.put_back(key)
            continue
        if key not in fails:
            store.add(key)
        gate.finished(key, ok=data.draw(st.booleans(), label="what is said of it"))
    assert gate.is_finished
    assert gate.next() is None
    assert all(issued.count(key) <= 1 + (key in put_back) for key in issued)
    assert not before & set(issued)
    assert set(gate.states.values()) <= ENDS
    assert len(gate.states) == len(needs)
    for key, state in gate.states.items():
        if state is State.DONE:
            assert key in store
        elif state is State.FAILED:
            assert key in fails
        else:
            assert any(gate.states[need] in (State.FAILED, State.BLOCKED) for need in needs[key])


@settings(deadline=None)
@given(graphs(), st.data())
def test_closed_it_hands_out_nothing_and_forgets_no_key(needs: dict[str, tuple[str, ...]], data: st.DataObject) -> None:
    gate = Gate(needs, lambda key: False)
    out = [key for _ in needs if (key := gate.next())]
    gate.close()
    assert gate.next() is None
    failed = data.draw(st.sets(st.sampled_from(out))) if out else set()
    for key in out:
        assert not gate.is_finished
        gate.finished(key, ok=key not in failed)
    assert gate.is_finished
    assert set(keys(gate, State.FAILED)) == failed
    assert set(keys(gate, State.BLOCKED)) == set().union(*(reachable(needs, key) for key in failed))


@settings(deadline=None)
@given(graphs())
def test_what_most_wait_for_goes_first_then_plan_order(needs: dict[str, tuple[str, ...]]) -> None:
    gate = Gate(needs, lambda key: False)
    out = [key for _ in needs if (key := gate.next())]
    wanted = sorted((key for key in needs if not needs[key]), key=lambda key: -len(reachable(needs, key)))
    assert out == wanted


def test_a_failed_first_phase_blocks_its_dependants_only() -> None:
    needs = {"a": (), "b": (), "a1": ("a",), "a2": ("a", "a1"), "b1": ("b",)}
    store: set[str] = set()
    gate = Gate(needs, store.__contains__)
    assert [gate.next(), gate.next(), gate.next()] == ["a", "b", None]
    gate.finished("a", ok=True)  # says so, and the store has nothing
    store.add("b")
    gate.finished("b", ok=False)  # says no, and the store has it
    assert keys(gate, State.FAILED) == ["a"]
    assert keys(gate, State.BLOCKED) == ["a1", "a2"]
    assert gate.next() == "b1"
    assert not gate.is_finished
    store.add("b1")
    gate.finished("b1")
    assert gate.is_finished


def test_what_was_put_back_can_be_given_up() -> None:
    gate = Gate({"a": (), "b": (), "a1": ("a",)}, lambda key: False)
    assert (gate.next(), gate.next()) == ("a", "b")
    gate.give_up("a")  # it runs: nobody knows yet how it ends
    assert gate.states["a"] is State.RUNNING
    gate.put_back("b")
    gate.put_back("a")
    gate.give_up("a")
    assert (keys(gate, State.FAILED), keys(gate, State.BLOCKED)) == (["a"], ["a1"])
    assert (gate.next(), gate.next()) == ("b", None)


def test_keys_of_one_kind_join_others_in_their_place() -> None:
    """Two places of two kinds: who joins takes none, and a place is there as long as somebody is in it."""
    gate = Gate({name: () for name in ("a", "b", "x", "c", "y")}, lambda key: False, kind=lambda key: key in "xy")
    gate.has_room = lambda places: max(places.values()) <= 1
    assert (gate.next(), gate.next(), gate.next()) == ("a", "x", None)
    place = gate.out["a"]
    assert gate.ready(place.kind) == 2
    assert (gate.next(place), gate.next(place), gate.next(place)) == ("b", "c", None)
    assert gate.next(gate.out["x"]) == "y"
    gate.put_back("a")
    assert gate.next() is None, "b and c are still there"
    gate.put_back("b")
    gate.put_back("c")
    assert gate.next() == "a"
    assert gate.out["a"] != place


def test_a_finished_plan_issues_nothing() -> None:
    gate = Gate({"a": (), "b": ("a",)}, lambda key: True)
    assert gate.is_finished
    assert gate.next() is None


def test_what_is_reported_twice_or_never_ran_changes_nothing() -> None:
    gate = Gate({"a": (), "b": ()}, lambda key: False)
    gate.finished("a")
    gate.put_back("a")
    assert gate.next() == "a"
    gate.finished("a")
    gate.finished("a")
    assert Counter(gate.states.values()) == {State.FAILED: 1, State.READY: 1}


@pytest.mark.parametrize(
    ("needs", "says"),
    [({"a": ("b",), "b": ("a",)}, "circle"), ({"a": ("z",)}, "not in the plan"), ({"a": ("a",)}, "circle")],
)
def test_a_graph_that_cannot_be_followed_is_refused(needs: dict[str, tuple[str, ...]], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Gate(needs, lambda key: False)


def test_ten_thousand_phases_cost_little() -> None:
    needs: dict[str, tuple[str, ...]] = {f"f{number}": () for number in range(100)}
    needs |= {f"s{number}": (f"f{number % 100}",) for number in range(10_000)}
    store: set[str] = set()
    began = time.process_time()
    gate = Gate(needs, store.__contains__)
    while (key := gate.next()) is not None:
        store.add(key)
        gate.finished(key)
    assert gate.is_finished
    assert len(store) == len(needs)
    assert time.process_time() - began < 5


def test_a_kind_that_has_no_room_does_not_keep_the_others_waiting() -> None:
    """One GPU: while a phase is on it, those that need none go on."""
    needs: dict[str, tuple[str, ...]] = {name: () for name in ("gpu-0", "gpu-1", "cpu-0", "cpu-1")}
    gate = Gate(needs, lambda key: False, kind=lambda key: key[:3])
    gate.has_room = lambda out: out["gpu"] <= 1
    assert [gate.next() for _ in range(4)] == ["gpu-0", "cpu-0", "cpu-1", None]
    gate.finished("cpu-0", ok=False)
    assert gate.next() is None
    gate.put_back("gpu-0")
    assert gate.next() == "gpu-0"
    gate.finished("gpu-0", ok=False)
    assert gate.next() == "gpu-1"


def test_what_is_found_damaged_is_done_again_before_what_needs_it() -> None:
    needs = {"first": (), "one": ("first",), "two": ("first",), "three": ("one",)}
    for at_start in (True, False):
        store = {"first"} if at_start else set[str]()
        gate = Gate(needs, store.__contains__)
        if not at_start:
            assert gate.next() == "first"
            store.add("first")
            gate.finished("first")
        assert gate.next() == "one"
        store.remove("first")  # `one` finds it damaged
        gate.put_back("one")
        assert gate.next() == "first"
        assert gate.next() is None
        store.add("first")
        gate.finished("first")
        assert [gate.next(), gate.next(), gate.next()] == ["one", "two", None]


def test_what_is_found_damaged_and_cannot_be_made_anew_blocks_what_needs_it() -> None:
    store = {"first"}
    gate = Gate({"first": (), "one": ("first",), "two": ("first",)}, store.__contains__)
    assert gate.next() == "one"
    store.clear()
    gate.put_back("one")
    assert gate.next() == "first"
    gate.finished("first", ok=False)
    assert gate.next() is None
    assert gate.is_finished
    assert gate.states == {"first": State.FAILED, "one": State.BLOCKED, "two": State.BLOCKED}
