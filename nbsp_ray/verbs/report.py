"""`nbsp-ray report`: a page, tables, figures and tidy data of what there is."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from nbsp_ray.specs import Plan
from nbsp_ray.store import DEFAULT_ROOT, Store
from nbsp_ray.sweepfile.scope import Scope, scope_of
from nbsp_ray.terminal.output import Column, Rows, plain_console, print_prose
from nbsp_ray.verbs._common import (
    Overrides,
    Root,
    Sweep,
    check_begun,
    existing_store,
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
    store = existing_store(root, loaded)
    now = store.snapshot()
    hint_at_last_overrides(store, loaded, nothing_done=not any(now.phase(key).done() for key in planned.phases))
    check_begun(store, planned, loaded, root)
    scope = scope_of(loaded, planned, store, root)
    show_report(planned, store, scope, to or store.report_folder(scope.folder))


def show_report(planned: Plan, store: Store, scope: Scope, folder: Path | None = None) -> None:
    """Write the report, if there is a folder for it, and then print the table of what there is."""
    import analysis

    results = analysis.load(store.address, planned)
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

    console = plain_console()
    for table in console_tables(results):
        print_prose(console, title, style="italic")
        columns = [Column(name, name in table.names, least=table.least(name)) for name in map(str, table.cells)]
        console.print(Rows(columns, table.cells.to_numpy().tolist(), ends=table.ends, ruled=True))
        for note in table.notes:
            print_prose(console, note, indent=2)
