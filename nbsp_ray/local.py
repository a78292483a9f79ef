"""Phases one after another in this process, without Ray: for `nbsp-ray try`, a debugger, and the tests."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from nbsp_ray.learning.run import PhaseRun, Progress
from nbsp_ray.specs import Plan, Trial
from nbsp_ray.store import Store

Report = Callable[[str, Progress], None]
"""Told the label of a phase and how far it is, every few seconds."""


def run_trial(plan: Plan, trial: Trial, store: Store, report: Report, *, seconds: float = 2.0) -> bool:
    """Run what is left of a trial's phases and of those they need; False if Ctrl-C (or SIGTERM) stopped it, saved."""
    keys = _with_needs(plan, trial.phases)
    plan.check_benchmarks([key for key in keys if not store.phase(key).done()])
    with _stop_at_signal() as stopped:
        for key in keys:
            phase = plan.phases[key]
            run = PhaseRun(
                store, phase.spec, list(phase.evaluations.values()), phase.resources, keep_buffer=phase.keep_buffer
            )
            while True:
                progress = run.advance(seconds)
                report(phase.label, progress)
                if progress.done:
                    break
                if stopped():
                    run.save()
                    return False
    return True


def _with_needs(plan: Plan, keys: tuple[str, ...]) -> list[str]:
    """`keys` and all that they need, each after what it needs."""
    wanted = set(keys)
    for key in reversed(list(plan.phases)):
        if key in wanted:
            wanted |= set(plan.phases[key].spec.needs)
    return [key for key in plan.phases if key in wanted]


@contextmanager
def _stop_at_signal() -> Iterator[Callable[[], bool]]:
    """Turns the first SIGINT or SIGTERM into a wish to stop; a second one stops at once."""
    wish: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if wish:
            raise KeyboardInterrupt
        wish.append(number)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(wish)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
