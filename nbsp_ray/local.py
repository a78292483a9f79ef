"""Phases one after another in this process, without Ray: for `nbsp-ray try`, a debugger, and the tests."""

import logging
from collections.abc import Callable

from nbsp_ray.errors import DamagedPhaseError
from nbsp_ray.learning import opening
from nbsp_ray.learning.phase import Phase
from nbsp_ray.learning.run import PhaseRun, Progress
from nbsp_ray.methods import read_ingredients
from nbsp_ray.plan.build import check_benchmarks
from nbsp_ray.specs import Plan, Trial
from nbsp_ray.stopping import StopRequest
from nbsp_ray.store import Store

log = logging.getLogger(__name__)
Report = Callable[[str, Progress], None]
"""Told the label of a phase and how far it is, every few seconds."""


def run_trial(plan: Plan, trial: Trial, store: Store, report: Report | None = None, *, seconds: float = 2.0) -> bool:
    """Run what is left of a trial's phases and of those they need; False if a signal stopped it, saved (`stopping`)."""
    keys = _with_needs(plan, trial.phases)
    for sentence in store.mend(keys):
        log.warning("%s", sentence)
    check_benchmarks(plan, [key for key in keys if not store.phase(key).done()])
    with StopRequest() as stop:
        while True:
            try:
                return _run_phases(plan, keys, store, report, stop, seconds)
            except DamagedPhaseError as error:  # Of a phase that was done: from there on once more.
                log.warning("%s", error)
                store.phase(error.key).set_aside(error)


def _run_phases(
    plan: Plan, keys: list[str], store: Store, report: Report | None, stop: StopRequest, seconds: float
) -> bool:
    for key in keys:
        run = _phase_run(plan, key, store)
        while True:
            progress = run.advance(seconds)
            if report is not None:
                report(plan.phases[key].label, progress)
            if progress.done:
                break
            if stop.asked:
                run.save()
                return False
    return True


def open_phase(store: Store, plan: Plan, key: str) -> Phase:
    """A phase of the plan as its furthest checkpoint has it, or at its beginning: what the training loop works on.

    `for _ in learn(phase): ...` (`nbsp_ray.learning.phase`) then goes through it one episode at a time, with all that
    is learnt in `phase.agent` and `phase.replay`. Nothing of that is stored; `run_trial` stores.

    Raises:
        PhaseError: a phase that it needs is not done.
    """
    phase = plan.phases[key]
    return opening.open_phase(store, phase.spec, read_ingredients(phase.spec), phase.resources).phase


def _phase_run(plan: Plan, key: str, store: Store) -> PhaseRun:
    phase = plan.phases[key]
    return PhaseRun(
        store,
        phase.spec,
        read_ingredients(phase.spec),
        list(phase.evaluations.values()),
        phase.resources,
        keep_buffer=phase.keep_buffer,
    )


def _with_needs(plan: Plan, keys: tuple[str, ...]) -> list[str]:
    """`keys` and all that they need, each after what it needs."""
    wanted = set(keys)
    for key in reversed(list(plan.phases)):
        if key in wanted:
            wanted |= set(plan.phases[key].spec.needs)
    return [key for key in plan.phases if key in wanted]
