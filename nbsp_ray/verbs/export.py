"""`nbsp-ray export`: archives, tables and agents for others."""

from pathlib import Path
from typing import Annotated

import typer

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
from nbsp_ray.verbs._completion import complete_key

command = typer.Typer(
    help="Write results for others: archives, tables, agents.", no_args_is_help=True, rich_markup_mode=None
)


@command.command()
def results(
    sweep: Sweep,
    overrides: Overrides = None,
    root: Root = DEFAULT_ROOT,
    to: Annotated[Path | None, path_option("The archive's file; default: <sweep>.results.tar.xz here.")] = None,
    agents: Annotated[bool, typer.Option(help="The trained agents too: some megabytes a phase.")] = False,
) -> None:
    """Pack all that is finished of a sweep into one file, which `import` puts into another results root."""
    from nbsp_ray.archives import SUFFIX
    from nbsp_ray.archives.packing import pack
    from nbsp_ray.plan.search import searches

    loaded, planned = load_plan(sweep, overrides, root)
    store, file = existing_store(root, loaded), to or Path(f"{loaded.name}{SUFFIX}")
    check_begun(store, planned, loaded, root)
    ids = [search.id for search in searches(loaded.sweeps, store)]
    packed = pack(planned, store, file, overrides=loaded.overrides, searches=ids, agents=agents)
    left = f"; {packed.left_out} are not finished" if packed.left_out else ""
    say(f"{len(packed.phases)} phases in {packed.size / 1e6:.2f} MB: {short(file)}{left}")


@command.command()
def tables(
    sweep: Sweep,
    overrides: Overrides = None,
    root: Root = DEFAULT_ROOT,
    to: Annotated[Path | None, path_option("Folder for the files; default: tables in the report's.")] = None,
) -> None:
    """Write a sweep's tables alone: CSV, Markdown, LaTeX."""
    import analysis

    loaded, planned = load_plan(sweep, overrides, root)
    store = existing_store(root, loaded)
    check_begun(store, planned, loaded, root)
    scope = scope_of(loaded, planned, store, root)
    folder = to or store.report_folder(scope.folder) / "tables"
    analysis.write_tables(analysis.load(store.address, planned), folder, name=loaded.name)
    say(f"Tables: {short(folder)}")


@command.command()
def agent(
    key: Annotated[
        str,
        typer.Argument(
            help="Key of a phase, or its first digits, as the report gives them.", autocompletion=complete_key
        ),
    ],
    to: Annotated[Path, path_option("Folder for the agent's files.")],
    root: Root = DEFAULT_ROOT,
    task: Annotated[
        str | None, typer.Option(help="What it is to act on, where its method has weights for each.")
    ] = None,
) -> None:
    """Write the agent that a phase ended with: weights (safetensors), configuration, a card with its numbers."""
    import analysis

    paths = analysis.export_agent(root, key, to, task)
    say("\n".join(f"{short(path)}" for path in paths))
