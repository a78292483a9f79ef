"""Phases one after another in this process, without Ray: for `nbsp-ray try`, a debugger, and the tests."""

import gc
import logging
import math
import time
import traceback
from collections.abc import Callable, Mapping

import torch

from nbsp_ray.errors import DamagedPhaseError
from nbsp_ray.learning import opening
from nbsp_ray.learning.machine import find_device
from nbsp_ray.learning.pack import new_pack
from nbsp_ray.learning.phase import Phase
from nbsp_ray.learning.run import PhaseRun, Progress
from nbsp_ray.limits import memory, usable_cpus
from nbsp_ray.methods import read_ingredients
from nbsp_ray.plan.build import check_benchmarks
from nbsp_ray.plan.lanes import by_shape, capacity, lanes, shape
from nbsp_ray.specs import Plan, Trial
from nbsp_ray.status import is_complete
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


def run_plan(
    plan: Plan, store: Store, report: Report | None = None, *, seconds: float = 2.0
) -> Mapping[str, Exception] | None:
    """Run what is left of a whole plan, `resources.lanes` phases at a time (`learning.pack`), in this process.

    Phases of one shape are lanes of one pack; packs of other shapes follow one another. What fails is stored as a
    failure of its phase, and what does not need it goes on.

    Returns:
        What went wrong, by key; None if a signal stopped it, saved.

    Raises:
        ConfigError: more lanes than the memory holds, or too little shared memory for their environments.
    """
    for sentence in store.mend(plan.phases):
        log.warning("%s", sentence)
    left = _left(plan, store)
    check_benchmarks(plan, [key for key in plan.phases if key in left])
    for of_shape in by_shape(plan, left).values():
        _slots(plan, of_shape)  # Refused before anything starts.
    failures: dict[str, Exception] = {}
    with StopRequest() as stop:
        while ready := [key for key in plan.phases if key in left - failures.keys() and _is_ready(plan, key, store)]:
            # The shape that most of those that may begin have.
            keys = max(by_shape(plan, ready).values(), key=len)
            of_shape = by_shape(plan, left - failures.keys())[shape(plan.phases[keys[0]])]
            failures |= _run_pack(plan, of_shape, store, stop, _every(seconds, report))
            left = _left(plan, store)
            if stop.asked:
                return None
    return failures


def _every(seconds: float, report: Report | None) -> Report:
    told = -math.inf

    def tell(label: str, progress: Progress) -> None:
        nonlocal told
        if report is not None and (progress.done or time.monotonic() >= told + seconds):
            told = time.monotonic()
            report(label, progress)

    return tell


def _left(plan: Plan, store: Store) -> set[str]:
    return {key for key, phase in plan.phases.items() if not is_complete(phase, store)}


def _is_ready(plan: Plan, key: str, store: Store) -> bool:
    return all(is_complete(plan.phases[need], store) for need in plan.phases[key].spec.needs)


def _slots(plan: Plan, keys: list[str]) -> int:
    """Phases of one shape that learn side by side here.

    Raises:
        ConfigError: more are asked for than the memory holds.
    """
    device, gpu_bytes = find_device(plan.phases[keys[0]].resources), None
    if device.type == "cuda":
        gc.collect()  # A pack before this one is garbage now, and what it had is in torch's cache.
        torch.cuda.empty_cache()
        gpu_bytes = torch.cuda.mem_get_info(device)[0]
    return lanes(plan, keys, memory(), usable_cpus(), gpu_bytes)


def _run_pack(plan: Plan, keys: list[str], store: Store, stop: StopRequest, report: Report) -> Mapping[str, Exception]:
    """Run phases of one shape, each as soon as what it needs is done; those that failed."""
    phases, slots = [plan.phases[key] for key in keys], _slots(plan, keys)
    largest, waiting = max(phases, key=lambda one: one.spec.learning.env_steps), list(keys)

    def open_next() -> PhaseRun | None:
        key = next((key for key in waiting if _is_ready(plan, key, store)), None)
        if key is None:
            return None
        waiting.remove(key)
        return _phase_run(plan, key, store)

    pack = new_pack(
        largest.spec,
        slots,
        capacity(phases),
        largest.resources,
        usable_cpus(),
        stopped=lambda: stop.asked,
        report=lambda run: report(plan.phases[run.folder.key].label, run.progress()),
    )
    try:
        pack.run(open_next)
    finally:
        pack.close()
    failures = dict[str, Exception]()
    for key, error in pack.failures.items():
        if isinstance(error, DamagedPhaseError):  # Of a phase that was done: it is made anew first, and no failure.
            log.warning("%s", error)
            store.phase(error.key).set_aside(error)
            continue
        text = "".join(traceback.format_exception(error))
        failures[key] = error.with_traceback(None)  # Its frames hold the pack's buffers.
        store.phase(key).write_failure({"error": f"{type(error).__name__}: {error}", "traceback": text, "final": True})
    return failures


def open_phase(store: Store, plan: Plan, key: str) -> Phase:
    """A phase of the plan as its furthest checkpoint has it, or at its beginning: what the training loop works on.

    `for _ in alone(learn(phase)): ...` (`nbsp_ray.learning.phase`, `.wishes`) then goes through it one episode at a
    time, with all that is learnt in `phase.agent` and `phase.replay`. Nothing of that is stored; `run_trial` stores.

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
