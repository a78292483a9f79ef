"""`nbsp-ray try`: one trial in this process, or with `resources.lanes` a whole sweep."""

from typing import Any

import typer

from nbsp_ray.limits import memory
from nbsp_ray.plan.memory import check_fits, largest_need
from nbsp_ray.specs import Plan
from nbsp_ray.status import is_complete
from nbsp_ray.store import DEFAULT_ROOT, Store
from nbsp_ray.sweepfile.scope import scope_of
from nbsp_ray.verbs._common import FAILED, UNFINISHED, Overrides, Root, Sweep, load_plan, remember, say, work_is_done
from nbsp_ray.verbs.report import show_report


def command(
    sweep: Sweep,
    overrides: Overrides = None,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Run the first trial of a sweep in this process, without Ray: a debugger works.

    With resources.lanes the whole sweep, so many phases at a time.
    """
    loaded, planned = load_plan(sweep, overrides, root)
    if any(phase.resources.lanes != 1 for phase in planned.phases.values()):
        _run_all(loaded, planned, root)
        return
    trial = planned.trials[0]
    if len(planned.trials) > 1:
        say(f"Trial 1 of {len(planned.trials)}: {trial.label}. Others: methods=..., seeds=..., pairs=...")

    store = Store(root)
    if left := [key for key in trial.phases if not is_complete(planned.phases[key], store)]:
        check_fits(largest_need(planned, left), memory())
    from nbsp_ray.local import run_trial

    store = Store(root, create=True)
    remember(store, loaded)
    finished = run_trial(planned, trial, store, lambda label, progress: say(_progress_line(label, progress)))
    if not finished:
        say("Saved; the same command goes on from here")
        raise typer.Exit(UNFINISHED)
    with work_is_done(loaded.command("report", root)):
        show_report(planned, store, scope_of(loaded, planned, store, root))


def _run_all(loaded: Any, planned: Plan, root: str) -> None:
    """The whole sweep, in lanes."""
    from nbsp_ray.local import run_plan

    store = Store(root, create=True)
    remember(store, loaded)
    failures = run_plan(planned, store, lambda label, progress: say(_progress_line(label, progress)))
    if failures is None:
        say("Saved; the same command goes on from here")
        raise typer.Exit(UNFINISHED)
    with work_is_done(loaded.command("report", root)):
        show_report(planned, store, scope_of(loaded, planned, store, root))
    for key, error in failures.items():
        say(f"{planned.phases[key].label} failed: {error}; `nbsp-ray status` has more")
    if failures:
        raise typer.Exit(FAILED)


def _progress_line(label: str, progress: Any) -> str:
    if progress.done and not progress.env_steps:
        return f"{label}: was done already"
    speed = f", {progress.env_steps_per_second:.0f} env steps/s" if progress.env_steps_per_second else ""
    success = "" if progress.success is None else f", success {progress.success:.2f}"
    return f"{label}: {progress.stage}, {progress.env_steps:,} of {progress.budget:,} env steps{success}{speed}"
