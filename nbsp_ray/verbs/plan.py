"""`nbsp-ray plan`: what a sweep has to do, what it costs, and what of it fits until a time."""

import contextlib
import gc
import math
import time
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer
from rich.text import Text

from nbsp_ray.errors import NbspError
from nbsp_ray.orchestration.preflight import check_plan
from nbsp_ray.plan.price import Speed
from nbsp_ray.plan.search import CountSearch, searches
from nbsp_ray.specs import Trial, arrows
from nbsp_ray.store import DEFAULT_ROOT, Store
from nbsp_ray.sweepfile import LoadedSweep, load_sweep
from nbsp_ray.terminal.output import Column, Rows, plain_console, print_command, print_prose
from nbsp_ray.units import clock, count, duration, gb, moment, plural, span
from nbsp_ray.verbs._common import AsJson, Overrides, Root, Sweep, print_json
from nbsp_ray.verbs._costs import Costs, Half, Machines, Rates, halves_of, measure_speeds

HALVED_FROM = 3_600.0
"""Seconds of a plan from which on it is said how to halve it."""
HALVED_TO = 10_000
"""Phases up to which it is: each way is planned anew, which takes as long again."""


def _until(text: str) -> float:
    try:
        return moment(text, now=time.time())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def command(
    sweep: Sweep,
    overrides: Overrides = None,
    root: Root = DEFAULT_ROOT,
    as_json: AsJson = False,
    measure: Annotated[
        bool, typer.Option(help="Time a few hundred env steps here first: seconds, a minute if it compiles.")
    ] = False,
    address: Annotated[
        str | None, typer.Option(help="Price it on a running Ray cluster (`auto`, or host:port), which is only asked.")
    ] = None,
    nodes: Annotated[int | None, typer.Option(min=1, help="Price it on so many machines that are not here.")] = None,
    cpus_per_node: Annotated[int | None, typer.Option(min=1, help="Of each of --nodes; default: as here.")] = None,
    gpus_per_node: Annotated[int | None, typer.Option(min=0, help="Of each of --nodes; default: as here.")] = None,
    per_gpu_hour: Annotated[float | None, typer.Option(min=0, help="What a GPU costs an hour, such as 2.10.")] = None,
    per_cpu_hour: Annotated[float | None, typer.Option(min=0, help="What a CPU costs an hour.")] = None,
    until: Annotated[
        Any,
        typer.Option(
            parser=_until, metavar="TIME", help="What fits until then: 'Monday 09:00', 09:00, or 2026-11-30T09:00."
        ),
    ] = None,
) -> None:
    """List and price a sweep; start nothing. Ends with 2 and `run`'s words for what `run` would refuse."""
    loaded = load_sweep(sweep, overrides or [])
    store = Store(root, create=measure)
    with _no_garbage():
        rounds = loaded.rounds(store)
        planned = rounds[-1]
        if measure:
            measure_speeds(planned, store)
        machines = Machines.of(address, nodes, cpus_per_node, gpus_per_node)
        found = Costs.of(planned, store, machines, Rates(per_gpu_hour, per_cpu_hour), rounds)
    notes = list(_notes(loaded, store, found))
    refusal: NbspError | None = None
    if found.status.left:
        try:
            check_plan(planned, found.status.left, store, notes.append, None if machines.here else machines.nodes)
        except NbspError as error:
            refusal = error
    worth_it = HALVED_FROM < found.schedule.seconds < math.inf and len(planned.phases) <= HALVED_TO
    halves = list(halves_of(loaded, overrides or [], store, found)) if worth_it else []
    elsewhere = "" if machines.here else f" --address {address or 'auto'}"
    if as_json:
        print_json(plan_json(found, searches(loaded.sweeps, store), until, halves, refusal))
    else:
        print_plan(found, loaded, notes, until, halves, None if refusal else loaded.command("run", root) + elsewhere)
    if refusal:
        raise refusal


@contextlib.contextmanager
def _no_garbage() -> Iterator[None]:
    """Of tens of thousands of phases none is garbage, and to look for some takes a quarter of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


# For programs


def plan_json(
    costs: Costs,
    searches: Sequence[CountSearch] = (),
    until: float | None = None,
    halves: Sequence[Half] = (),
    refusal: NbspError | None = None,
) -> dict[str, Any]:
    """Counts of trials, phases and env steps (the most they can take), and the cost of what is left."""
    plan, status, cost = costs.plan, costs.status, costs.price
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
        "machines": [{"cpus": node.cpus, "gpus": node.gpus} for node in costs.machines.nodes],
        "cost": {
            "cpu_hours": round(cost.cpu_hours, 6),
            "gpu_hours": round(cost.gpu_hours, 6),
            "evaluation_hours": round(cost.evaluation_hours, 6),
            "hours": round(costs.hours, 6) if math.isfinite(costs.hours) else None,
            "side_by_side": costs.schedule.at_once,
            "speeds": {kind: vars(speed) for kind, speed in cost.speeds.items()},
            "disk_gb": round(cost.disk_gb, 6),
            "peak_disk_gb": round(cost.peak_disk_gb, 6),
            "written_gb": round(cost.written_gb, 6),
            "price": None if costs.money is None else round(costs.money, 2),
            "price_of_whole_machines": _rounded(costs.money_kept),
        },
        "until": None if until is None else _until_json(costs, until),
        "to_halve": [vars(half) for half in halves],
        "refused": None if refusal is None else str(refusal),
        "searches": [
            {"method": search.method, "numbers": search.budget, "tried": list(search.tried), "left": search.left}
            for search in searches
        ],
    }


def _rounded(money: float | None) -> float | None:
    return None if money is None or not math.isfinite(money) else round(money, 2)


def _until_json(costs: Costs, until: float) -> dict[str, Any]:
    ready = costs.schedule.done_by(until - costs.status.time, costs.plan.trials)
    trials = [
        {"tasks": trial.tasks, "method": trial.method, "seed": trial.seed, "skill_neurons": trial.skill_neurons}
        for trial in ready
    ]
    return {"time": until, "fits": len(ready) == len(costs.plan.trials), "trials": trials}


# For people


def _notes(loaded: LoadedSweep, store: Store, costs: Costs) -> Iterator[str]:
    yield from search_lines(searches(loaded.sweeps, store))
    left = costs.status.left
    if again := sum(costs.plan.phases[key].spec.replicate is not None for key in left):
        yield f"{again} of these train an imported phase once more, as its agent and buffer are not here"
    if costs.of_memory and costs.fits is not None:
        yield costs.of_memory


def search_lines(searches: Sequence[CountSearch]) -> list[str]:
    """For each search, how far it is."""
    return [
        f"search of {search.method}'s number of skill neurons: {len(search.tried)} of {search.budget} chosen "
        f"({', '.join(map(str, search.tried))})"
        + (
            f", the others by what these give, {search.sweep.search.at_once} at a time; priced as any other numbers"
            if search.left
            else ""
        )
        for search in searches
    ]


def print_plan(
    costs: Costs,
    loaded: LoadedSweep,
    notes: Sequence[str],
    until: float | None,
    halves: Sequence[Half],
    command: str | None,
) -> None:
    """The front door: what there is to do, what it costs, and how to start it, unless it cannot be."""
    console = plain_console()
    plan, status = costs.plan, costs.status
    console.print(Text(plan.name, style="bold"), soft_wrap=True)
    for line in (loaded.title, *_counts(costs), *(_cost_lines(costs) if status.left else ()), *notes):
        print_prose(console, line, indent=2)
    disk = costs.price
    sizes = f"disk {gb(1e9 * disk.disk_gb)}, {gb(1e9 * disk.peak_disk_gb)} while running"
    written = f", {gb(1e9 * disk.written_gb)} written in all" if status.left else ""
    print_prose(console, f"{sizes}{written}", indent=2)
    for benchmark in dict.fromkeys(trial.benchmark for trial in plan.trials):
        trials = [trial for trial in plan.trials if trial.benchmark == benchmark]
        console.print()
        console.print(_cells(trials, set(status.done)))
    console.print()
    if until is not None and status.left:
        first, *more = _until_lines(costs, until)
        print_prose(console, first)
        for line in more:
            print_prose(console, line, indent=2)
        console.print()
    if halves:
        rows = [(half.override, str(half.trials), f"{half.share:.0%}", duration(3600 * half.hours)) for half in halves]
        titles = Column("to halve it", whole=True), *(Column(name, right=True) for name in ("trials", "price", "time"))
        console.print(Rows(titles, rows))
        console.print()
    if not status.left:
        console.print("All of it is done.")
    elif command is None:
        console.print("Nothing was started, and `run` would refuse:")
    else:
        print_command(console, "Nothing was started. Run it:  ", command)


def _hours(number: float) -> str:
    """Small sweeps have some minutes."""
    return f"{number:,.1f}" if number >= 1 else f"{number:.2g}"


def _counts(costs: Costs) -> Iterator[str]:
    plan, status = costs.plan, costs.status
    first = sum(phase.spec.index == 0 for phase in plan.phases.values())
    yield (
        f"{plural(len(plan.trials), 'trial')}: {first} first and {len(plan.phases) - first} later phases, at most "
        f"{count(plan.env_steps())} env steps"
    )
    waiting = f", {len(status.failed)} failed, {len(status.blocked)} blocked" if status.failed else ""
    yield f"{plural(len(status.done), 'phase')} done{waiting}, {len(status.left)} left (in {status.root})"


def _cost_lines(costs: Costs) -> Iterator[str]:
    cost, at_once = costs.price, costs.schedule.at_once
    gpus = f"{_hours(cost.gpu_hours)} GPU hours, " if cost.gpu_hours else ""
    bound = "perhaps" if any(_is_guessed(kind, speed) for kind, speed in cost.speeds.items()) else "at most"
    if math.isfinite(costs.hours):
        yield (
            f"{bound} {duration(3600 * costs.hours)} with {at_once} side by side on {costs.machines.words}: {gpus}"
            f"{_hours(cost.cpu_hours)} CPU hours, of which final evaluations {_hours(cost.evaluation_hours)}"
        )
    else:
        yield f"{bound} {gpus}{_hours(cost.cpu_hours)} CPU hours, and {costs.machines.words} cannot hold it"
    yield from dict.fromkeys(speed_words(kind, speed) for kind, speed in cost.speeds.items())
    if costs.money is not None:
        parts = [
            f"{_hours(hours)} {name} hours at {rate:.2f}"
            for name, hours, rate in (
                ("GPU", cost.gpu_hours, costs.rates.gpu),
                ("CPU", cost.cpu_hours, costs.rates.cpu),
            )
            if rate is not None
        ]
        kept = costs.money_kept
        whole = f"; {kept:,.2f} if all of {costs.machines.words} is paid for to the end" if kept != costs.money else ""
        yield f"price {bound} {costs.money:,.2f}: {' and '.join(parts)}{whole if math.isfinite(costs.hours) else ''}"


def _is_guessed(kind: str, speed: Speed) -> bool:
    return speed.source == "reference" and "gpu" in kind


def speed_words(kind: str, speed: Speed) -> str:
    """Where a speed is from, and what is to be known of it."""
    if speed.source == "reference":
        if _is_guessed(kind, speed):
            return (
                "no GPU was timed: this takes each trial, or each lane, on one to be as fast as a CPU core of another "
                "machine, and bounds nothing; --measure on the machine that has it"
            )
        return "at the speed of another machine's core; --measure times this one"
    on = f" on {speed.device}" if speed.device else ""
    if speed.source == "finished phases":
        return f"at the speed of the phases finished here{on}: {speed.env_steps_per_second:.0f} env steps/s"
    found = f"at the speed that --measure found here{on}: {speed.env_steps_per_second:.0f} env steps/s"
    if " gpu" in kind:
        found += " of one trial alone, so that those that share a GPU will be slower"
    if speed.load is not None and speed.load > 0.5:
        found += (
            f", while {speed.load:.1f} other processes were busy on {plural(speed.cpus or 0, 'CPU')}; "
            "measure again on a quiet machine"
        )
    return found


def _until_lines(costs: Costs, until: float) -> Iterator[str]:
    """Which trials would be done by then, a line for each method and pair."""
    trials, now = costs.plan.trials, costs.status.time
    ready = costs.schedule.done_by(until - now, trials)
    when = time.strftime("%A %Y-%m-%d %H:%M", time.localtime(until))
    if len(ready) == len(trials):
        ends = clock(now + costs.schedule.seconds, now=now)
        yield f"Fits until {when}: all of {plural(len(trials), 'trial')} done by {ends} at the latest"
        return
    yield f"Fits until {when}: {len(ready)} of {plural(len(trials), 'trial')}{', these first:' if ready else ''}"
    groups: dict[tuple[str, str], dict[Any, list[int]]] = {}
    for trial in ready:
        seeds = groups.setdefault((arrows(trial.tasks), trial.method), {})
        seeds.setdefault(trial.skill_neurons, []).append(trial.seed)
    for (pair, method), by_count in groups.items():
        alike: dict[str, list[str]] = {}
        for neurons, numbers in by_count.items():
            alike.setdefault(span(list(dict.fromkeys(numbers))), []).append("" if neurons is None else f"{neurons}")
        parts = [
            f"{', '.join(filter(None, counts))}{' with ' if any(counts) else ''}seed{'' if seeds.isdigit() else 's'} "
            + seeds
            for seeds, counts in alike.items()
        ]
        yield f"{pair}, {method}: {'; '.join(parts)}"


def _cells(trials: Sequence[Trial], done: set[str]) -> Rows:
    """Trials done of all, per method and pair."""
    pairs = list(dict.fromkeys(trial.tasks for trial in trials))
    rows: list[list[str]] = []
    for method in dict.fromkeys(trial.method for trial in trials):
        row = [method]
        for tasks in pairs:
            cell = [trial for trial in trials if trial.tasks == tasks and trial.method == method]
            ready = sum(all(key in done for key in trial.phases) for trial in cell)
            row.append(f"{ready} of {len(cell)}" if cell else "-")
        rows.append(row)
    titles = [Column(" >\n".join(tasks), right=True) for tasks in pairs]
    return Rows([Column("trials done", whole=True), *titles], rows)
