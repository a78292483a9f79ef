"""`nbsp-ray export`: tables and agents for others."""

from pathlib import Path
from typing import Annotated

import typer

from nbsp_ray.store import DEFAULT_ROOT, Store
from nbsp_ray.verbs._common import Overrides, Root, Sweep, load_plan, say, short

command = typer.Typer(help="Write results for others: tables, agents.", no_args_is_help=True, rich_markup_mode=None)


@command.command()
def tables(
    sweep: Sweep,
    overrides: Overrides = None,
    root: Root = DEFAULT_ROOT,
    to: Annotated[Path | None, typer.Option(help="Folder; default: the report's.")] = None,
) -> None:
    """Write a sweep's tables alone: CSV, Markdown, LaTeX."""
    import analysis

    loaded, planned = load_plan(sweep, overrides, root)
    store = Store(root)
    folder = to or store.report_folder(loaded.name)
    analysis.write_tables(analysis.load(store.root, planned), folder, name=loaded.name)
    say(f"Tables: {short(folder / 'tables')}")


@command.command()
def agent(
    key: Annotated[str, typer.Argument(help="Key of a phase, or its first digits, as the report gives them.")],
    to: Annotated[Path, typer.Option(help="Folder for the agent's files.")],
    root: Root = DEFAULT_ROOT,
) -> None:
    """Write the agent that a phase ended with: weights (safetensors), configuration, a card with its numbers."""
    import analysis

    paths = analysis.export_agent(root, key, to)
    say("\n".join(f"{short(path)}" for path in paths))
