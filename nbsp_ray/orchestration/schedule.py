"""When each phase of a plan would end: the gate that `run` has, with a clock in place of Ray."""

import heapq
import math
import sys
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from nbsp_ray.config.schema import Resources
from nbsp_ray.orchestration.gate import Gate
from nbsp_ray.orchestration.nodes import Node, placed, slots
from nbsp_ray.plan.price import lanes_of
from nbsp_ray.specs import Plan, Trial


@dataclass(frozen=True)
class Schedule:
    """What is left of a plan, in time."""

    at_once: int
    """Phases at work side by side, at most."""
    ends: Mapping[str, float]
    """Seconds from now at which each phase that is left would be done; infinite if no machine can hold it."""

    @property
    def seconds(self) -> float:
        """Until all is done."""
        return max(self.ends.values(), default=0.0)

    def done_by(self, seconds: float, trials: Sequence[Trial]) -> list[Trial]:
        """The trials that would be done after so many seconds."""
        return [trial for trial in trials if all(self.ends.get(key, 0.0) <= seconds for key in trial.phases)]


def schedule(plan: Plan, seconds: Mapping[str, float], nodes: Sequence[Node], *, most: int | None = None) -> Schedule:
    """Hand out what is left of a plan as `run` does, on machines that may be there or not.

    Args:
        plan: With all its phases.
        seconds: How long each phase that is left takes.
        nodes: The machines.
        most: At most so many phases at a time.
    """
    at_once = max(1, min(slots(plan, list(seconds), nodes), most or sys.maxsize))
    ends: dict[str, float] = {}
    needs = {key: phase.spec.needs for key, phase in plan.phases.items()}
    gate = Gate(needs, lambda key: key not in seconds or key in ends, max_concurrent=at_once)
    lanes = {id(phase.resources): lanes_of(phase) for phase in plan.phases.values()}
    rooms = [_Room(node, lanes) for node in nodes]
    at_work: list[tuple[float, str, int]] = []
    waiting: list[str] = []
    now = 0.0
    while True:
        while (key := gate.next()) is not None:
            waiting.append(key)
        for key in waiting.copy():
            wanted = plan.phases[key].resources
            place = next((number for number, room in enumerate(rooms) if room.has_room(wanted)), None)
            if place is not None:
                waiting.remove(key)
                rooms[place].taken[id(wanted)] += 1
                heapq.heappush(at_work, (now + seconds[key], key, place))
        if not at_work:
            return Schedule(at_once, dict.fromkeys(seconds, math.inf) | ends)
        now, key, place = heapq.heappop(at_work)
        rooms[place].taken[id(plan.phases[key].resources)] -= 1
        ends[key] = now
        gate.finished(key)


def in_rounds(
    plan: Plan,
    seconds: Mapping[str, float],
    nodes: Sequence[Node],
    rounds: Sequence[Collection[str]],
    *,
    most: int | None = None,
) -> Schedule:
    """The same where phases come in rounds (keys, with those before), each when all before it is done: a search."""
    ends: dict[str, float] = {}
    at_once, now = 1, 0.0
    for keys in rounds:
        new = {key: lasting for key, lasting in seconds.items() if key in keys and key not in ends}
        found = schedule(plan, new, nodes, most=most)
        at_once, ends = max(at_once, found.at_once), ends | {key: now + end for key, end in found.ends.items()}
        now += found.seconds
    return Schedule(at_once, ends)


class _Room:
    """A machine, and how many phases of each kind are at work there."""

    def __init__(self, node: Node, lanes: Mapping[int, int]) -> None:
        self._node, self._lanes = node, lanes
        self._fits: dict[int, int] = {}
        self._asked: dict[int, Resources] = {}
        self.taken = Counter[int]()
        """By the identity of what is asked for: to compare tens of thousands of these takes long."""

    def has_room(self, wanted: Resources) -> bool:
        kind = id(wanted)
        if kind not in self._fits:
            self._fits[kind], self._asked[kind] = self._node.fits(wanted) * self._lanes[kind], wanted
        if not any(number and one != kind for one, number in self.taken.items()):
            return self.taken[kind] < self._fits[kind]  # As nearly always; and parts of GPUs need not be added up.
        packs = Counter[Resources]()
        for one, number in (self.taken + Counter([kind])).items():
            packs[self._asked[one]] += math.ceil(number / self._lanes[one])
        return placed(packs, [self._node]) == packs
