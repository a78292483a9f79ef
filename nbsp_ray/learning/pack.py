"""A pack: many phases in one process, whose updates are made in one call.

Each phase is the coroutine that it is alone (`phase.learn`), with its own key, folder, curve and checkpoint; here its
wishes are answered beside those of the others. A phase that fails, fails alone. One that ends leaves its slot to the
next. One that evaluates, or acts at random, rests, and the others go on.
"""

import logging
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from nbsp_ray.benchmarks import get_benchmark
from nbsp_ray.config.schema import Resources
from nbsp_ray.learning import compiling
from nbsp_ray.learning.execution import DrawnUpdate
from nbsp_ray.learning.lanes import Lanes
from nbsp_ray.learning.machine import begin_on_device
from nbsp_ray.learning.opening import OpenPhase
from nbsp_ray.learning.replay import Mixture
from nbsp_ray.learning.run import PhaseRun
from nbsp_ray.learning.wishes import Act, Aside, Begin, Learn, Play, Watch, Work
from nbsp_ray.learning.workers import RemoteEnv, WorkerDiedError, Workers
from nbsp_ray.specs import PhaseSpec

log = logging.getLogger(__name__)


TURN_SECONDS = 0.01
"""After so long a lane that plays at random in this process lets the others go on."""
DEATHS = 3
"""Times that the process of a phase's environment may die before the phase is given up."""


@dataclass(eq=False)
class Lane:
    """A phase at work."""

    run: PhaseRun
    work: Work
    slot: int | None = None
    """Where it learns, or will when it is open; None when that is over."""
    stack: Lanes | None = None
    """What it learns in, from when it is open."""
    answer: Any = None
    """To what it wished last."""
    acts: Act | None = None
    """The action that it waits for, where those of all lanes are made in one launch."""
    asked: RemoteEnv | None = None
    """The environment that it waits for."""
    aside: Future[Any] | None = None
    """What a thread does for it."""
    env: RemoteEnv | None = None
    """The environment that it learns in, in a worker."""
    steps: bool = False
    """Whether it waits for an env step, and learns from it: then the others of its group wait too."""
    learns: bool = False
    """Whether it has made an update in its slot."""
    due: deque[DrawnUpdate] = field(default_factory=deque[DrawnUpdate])
    """The updates that it waits for: what it wished for, drawn and not yet made."""

    @property
    def waits(self) -> bool:
        """Whether it cannot go on by itself."""
        return bool(self.due) or self.acts is not None or self.asked is not None or self.aside is not None


class Pack:
    """Phases of equal shape: the spaces of one benchmark, and the same settings of SAC.

    Args:
        slots: Phases that learn side by side.
        capacity: Transitions of the largest buffer of all that will come.
        resources: How updates are made.
        workers: Processes that have the environments; None: they are in this one.
        compile: Whether updates are compiled.
        stopped: Asked where a phase may be saved; True: each is saved there, and the pack ends.
        report: Told of a phase where it may be saved, and at its end.
    """

    def __init__(
        self,
        slots: int,
        capacity: int,
        resources: Resources,
        *,
        workers: Workers | None = None,
        compile: bool = False,
        stopped: Callable[[], bool] = lambda: False,
        report: Callable[[PhaseRun], None] = lambda run: None,
    ) -> None:
        # Two groups in turn: one plays while the other learns. Without workers there is nothing to be done meanwhile.
        first = (slots + 1) // 2 if workers is not None else slots
        self._groups = [range(first), range(first, slots)] if first < slots else [range(slots)]
        self._slots, self._capacity, self._compile, self._workers = slots, capacity, compile, workers
        self._resources = resources
        self._stopped, self._report = stopped, report
        self._acts_together = False
        self._thread = ThreadPoolExecutor(1, "aside")
        self._thread.submit(begin_on_device, resources).result()
        self._lanes: list[Lane] = []
        self._stacks: dict[range, Lanes] = {}
        self._again: list[PhaseRun] = []
        self._deaths: Counter[str] = Counter()
        self.failures: dict[str, Exception] = {}
        """What went wrong, by the phase's key."""
        self.calls: Counter[int] = Counter()
        """How many calls have made the updates of so many lanes."""

    def run(self, open: Callable[[], PhaseRun | None], seconds: float = math.inf) -> None:
        """Work until `open` has no more phase that may begin, and all that began are over; or for about `seconds`.

        Then they stand in the middle of episodes, and go on with the next call.
        """
        end = time.monotonic() + seconds
        while (self._fill(open) or self._lanes) and time.monotonic() < end:
            moved = False
            for group in self._groups:
                lanes = [lane for lane in self._lanes if lane.slot is None or lane.slot in group]
                for lane in lanes:
                    moved |= self._go_on(lane)
                if self._update(group, lanes):
                    # Their actions are made before the device gets the other group's updates, and so wait for none.
                    moved = True
                    for lane in lanes:
                        if lane.slot is not None:
                            self._go_on(lane)
                moved |= self._act(group, lanes)
            if not moved:
                self._wait()

    def _wait(self) -> None:
        """Sleep until there may be something to do."""
        if self._workers is not None:
            self._workers.wait()
        else:
            wait([lane.aside for lane in self._lanes if lane.aside is not None], return_when=FIRST_COMPLETED)

    @property
    def runs(self) -> list[PhaseRun]:
        """The phases at work, and those that are to be opened anew."""
        return [*(lane.run for lane in self._lanes), *self._again]

    @property
    def room(self) -> int:
        """How many more could begin now."""
        learning = sum(lane.slot is not None for lane in self._lanes) + len(self._again)
        return max(0, min(self._slots - learning, 2 * self._slots - len(self.runs)))

    @property
    def idle(self) -> bool:
        """Whether nothing is at work."""
        return not self._lanes and (not self._again or self._stopped())

    def close(self) -> None:
        """End the processes that play, and the thread."""
        self._thread.shutdown(cancel_futures=True)
        if self._workers is not None:
            self._workers.close()

    def _fill(self, open: Callable[[], PhaseRun | None]) -> bool:
        """Open phases until each slot has one; whether any was opened."""
        opened = False
        # Phases that are evaluated in the end have no slot any more; but they too take memory.
        while not self._stopped() and self._free() is not None and len(self._lanes) < 2 * self._slots:
            run = self._again.pop() if self._again else open()
            if run is None:
                break
            run.resources, run.lanes = self._resources.model_copy(update={"compile": self._compile}), self._slots
            if self._workers is not None:
                run.make_env = self._workers.make_env
            lane = Lane(run, run.work(), self._free())
            run.adopt = partial(self._adopt, lane)
            self._lanes.append(lane)
            self._go_on(lane)
            opened = True
        return opened

    def _free(self) -> int | None:
        """The first slot that no phase learns in, of the group that has most of them."""
        taken = {lane.slot for lane in self._lanes}
        free = [[slot for slot in group if slot not in taken] for group in self._groups]
        most = max(free, key=len)
        return most[0] if most else None

    def _adopt(self, lane: Lane, opened: OpenPhase) -> None:
        """A phase is open, and about to learn."""
        assert lane.slot is not None
        group, agent = self._group(lane.slot), opened.phase.agent
        if group not in self._stacks:
            self._stacks[group] = Lanes(len(group), agent, self._capacity, self._resources, compile=self._compile)
            self._acts_together |= agent.device.type == "cuda"
        lane.stack, lane.learns = self._stacks[group], agent.updates.critic > 0
        lane.stack.put(lane.slot - group.start, agent, opened.phase.replay)

    def _group(self, slot: int) -> range:
        return next(group for group in self._groups if slot in group)

    def _go_on(self, lane: Lane) -> bool:
        """Answer what a lane wishes, until it waits for others or is over; whether anything was done.

        Random steps and evaluations that are played here are not made in one go: the others would wait for them.
        """
        moved = False
        try:
            if lane.asked is not None and lane.asked.answered():
                env, lane.asked = lane.asked, None
                lane.answer, lane.steps = env.answer(), False
            if lane.aside is not None and lane.aside.done():
                aside, lane.aside = lane.aside, None
                lane.answer = aside.result()
                if lane.run.opened is None and self._stopped():
                    self._leave(lane)  # It has done nothing yet.
                    return True
            end = time.perf_counter() + TURN_SECONDS
            while not lane.waits:
                moved = True
                if not self._next(lane) or (not lane.learns and time.perf_counter() > end):
                    break
        except StopIteration:
            self._leave(lane)
            self._report(lane.run)
        except WorkerDiedError as error:
            self._deaths[lane.run.folder.key] += 1
            if self._deaths[lane.run.folder.key] < DEATHS:
                log.warning("phase %s goes on from its checkpoint: %s", lane.run.folder.key, error)
                self._again.append(lane.run.again())
            else:
                self.failures[lane.run.folder.key] = error
                del self._deaths[lane.run.folder.key]
            self._leave(lane)
        except Exception as error:  # Whatever it is, it is this lane's alone.
            self.failures[lane.run.folder.key] = error
            self._leave(lane)
        return moved

    def _next(self, lane: Lane) -> bool:
        """Take a lane's next wish; False if it has been told to stop, or the others are to go on first.

        Raises:
            StopIteration: the phase is done.
        """
        wish = lane.work.send(lane.answer)
        lane.answer = None
        if lane.run.opened is None and not isinstance(wish, Aside):
            self._vacate(lane)  # What is left is its final evaluation.
        # What is wished thousands of times a second comes first.
        if isinstance(wish, Play) and isinstance(wish.env, RemoteEnv):
            wish.env.ask(wish)
            lane.asked = lane.env = wish.env
            lane.steps = lane.learns
        elif isinstance(wish, Act) and self._acts_together and lane.stack is not None:
            lane.acts = wish
        elif isinstance(wish, Learn):
            lane.due.extend(wish.agent.draw(wish.updates, Mixture([wish.replay]), wish.rng, wish.past, wish.memory))
            lane.learns = True
        elif isinstance(wish, Begin | Watch) and isinstance(wish.env, RemoteEnv):
            wish.env.ask(wish)
            lane.asked = wish.env
            lane.env = lane.env if isinstance(wish, Watch) else wish.env
            lane.steps = False
        elif isinstance(wish, Aside):
            lane.aside = self._thread.submit(wish.call)
            if self._workers is not None:
                lane.aside.add_done_callback(self._workers.nudge)
        elif wish is None:
            lane.run.pause()
            self._report(lane.run)
            if self._stopped():
                lane.run.save()
                self._leave(lane)
                return False
        else:
            lane.answer = wish()
            return not isinstance(wish, Watch)
        return True

    def _leave(self, lane: Lane) -> None:
        self._vacate(lane)
        self._lanes.remove(lane)
        lane.run.adopt = None  # It would keep the pack, with all its graphs, until Python looks for garbage.

    def _vacate(self, lane: Lane) -> None:
        if lane.slot is not None:
            group = self._group(lane.slot)
            if group in self._stacks:
                self._stacks[group].clear(lane.slot - group.start)
            lane.slot, lane.stack, lane.learns = None, None, False
        if lane.env is not None:
            lane.env.close()
            lane.env = None

    def _act(self, group: range, lanes: Sequence[Lane]) -> bool:
        """The actions of all lanes that wait for one."""
        acting = {lane.slot - group.start: lane for lane in lanes if lane.slot is not None and lane.acts is not None}
        if not acting:
            return False
        observations = {slot: lane.acts.observation for slot, lane in acting.items() if lane.acts is not None}
        outputs = self._stacks[group].outputs(observations)
        wishes = [lane.acts for lane in acting.values() if lane.acts is not None]
        # One kind of policy acts in all of them, and it acts on many outputs as on one.
        actions = np.asarray(wishes[0].policy.action(outputs, np.stack([wish.noise for wish in wishes])))
        for action, lane in zip(actions, acting.values(), strict=True):
            lane.answer, lane.acts = action, None
            self._go_on(lane)
        return True

    def _update(self, group: range, lanes: Sequence[Lane]) -> bool:
        """The updates of all lanes that wait for some, or of those whose actor is at the same point of its delay.

        The others wait until these come to their point, and then go on with them: an actor's step in which half of
        the lanes rest costs as much as one of all.
        """
        waiting = [lane for lane in lanes if lane.due]
        if not waiting or any(lane.steps for lane in lanes):
            return False
        ((with_actor, _),) = Counter(lane.due[0].with_actor for lane in waiting).most_common(1)
        served = {
            lane.slot - group.start: lane
            for lane in waiting
            if lane.slot is not None and lane.due[0].with_actor == with_actor
        }
        drawn = [{slot: lane.due.popleft() for slot, lane in served.items()}]
        # All that are due in one launch, where nobody is left to come to the point of the others.
        while len(served) == len(waiting) and all(lane.due for lane in waiting):
            if len({lane.due[0].with_actor for lane in waiting}) > 1:
                break
            drawn.append({slot: lane.due.popleft() for slot, lane in served.items()})
        stack = self._stacks[group]
        losses = stack.update(drawn)
        for slot, lane in served.items():
            lane.answer = losses[slot]
            if stack.notes:
                _tell_uncompiled(lane.run, stack.notes)
        self.calls[len(served)] += len(drawn)
        return True


def _tell_uncompiled(run: PhaseRun, notes: Sequence[str]) -> None:
    """Tell a phase, once, that its updates are not compiled although that was wanted, and why."""
    if run.opened is not None and run.opened.compiled:
        run.opened.compiled = False
        run.opened.notes += notes
        for note in notes:
            log.warning("phase %s: %s", run.folder.key, note)


def new_pack(
    spec: PhaseSpec,
    slots: int,
    capacity: int,
    resources: Resources,
    cpus: int,
    *,
    stopped: Callable[[], bool],
    report: Callable[[PhaseRun], None],
) -> Pack:
    """A pack with its processes of environments; to be closed.

    Args:
        spec: The phase with the largest budget of all that will come, by which it is decided what is compiled.
        slots: As of `Pack`.
        capacity: As of `Pack`.
        resources: As of `Pack`.
        cpus: Those that may play; with one, environments play here.
        stopped: As of `Pack`.
        report: As of `Pack`.

    Raises:
        ConfigError: there is too little shared memory for the environments.
    """
    benchmark, workers = get_benchmark(spec.benchmark), None
    if slots > 1 and cpus > 1:
        workers = Workers(benchmark, benchmark.task_spaces(spec.task), 2 * slots, min(cpus, slots))
    compile = compiling.wanted(resources, spec)
    return Pack(slots, capacity, resources, workers=workers, compile=compile, stopped=stopped, report=report)
