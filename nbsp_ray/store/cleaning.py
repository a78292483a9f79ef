"""What of a results root nobody needs any more, and letting it go."""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from nbsp_ray.store import Store
from nbsp_ray.store.commits import Commits
from nbsp_ray.store.encoding import to_json
from nbsp_ray.store.files import SCRAP_SECONDS, Found

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
    store = store.snapshot(store.phases(), whole=True)
    files = store.files
    scraps = [Freeable(name, SCRAPS, found.bytes) for name, found in files.scraps().items()]
    of_phases = [one for key in store.phases() for one in _of_phase(store, key, files.walk(f"phases/{key}"))]
    return [*scraps, *_of_doctors(store), *of_phases, *_of(store, buffers)]


def free(store: Store, found: Iterable[Freeable]) -> None:
    """Let it go; a buffer is marked first, so that its phase stays done."""
    for one in found:
        if one.key is not None:
            commits = Commits(store.files, one.key)
            store.files.create(f"{commits.stem}.freed.json", to_json({"time": time.time()}))
        store.files.remove(one.name)


def _of_doctors(store: Store) -> Iterator[Freeable]:
    for path in sorted(store.root.glob(".nbsp-doctor-*")):
        if path.is_dir() and not path.is_symlink() and time.time() - path.stat().st_mtime > SCRAP_SECONDS:
            yield _one(store.files.walk(path.name), path.name, SCRAPS)


def _of_phase(store: Store, key: str, inside: Mapping[str, Found]) -> Iterator[Freeable]:
    commits = Commits(store.files, key)
    for name in commits.unnamed() if any(_below(inside, f"phases/{key}/commits")) else ():
        if time.time() - max((found.changed for found in _below(inside, name)), default=0.0) > SCRAP_SECONDS:
            yield _one(inside, name, LATE)  # Or it may be at work.
    for name in commits.damaged_folders():
        yield _one(inside, name, ASIDE)
    if commits.done():
        for name in ("attempts", "unfinished", "leases"):
            if store.files.exists(f"phases/{key}/{name}"):
                yield _one(inside, f"phases/{key}/{name}", WORK)


def _of(store: Store, keys: Iterable[str]) -> Iterator[Freeable]:
    for key in keys:
        found = Commits(store.files, key).buffer()
        if found is not None and store.files.exists(found[0]):
            yield _one(store.files.walk(f"phases/{key}"), found[0], BUFFERS, key)


def _one(inside: Mapping[str, Found], name: str, why: str, key: str | None = None) -> Freeable:
    return Freeable(name, why, sum(found.bytes for found in _below(inside, name)), key)


def _below(inside: Mapping[str, Found], name: str) -> list[Found]:
    """What is in a folder, or is that file."""
    return [found for one, found in inside.items() if one == name or one.startswith(f"{name}/")]
