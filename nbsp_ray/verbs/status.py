"""`nbsp-ray status`: how far a sweep is, or what there is in a results root."""

import contextlib
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer
from rich.text import Text

from nbsp_ray.errors import ConfigError, StoreError
from nbsp_ray.plan.search import searches
from nbsp_ray.states import State
from nbsp_ray.status import SweepStatus, sweep_status, way_out
from nbsp_ray.store import DEFAULT_ROOT, PhaseFolder, Store
from nbsp_ray.store.places import sizes
from nbsp_ray.sweepfile import load_sweep
from nbsp_ray.terminal.live import print_status, watch_status
from nbsp_ray.terminal.output import Column, Rows, plain_console, print_prose
from nbsp_ray.units import gb, plural
from nbsp_ray.verbs._common import (
    DONE,
    FAILED,
    UNFINISHED,
    AsJson,
    Overrides,
    Root,
    hint_at_last_overrides,
    load_plan,
    nothing_there,
    print_json,
    say,
)
from nbsp_ray.verbs._completion import complete_sweep
from nbsp_ray.verbs.plan import search_lines


def command(
    sweep: Annotated[
        str | None,
        typer.Argument(
            help="A file of tune_configs by its name, or a path to one; none: all that is in the results root.",
            autocompletion=complete_sweep,
        ),
    ] = None,
    overrides: Overrides = None,
    root: Root = DEFAULT_ROOT,
    watch: Annotated[bool, typer.Option(help="Draw it anew every few seconds.")] = False,
    failures: Annotated[bool, typer.Option(help="Show tracebacks of phases that failed, and the way out.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show how far a sweep is, or what is in a results root; reads folders alone, from anywhere, also after a crash."""
    store = Store(root)
    if sweep is None:
        if watch:
            raise ConfigError("--watch draws one sweep: name it")
        _list(store, as_json=as_json)
        return
    loaded, planned = load_plan(sweep, overrides, root)
    if watch:
        watch_status(planned, store)
        return
    now, found = sweep_status(planned, store), searches(loaded.sweeps, store)
    if as_json:
        print_json(now.to_json())
    elif store.files.is_there():
        print_status(now)
        if failures:
            _print_failures(now, store)
        for line in search_lines(found):
            say(line)
        hint_at_last_overrides(store, loaded, nothing_done=not now.done)
    if not store.files.is_there():
        say(nothing_there(store))
    unfinished = now.left or any(search.left for search in found)
    raise typer.Exit(FAILED if now.failed else UNFINISHED if unfinished else DONE)


def _print_failures(now: SweepStatus, store: Store) -> None:
    """Of each phase that failed and is not done: when, where, and the last traceback."""
    for phase in now.phases:
        failed = store.phase(phase.key).failures() if phase.attempts else []
        if not failed:
            continue
        last = failed[-1]
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(float(last["time"])))
        at = f" on {last['host']}" if last.get("host") else ""
        far = f", after {last['env_steps']:,} env steps" if last.get("env_steps") else ""
        sys.stdout.write(f"\n{phase.label}: failed {len(failed)} times, last {when}{at}{far}\n")
        sys.stdout.write("".join(f"    {line}\n" for line in str(last.get("traceback", "")).splitlines()))
        sys.stdout.write(f"  {last['error']}\n  Way out: {way_out(str(last['error']))}\n")


# What is in a results root


@dataclass(frozen=True)
class InRoot:
    """A sweep that was run in a results root, with the settings that it was last run with."""

    name: str
    overrides: tuple[str, ...]
    trials: int = 0
    trials_done: int = 0
    phases: int = 0
    done: int = 0
    failed: int = 0
    at_work: int = 0
    hours: float = 0.0
    """Of learning, of all its phases that have learnt to their end."""
    bytes: int = 0
    hosts: tuple[str, ...] = ()
    """Machines that its phases were made on."""
    last: float | None = None
    """When its last phase was done, seconds since 1970."""
    keys: tuple[str, ...] = ()
    """Of its phases that are there."""
    problem: str | None = None
    """Why it cannot be planned any more."""


def look(store: Store) -> list[InRoot]:
    """All sweeps that were run in a results root."""
    bytes = sizes(store.files)
    return [_look_at(store, name, bytes) for name in store.sweeps()]


def _look_at(store: Store, name: str, begun: Mapping[str, int]) -> InRoot:
    data = store.read_sweep(name) or {}
    overrides = tuple(data.get("overrides") or ())
    try:
        plan = load_sweep(str(data.get("given") or name), overrides).plan(store)
    except ConfigError as error:
        return InRoot(name, overrides, problem=str(error).splitlines()[0])
    status = sweep_status(plan, store)
    done, there = set(status.done), [key for key in plan.phases if key in begun]
    folders = [store.phase(phase.key) for phase in status.phases if phase.key in begun and phase.state != State.DAMAGED]
    results = [folder.result() or {} for folder in folders]
    made = [_manifest(folder) for folder in folders]
    return InRoot(
        name,
        overrides,
        trials=len(plan.trials),
        trials_done=sum(done.issuperset(trial.phases) for trial in plan.trials),
        phases=len(plan.phases),
        done=len(done),
        failed=len(status.failed),
        at_work=len(status.running),
        hours=sum(float(result.get("seconds") or 0.0) for result in results) / 3600,
        bytes=sum(begun[key] for key in there),
        hosts=tuple(dict.fromkeys(str(one["host"]) for one in made if one.get("host"))),
        last=max((float(one["finished"]) for one in made if one.get("finished")), default=None),
        keys=tuple(there),
    )


def _manifest(folder: PhaseFolder) -> Mapping[str, Any]:
    with contextlib.suppress(StoreError, OSError):  # The next `run` finds it damaged, and mends it.
        return folder.manifest() or {}
    return {}


def _list(store: Store, *, as_json: bool) -> None:
    sweeps, begun = look(store), store.phases()
    others = [key for key in begun if not any(key in sweep.keys for sweep in sweeps)]
    size = sum(sizes(store.files).values())
    if as_json:
        print_json(
            {
                "root": store.address,
                "exists": store.files.is_there(),
                "phases": len(begun),
                "bytes": size,
                "sweeps": [asdict(sweep) for sweep in sweeps],
                "other_phases": others,
            }
        )
        return
    if not store.files.is_there():
        say(nothing_there(store))
        return
    console = plain_console()
    console.print(Text(store.address, style="bold"), soft_wrap=True)
    print_prose(console, f"{plural(len(sweeps), 'sweep')}, {plural(len(begun), 'phase')}, {gb(size)}", indent=2)
    if known := [sweep for sweep in sweeps if sweep.problem is None]:
        console.print()
        console.print(_table(known))
    for sweep in sweeps:
        if sweep.problem is not None:
            print_prose(console, f"{sweep.name} was run here, and cannot be planned any more: {sweep.problem}")
    if others:
        print_prose(
            console,
            f"{plural(len(others), 'phase')} of none of these, as they were last run: with other settings, or imported",
        )


def _table(sweeps: Sequence[InRoot]) -> Rows:
    numbers = ("failed", "at work", "hours", "disk")
    titles = ("sweep", "trials done", "phases done", *numbers, "last done", "host", "run with")
    columns = [Column(title, whole=title == "sweep", right=title in numbers) for title in titles]
    rows = [
        [
            sweep.name,
            f"{sweep.trials_done} of {sweep.trials}",
            f"{sweep.done} of {sweep.phases}",
            str(sweep.failed or "-"),
            str(sweep.at_work or "-"),
            f"{sweep.hours:.1f}" if sweep.hours >= 0.1 else f"{sweep.hours:.2g}",
            gb(sweep.bytes),
            "-" if sweep.last is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(sweep.last)),
            ", ".join(sweep.hosts) or "-",
            " ".join(sweep.overrides) or "-",
        ]
        for sweep in sweeps
    ]
    return Rows(columns, rows)
