"""The gate as a search algorithm: Tune asks it for trials, and gets the phases whose needs are done.

A trial is one phase, or a pack of them, whose worker tells in each result how each phase is and what room there is; it
is handed more at once, before its next step, so that a lane is never idle for longer than a step lasts.

An exception in a hook would end the whole experiment, so no hook raises: trouble with one phase fails that phase.
`SearchAlgorithm` and `_create_trial_from_spec` are no public API: `tests/orchestration/test_contract.py` watches them.
"""

import contextlib
import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from ray import cloudpickle
from ray.tune.experiment import Experiment, Trial
from ray.tune.experiment.config_parser import _create_trial_from_spec, _make_parser
from ray.tune.search import SearchAlgorithm

from nbsp_ray.orchestration.attempts import Attempts
from nbsp_ray.orchestration.gate import Gate, Place
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
    End,
    told,
)

log = logging.getLogger(__name__)
Answer = TypeVar("Answer")


APART_FROM = 2
"""Deaths of its workers, without getting any further, from which on a phase is tried without others beside it."""
RECHECK_SECONDS = 5.0
"""Between two looks at phases on which another driver works."""


class NotKept:
    """Tune pickles all it is given, to restore it one day; we restore nothing, so it gets an empty shell."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


IP = re.compile(r"\bip[=:]\s*([0-9a-fA-F.:]+)")
"""In what Ray says of a worker that died: where it was."""


@dataclass
class Work:
    """A trial that is out: a phase, or a pack of them."""

    trial: Trial
    place: Place
    keys: list[str]
    """Of its phases that have not ended; those that it had at its end."""
    machine: str | None = None
    heard: int = 0
    """The last of its results that was looked at."""
    halted: bool = False


class Trials(dict[str, Work]):
    """The trials that are out, by id, and those that ended in error."""

    def keys_of(self, trial_id: str) -> list[str]:
        """The phases that a trial has, or had when it ended in error."""
        return self[trial_id].keys if trial_id in self else []

    def machines(self) -> list[str]:
        """The machines of the phases that are out, one for each, as far as they have told."""
        return [work.machine for work in self.values() if work.machine for _ in work.keys]


class GatedSearch(NotKept, SearchAlgorithm):
    """Tune's view of a `Gate`; a trial's id is the key of its first phase, and the number of the attempt.

    A phase whose worker died or raised is tried again here, in a new trial: Tune's own retries leave out workers that
    die while they start.

    Args:
        gate: Which phase may start.
        config: The trial's config of some keys, JSON.
        attempts: Whether a phase that failed is tried again.
        together: How many phases begin as one trial, of a kind of which so many are ready.
        apart: Told of a phase that is to be tried without others beside it.
        gave_up: Told of a phase that failed, and is not tried again.
        machine_at: The id of the machine that has an IP.
        refuse: Told of a machine on which no worker gets to work, and why.
        look: Called when a machine is taken away, before its phases are handed out anew.
        stopped: Whether the run is to stop.
    """

    def __init__(
        self,
        gate: Gate,
        config: Callable[[list[str]], Mapping[str, Any]],
        *,
        attempts: Attempts,
        together: Callable[[Any, int], int] = lambda kind, ready: 1,
        apart: Callable[[str], object] = lambda key: None,
        gave_up: Callable[[str], object] = lambda key: None,
        machine_at: Callable[[str], str | None] = lambda ip: None,
        refuse: Callable[[str, str], object] = lambda machine, why: None,
        look: Callable[[], object] = lambda: None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self.gate, self.attempts = gate, attempts
        self._config, self._machine_at, self._refuse, self._look = config, machine_at, refuse, look
        self._together, self._apart, self._gave_up = together, apart, gave_up
        self._stopped, self._rechecked_at = stopped, time.monotonic()
        self._tried: Counter[str] = Counter()
        self.trials = Trials()
        self._parser = _make_parser()
        self._spec: dict[str, Any] = {}

    @property
    def total_samples(self) -> int:
        """Phases that may still be tried."""
        return len(self.gate.states)

    def add_configurations(self, experiments: Any) -> None:
        """Take what all trials have in common from the one experiment there is."""
        experiment: Experiment = experiments[0] if isinstance(experiments, list) else experiments
        self._spec = dict(experiment.spec)

    def next_trial(self) -> Trial | None:
        """The next phase as a trial, or None if nothing may start now."""
        if self._stopped():  # Tune asks nobody else while all that is left is at work elsewhere.
            self.gate.close()
        if time.monotonic() - self._rechecked_at > RECHECK_SECONDS:
            self._rechecked_at = time.monotonic()
            self._guarded(self.gate.recheck)
        while (key := self._guarded(self.gate.next)) is not None:
            place = self.gate.out[key]
            keys = [key, *self._more(place, self._together(place.kind, 1 + self.gate.ready(place.kind)) - 1)]
            try:
                spec = self._spec | {"config": dict(self._config(keys))}
                name = f"{key}-{self._tried[key]}"
                self._tried[key] += 1
                trial: Trial = _create_trial_from_spec(spec, self._parser, trial_id=name, experiment_tag=name)
                self.trials[name] = Work(trial, place, keys)
                return trial
            except Exception:
                log.exception("phases %s cannot be started", keys)
                for one in keys:
                    self._guarded(partial(self.gate.finished, one, ok=False))
        return None

    def _more(self, place: Place, number: int) -> list[str]:
        """So many phases at most that join others in their place."""
        found: list[str] = []
        while len(found) < number and (key := self._guarded(lambda: self.gate.next(place))) is not None:
            found.append(key)
        return found

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A trial works: where, and how far its phases are."""
        work = self.trials.get(trial_id)
        if work is None:
            return
        self._hear(work, result)
        if WORKER in result and not work.halted:
            self._guarded(lambda: self._answer(work, result))

    def _hear(self, work: Work, result: dict[str, Any]) -> None:
        """How far phases are, and those of a pack that have ended."""
        number = int(result.get("training_iteration") or 0)
        if number and number == work.heard:  # Tune tells the last one again when it stops a trial.
            return
        work.heard, machine = number, result.get(NODE) or work.machine
        work.machine = machine
        phases = told(result) if PHASES in result else [(key, result.get("env_steps"), None) for key in work.keys]
        for key, env_steps, end in phases:
            if machine is not None and not end:
                self._guarded(partial(self.attempts.advanced, key, int(env_steps or 0), machine))
            if end and key in work.keys:
                work.keys.remove(key)
                self._guarded(partial(self._end, key, end, machine))

    def _end(self, key: str, end: End, machine: str | None) -> None:
        """A phase of a pack has ended."""
        if end == PUT_BACK or (end == FAILED and self.attempts.failed(key, machine)):
            self.gate.put_back(key)
        else:
            self.gate.finished(key, ok=end == DONE)
            if end == FAILED:
                self._gave_up(key)

    def _answer(self, work: Work, result: dict[str, Any]) -> None:
        """Tell a pack to halt, or hand it phases for its room; it has them before its next step begins."""
        if self._stopped():
            self.gate.close()
            work.halted = True
            _worker(result).halt.remote()
        elif keys := self._more(work.place, int(result.get(ROOM) or 0)):
            work.keys += keys
            _worker(result).hand.remote(self._config(keys)["phases"])

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The trial has ended, well or not: the store knows which of its phases are done."""
        work = self.trials.get(trial_id)
        if work is None:
            return
        if result and PHASES in result:
            self._hear(work, result)
        leaves = bool((result or {}).get(LEAVES, False))
        if leaves:
            self._guarded(self._look)
        put_back = leaves or (result or {}).get(PUT_BACK)
        machine = self._guarded(lambda: self._where_it_died(work)) if error else work.machine
        for key in work.keys:
            if put_back or (error and self._guarded(partial(self._again, key, machine))):
                self._guarded(partial(self.gate.put_back, key))
            else:
                ok = not error and not (result or {}).get(GAVE_UP, False)
                self._guarded(partial(self.gate.finished, key, ok=ok))
        work.machine = None
        if not error:  # Of one that died, somebody else will ask what it had.
            del self.trials[trial_id]

    def _where_it_died(self, work: Work) -> str | None:
        """The machine of a worker that died; one on which nothing gets to work is refused."""
        if work.machine is not None or not work.keys:
            return work.machine
        text = error_of(work.trial)
        found = IP.search(text)
        machine = self._machine_at(found[1]) if found else None
        lines = text.strip().splitlines() or ["they die before they work"]
        if machine is not None and self.attempts.failed_early(work.keys[0], machine):
            self._refuse(machine, f"lets no worker get to work ({lines[-1].strip()})")
        return machine

    def _again(self, key: str, machine: str | None) -> bool:
        """Whether a phase whose worker died is tried again; alone if that was so before, for it may be to blame."""
        again = self.attempts.failed(key, machine)
        if again and self.attempts.counted(key) >= APART_FROM:
            self._apart(key)
        return again

    def is_finished(self) -> bool:
        """Whether no trial will come any more."""
        return self._finished or self.gate.is_finished

    def set_finished(self) -> None:
        """Tune stops the experiment."""
        self.gate.close()
        super().set_finished()

    def _guarded(self, act: Callable[[], Answer]) -> Answer | None:
        """Rather stop than wait for ever for what will not come; running again does what is left."""
        try:
            return act()
        except Exception:
            log.exception("the plan cannot be followed any further")
            self.set_finished()
            return None


def _worker(result: dict[str, Any]) -> Any:
    return cloudpickle.loads(bytes.fromhex(result[WORKER]))


def error_of(trial: Trial) -> str:
    """What Ray says of a trial's end; empty if it says nothing."""
    with contextlib.suppress(OSError):
        return Path(trial.error_file or "").read_text(errors="replace")
    return ""
