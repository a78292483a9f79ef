"""What we do within Tune's loop: stop when asked, and keep why a phase was given up. Nothing here raises."""

import logging
import re
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.stopper import Stopper as TuneStopper

from nbsp_ray.limits import out_of_memory_kills
from nbsp_ray.orchestration.gate import Gate
from nbsp_ray.orchestration.gated_search import IP, NotKept, error_of
from nbsp_ray.orchestration.jobs import WORKER
from nbsp_ray.states import State
from nbsp_ray.stopping import StopRequest
from nbsp_ray.store import Store
from nbsp_ray.store.files import why

log = logging.getLogger(__name__)
FIT_SECONDS = 10.0
"""Between two looks at what machines there are."""
WORKER_SECONDS = 180.0
"""In which a worker starts, many times over."""


class ExperimentHooks(NotKept, tune.Callback):
    """Follows the trials.

    Args:
        store: Where failures are kept.
        gate: Closed when asked to stop.
        keys: The phases of a trial.
        stop: The wish to stop.
        fit_to_cluster: Called now and then, for machines come and go.
        out_of_memory: Called with the phases of a worker that was killed for want of memory; may give them up.
        host: The name of the machine with an IP.
        at_once: Do not wait for the step under way: trials in the queue would take the place of those that have ended.
    """

    def __init__(
        self,
        store: Store,
        gate: Gate,
        keys: Callable[[str], list[str]],
        stop: StopRequest,
        fit_to_cluster: Callable[[], object],
        out_of_memory: Callable[[list[str]], object],
        *,
        at_once: bool,
        host: Callable[[str], str | None] = lambda ip: None,
    ) -> None:
        self._store, self._gate, self._keys, self._stop, self._fit_to_cluster = store, gate, keys, stop, fit_to_cluster
        self._out_of_memory, self._at_once, self._host = out_of_memory, at_once, host
        self._failures: Counter[str] = Counter()
        self._killed_for_memory = out_of_memory_kills()
        self._fitted_at = time.monotonic()
        self._began: float | None = time.monotonic()
        self._running: int | None = None

    def setup(
        self,
        stop: TuneStopper | None = None,
        num_samples: int | None = None,
        total_num_samples: int | None = None,
        **info: Any,
    ) -> None:
        """Tune has installed its own handler for SIGUSR1 just before."""
        self._stop.install()

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """About ten times a second."""
        try:
            if self._stop.heard():
                self._gate.close()
                self._running = sum(trial.status == Trial.RUNNING for trial in trials)
            elif time.monotonic() - self._fitted_at > FIT_SECONDS:
                self._fitted_at = time.monotonic()
                self._fit_to_cluster()
                self._look_for_workers(trials)
        except Exception:
            log.exception("the experiment could not be looked after")

    def _look_for_workers(self, trials: list[Trial]) -> None:
        """Ray tries for ever to start a worker, and says nothing."""
        if self._began is None or not trials or self._at_once:
            return
        if any(trial.status != Trial.PENDING for trial in trials):
            self._began = None
        elif time.monotonic() - self._began > WORKER_SECONDS:
            self._began = None
            self._stop.say(
                f"no worker has started in {WORKER_SECONDS / 60:.0f} minutes: is the machine very busy? Else Ray's own "
                "account is in its session_latest/logs, `nbsp-ray doctor` looks at what it needs, and `nbsp-ray try` "
                "does without it"
            )

    def stops_trials(self) -> bool:
        """Whether each trial is to stop when its step ends.

        The gate is closed by then: to an open one, a trial that ends well and is not done has failed.
        """
        if self._stop.asked:
            self._gate.close()
        return self._stop.asked

    @property
    def stopping_all(self) -> bool:
        """Whether to stop whatever there is now."""
        return self._stop.asked and (self._at_once or self._running == 0)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A worker that is killed leaves no traceback: its end is noted here, and that it was the last attempt."""
        try:
            keys, text = self._keys(trial.trial_id), error_of(trial)
            failures = {key: self._store.phase(key).failures() for key in keys}
            silent = [key for key in keys if len(failures[key]) <= self._failures[key]]
            end, for_memory = self._end_of_worker(text) if silent else ("", False)
            if for_memory:
                self._out_of_memory(silent)
            for key in keys:
                final = self._gate.states[key] is State.FAILED
                if key in silent or final:
                    error = end if key in silent else failures[key][-1]["error"]
                    self._write_failure(key, f"{error}; tried often enough" if final else error, text, final=final)
                self._failures[key] = len(self._store.phase(key).failures())
        except OSError as error:
            self._cannot_store(error)
        except Exception:
            log.exception("the failure of %s could not be stored", trial)

    def _write_failure(self, key: str, error: str, text: str, *, final: bool) -> None:
        found = IP.search(text)
        where = {"host": self._host(found[1])} if found else {}
        self._store.phase(key).write_failure({"error": error, "traceback": text[-20_000:], "final": final, **where})

    def _cannot_store(self, error: OSError) -> None:
        """Not even a failure can be written: trying the phases again and again would come to nothing."""
        if not self._stop.asked:
            self._stop.say(
                f"{self._store.address} cannot be written ({why(error)}): stopping; mend that, and it goes on"
            )
        self._stop.asked = True

    def _end_of_worker(self, text: str) -> tuple[str, bool]:
        """How a worker that told nothing ended, by the kernel's count and by what Ray says of it; and if of memory."""
        before, self._killed_for_memory = self._killed_for_memory, out_of_memory_kills()
        if self._killed_for_memory > before or re.search("out_?of_?memory|low on memory", text, re.IGNORECASE):
            return "the worker was killed for want of memory", True
        lines = text.strip().splitlines()
        if "unavailable" in text:
            return "its worker cannot be reached any more: it was killed, or its machine is gone", False
        return "the worker was killed" if not lines or re.search("died|dead", text) else lines[-1], False


class Stopper(NotKept, TuneStopper):
    """Stops each trial at its next result, and then the experiment: so a worker has all of its grace for saving."""

    def __init__(self, hooks: ExperimentHooks) -> None:
        self._hooks = hooks

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether to stop this trial now; a pack is told to halt, and ends by itself when all of it is saved."""
        return self._hooks.stops_trials() and WORKER not in result

    def stop_all(self) -> bool:
        """Whether to stop those that have not begun, too."""
        return self._hooks.stopping_all
