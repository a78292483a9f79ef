"""Putting an archive into a results root, as finished phases."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nbsp_ray.archives import SUFFIX
from nbsp_ray.archives.reading import Archive, open_archive
from nbsp_ray.errors import ArchiveError
from nbsp_ray.store import Store
from nbsp_ray.store.encoding import from_json


@dataclass
class Imported:
    """What became of each phase of an archive."""

    placed: list[str] = field(default_factory=list[str])
    """Now here."""
    agreed: list[str] = field(default_factory=list[str])
    """Here already, with the same agent to the last bit."""
    records: int = 0
    """Evaluations and probes added to these."""
    differing: list[str] = field(default_factory=list[str])
    """Here already with another result, which is kept."""
    begun: list[str] = field(default_factory=list[str])
    """Begun here and not finished; left as they are."""
    resting: list[str] = field(default_factory=list[str])
    """Not imported, as they rest on a phase that is another here."""

    @property
    def whole(self) -> bool:
        """Whether every phase of the archive is here now."""
        return not (self.differing or self.begun or self.resting)

    def sentences(self, root: str | Path) -> Iterator[str]:
        """For people."""
        yield f"{len(self.placed)} phases imported into {root}"
        if self.agreed:
            added = f"; {self.records} evaluations and probes were added to them" if self.records else ""
            yield f"{len(self.agreed)} were there already, and agree{added}"
        if self.differing:
            yield f"{len(self.differing)} are there with another result, which is kept: {', '.join(self.differing)}"
        if self.begun:
            yield (
                f"{len(self.begun)} are begun there and not finished, and are left as they are: "
                f"{', '.join(self.begun)}; remove their folders to import them"
            )
        if self.resting:
            yield f"{len(self.resting)} rest on one of these, and are left out"


def import_archive(archive: Archive, store: Store) -> Imported:
    """Put every phase of an archive into a results root, as finished; what is there already is kept.

    A phase comes with what it rests on or not at all: never onto another phase of the same key.
    """
    refused, done = _compare(archive, store), Imported()
    origin = {"sweep": archive.sweep, "sha256": archive.sha256}
    for folder, files in archive.contents():
        key = folder.removeprefix("phases/")
        if folder == "searches":
            _add_searches(store, files)
        elif key in refused:
            getattr(done, refused[key]).append(key)
        elif store.portable(key).place(files, origin):
            done.placed.append(key)
        elif _agrees(archive, store, key):
            done.agreed.append(key)
            done.records += store.portable(key).add_records(files)
        else:
            done.begun.append(key)
    if store.read_sweep(archive.sweep) is None:
        store.write_sweep(archive.sweep, {"title": archive.title, "overrides": list(archive.overrides)})
    return done


def import_all(folder: Path, root: Path) -> Store:
    """A results root with all archives of a folder.

    Raises:
        ArchiveError: one cannot be imported, or two of them differ in a phase.
    """
    store = Store(root, create=True)
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        with open_archive(path) as archive:
            done = import_archive(archive, store)
        if not done.whole:
            raise ArchiveError(f"{path} differs from the archives before it in {', '.join(done.differing)}")
    return store


def _agrees(archive: Archive, store: Store, key: str) -> bool:
    return (store.phase(key).result() or {}).get("digest") == archive.digests[key]


def _compare(archive: Archive, store: Store) -> dict[str, str]:
    """Why phases cannot be imported, as fields of `Imported`, by key."""
    begun, refused = set(store.phases()), dict[str, str]()
    for key in begun.intersection(archive.phases):
        if not store.phase(key).done():
            refused |= {key: "begun"} if store.portable(key).begun() else {}
        elif not _agrees(archive, store, key):
            refused[key] = "differing"
    while resting := [
        key for key in archive.phases if key not in begun | refused.keys() and refused.keys() & set(archive.needs(key))
    ]:
        refused |= dict.fromkeys(resting, "resting")
    return refused


def _add_searches(store: Store, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        search = name.removesuffix(".json")
        if store.read_search(search) is None:
            store.write_search(search, from_json(data))
