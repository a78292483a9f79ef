"""`nbsp-ray probe`: what breaks when neurons are silenced."""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from nbsp_ray.errors import NbspError
from nbsp_ray.plan.search import resolve_searches
from nbsp_ray.probe import request
from nbsp_ray.store import DEFAULT_ROOT
from nbsp_ray.sweepfile.scope import scope_of
from nbsp_ray.terminal.output import Column, Rows, plain_console, print_prose
from nbsp_ray.verbs._common import (
    UNFINISHED,
    AsJson,
    Overrides,
    Root,
    Sweep,
    existing_store,
    hint_at_last_overrides,
    load_plan,
    path_option,
    print_json,
    say,
    short,
)

if TYPE_CHECKING:
    from analysis.probe.frames import Probe


def command(
    sweep: Sweep,
    overrides: Overrides = None,
    root: Root = DEFAULT_ROOT,
    network: Annotated[
        list[str] | None, typer.Option(help="actor, q1, q2, or critic for both Q; may be given again. Default: all.")
    ] = None,
    counts: Annotated[
        str, typer.Option(help="Neurons to silence per network: fractions of its hidden neurons (0.1), or counts (26).")
    ] = "0,0.05,0.1,0.2,0.4",
    episodes: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Of the first task, for each choice. Default: 50, every Meta-World goal once; of games 5.",
            show_default=False,
        ),
    ] = None,
    draws: Annotated[int, typer.Option(min=1, help="Random choices for each count.")] = 5,
    score: Annotated[
        list[str] | None,
        typer.Option(help="paper, balanced, dormant, importance; may be given again. Default: the sweep's own."),
    ] = None,
    to: Annotated[Path | None, path_option("Folder for the report; default: reports/NAME in the results root.")] = None,
    as_json: AsJson = False,
) -> None:
    """Silence the best-scored neurons of trained first phases, against random and the worst, and see what breaks."""
    loaded, _ = load_plan(sweep, overrides, root)
    networks, scores = request.read_networks(network or []), request.read_scores(score or [])
    wanted = request.Request(networks, request.read_counts(counts), episodes, draws, scores)
    store = existing_store(root, loaded)
    targets = request.find_targets(loaded.name, resolve_searches(loaded.sweeps, store), wanted)
    ready = [target for target in targets if request.is_ready(target, store)]
    if not ready:
        hint_at_last_overrides(store, loaded, nothing_done=True)
        raise NbspError(f"no first phase of {loaded.name} is trained yet; `{loaded.command('run', root)}` does that")
    unfinished = list(dict.fromkeys(target.phase.label for target in targets if target not in ready))
    if unfinished:
        say(f"Not trained yet, left out: {'; '.join(unfinished)}")

    if not os.access(store.root, os.W_OK):
        if to is None:
            raise NbspError(f"{store.root} cannot be written: name a folder for the report with --to")
        say(f"What is measured is not kept, as {short(store.root)} cannot be written")

    from analysis.probe.frames import Probe
    from analysis.probe.report import write_probe
    from nbsp_ray.probe.measure import probe

    try:
        with ProbeProgress() as progress:
            found = Probe.of(probe(store, ready, wanted, progress), wanted, unfinished)
    except KeyboardInterrupt:
        say(f"Stopped after {progress.done} of {progress.total} measurements; all are kept, the same command goes on")
        raise typer.Exit(UNFINISHED) from None
    folder = to or store.report_folder(scope_of(loaded, loaded.plan(store), store, root).folder)
    write_probe(found, folder, title=loaded.title or loaded.name)
    if as_json:
        print_json({"sweep": loaded.name, **found.to_json()})
    else:
        print_probe(found)
    say(f"Report: {short(folder / 'probe.md')}")


class ProbeProgress:
    """How far a probe is, on the standard error: one bar on a terminal, a line now and then elsewhere."""

    done = total = 0
    """Measurements."""

    def __init__(self, seconds: float = 10.0) -> None:
        console = plain_console(stderr=True)
        self._console, self._seconds, self._told_at = console, seconds, time.monotonic()
        columns = (
            BarColumn(20),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}", markup=False),
        )
        self._bar = Progress(*columns, console=console, transient=True) if console.is_terminal else None
        self._task = self._bar.add_task("", total=None) if self._bar else None

    def __enter__(self) -> "ProbeProgress":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar:
            self._bar.stop()

    def __call__(self, done: int, total: int, what: str) -> None:
        """Tell how many of all measurements are done, and what is next."""
        self.done, self.total = done, total
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=done, total=total, description=what)
        elif time.monotonic() - self._told_at > self._seconds:
            self._told_at = time.monotonic()
            self._console.print(Text(f"{done} of {total}: {what}"), soft_wrap=True)


def print_probe(probe: "Probe") -> None:
    """The tables of a probe, and what must be said under each."""
    from analysis.probe.report import cautions, show_probe

    console = plain_console()
    for shown in show_probe(probe):
        print_prose(console, shown.title, style="italic")
        columns = [Column(str(name)) for name in shown.text.columns]
        console.print(Rows(columns, shown.text.to_numpy().tolist()))
        for note in shown.caption:
            print_prose(console, note, indent=2, style="dim")
        console.print()
    for note in cautions(probe):
        print_prose(console, note, style="yellow")
