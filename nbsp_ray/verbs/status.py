"""`nbsp-ray status`: how far a sweep is."""

from typing import Annotated

import typer

from nbsp_ray.plan.search import searches
from nbsp_ray.status import sweep_status
from nbsp_ray.store import DEFAULT_ROOT, Store
from nbsp_ray.terminal.live import print_status, watch_status
from nbsp_ray.verbs._common import (
    DONE,
    FAILED,
    UNFINISHED,
    AsJson,
    Overrides,
    Root,
    Sweep,
    hint_at_last_overrides,
    load_plan,
    print_json,
    say,
    short,
)
from nbsp_ray.verbs.plan import search_lines


def command(
    sweep: Sweep,
    overrides: Overrides = None,
    root: Root = DEFAULT_ROOT,
    watch: Annotated[bool, typer.Option(help="Draw it anew every few seconds.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show how far a sweep is; reads the results root only, so it works from anywhere and after a crash."""
    loaded, planned = load_plan(sweep, overrides, root)
    store = Store(root)
    if watch:
        watch_status(planned, store)
        return
    now, found = sweep_status(planned, store), searches(loaded.sweeps, store)
    if as_json:
        print_json(now.to_json())
    else:
        print_status(now)
        for line in search_lines(found):
            say(line)
        if not store.root.exists():
            say(f"There is no folder {short(store.root)}: nothing was run there yet (--root names another)")
        hint_at_last_overrides(store, loaded, nothing_done=not now.done)
    unfinished = now.left or any(search.left for search in found)
    raise typer.Exit(FAILED if now.failed else UNFINISHED if unfinished else DONE)
