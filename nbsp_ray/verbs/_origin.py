"""Which sweep a phase belongs to, and the command that trains it again: looked for, planned, and checked."""

import functools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbsp_ray.config.describe import AXES, can_vary, settings
from nbsp_ray.config.schema import Sweep
from nbsp_ray.errors import ConfigError
from nbsp_ray.plan.build import make_plan
from nbsp_ray.plan.halves import needed
from nbsp_ray.plan.search import resolve_searches
from nbsp_ray.specs import PhaseSpec, Plan, PlannedPhase, Trial
from nbsp_ray.store import Store
from nbsp_ray.sweepfile import LoadedSweep, command, load_sweep, sweep_names

RERUN = Path("rerun")
"""A results root of its own: in the old one the phase is done already."""


@dataclass(frozen=True)
class Origin:
    """A sweep that has a phase."""

    loaded: LoadedSweep
    plan: Plan
    trials: tuple[Trial, ...]
    """Those that rest on it, of its seed."""
    phase: PlannedPhase
    rerun: str | None
    """Trains it again, in a results root of its own; None if no settings do, as of the retraining of an import."""


def find_origin(store: Store, key: str, spec: PhaseSpec) -> Origin | None:
    """The first sweep that has the phase: of those run in this results root, and then of all that are known by name."""
    for given, overrides in _candidates(store):
        kept = [one for one in overrides if one.partition("=")[0].strip() != "seeds"]
        try:
            loaded = load_sweep(given, [*kept, f"seeds={spec.seed}"])
            plan = loaded.plan(store, whole_budget=False)
        except ConfigError:
            continue  # a file that is gone, or has changed since
        if key in plan.phases:
            on_it = _resting_on(plan, key)
            trials = tuple(trial for trial in plan.trials if not on_it.isdisjoint(trial.phases))
            return Origin(loaded, plan, trials, plan.phases[key], _rerun(loaded, store, trials[0], key))
    return None


def _resting_on(plan: Plan, key: str) -> set[str]:
    """The keys of a phase and of all that need it."""
    found = {key}
    for other, phase in plan.phases.items():  # Each stands after those it needs.
        if not found.isdisjoint(phase.spec.needs):
            found.add(other)
    return found


def _candidates(store: Store) -> Iterator[tuple[str, Sequence[str]]]:
    for name in store.sweeps():
        data = store.read_sweep(name) or {}
        yield str(data.get("given") or name), data.get("overrides") or []
    yield from ((name, ()) for name in sweep_names())


def _rerun(loaded: LoadedSweep, store: Store, trial: Trial, key: str) -> str | None:
    sweeps = resolve_searches(loaded.sweeps, store)
    own = next((one for one in sweeps if key in make_plan("", [one]).phases), None)
    if own is None:
        return None
    varied = {
        path: _at(own, path) for path in settings() if can_vary(path) and len({_at(one, path) for one in sweeps}) > 1
    }
    kept = [
        one
        for one in loaded.overrides
        if (name := one.partition("=")[0].strip()) not in (*AXES, "tasks", *varied) and not name.startswith("search.")
    ]
    kept += [f"{path}={text}" for path, text in varied.items()]
    kept += [f"pairs={':'.join(trial.tasks)}", f"methods={trial.method}", f"seeds={trial.seed}"]
    if trial.skill_neurons is not None:
        kept.append(f"skill_neurons={trial.skill_neurons}")
    try:
        plan = load_sweep(loaded.given, kept).plan(None)
    except ConfigError:
        return None
    # `try` runs the first trial.
    return command("try", loaded.given, kept, RERUN) if key in needed(plan, plan.trials[:1]) else None


def _at(sweep: Sweep, path: str) -> str:
    """A setting's value as on the command line."""
    value: Any = functools.reduce(getattr, path.split("."), sweep)
    return value if isinstance(value, str) else json.dumps(value)
