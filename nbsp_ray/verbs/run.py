"""`nbsp-ray run`: what is left of a sweep."""

import contextlib
import os
import shlex
from typing import Annotated

import typer

from nbsp_ray.plan.search import searches
from nbsp_ray.specs import Plan
from nbsp_ray.store import DEFAULT_ROOT, Store
from nbsp_ray.sweepfile.scope import scope_of
from nbsp_ray.units import plural
from nbsp_ray.verbs._common import Overrides, Root, Sweep, load_plan, remember, say, work_is_done
from nbsp_ray.verbs.report import show_report


def command(
    sweep: Sweep,
    overrides: Overrides = None,
    root: Root = DEFAULT_ROOT,
    address: Annotated[
        str | None,
        typer.Option(
            envvar="RAY_ADDRESS",
            help="A running Ray cluster (`auto`, or host:port); else, or with `local`, one is started here.",
        ),
    ] = None,
    cpus: Annotated[int | None, typer.Option(min=1, help="CPUs of the local cluster; default: all.")] = None,
    autoscaling: Annotated[
        bool, typer.Option(help="The cluster grows on demand: do not refuse what no node can give yet.")
    ] = False,
    max_concurrent: Annotated[int | None, typer.Option(min=1, help="At most so many phases at work.")] = None,
    min_machines: Annotated[
        int, typer.Option(min=0, help="Wait for so many machines of the cluster that offer CPUs, ten minutes at most.")
    ] = 0,
    tracker: Annotated[
        str | None,
        typer.Option(help="Give finished trials to tensorboard, wandb, mlflow or trackio (local or offline)."),
    ] = None,
    on_end: Annotated[
        str | None,
        typer.Option(
            metavar="COMMAND", help="Call this at the end and at a first failure (NBSP_RAY_EVENT says which)."
        ),
    ] = None,
) -> None:
    """Run what is left of a sweep; the same command again goes on."""
    from nbsp_ray.orchestration.choose_count import run_search
    from nbsp_ray.orchestration.launch import Outcome, one_ray, run_plan
    from nbsp_ray.orchestration.trackers import check_tracker, notices, tell_end

    # Planned here too, though a search plans anew: what cannot be planned is refused before a folder is made.
    loaded, planned = load_plan(sweep, overrides, root)
    check_tracker(tracker)
    store = Store(root, create=True)
    remember(store, loaded)

    address = None if address in ("", "local") else address
    if address and address == os.environ.get("RAY_ADDRESS"):
        say(f"RAY_ADDRESS names the cluster {address}, which is used; `--address local` starts a Ray here")
    options = {
        "--address": address,
        "--cpus": cpus,
        "--max-concurrent": max_concurrent,
        "--min-machines": min_machines,
        "--tracker": tracker,
        "--on-end": on_end,
    }
    given = [word for name, value in options.items() if value for word in (name, str(value))]
    again = shlex.join([*shlex.split(loaded.command("run", root)), *given, *(["--autoscaling"] * autoscaling)])

    searching = bool(searches(loaded.sweeps, store))
    whole = loaded.plan(store, whole_budget=True) if searching else planned
    with one_ray(whole, store, say, address=address, cpus=cpus) if searching else contextlib.nullcontext() as stop:

        def run_all(wanted: Plan) -> Outcome:
            plan = loaded.plan(store, whole_budget=True) if searching else None
            return run_plan(
                wanted,
                store,
                address=address,
                cpus=cpus,
                autoscaling=autoscaling,
                max_concurrent=max_concurrent,
                min_machines=min_machines,
                again=again,
                whole=plan,
                stop=stop,
            )

        with notices(whole, store, tracker=tracker, on_end=on_end, say=say):
            outcome = run_search(loaded.name, loaded.sweeps, store, run_all, say)
    with work_is_done(loaded.command("report", root)):
        planned = loaded.plan(store)
        scope = scope_of(loaded, planned, store, root)
        show_report(planned, store, scope, store.report_folder(scope.folder))
    tell_end(planned, store, on_end, say)
    if outcome.failed or outcome.blocked:
        waiting = f", {outcome.blocked} {'waits' if outcome.blocked == 1 else 'wait'} for it" if outcome.blocked else ""
        say(f"{plural(outcome.failed, 'phase')} failed{waiting}; `{again}` tries again")
    if outcome.left:
        are = "phase is" if outcome.left == 1 else "phases are"
        say(f"Not finished, {outcome.left} {are} left, and all done so far is kept: `{again}` goes on")
    raise typer.Exit(outcome.exit_code)
