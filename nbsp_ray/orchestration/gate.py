"""The dependency gate: which phase may start next. Pure; knows neither Ray nor the store.

A phase is issued once (again only if it is put back), after all that it needs is done, and never if something it needs
has failed. It gets a place of its own, or joins others of its kind in theirs (a pack). Whether a phase is done is asked
of `done` (the store), whatever is reported about it. When nothing can be issued and nothing runs, every phase is done,
failed or blocked: the gate ends for every pattern of failures.
"""

import heapq
import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

from nbsp_ray.states import State


class Place(NamedTuple):
    """Where keys of one kind are at work together; most are alone there."""

    number: int
    kind: Any


class Gate:
    """Hands out the keys of a graph, each after those it needs.

    Shared work goes first: keys are ordered by their fan-out (how many others wait for them, directly or not), then by
    their place in `needs`.

    Args:
        needs: What each key needs, in plan order.
        done: Whether a key is done by now; must not raise.
        max_concurrent: At most so many keys are out at a time.
        kind: What of a key (hashable) decides whether there is room for it (the resources it asks for).

    Raises:
        ValueError: a key needs one that is not there, or itself.
    """

    def __init__(
        self,
        needs: Mapping[str, Collection[str]],
        done: Callable[[str], bool],
        *,
        max_concurrent: int | None = None,
        kind: Callable[[str], Any] = lambda key: None,
    ) -> None:
        self._done, self._needs, self._kind = done, needs, kind
        self.max_concurrent = max_concurrent
        self.has_room: Callable[[Counter[Any]], bool] | None = None
        """Whether there are so many places for keys of each kind at a time; None: any number."""
        self._dependants = _dependants(needs)
        self.states = {key: State.DONE if done(key) else State.WAITING for key in needs}
        order = _topological(needs, self._dependants)
        todo = [key for key in order if self.states[key] is State.WAITING]
        fan_out = _fan_out(todo, self._dependants)
        self._rank = {key: (-fan_out[key], place) for place, key in enumerate(needs) if key in fan_out}
        self._missing = {key: sum(self.states[need] is not State.DONE for need in needs[key]) for key in todo}
        self._ready: defaultdict[Any, list[tuple[tuple[int, int], str]]] = defaultdict(list)
        """By kind: one that has no room now must not keep the others waiting."""
        self.out: dict[str, Place] = {}
        """The place of each key that is out."""
        self._places = itertools.count()
        self.claim: Callable[[str], bool] = lambda key: True
        """Whether a key may be handed out here: False while another driver has it."""
        self._closed = False
        for key in todo:
            if not self._missing[key]:
                self._make_ready(key)

    def next(self, place: Place | None = None) -> str | None:
        """The key to start now, if any; what has meanwhile been done elsewhere is passed over.

        Args:
            place: Where there is room for one more of its kind; None: a key in a new place is wanted.
        """
        if self._closed:
            return None
        if self.max_concurrent is not None and len(self.out) >= self.max_concurrent:
            return None
        full = set[Any]() if place is None else self._ready.keys() - {place.kind}
        taken = Counter(one.kind for one in set(self.out.values())) if self.has_room else Counter[Any]()
        while heads := [(ready[0], kind) for kind, ready in self._ready.items() if ready and kind not in full]:
            (_, key), kind = min(heads, key=lambda head: head[0])
            if place is None and self.has_room is not None and not self.has_room(taken + Counter([kind])):
                full.add(kind)
                continue
            heapq.heappop(self._ready[kind])
            if self._done(key):
                self._settle(key, State.DONE)
            elif self._undone(key):
                continue
            elif not self.claim(key):
                self.states[key] = State.ELSEWHERE
            else:
                self.states[key] = State.RUNNING
                self.out[key] = place or Place(next(self._places), kind)
                return key
        return None

    def _undone(self, key: str) -> bool:
        """Whether something that a ready key needs is done no more; then that is to be done again first."""
        undone = [need for need in self._needs[key] if not self._done(need)]
        if undone:
            self.states[key], self._missing[key] = State.WAITING, len(undone)
        if any(self.states[need] in (State.FAILED, State.BLOCKED) for need in undone):
            self._settle(key, State.BLOCKED)
            return True
        for need in undone:
            if self.states[need] is State.DONE:
                self._rank.setdefault(need, (-len(self._dependants[need]), 0))  # What was done from the start had none.
                self._missing[need] = 0
                self._make_ready(need)
        return bool(undone)

    def finished(self, key: str, *, ok: bool = True) -> None:
        """A running key has ended: it is done if `done` says so, whatever `ok` is.

        A key that ended well, is not done, and whose gate is closed was interrupted: it is ready again.
        """
        if self.states[key] is not State.RUNNING:
            return
        del self.out[key]
        if self._done(key):
            self._settle(key, State.DONE)
        elif ok and self._closed:
            self._make_ready(key)
        else:
            self._settle(key, State.FAILED)

    def ready(self, kind: Any) -> int:
        """How many keys of a kind could be handed out."""
        return len(self._ready[kind])

    def recheck(self) -> None:
        """Look again at what is at work elsewhere: it may be done, or given up."""
        for key in [key for key, state in self.states.items() if state is State.ELSEWHERE]:
            self._make_ready(key)

    def put_back(self, key: str) -> None:
        """A running key is to be tried again."""
        if self.states[key] is State.RUNNING:
            del self.out[key]
            self._make_ready(key)

    def give_up(self, key: str) -> None:
        """A key that was put back is not to be tried again after all."""
        if self.states[key] is State.READY:
            ready = self._ready[self._kind(key)]
            ready.remove((self._rank[key], key))
            heapq.heapify(ready)
            self._settle(key, State.FAILED)

    def close(self) -> None:
        """Hand out nothing any more."""
        self._closed = True

    @property
    def is_finished(self) -> bool:
        """Whether nothing will ever be handed out again and nothing is out."""
        waits = any(self._ready.values()) or State.ELSEWHERE in self.states.values()
        return not self.out and (self._closed or not waits)

    def _make_ready(self, key: str) -> None:
        self.states[key] = State.READY
        heapq.heappush(self._ready[self._kind(key)], (self._rank[key], key))

    def _settle(self, key: str, state: State) -> None:
        """`key` is done, or has failed or is blocked: release its dependants, or block all that wait for it."""
        self.states[key] = state
        affected = list(self._dependants[key])
        while affected:
            dependant = affected.pop()
            if self.states[dependant] is not State.WAITING:
                continue
            if state is State.DONE:
                self._missing[dependant] -= 1
                if not self._missing[dependant]:
                    self._make_ready(dependant)
            else:
                self.states[dependant] = State.BLOCKED
                affected += self._dependants[dependant]


def _dependants(needs: Mapping[str, Collection[str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {key: [] for key in needs}
    for key, wanted in needs.items():
        for need in wanted:
            if need not in found:
                raise ValueError(f"{key} needs {need}, which is not in the plan")
            found[need].append(key)
    return found


def _topological(needs: Mapping[str, Collection[str]], dependants: Mapping[str, Iterable[str]]) -> list[str]:
    """All keys, each after those it needs."""
    missing = {key: len(wanted) for key, wanted in needs.items()}
    order = [key for key in needs if not missing[key]]
    for key in order:
        for dependant in dependants[key]:
            missing[dependant] -= 1
            if not missing[dependant]:
                order.append(dependant)
    if len(order) < len(needs):
        raise ValueError(f"phases need each other in a circle: {', '.join(key for key in needs if missing[key])}")
    return order


def _fan_out(todo: list[str], dependants: Mapping[str, Iterable[str]]) -> dict[str, int]:
    """How many of `todo` (in topological order) wait for each of them, directly or not."""
    waits, reached = set(todo), dict[str, set[str]]()
    for key in reversed(todo):
        direct = [dependant for dependant in dependants[key] if dependant in waits]
        reached[key] = set(direct).union(*(reached[dependant] for dependant in direct))
    return {key: len(found) for key, found in reached.items()}
