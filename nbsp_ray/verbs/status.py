"""`nbsp-ray status`: how far a sweep is."""

import sys
import time
from typing import Annotated

import typer

from nbsp_ray.plan.search import searches
from nbsp_ray.status import SweepStatus, sweep_status, way_out
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
    failures: Annotated[bool, typer.Option(help="Show tracebacks of phases that failed, and the way out.")] = False,
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
        if failures:
            _print_failures(now, store)
        for line in search_lines(found):
            say(line)
        if not store.root.exists():
            say(f"There is no folder {short(store.root)}: nothing was run there yet (--root names another)")
        hint_at_last_overrides(store, loaded, nothing_done=not now.done)
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
