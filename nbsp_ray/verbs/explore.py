"""`nbsp-ray explore`: the page on which one plays with the number of skill neurons."""

from pathlib import Path
from typing import Annotated

from nbsp_ray.store import DEFAULT_ROOT
from nbsp_ray.sweepfile.scope import scope_of
from nbsp_ray.verbs._common import (
    Overrides,
    Root,
    Sweep,
    check_begun,
    existing_store,
    load_plan,
    path_option,
    say,
    short,
)


def command(
    sweep: Sweep,
    overrides: Overrides = None,
    root: Root = DEFAULT_ROOT,
    to: Annotated[Path | None, path_option("The page's file; default: beside the report.")] = None,
) -> None:
    """Write the page on which one plays with the number of skill neurons: one file, no network."""
    import analysis

    loaded, planned = load_plan(sweep, overrides, root)
    store = existing_store(root, loaded)
    check_begun(store, planned, loaded, root)
    scope = scope_of(loaded, planned, store, root)
    page = analysis.write_explorer(
        analysis.load(store.address, planned),
        to or store.report_folder(scope.folder) / "explore.html",
        name=scope.name,
        title=scope.title,
        scope=scope,
    )
    say(f"Open it in a browser: {short(page)}")
