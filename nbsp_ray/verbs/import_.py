"""`nbsp-ray import`: results from an archive."""

from pathlib import Path
from typing import Annotated

import typer

from nbsp_ray.store import DEFAULT_ROOT, Store
from nbsp_ray.verbs._common import DONE, FAILED, Root, say, short


def command(
    archive: Annotated[Path, typer.Argument(help="A file that `export results` wrote.")],
    root: Root = DEFAULT_ROOT,
) -> None:
    """Put the results of an archive into a results root, as finished phases; what is there already is kept."""
    from nbsp_ray.archives.importing import import_archive
    from nbsp_ray.archives.reading import open_archive

    with open_archive(archive) as checked:
        store = Store(root, create=True)
        done = import_archive(checked, store)
    say("\n".join(done.sentences(short(store.address))))
    raise typer.Exit(DONE if done.whole else FAILED)
