"""What we do within Tune's loop: stop when asked, and keep why a phase was given up. Nothing here raises."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.stopper import Stopper as TuneStopper

from nbsp_ray.orchestration.gate import Gate, State
from nbsp_ray.orchestration.gated_search import NotKept, phase_key
from nbsp_ray.stopping import StopRequest
from nbsp_ray.store import Store

log = logging.getLogger(__name__)
FIT_SECONDS = 10.0
"""Between two looks at what machines there are."""


class ExperimentHooks(NotKept, tune.Callback):
    """Follows the trials.

    Args:
        store: Where failures are kept.
        gate: Closed when asked to stop.
        stop: The wish to stop.
        fit_to_cluster: Called now and then, for machines come and go.
        at_once: Do not wait for the step under way: trials in the queue would take the place of those that have ended.
    """

    def __init__(
        self, store: Store, gate: Gate, stop: StopRequest, fit_to_cluster: Callable[[], object], *, at_once: bool
    ) -> None:
        self._store, self._gate, self._stop, self._fit_to_cluster = store, gate, stop, fit_to_cluster
        self._at_once = at_once
        self._fitted_at = time.monotonic()
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
        except Exception:
            log.exception("the experiment could not be looked after")

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
        """A worker that is killed leaves no traceback: if that was the last attempt, its end is noted here."""
        try:
            key = phase_key(trial.trial_id)
            if self._gate.states[key] is not State.FAILED:
                return
            folder = self._store.phase(key)
            failures = folder.failures()
            last = failures[-1]["error"] if failures else "the worker was killed (is there enough memory?)"
            text = Path(trial.error_file).read_text(errors="replace") if trial.error_file else ""
            folder.write_failure({"error": f"{last}; tried often enough", "traceback": text[-20_000:], "final": True})
        except Exception:
            log.exception("the failure of %s could not be stored", trial)


class Stopper(NotKept, TuneStopper):
    """Stops each trial at its next result, and then the experiment: so a worker has all of its grace for saving."""

    def __init__(self, hooks: ExperimentHooks) -> None:
        self._hooks = hooks

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether to stop this trial now."""
        return self._hooks.stops_trials()

    def stop_all(self) -> bool:
        """Whether to stop those that have not begun, too."""
        return self._hooks.stopping_all
