"""Where the files of a phase lie, of every format: for people who want to look at them, and for what they weigh."""

import contextlib
from pathlib import Path

FOLDERS = ("results", "evaluations")
"""Beside `phases/KEY`: what is named by the key, a dot and the number of a commit."""


def files_of(root: Path, key: str) -> list[Path]:
    """All files of a phase, sorted."""
    places = [root / "phases" / key, *(place for folder in FOLDERS for place in (root / folder).glob(f"{key}.*"))]
    found = [path for place in places for path in (place.rglob("*") if place.is_dir() else (place,))]
    return sorted(path for path in found if path.is_file() and not path.name.startswith("."))


def evaluation_file(root: Path, key: str, record: str) -> Path | None:
    """The file with the episodes of a final evaluation; None if it is not there."""
    found = [path for path in files_of(root, key) if path.name == f"{record}.json"]
    # Those beside the folder are of a later format than those in it, and commit 10 is newer than 9.
    return max(found, key=lambda path: (root / "evaluations" in path.parents, len(str(path)), str(path)), default=None)


def size_of(root: Path, key: str) -> int:
    """Bytes of all its files; one that goes meanwhile is not counted."""
    total = 0
    for path in files_of(root, key):
        with contextlib.suppress(OSError):
            total += path.stat().st_size
    return total
