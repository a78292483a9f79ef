"""Phases dropped at random, and all that a phase leaves, so that it can be compared with one that was not dropped."""

import random
from typing import Any

from phase_files import bytes_of
from toy_phases import phase_run

from nbsp_ray.specs import PlannedPhase
from nbsp_ray.store import Store


def what_it_left(store: Store, phase: PlannedPhase) -> dict[str, Any]:
    """Everything but times, hosts and notes, and the scraps of a write that was killed."""
    folder = store.phase(phase.key)
    found: dict[str, Any] = {
        name: data
        for name, data in bytes_of(store, phase.key).items()
        if name != "manifest.json" and not name.rpartition("/")[2].startswith(".")
    }
    result = folder.result()
    assert result is not None
    times = ("seconds", "env_steps_per_second", "notes")
    return found | {"result": {name: value for name, value in result.items() if name not in times}}


def run_interrupted(store: Store, phase: PlannedPhase, seed: int) -> int:
    """Run a phase to its end, dropping it at random; the number of times it was dropped."""
    rng, dropped = random.Random(seed), 0
    while True:
        run = phase_run(store, phase)
        for _ in range(rng.randint(1, 4)):
            progress = run.advance(0)
            if progress.stage == "evaluating" and rng.random() < 0.5:
                progress = run.advance(600)  # an evaluation of vectors that is cut begins anew
            if progress.done:
                return dropped
            if rng.random() < 0.5:
                run.save()
        run.save()
        if rng.random() < 0.5:
            run.advance(0)  # work after the checkpoint is lost
        dropped += 1
