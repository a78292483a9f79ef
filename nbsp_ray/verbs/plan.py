"""`nbsp-ray plan`: what a sweep has to do, and what it costs."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from nbsp_ray.limits import memory
from nbsp_ray.orchestration.preflight import lacking
from nbsp_ray.plan.memory import largest_need, memory_note
from nbsp_ray.plan.price import Price, cpu_slots, price, speed_kind
from nbsp_ray.plan.search import CountSearch, searches
from nbsp_ray.specs import Plan, Trial
from nbsp_ray.status import SweepStatus, sweep_status
from nbsp_ray.store import DEFAULT_ROOT, Store
from nbsp_ray.sweepfile import load_sweep
from nbsp_ray.terminal.output import plain_console, print_command
from nbsp_ray.units import count, duration
from nbsp_ray.verbs._common import AsJson, Overrides, Root, Sweep, print_json

SPEED_SOURCES: Mapping[str, str] = {
    "finished phases": "at the speed of the phases finished here",
    "measured": "at the speed that --measure found here",
    "reference": "at the speed of another machine; --measure times this one",
}


def command(
    sweep: Sweep,
    overrides: Overrides = None,
    root: Root = DEFAULT_ROOT,
    as_json: AsJson = False,
    measure: Annotated[
        bool, typer.Option(help="Time a few hundred env steps here first: seconds, a minute if it compiles.")
    ] = False,
) -> None:
    """List and price a sweep; start nothing."""
    loaded = load_sweep(sweep, overrides or [])
    store = Store(root, create=measure)
    planned = loaded.plan(store, whole_budget=True)
    found = searches(loaded.sweeps, store)
    if measure:
        from nbsp_ray.learning.timing import measure_speed

        for kind, phase in {speed_kind(phase): phase for phase in planned.phases.values()}.items():
            store.write_speed(kind, measure_speed(phase.spec, phase.resources))
    status = sweep_status(planned, store)
    of_memory, fits = "", None
    if status.left:
        of_memory, fits = memory_note(largest_need(planned, status.left), memory(), cpu_slots(planned))
    cost = price(planned, store, status.left, fits=fits)
    if as_json:
        print_json(plan_json(planned, status, cost, found))
    else:
        notes = search_lines(found)
        if again := sum(planned.phases[key].spec.replicate is not None for key in status.left):
            notes.append(f"{again} of these train an imported phase once more, as its agent and buffer are not here")
        if status.left:
            notes += [of_memory, *lacking(planned, status.left, store)]
        run_it = loaded.command("run", root)
        print_plan(planned, status, cost, command=run_it, title=loaded.title, notes=notes)


def plan_json(plan: Plan, status: SweepStatus, cost: Price, searches: Sequence[CountSearch] = ()) -> dict[str, Any]:
    """Counts of trials, phases and env steps (the most they can take), and the cost of what is left."""
    first = sum(phase.spec.index == 0 for phase in plan.phases.values())
    return {
        "sweep": plan.name,
        "trials": len(plan.trials),
        "phases": {
            "first": first,
            "second": len(plan.phases) - first,
            "done": len(status.done),
            "failed": len(status.failed),
            "blocked": len(status.blocked),
            "left": len(status.left),
        },
        "env_steps": plan.env_steps(),
        "env_steps_left": plan.env_steps(status.left),
        "cost": {
            "cpu_hours": round(cost.cpu_hours, 3),
            "hours_here": round(cost.hours, 3),
            "side_by_side": cost.side_by_side,
            "speed_source": cost.speed_source,
            "disk_gb": round(cost.disk_gb, 3),
            "peak_disk_gb": round(cost.peak_disk_gb, 3),
        },
        "searches": [
            {"method": search.method, "numbers": search.budget, "tried": list(search.tried), "left": search.left}
            for search in searches
        ],
    }


def search_lines(searches: Sequence[CountSearch]) -> list[str]:
    """For each search, how far it is."""
    return [
        f"search of {search.method}'s number of skill neurons: {len(search.tried)} of {search.budget} chosen "
        f"({', '.join(map(str, search.tried))})"
        + (", the others by what these give; priced as any other numbers" if search.left else "")
        for search in searches
    ]


def print_plan(
    plan: Plan, status: SweepStatus, cost: Price, *, command: str, title: str, notes: Sequence[str] = ()
) -> None:
    """The front door: what there is to do, what it costs, and how to start it."""
    console = plain_console()
    counts = plan_json(plan, status, cost)
    phases = counts["phases"]
    console.print(Text.assemble((plan.name, "bold"), "  ", title), soft_wrap=True)
    console.print(
        f"  {len(plan.trials)} trials: {phases['first']} first and {phases['second']} later phases, "
        f"at most {count(plan.env_steps())} env steps"
    )
    waiting = f", {phases['failed']} failed, {phases['blocked']} blocked" if phases["failed"] else ""
    console.print(f"  {phases['done']} phases done{waiting}, {phases['left']} left")
    if status.left:
        console.print(
            f"  at most {duration(3_600 * cost.hours)} with {cost.side_by_side} side by side "
            f"({cost.cpu_hours:.1f} CPU hours), {SPEED_SOURCES[cost.speed_source]}"
        )
    for note in notes:
        console.print(Text(f"  {note}"), soft_wrap=True)
    console.print(f"  disk {cost.disk_gb:.1f} GB, {cost.peak_disk_gb:.1f} GB while running")
    for benchmark in dict.fromkeys(trial.benchmark for trial in plan.trials):
        trials = [trial for trial in plan.trials if trial.benchmark == benchmark]
        console.print(Padding(_cells(trials, set(status.done)), (1, 0, 0, 2)))
    console.print()
    if status.left:
        print_command(console, "Nothing was started. Run it:  ", command)
    else:
        console.print("All of it is done.")


def _cells(trials: Sequence[Trial], done: set[str]) -> Table:
    """Trials done of all, per method and pair."""
    pairs = list(dict.fromkeys(trial.tasks for trial in trials))
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("trials done", no_wrap=True)
    for tasks in pairs:
        table.add_column(" >\n".join(tasks), justify="right", no_wrap=True)
    for method in dict.fromkeys(trial.method for trial in trials):
        row: list[str] = []
        for tasks in pairs:
            cell = [trial for trial in trials if trial.tasks == tasks and trial.method == method]
            ready = sum(all(key in done for key in trial.phases) for trial in cell)
            row.append(f"{ready} of {len(cell)}" if cell else "-")
        table.add_row(method, *row)
    return table
