"""`nbsp-ray run`: what is left of a sweep."""

from typing import Annotated

import typer

from nbsp_ray.errors import ConfigError
from nbsp_ray.specs import Plan
from nbsp_ray.store import DEFAULT_ROOT, Store
from nbsp_ray.verbs._common import Overrides, Root, Sweep, load_plan, say, work_is_done
from nbsp_ray.verbs.report import show_report


def command(
    sweep: Sweep,
    overrides: Overrides = None,
    root: Root = DEFAULT_ROOT,
    address: Annotated[
        str | None, typer.Option(help="A running Ray cluster (`auto`, or host:port); else one is started here.")
    ] = None,
    cpus: Annotated[int | None, typer.Option(min=1, help="CPUs of the local cluster; default: all.")] = None,
    autoscaling: Annotated[
        bool, typer.Option(help="The cluster grows on demand: do not refuse what no node can give yet.")
    ] = False,
) -> None:
    """Run what is left of a sweep; the same command again goes on."""
    from nbsp_ray.orchestration.choose_count import run_search
    from nbsp_ray.orchestration.launch import Outcome, run_plan

    # Planned here too, though a search plans anew: what cannot be planned is refused before a folder is made.
    loaded, planned = load_plan(sweep, overrides, root)
    if any(phase.resources.lanes != 1 for phase in planned.phases.values()):
        raise ConfigError(
            "resources.lanes is for `nbsp-ray try`, which runs a whole sweep in lanes: use it, or set lanes=1"
        )
    store = Store(root, create=True)
    store.write_sweep(loaded.name, {"title": loaded.title, "overrides": list(loaded.overrides)})

    def run_all(wanted: Plan) -> Outcome:
        return run_plan(wanted, store, address=address, cpus=cpus, autoscaling=autoscaling)

    outcome = run_search(loaded.name, loaded.sweeps, store, run_all, say)
    with work_is_done(loaded.command("report", root)):
        show_report(loaded.plan(store), store, loaded, store.report_folder(loaded.name))
    again = loaded.command("run", root)
    if outcome.failed or outcome.blocked:
        say(f"{outcome.failed} phases failed and {outcome.blocked} wait for them; `{again}` tries them again")
    if outcome.left:
        say(f"Not finished, {outcome.left} phases are left, and all done so far is kept: `{again}` goes on")
    raise typer.Exit(outcome.exit_code)
