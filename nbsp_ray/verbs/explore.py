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
    import analysis.tradeoff

    loaded, planned = load_plan(sweep, overrides, root)
    store = existing_store(root, loaded)
    check_begun(store, planned, loaded, root)
    scope = scope_of(loaded, planned, store, root)
    results = analysis.load(store.address, planned)
    page = analysis.write_explorer(
        results,
        to or store.report_folder(scope.folder) / "explore.html",
        name=scope.name,
        title=scope.title,
        scope=scope,
    )
    if max(len(one.numbers) for one in analysis.tradeoff.all_series(results.finals)) < 2:
        say(
            "No method of this sweep has several numbers of skill neurons: the page compares methods, and has no "
            "curve; `skill_neurons=0.1,0.2,0.4` gives it one"
        )
    say(f"Open it in a browser: {short(page)}")
