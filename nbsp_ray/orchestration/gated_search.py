"""The gate as a search algorithm: Tune asks it for trials, and gets the phases whose needs are done.

An exception in a hook would end the whole experiment, so no hook raises: trouble with one phase fails that phase.
`SearchAlgorithm` and `_create_trial_from_spec` are no public API: `tests/orchestration/test_contract.py` watches them.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from ray.tune.experiment import Experiment, Trial
from ray.tune.experiment.config_parser import _create_trial_from_spec, _make_parser
from ray.tune.search import SearchAlgorithm

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
PUT_BACK = "put_back"
"""In a result: something that the phase needs has to be made anew before it, which is no fault of its own."""


class GatedSearch(NotKept, SearchAlgorithm):
    """Tune's view of a `Gate`; a trial's id is the key of its phase, and the number of the attempt.

    A phase whose worker died or raised is tried again here, as a new trial: Tune's own retries leave out workers that
    die while they start.

    Args:
        gate: Which phase may start.
        config: The trial's config of a key, JSON.
        retries: How often a phase is tried again.
        stopped: Whether the run is to stop.
    """

    def __init__(
        self,
        gate: Gate,
        config: Callable[[str], Mapping[str, Any]],
        *,
        retries: int,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self.gate = gate
        self._config = config
        self._retries, self._stopped = retries, stopped
        self._rechecked_at = time.monotonic()
        self._errors: Counter[str] = Counter()
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
                name = f"{key}-{self._errors[key]}"
                trial: Trial = _create_trial_from_spec(spec, self._parser, trial_id=name, experiment_tag=name)
                return trial
            except Exception:
                log.exception("phase %s cannot be started", key)
                self._guarded(partial(self.gate.finished, key, ok=False))
        return None

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The trial has ended, well or not: the store knows whether its phase is done."""
        key = phase_key(trial_id)
        self._errors[key] += error
        if (error and self._errors[key] <= self._retries) or (result or {}).get(PUT_BACK):
            self._guarded(lambda: self.gate.put_back(key))
        else:
            ok = not error and not (result or {}).get(GAVE_UP, False)
            self._guarded(lambda: self.gate.finished(key, ok=ok))

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


def phase_key(trial_id: str) -> str:
    """The key of the phase that a trial is about."""
    return trial_id.partition("-")[0]
