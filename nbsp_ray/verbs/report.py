"""`nbsp-ray report`: a page, tables, figures and tidy data of what there is."""

import sys
from typing import TYPE_CHECKING

from rich.console import Console

from nbsp_ray.errors import NbspError
from nbsp_ray.specs import Plan
from nbsp_ray.store import DEFAULT_ROOT, Store
from nbsp_ray.sweepfile import LoadedSweep
from nbsp_ray.verbs._common import (
    Overrides,
    Root,
    Sweep,
    hint_at_last_overrides,
    load_plan,
    say,
    short,
)

if TYPE_CHECKING:
    from analysis import Results


def command(sweep: Sweep, overrides: Overrides = None, root: Root = DEFAULT_ROOT) -> None:
    """Write a page, tables, figures and tidy data of what there is, done or half done."""
    loaded, planned = load_plan(sweep, overrides, root)
    store = Store(root)
    hint_at_last_overrides(store, loaded, nothing_done=not any(store.phase(key).done() for key in planned.phases))
    if not any(key in planned.phases for key in store.phases()):
        raise NbspError(f"{store.root} has nothing of {loaded.name} yet: `{loaded.command('run', root)}` starts it")
    show_report(planned, store, loaded)


def show_report(planned: Plan, store: Store, loaded: LoadedSweep, *, write: bool = True) -> None:
    """Print the table of what there is, and write the report."""
    import analysis

    results = analysis.load(store.root, planned)
    if results.any_done:
        print_results(results, title=loaded.title or loaded.name)
    else:
        say("No trial is finished yet, so there is no table")
    if write and results.any_begun:
        folder = store.report_folder(loaded.name)
        analysis.write_report(results, folder, name=loaded.name, title=loaded.title or loaded.name)
        say(f"Report: {short(folder / 'report.html')}, and report.md beside it")


def print_results(results: "Results", *, title: str) -> None:
    """The tables of a sweep, and what must be said under each."""
    from analysis.pages.console import console_tables

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    for table, notes in console_tables(results, title=title):
        console.print(table)
        for note in notes:
            console.print(f"  {note}", soft_wrap=True)
