"""Where the files of a phase lie, of every format: for people who want to look at them, and for what they weigh."""

from collections import Counter

from nbsp_ray.store.files import Files, Found

FOLDERS = ("results", "evaluations")
"""Beside `phases/KEY`: what is named by the key, a dot and the number of a commit."""


def files_of(files: Files, key: str) -> dict[str, Found]:
    """All files of a phase, by their names relative to the root, sorted."""
    found = files.walk(f"phases/{key}")
    for folder in FOLDERS:
        found |= files.walk(folder, f"{key}.")
    return dict(sorted(found.items()))


def evaluation_file(files: Files, key: str, record: str) -> str | None:
    """The file with the episodes of a final evaluation; None if it is not there."""
    found = [name for name in files_of(files, key) if name.endswith(f"/{record}.json")]
    # Those beside the folder are of a later format than those in it, and commit 10 is newer than 9.
    return max(found, key=lambda name: (name.startswith("evaluations/"), len(name), name), default=None)


def sizes(files: Files) -> Counter[str]:
    """Bytes of all files of each phase, by its key, from one listing of all."""
    found = Counter[str]()
    for folder in ("phases", *FOLDERS):
        for name, one in files.walk(folder).items():
            found[name.split("/")[1].partition(".")[0]] += one.bytes
    return found
