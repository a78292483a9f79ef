"""A pack: many phases in one process, whose updates are made in one call.

Each phase is the coroutine that it is alone (`phase.learn`), with its own key, folder, curve and checkpoint; here its
wishes are answered beside those of the others. A phase that fails, fails alone. One that ends leaves its slot to the
next. One that evaluates, or acts at random, rests, and the others go on.
"""

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from nbsp_ray.config.schema import Resources
from nbsp_ray.learning.execution import DrawnUpdate
from nbsp_ray.learning.lanes import Lanes
from nbsp_ray.learning.opening import OpenPhase
from nbsp_ray.learning.replay import Mixture
from nbsp_ray.learning.run import PhaseRun
from nbsp_ray.learning.wishes import Learn, Work


@dataclass(eq=False)
class Lane:
    """A phase at work."""

    run: PhaseRun
    work: Work
    slot: int | None = None
    """Where it learns; None before, and when it is over."""
    answer: Any = None
    """To what it wished last."""
    due: deque[DrawnUpdate] = field(default_factory=deque[DrawnUpdate])
    """What it waits for: the updates that it wished for, drawn and not yet made."""


class Pack:
    """Phases of equal shape: the spaces of one benchmark, and the same settings of SAC.

    Args:
        slots: Phases that learn side by side.
        capacity: Transitions of the largest buffer of all that will come.
        resources: How updates are made.
        compile: Whether they are compiled.
        stopped: Asked where a phase may be saved; True: each is saved there, and the pack ends.
        report: Told of a phase where it may be saved, and at its end.
    """

    def __init__(
        self,
        slots: int,
        capacity: int,
        resources: Resources,
        *,
        compile: bool = False,
        stopped: Callable[[], bool] = lambda: False,
        report: Callable[[PhaseRun], None] = lambda run: None,
    ) -> None:
        self._slots, self._capacity, self._compile = slots, capacity, compile
        self._resources = resources.model_copy(update={"compile": compile})
        self._stopped, self._report = stopped, report
        self._lanes: list[Lane] = []
        self._stack: Lanes | None = None
        self.failures: dict[str, Exception] = {}
        """What went wrong, by the phase's key."""
        self.calls: Counter[int] = Counter()
        """How many calls have made the updates of so many lanes."""

    def run(self, open: Callable[[], PhaseRun | None]) -> None:
        """Work until `open` has no more phase that may begin, and all that began are over."""
        while self._fill(open) or self._lanes:
            self._update()
            for lane in tuple(self._lanes):
                self._go_on(lane)

    def _fill(self, open: Callable[[], PhaseRun | None]) -> bool:
        """Open phases until each slot has one; whether any was opened."""
        opened = False
        while not self._stopped() and self._free() is not None and (run := open()) is not None:
            run.resources = self._resources
            lane = Lane(run, run.work())
            run.adopt = partial(self._adopt, lane)
            self._lanes.append(lane)
            self._go_on(lane)
            opened = True
        return opened

    def _free(self) -> int | None:
        """The first slot that no phase learns in."""
        taken = {lane.slot for lane in self._lanes}
        return next((slot for slot in range(self._slots) if slot not in taken), None)

    def _adopt(self, lane: Lane, opened: OpenPhase) -> None:
        """A phase is open, and about to learn."""
        if self._stack is None:
            agent = opened.phase.agent
            self._stack = Lanes(self._slots, agent, self._capacity, self._resources, compile=self._compile)
        lane.slot = self._free()
        assert lane.slot is not None
        self._stack.put(lane.slot, opened.phase.agent, opened.phase.replay)

    def _go_on(self, lane: Lane) -> None:
        """Answer what a lane wishes, until it waits for an update, or is over."""
        try:
            while not lane.due:
                wish = lane.work.send(lane.answer)
                if lane.run.opened is None:
                    self._vacate(lane)  # What is left is its final evaluation.
                if wish is None:
                    lane.answer = None
                    lane.run.pause()
                    self._report(lane.run)
                    if self._stopped():
                        lane.run.save()
                        self._leave(lane)
                        return
                elif isinstance(wish, Learn):
                    replay = Mixture([wish.replay])
                    lane.due.extend(wish.agent.draw(wish.updates, replay, wish.rng, wish.past, wish.memory))
                else:
                    lane.answer = wish()
        except StopIteration:
            self._leave(lane)
            self._report(lane.run)
        except Exception as error:  # Whatever it is, it is this lane's alone.
            self.failures[lane.run.folder.key] = error
            self._leave(lane)

    def _leave(self, lane: Lane) -> None:
        self._vacate(lane)
        self._lanes.remove(lane)

    def _vacate(self, lane: Lane) -> None:
        if lane.slot is not None and self._stack is not None:
            self._stack.clear(lane.slot)
        lane.slot = None

    def _update(self) -> None:
        """One update of all lanes that wait for one, or of those whose actor is at the same point of its delay.

        The others wait until these come to their point, and then go on with them: an actor's step in which half of
        the lanes rest costs as much as one of all.
        """
        waiting = [lane for lane in self._lanes if lane.due]
        if not waiting:
            return
        ((with_actor, _),) = Counter(lane.due[0].with_actor for lane in waiting).most_common(1)
        served = {lane.slot: lane for lane in waiting if lane.due[0].with_actor == with_actor and lane.slot is not None}
        assert self._stack is not None
        losses = self._stack.update({slot: lane.due.popleft() for slot, lane in served.items()})
        for slot, lane in served.items():
            lane.answer = losses[slot]
        self.calls[len(served)] += 1
