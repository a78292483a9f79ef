"""How far a sweep is, read from its folders alone: after a crash, over ssh, from another machine.

Knows neither Ray nor torch nor pandas. What is complete stays complete, so a `StatusReader` that is asked again looks
only at what was not; what was never begun costs nothing.
"""

import os
import socket
import statistics
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from nbsp_ray.errors import StoreError
from nbsp_ray.specs import Plan, PlannedPhase
from nbsp_ray.store import PhaseFolder, Store

State = Literal["done", "learning", "evaluating", "stopped", "waiting", "damaged", "failed", "blocked"]
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
    """`stopped`: begun, and no process works on it now; `waiting`: not begun, or about to be tried again; `damaged`:
    what is stored of it cannot be read."""
    env_steps: int
    budget: int
    """The most env steps the phase can take; for a phase that has learnt to its end, those it took."""
    success: float | None = None
    env_steps_per_second: float | None = None
    eta_seconds: float | None = None
    """At most, until its learning ends."""
    error: str | None = None
    """First line of the last failed attempt; of a damaged phase, what is wrong."""
    failures: Path | None = None
    """The folder with the tracebacks."""
    attempts: int = 0
    """Failed attempts."""
    notes: tuple[str, ...] = ()
    """What is to be known of how it was made: that its update is not compiled although it was to be, ..."""


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
    """Until all learning is done: at most, if phases may stop early; None while no speed is known."""

    def keys(self, *states: State) -> list[str]:
        """Keys of the phases in one of `states`, in plan order."""
        return [phase.key for phase in self.phases if phase.state in states]

    @property
    def done(self) -> list[str]:
        """Keys of phases that have learnt and are evaluated."""
        return self.keys("done")

    @property
    def failed(self) -> list[str]:
        """Keys of phases that failed for good."""
        return self.keys("failed")

    @property
    def blocked(self) -> list[str]:
        """Keys of phases that need a failed one."""
        return self.keys("blocked")

    @property
    def left(self) -> list[str]:
        """Keys of all phases that are not done: what `run` would try, failed and blocked ones too."""
        return [phase.key for phase in self.phases if phase.state != "done"]

    @property
    def notes(self) -> dict[str, int]:
        """What is noted of phases, with their number."""
        return dict(Counter(note for phase in self.phases for note in dict.fromkeys(phase.notes)))

    @property
    def running(self) -> tuple[PhaseStatus, ...]:
        """Phases that a process works on."""
        return tuple(phase for phase in self.phases if phase.state in ("learning", "evaluating"))

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
        phases = [
            {name: str(value) if isinstance(value, Path) else value for name, value in asdict(phase).items()}
            for phase in self.phases
        ]
        counts = {place: dict(Counter(phase.state for phase in found)) for place, found in self.by_place().items()}
        return asdict(self) | {"counts": counts, "phases": phases}


def sweep_status(plan: Plan, store: Store, *, concurrent: int | None = None) -> SweepStatus:
    """How far `plan` is in `store`; `concurrent` phases can work at a time (default: as many as do)."""
    return StatusReader(plan, store, concurrent=concurrent).read()


class StatusReader:
    """Reads how far a plan is, again and again at little cost."""

    def __init__(self, plan: Plan, store: Store, *, concurrent: int | None = None) -> None:
        self.plan, self.store, self.concurrent = plan, store, concurrent
        self._done: dict[str, PhaseStatus] = {}
        self._aside: dict[str, int] = {}
        self._host = socket.gethostname()

    def read(self) -> SweepStatus:
        """How far it is now."""
        now, begun, aside = time.time(), set(self.store.phases()), self.store.set_aside()
        for key in (key for key, number in aside.items() if number != self._aside.get(key)):
            self._done.pop(key, None)  # It was complete, and is no more.
        self._aside = aside
        found: dict[str, PhaseStatus] = {}
        for key, phase in self.plan.phases.items():
            status = self._done.get(key) or self._phase(phase, now=now, begun=key in begun)
            if status.state == "done":
                self._done[key] = status
            found[key] = self._blocked(phase, status, found)
        phases = tuple(found.values())
        running = sum(status.state in ("learning", "evaluating") for status in phases)
        concurrent = self.concurrent or running
        return SweepStatus(
            name=self.plan.name,
            time=now,
            phases=phases,
            env_steps=sum(status.env_steps for status in phases),
            budget=sum(status.budget for status in phases),
            concurrent=concurrent,
            eta_seconds=_eta(self.plan, found, concurrent),
        )

    def _phase(self, phase: PlannedPhase, *, now: float, begun: bool) -> PhaseStatus:
        blank = PhaseStatus(
            phase.key, phase.label, phase.spec.index, "waiting", env_steps=0, budget=phase.spec.learning.env_steps
        )
        if not begun:
            return blank
        folder = self.store.phase(phase.key)
        try:
            return self._begun(phase, folder, blank, now)
        except (StoreError, OSError) as error:
            return _replace(blank, state="damaged", error=str(error))

    def _begun(self, phase: PlannedPhase, folder: PhaseFolder, blank: PhaseStatus, now: float) -> PhaseStatus:
        result, progress = folder.result(), folder.progress() or {}
        notes = [f"an earlier result was damaged and set aside: {one}" for one in self._why_aside(folder)]
        blank = _replace(blank, notes=(*notes, *((result or progress).get("notes") or ())))
        if result is not None:
            steps, speed = int(result["env_steps"]), result.get("env_steps_per_second")
            learnt = _replace(blank, env_steps=steps, budget=steps, env_steps_per_second=speed)
            if is_complete(phase, self.store):
                return _replace(learnt, state="done", success=_own_success(phase, folder))
        else:
            steps, speed = int(progress.get("env_steps") or 0), progress.get("env_steps_per_second")
            left = (blank.budget - steps) / speed if speed else None
            learnt = _replace(blank, env_steps=steps, env_steps_per_second=speed, eta_seconds=left)
        learnt = _replace(learnt, success=progress.get("success"), state=self._at_work(progress, now))
        return _with_failures(learnt, folder, progress, now)

    def _why_aside(self, folder: PhaseFolder) -> list[str]:
        return folder.aside() if folder.key in self._aside else []

    def _at_work(self, progress: dict[str, Any], now: float) -> State:
        """What a phase that is not done does, from what it last told."""
        if not progress:
            return "waiting"
        silent = now - float(progress.get("time") or 0)
        here = progress.get("host") == self._host
        gone = here and silent > DEAD_SECONDS and not _alive(progress.get("pid"))
        if progress.get("stopped") or gone or silent > SILENT_SECONDS:
            return "stopped"
        return "evaluating" if progress.get("stage") == "evaluating" else "learning"

    def _blocked(self, phase: PlannedPhase, status: PhaseStatus, before: dict[str, PhaseStatus]) -> PhaseStatus:
        needs = (before[need].state for need in phase.spec.needs)
        if status.state in ("waiting", "stopped") and any(state in ("failed", "blocked") for state in needs):
            return _replace(status, state="blocked")
        return status


def _replace(status: PhaseStatus, **changes: Any) -> PhaseStatus:
    return PhaseStatus(**(vars(status) | changes))


def _with_failures(status: PhaseStatus, folder: PhaseFolder, progress: dict[str, Any], now: float) -> PhaseStatus:
    """Failed attempts, if any: the phase has failed if it gave up, or if nobody has tried it again for long."""
    failures = folder.failures()
    if not failures:
        return status
    last = failures[-1]
    status = _replace(status, error=str(last.get("error")), attempts=len(failures), failures=folder.path / "failures")
    if float(progress.get("time") or 0) > float(last["time"]):
        return status
    for_good = last.get("final") or now - float(last["time"]) > SILENT_SECONDS
    return _replace(status, state="failed" if for_good else "waiting")


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
    """Seconds until all learning is done: all that is left, shared, but never less than the longest chain of needs."""
    at_work = [phase for phase in phases.values() if phase.state == "learning"]
    speeds = _speeds(at_work) or _speeds(phases.values())
    if not speeds or not concurrent:
        return None
    speed = statistics.median(speeds)
    left = {
        key: phase.budget - phase.env_steps
        for key, phase in phases.items()
        if phase.state not in ("done", "failed", "blocked")
    }
    chain: dict[str, int] = {}
    for key in left:
        chain[key] = left[key] + max((chain.get(need, 0) for need in plan.phases[key].spec.needs), default=0)
    return max(sum(left.values()) / min(concurrent, max(1, len(left))), max(chain.values(), default=0)) / speed


def _speeds(phases: Iterable[PhaseStatus]) -> list[float]:
    return [phase.env_steps_per_second for phase in phases if phase.env_steps_per_second]
