"""`nbsp-ray report`: a page, tables, figures and tidy data of what there is."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich.text import Text

from nbsp_ray.errors import NbspError
from nbsp_ray.specs import Plan
from nbsp_ray.store import DEFAULT_ROOT, Store
from nbsp_ray.sweepfile.scope import Scope, scope_of
from nbsp_ray.terminal.output import plain_console
from nbsp_ray.verbs._common import (
    Overrides,
    Root,
    Sweep,
    check_analysis,
    hint_at_last_overrides,
    load_plan,
    path_option,
    say,
    short,
)

if TYPE_CHECKING:
    from analysis import Results


def command(
    sweep: Sweep,
    overrides: Overrides = None,
    root: Root = DEFAULT_ROOT,
    to: Annotated[Path | None, path_option("Folder; default: reports/NAME in the results root.")] = None,
) -> None:
    """Write a page, tables, figures and tidy data of what there is, done or half done."""
    loaded, planned = load_plan(sweep, overrides, root)
    store = Store(root)
    hint_at_last_overrides(store, loaded, nothing_done=not any(store.phase(key).done() for key in planned.phases))
    if not any(key in planned.phases for key in store.phases()):
        raise NbspError(f"{store.root} has nothing of {loaded.name} yet: `{loaded.command('run', root)}` starts it")
    scope = scope_of(loaded, planned, store, root)
    show_report(planned, store, scope, to or store.report_folder(scope.folder))


def show_report(planned: Plan, store: Store, scope: Scope, folder: Path | None = None) -> None:
    """Write the report, if there is a folder for it, and then print the table of what there is."""
    check_analysis()
    import analysis

    results = analysis.load(store.root, planned)
    if written := folder if results.any_begun else None:
        analysis.write_report(results, written, name=scope.name, title=scope.title, scope=scope)
    if results.any_done:
        print_results(results, title=scope.title)
    else:
        say("No trial is finished yet, so there is no table")
    if part := scope.sentence():
        say(part.replace("`", ""))
    if written:
        say(f"Report: {short(written / 'report.html')}, and report.md beside it")


def print_results(results: "Results", *, title: str) -> None:
    """The tables of a sweep, and what must be said under each."""
    from analysis.pages.console import console_tables

    console = plain_console(width=None if sys.stdout.isatty() else 120)
    for table, notes in console_tables(results, title=title):
        console.print(table)
        for note in notes:
            console.print(Text(f"  {note}"), soft_wrap=True)
