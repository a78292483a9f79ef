"""What of a results root nobody needs any more, and letting it go."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from nbsp_ray.store import Store
from nbsp_ray.store.commits import Commits
from nbsp_ray.store.files import SCRAP_SECONDS, to_json

SCRAPS = "half-written files of killed writers"
LATE = "what killed or late writers left of a commit"
WORK = "unfinished work of phases that are done"
ASIDE = "damaged results that were set aside"
BUFFERS = "replay buffers that no unfinished trial of the sweep needs"


@dataclass(frozen=True)
class Freeable:
    """Something that can go."""

    name: str
    """Of a file or folder, relative to the root."""
    why: str
    bytes: int
    key: str | None = None
    """Of a buffer, its phase."""


def freeable(store: Store, buffers: Iterable[str] = ()) -> list[Freeable]:
    """All that can go.

    Args:
        store: Where.
        buffers: Keys of phases whose buffers nobody needs.
    """
    found = *_scraps(store), *_of_doctors(store)
    return [*found, *(one for key in store.phases() for one in _of_phase(store, key)), *_of(store, buffers)]


def free(store: Store, found: Iterable[Freeable]) -> None:
    """Let it go; a buffer is marked first, so that its phase stays done."""
    for one in found:
        if one.key is not None:
            commits = Commits(store.files, one.key)
            store.files.create(f"{commits.stem}.freed.json", to_json({"time": time.time()}))
        store.files.remove(one.name)


def _scraps(store: Store) -> Iterator[Freeable]:
    for path in sorted(store.root.rglob(".*.????????")):
        if path.is_file() and not path.is_symlink() and time.time() - path.stat().st_mtime > SCRAP_SECONDS:
            yield Freeable(str(path.relative_to(store.root)), SCRAPS, path.stat().st_size)


def _of_doctors(store: Store) -> Iterator[Freeable]:
    for path in sorted(store.root.glob(".nbsp-doctor-*")):
        if path.is_dir() and not path.is_symlink() and time.time() - path.stat().st_mtime > SCRAP_SECONDS:
            yield _one(store, path.name, SCRAPS)


def _of_phase(store: Store, key: str) -> Iterator[Freeable]:
    commits = Commits(store.files, key)
    for name in commits.unnamed():
        if time.time() - store.files.path(name).stat().st_mtime > SCRAP_SECONDS:  # Or it may be at work.
            yield _one(store, name, LATE)
    for name in commits.damaged_folders():
        yield _one(store, name, ASIDE)
    if commits.done():
        for name in ("attempts", "unfinished", "leases"):
            if store.files.exists(f"phases/{key}/{name}"):
                yield _one(store, f"phases/{key}/{name}", WORK)


def _of(store: Store, keys: Iterable[str]) -> Iterator[Freeable]:
    for key in keys:
        found = Commits(store.files, key).buffer()
        if found is not None and store.files.exists(found[0]):
            yield _one(store, found[0], BUFFERS, key)


def _one(store: Store, name: str, why: str, key: str | None = None) -> Freeable:
    return Freeable(name, why, _bytes(store.files.path(name)), key)


def _bytes(path: Path) -> int:
    inside = path.rglob("*") if path.is_dir() else [path]
    return sum(one.stat().st_size for one in inside if one.is_file() and not one.is_symlink())
