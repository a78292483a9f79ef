"""The gate as a search algorithm: Tune asks it for trials, and gets the phases whose needs are done.

An exception in a hook would end the whole experiment, so no hook raises: trouble with one phase fails that phase.
`SearchAlgorithm` and `_create_trial_from_spec` are no public API: `tests/orchestration/test_contract.py` watches them.
"""

import contextlib
import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from ray.tune.experiment import Experiment, Trial
from ray.tune.experiment.config_parser import _create_trial_from_spec, _make_parser
from ray.tune.search import SearchAlgorithm

from nbsp_ray.orchestration.attempts import Attempts
from nbsp_ray.orchestration.gate import Gate

log = logging.getLogger(__name__)
Answer = TypeVar("Answer")


RECHECK_SECONDS = 5.0
"""Between two looks at phases on which another driver works."""


class NotKept:
    """Tune pickles all it is given, to restore it one day; we restore nothing, so it gets an empty shell."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


GAVE_UP = "gave_up"
"""In a result: the phase has failed for good, and Tune need not try it again."""
LEAVES = "leaves"
"""In a result: the phase is saved and goes on elsewhere, for its machine is taken away."""
NODE = "node"
"""In a result: Ray's id of the machine."""
IP = re.compile(r"\bip[=:]\s*([0-9a-fA-F.:]+)")
"""In what Ray says of a worker that died: where it was."""
PUT_BACK = "put_back"
"""In a result: something that the phase needs has to be made anew before it, which is no fault of its own."""


class GatedSearch(NotKept, SearchAlgorithm):
    """Tune's view of a `Gate`; a trial's id is the key of its phase, and the number of the attempt.

    A phase whose worker died or raised is tried again here, as a new trial: Tune's own retries leave out workers that
    die while they start.

    Args:
        gate: Which phase may start.
        config: The trial's config of a key, JSON.
        attempts: Whether a phase that failed is tried again.
        machine_at: The id of the machine that has an IP.
        refuse: Told of a machine on which no worker gets to work, and why.
        look: Called when a machine is taken away, before its phases are handed out anew.
        stopped: Whether the run is to stop.
    """

    def __init__(
        self,
        gate: Gate,
        config: Callable[[str], Mapping[str, Any]],
        *,
        attempts: Attempts,
        machine_at: Callable[[str], str | None] = lambda ip: None,
        refuse: Callable[[str, str], object] = lambda machine, why: None,
        look: Callable[[], object] = lambda: None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self.gate, self.attempts = gate, attempts
        self._config, self._machine_at, self._refuse, self._look = config, machine_at, refuse, look
        self._stopped, self._rechecked_at = stopped, time.monotonic()
        self._tried: Counter[str] = Counter()
        self._trials: dict[str, Trial] = {}
        self.machines: dict[str, str] = {}
        """Of the phases that are out, as far as they have told."""
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
            try:
                spec = self._spec | {"config": dict(self._config(key))}
                name = f"{key}-{self._tried[key]}"
                self._tried[key] += 1
                trial: Trial = _create_trial_from_spec(spec, self._parser, trial_id=name, experiment_tag=name)
                self._trials[key] = trial
                return trial
            except Exception:
                log.exception("phase %s cannot be started", key)
                self._guarded(partial(self.gate.finished, key, ok=False))
        return None

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A phase works: where, and how far it is."""
        key, machine = phase_key(trial_id), result.get(NODE)
        if machine:
            self.machines[key] = machine
            self._guarded(lambda: self.attempts.advanced(key, int(result.get("env_steps") or 0), machine))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The trial has ended, well or not: the store knows whether its phase is done."""
        key = phase_key(trial_id)
        trial, machine = self._trials.pop(key, None), self.machines.pop(key, None)
        leaves = bool((result or {}).get(LEAVES, False))
        if leaves:
            self._guarded(self._look)
        put_back = leaves or (result or {}).get(PUT_BACK)
        if put_back or (error and self._guarded(lambda: self._again(key, trial, machine))):
            self._guarded(lambda: self.gate.put_back(key))
        else:
            ok = not error and not (result or {}).get(GAVE_UP, False)
            self._guarded(lambda: self.gate.finished(key, ok=ok))

    def _again(self, key: str, trial: Trial | None, machine: str | None) -> bool:
        """Whether a phase that failed is tried again; a machine on which nothing gets to work is not."""
        if machine is None:
            text = error_of(trial)
            found = IP.search(text)
            machine = self._machine_at(found[1]) if found else None
            lines = text.strip().splitlines() or ["they die before they work"]
            if machine is not None and self.attempts.failed_early(key, machine):
                self._refuse(machine, f"lets no worker get to work ({lines[-1].strip()})")
        return self.attempts.failed(key, machine)

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


def error_of(trial: Trial | None) -> str:
    """What Ray says of a trial's end; empty if it says nothing."""
    with contextlib.suppress(OSError):
        return Path((trial and trial.error_file) or "").read_text(errors="replace")
    return ""


def phase_key(trial_id: str) -> str:
    """The key of the phase that a trial is about."""
    return trial_id.partition("-")[0]
