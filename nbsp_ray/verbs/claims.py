"""`nbsp-ray claims`: what the paper claims, decided from the results there are."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from nbsp_ray.store import DEFAULT_ROOT, Store
from nbsp_ray.verbs._common import Root, existing_store, path_option, say, short


def command(
    file: Annotated[Path, typer.Argument(help="What is claimed, and what decides it.")] = Path(
        "reproduction/claims.yaml"
    ),
    root: Root = DEFAULT_ROOT,
    archives: Annotated[
        Path | None, path_option("Results from all archives of this folder, in place of the results root.")
    ] = None,
    to: Annotated[
        Path | None,
        path_option("Folder for reproduction.md, its figures and data; default: reports/claims in the results root."),
    ] = None,
) -> None:
    """Decide the paper's claims from the results there are, and write the page that says so."""
    import analysis.claims
    from nbsp_ray.archives.importing import import_all

    loaded = analysis.claims.load_claims(file)
    with tempfile.TemporaryDirectory() as temporary:
        store = existing_store(root) if archives is None else import_all(archives, Path(temporary))
        folder = to or Store(root).report_folder("claims")
        page, *_ = analysis.claims.write_reproduction(loaded, store, folder)
    say(f"{len(loaded)} claims: {short(page)}, and {page.stem}.html beside it")
