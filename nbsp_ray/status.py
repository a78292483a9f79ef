"""How far a sweep is, read from its folders alone: after a crash, over ssh, from another machine.

Knows neither Ray nor torch nor pandas. What is complete stays complete, so a `StatusReader` that is asked again looks
only at what was not; what was never begun costs nothing.
"""

import os
import re
import socket
import statistics
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from nbsp_ray.errors import StoreError
from nbsp_ray.plan.price import Work, evaluation_work, seconds, whole
from nbsp_ray.specs import Plan, PlannedPhase
from nbsp_ray.states import AT_WORK, State
from nbsp_ray.store import PhaseFolder, Store

PLACES = ("first", "second", "third")
SILENT_SECONDS = 300.0
"""A worker tells how far it is every few seconds; one that has been silent for so long is gone."""
DEAD_SECONDS = 15.0
"""After so long a silence, a process that is no longer on this machine is gone."""


def is_complete(phase: PlannedPhase, store: Store) -> bool:
    """Whether the phase has learnt to its end, and all that the plan wants of it is stored.

    Raises:
        DamagedPhaseError: what says so is damaged.
    """
    return store.phase(phase.key).is_complete(phase.evaluations, with_buffer=phase.keep_buffer)


@dataclass(frozen=True)
class PhaseStatus:
    """How far one phase is."""

    key: str
    label: str
    index: int
    """0 for a first phase."""
    state: State
    env_steps: int
    budget: int
    """The most env steps the phase can take; for a phase that has learnt to its end, those it took."""
    success: float | None = None
    env_steps_per_second: float | None = None
    eta_seconds: float | None = None
    """At most, until it is done, final evaluations included."""
    evaluation_steps: int = 0
    """Env steps of final evaluations that are left, at most."""
    host: str | None = None
    """The machine that works on it, or did last; of a failed one, where it failed."""
    error: str | None = None
    """First line of the last failed attempt; of a damaged phase, what is wrong."""
    failures: str | None = None
    """The folder with the tracebacks."""
    attempts: int = 0
    """Failed attempts."""
    notes: tuple[str, ...] = ()
    """What is to be known of how it was made: that its update is not compiled although it was to be, ..."""

    @property
    def work(self) -> Work:
        """What is left to do, at most."""
        return Work(self.budget - self.env_steps, self.evaluation_steps)


@dataclass(frozen=True)
class SweepStatus:
    """How far a plan is."""

    name: str
    time: float
    """When it was so, seconds since 1970."""
    phases: tuple[PhaseStatus, ...]
    env_steps: int
    """Env steps of learning done, of all phases."""
    budget: int
    """Env steps at most."""
    concurrent: int
    """Phases at work, or how many can be."""
    eta_seconds: float | None
    """Until all is learnt and evaluated: at most, if phases may stop early; None while no speed is known."""
    beyond: int = 0
    """Phases that a search is yet to choose, which the ETA counts too."""
    root: str = ""
    """The results root that was read."""

    def keys(self, *states: State) -> list[str]:
        """Keys of the phases in one of `states`, in plan order."""
        return [phase.key for phase in self.phases if phase.state in states]

    @property
    def done(self) -> list[str]:
        """Keys of phases that have learnt and are evaluated."""
        return self.keys(State.DONE)

    @property
    def failed(self) -> list[str]:
        """Keys of phases that failed for good."""
        return self.keys(State.FAILED)

    @property
    def blocked(self) -> list[str]:
        """Keys of phases that need a failed one."""
        return self.keys(State.BLOCKED)

    @property
    def left(self) -> list[str]:
        """Keys of all phases that are not done: what `run` would try, failed and blocked ones too."""
        return [phase.key for phase in self.phases if phase.state is not State.DONE]

    @property
    def notes(self) -> dict[str, int]:
        """What is noted of phases, with their number."""
        return dict(Counter(note for phase in self.phases for note in dict.fromkeys(phase.notes)))

    @property
    def running(self) -> tuple[PhaseStatus, ...]:
        """Phases that a process works on."""
        return tuple(phase for phase in self.phases if phase.state in AT_WORK)

    def by_place(self) -> dict[str, tuple[PhaseStatus, ...]]:
        """The `first` phases of trials, the `second` ones, ..."""
        last = max((phase.index for phase in self.phases), default=-1)
        return {
            PLACES[index] if index < len(PLACES) else f"{index + 1}th": found
            for index in range(last + 1)
            if (found := tuple(phase for phase in self.phases if phase.index == index))
        }

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON: `counts` by place in a trial and state, and one object for each phase."""
        counts = {place: dict(Counter(phase.state for phase in found)) for place, found in self.by_place().items()}
        return asdict(self) | {"counts": counts}


def sweep_status(plan: Plan, store: Store, *, concurrent: int | None = None) -> SweepStatus:
    """How far `plan` is in `store`; `concurrent` phases can work at a time (default: as many as do)."""
    return StatusReader(plan, store, concurrent=concurrent).read()


class StatusReader:
    """Reads how far a plan is, again and again at little cost."""

    def __init__(self, plan: Plan, store: Store, *, concurrent: int | None = None, whole: Plan | None = None) -> None:
        self.plan, self.store, self.concurrent = plan, store, concurrent
        self.whole = whole or plan
        """For the ETA: what is planned, and what is yet to be chosen."""
        self._evaluation_work = plan.once_for_alike(evaluation_work)
        self._own = {(key, own.id) for key, phase in plan.phases.items() if (own := phase.own_evaluation)}
        """Final evaluations of the phases' own tasks."""
        self._seen = store
        """As the last look found it."""
        self._done: dict[str, PhaseStatus] = {}
        self._aside: dict[str, int] = {}
        self._host = socket.gethostname()

    def read(self) -> SweepStatus:
        """How far it is now."""
        unknown = [key for key in self.plan.phases if key not in self._done]
        self._seen = self.store.snapshot(unknown, evaluations=self._own)
        now, begun, aside = time.time(), set(self._seen.phases()), self._seen.set_aside()
        for key in (key for key, number in aside.items() if number != self._aside.get(key)):
            self._done.pop(key, None)  # It was complete, and is no more.
        self._aside = aside
        self._seen.fetch_progress(key for key in begun if key in self.plan.phases and self._is_open(key))
        found: dict[str, PhaseStatus] = {}
        for key, phase in self.plan.phases.items():
            status = self._done.get(key) or self._phase(phase, now=now, begun=key in begun)
            if status.state is State.DONE:
                self._done[key] = status
            found[key] = self._blocked(phase, status, found)
        phases = tuple(found.values())
        running = sum(status.state in AT_WORK for status in phases)
        concurrent = self.concurrent or running
        return SweepStatus(
            name=self.plan.name,
            time=now,
            phases=phases,
            env_steps=sum(status.env_steps for status in phases),
            budget=sum(status.budget for status in phases),
            concurrent=concurrent,
            eta_seconds=_eta(self.whole, found, concurrent),
            beyond=sum(key not in found for key in self.whole.phases),
            root=self.store.address,
        )

    def _is_open(self, key: str) -> bool:
        """Whether a phase that was begun may tell how far it is."""
        try:
            return key not in self._done and not is_complete(self.plan.phases[key], self._seen)
        except (StoreError, OSError):
            return False

    def _phase(self, phase: PlannedPhase, *, now: float, begun: bool) -> PhaseStatus:
        blank = PhaseStatus(
            phase.key,
            phase.label,
            phase.spec.index,
            State.WAITING,
            env_steps=0,
            budget=phase.spec.learning.env_steps,
            evaluation_steps=self._evaluation_work(phase.key),
        )
        if not begun:
            return blank
        folder = self._seen.phase(phase.key)
        try:
            return self._begun(phase, folder, blank, now)
        except (StoreError, OSError) as error:
            return _replace(blank, state=State.DAMAGED, error=str(error), failures=folder.called)

    def _begun(self, phase: PlannedPhase, folder: PhaseFolder, blank: PhaseStatus, now: float) -> PhaseStatus:
        complete = is_complete(phase, self._seen)
        result, progress = folder.result(), {} if complete else folder.progress() or {}
        speed = (result or progress).get("env_steps_per_second")
        notes = [f"an earlier result was damaged and set aside: {one}" for one in self._why_aside(folder)]
        blank = _replace(
            blank,
            notes=(*notes, *((result or progress).get("notes") or ())),
            host=progress.get("host"),
            env_steps_per_second=speed,
        )
        if result is not None:
            steps = int(result["env_steps"])
            learnt = _replace(blank, env_steps=steps, budget=steps)
            if complete:
                return _replace(learnt, state=State.DONE, success=_own_success(phase, folder), evaluation_steps=0)
            learnt = _replace(learnt, evaluation_steps=evaluation_work(phase, folder.evaluations()))
        else:
            learnt = _replace(blank, env_steps=int(progress.get("env_steps") or 0))
        left = seconds(phase, learnt.work, speed) if speed else None
        learnt = _replace(learnt, success=progress.get("success"), state=self._at_work(progress, now), eta_seconds=left)
        if self.store.files.pace and learnt.state in AT_WORK:
            return learnt  # It was tried again, and what failed before would cost a request.
        return _with_failures(learnt, folder, progress, now)

    def _why_aside(self, folder: PhaseFolder) -> list[str]:
        return folder.aside() if folder.key in self._aside else []

    def _at_work(self, progress: dict[str, Any], now: float) -> State:
        """What a phase that is not done does, from what it last told."""
        if not progress:
            return State.WAITING
        silent = now - float(progress.get("time") or 0)
        here = progress.get("host") == self._host
        gone = here and silent > DEAD_SECONDS and not _alive(progress.get("pid"))
        if progress.get("stopped") or gone or silent > SILENT_SECONDS:
            return State.STOPPED
        return State.EVALUATING if progress.get("stage") == State.EVALUATING else State.LEARNING

    def _blocked(self, phase: PlannedPhase, status: PhaseStatus, before: dict[str, PhaseStatus]) -> PhaseStatus:
        if status.state in (State.WAITING, State.STOPPED):
            for need in phase.spec.needs:
                if before[need].state in (State.FAILED, State.BLOCKED):
                    return _replace(status, state=State.BLOCKED)
        return status


def _replace(status: PhaseStatus, **changes: Any) -> PhaseStatus:
    return PhaseStatus(**(vars(status) | changes))


def _with_failures(status: PhaseStatus, folder: PhaseFolder, progress: dict[str, Any], now: float) -> PhaseStatus:
    """Failed attempts, if any: the phase has failed if it gave up, or if nobody has tried it again for long."""
    failures = folder.failures()
    if not failures:
        return status
    last = failures[-1]
    status = _replace(
        status, error=str(last.get("error")), attempts=len(failures), failures=f"{folder.called}/failures"
    )
    status = _replace(status, host=last.get("host") or status.host)
    if float(progress.get("time") or 0) > float(last["time"]):
        return status
    for_good = last.get("final") or now - float(last["time"]) > SILENT_SECONDS
    return _replace(status, state=State.FAILED if for_good else State.WAITING)


WAYS_OUT = (
    ("want of memory", "set resources.memory_gb or lower sac.buffer_size, or use machines with more memory"),
    ("No space left|Disk quota", "make room on the disk of the results root, or name a larger one with --root"),
    ("ConfigError", "change that setting, or use machines that have what it asks for"),
    ("Read-only file system|Permission denied|Stale file handle", "mend the results root on that machine"),
    ("was killed|cannot be reached", "see the machine (its kernel's log says who killed what)"),
)


def way_out(error: str) -> str:
    """What to do about a failed phase, by the first line of its last failure."""
    found = next((way for pattern, way in WAYS_OUT if re.search(pattern, error)), None)
    return (
        f"{found}, and run the sweep again: it goes on" if found else "the traceback tells; running again tries again"
    )


def _own_success(phase: PlannedPhase, folder: PhaseFolder) -> float | None:
    """Success rate of the final evaluation of the phase's own task, as its policy acts in training."""
    record = phase.own_evaluation
    found = folder.evaluation(record.id) if record else None
    return found["success_rate"] if found else None


def _alive(pid: Any) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, TypeError, ValueError):
        return False
    except PermissionError:
        return True
    return True


def _eta(plan: Plan, phases: dict[str, PhaseStatus], concurrent: int) -> float | None:
    """Seconds until all is done: all that is left, shared, but never less than the longest chain of needs."""
    at_work = [phase for phase in phases.values() if phase.state is State.LEARNING]
    speeds = _speeds(at_work) or _speeds(phases.values())
    if not speeds or not concurrent:
        return None
    speed = statistics.median(speeds)
    left = {
        key: seconds(plan.phases[key], phase.work, speed)
        for key, phase in phases.items()
        if phase.state not in (State.DONE, State.FAILED, State.BLOCKED)
    }
    left |= {key: seconds(phase, whole(phase), speed) for key, phase in plan.phases.items() if key not in phases}
    chain: dict[str, float] = {}
    for key in left:
        chain[key] = left[key] + max((chain.get(need, 0.0) for need in plan.phases[key].spec.needs), default=0.0)
    return max(sum(left.values()) / min(concurrent, max(1, len(left))), max(chain.values(), default=0.0))


def _speeds(phases: Iterable[PhaseStatus]) -> list[float]:
    return [phase.env_steps_per_second for phase in phases if phase.env_steps_per_second]
