"""Results that travel: what is finished of a sweep as one compact file, `nbsp-ray export results` and `import`.

An archive is a tar file compressed with xz. The same results give the same bytes, wherever and whenever it is made.

    manifest.json                     the format, the sweep, the keys of all phases, size and SHA-256 of each file
    phases/<key>/<file>               as in a results root (`nbsp_ray.store`), but no buffer and no rollouts
    searches/<id>.json                numbers of skill neurons that the sweep's searches have chosen

Nothing in it is code, nothing is unpickled. It is checked whole before the first file of it is written: that it ends,
that every file is what the manifest says, that no path leads elsewhere, that each phase is what its key says and comes
with the phases it rests on. A phase is put in place whole or not at all.
"""

import hashlib
import io
import lzma
import re
import tarfile
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any

from nbsp_ray.errors import ArchiveError, NbspError
from nbsp_ray.specs import Plan, key_of
from nbsp_ray.store import Store
from nbsp_ray.store.files import JsonObject, from_json, to_json
from nbsp_ray.store.portable import NEEDED, PORTABLE, remove_scraps

FORMAT = 1
SUFFIX = ".results.tar.xz"
MANIFEST = "manifest.json"
KEY = "[0-9a-f]{20}"
IN_MEMORY = 2**26
"""Bytes of an archive's contents that are kept in memory; more go to a temporary file."""


# Packing


@dataclass(frozen=True)
class Packed:
    """What an archive was made of."""

    phases: tuple[str, ...]
    left_out: int
    """Phases of the plan that are not finished."""
    size: int
    """Bytes of the file."""


def pack(
    plan: Plan,
    store: Store,
    to: Path,
    *,
    overrides: Sequence[str] = (),
    searches: Iterable[str] = (),
    agents: bool = False,
) -> Packed:
    """Write all that is finished of a plan to the file `to`.

    Args:
        plan: As it is run in `store`.
        store: Where the results are.
        to: Replaced if it is there.
        overrides: With which the sweep was planned, for whoever imports it.
        searches: Ids of the plan's searches.
        agents: The final networks and optimizers too: some megabytes a phase.

    Raises:
        NbspError: nothing is finished.
        StoreError: a finished phase is damaged.
    """
    keys = sorted(_finished(plan, store))
    if not keys:
        raise NbspError(f"{store.root} has no finished phase of {plan.name}: `nbsp-ray run {plan.name}` makes some")
    listed: dict[str, JsonObject] = {}
    with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY) as body:
        with tarfile.open(fileobj=body, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for name, data in _contents(store, keys, searches, agents=agents):
                tar.addfile(_member(name, len(data)), io.BytesIO(data))
                listed[name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        head = {"format": FORMAT, "sweep": plan.name, "title": plan.title, "overrides": list(overrides)}
        manifest = to_json(head | {"agents": agents, "phases": keys, "files": listed})
        body.seek(0)
        _compress(to, [_block(MANIFEST, manifest), *iter(lambda: body.read(2**20), b"")])
    return Packed(tuple(keys), len(plan.phases) - len(keys), to.stat().st_size)


def _finished(plan: Plan, store: Store) -> set[str]:
    """Phases with all that the plan wants of them but buffers, if all that they rest on are finished too."""
    found: set[str] = set()
    for key, phase in plan.phases.items():  # each after those it needs
        folder = store.phase(key)
        whole = folder.imported() or all(folder.has_evaluation(record) for record in phase.evaluations)
        if folder.done() and whole and found.issuperset(phase.spec.needs):
            found.add(key)
    return found


def _contents(
    store: Store, keys: Iterable[str], searches: Iterable[str], *, agents: bool
) -> Iterator[tuple[str, bytes]]:
    for key in keys:
        for name, data in store.portable(key).read(agents=agents).items():
            yield f"phases/{key}/{name}", data
    for search in sorted(searches):
        found = store.read_search(search)
        if found is not None:
            yield f"searches/{search}.json", to_json(found)


def _member(name: str, size: int) -> tarfile.TarInfo:
    """A file of no time and nobody."""
    member = tarfile.TarInfo(name)
    member.size = size
    return member


def _block(name: str, data: bytes) -> bytes:
    header = _member(name, len(data)).tobuf(tarfile.USTAR_FORMAT)
    return header + data + b"\0" * (-len(data) % tarfile.BLOCKSIZE)


def _compress(to: Path, pieces: Iterable[bytes]) -> None:
    """Write a file whole, compressed, then name it."""
    to.parent.mkdir(parents=True, exist_ok=True)
    temporary = to.with_name(f".{to.name}.{uuid.uuid4().hex[:8]}")
    try:
        with lzma.open(temporary, "wb", preset=6) as file:
            file.writelines(pieces)
        temporary.replace(to)
    finally:
        temporary.unlink(missing_ok=True)


# Reading


@dataclass(frozen=True)
class Archive:
    """An archive that has been checked whole."""

    path: Path
    sweep: str
    title: str
    overrides: tuple[str, ...]
    phases: tuple[str, ...]
    sha256: str
    """Of the file."""
    specs: Mapping[str, JsonObject] = field(repr=False)
    digests: Mapping[str, str] = field(repr=False)
    """Of each phase's agent, as its result has it."""
    _body: IO[bytes] = field(repr=False)

    def contents(self) -> Iterator[tuple[str, dict[str, bytes]]]:
        """Each phase's files by name (`phases/<key>`), and last the searches' (`searches`)."""
        at, files = "", dict[str, bytes]()
        for name, data in _members(self._body, self.path):
            folder, file = _split(name)
            if folder != at and files:
                yield at, files
                files = {}
            at = folder
            if folder:
                files[file] = data
        if files:
            yield at, files

    def needs(self, key: str) -> list[str]:
        """The phases that one rests on."""
        return _needs(self.specs[key])


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """An archive, checked to its last byte.

    Raises:
        ArchiveError: it cannot be imported; the first reason found.
    """
    with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY) as body:
        try:
            with path.open("rb") as file:
                digest = _decompress(file, body, path)
        except OSError as error:
            raise ArchiveError(f"{path} cannot be read: {error.strerror}") from error
        yield _checked(body, digest, path)


def _checked(body: IO[bytes], digest: str, path: Path) -> Archive:
    members = _members(body, path)
    manifest = _manifest(members, path)
    specs: dict[str, JsonObject] = {}
    digests: dict[str, str] = {}
    seen: dict[str, None] = {}
    for name, data in members:
        listed = manifest["files"].get(name)
        _check_name(name, path)
        if listed is None or name in seen:
            raise ArchiveError(f"{path} holds {name}, which its {MANIFEST} does not name{' twice' if listed else ''}")
        if listed != {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}:
            raise ArchiveError(f"{path} is damaged: {name} is not what its {MANIFEST} says")
        seen[name] = None
        folder, part = _split(name)
        parsed = _parse(path, name, data) if name.endswith(".json") else {}
        if part == "spec.json":
            specs[folder.removeprefix("phases/")] = parsed
        elif part == "result.json":
            digests[folder.removeprefix("phases/")] = str(parsed.get("digest"))
    missing = next((name for name in manifest["files"] if name not in seen), None)
    if missing is not None:
        raise ArchiveError(f"{path} lacks {missing}, which its {MANIFEST} names")
    _check_phases(path, manifest["phases"], seen, specs)
    head = (str(manifest["sweep"]), str(manifest["title"]), tuple(map(str, manifest["overrides"])))
    return Archive(path, *head, tuple(manifest["phases"]), digest, specs, digests, body)


def _decompress(file: IO[bytes], body: IO[bytes], path: Path) -> str:
    """Write the tar file in an archive to `body`; the archive's digest. xz guards every byte with a checksum."""
    sha, decompressor, ended = hashlib.sha256(), lzma.LZMADecompressor(format=lzma.FORMAT_XZ), False
    try:
        while piece := file.read(2**20):
            sha.update(piece)
            body.write(b"" if ended else decompressor.decompress(piece))
            if decompressor.unused_data or ended:
                raise ArchiveError(f"{path} is damaged: something follows its end")
            ended = decompressor.eof
    except lzma.LZMAError as error:
        what = "is not an archive of results" if body.tell() == 0 else "is damaged"
        raise ArchiveError(f"{path} {what} ({error}); `nbsp-ray export results` makes one") from error
    if not decompressor.eof:
        raise ArchiveError(f"{path} is cut off: its end is missing; copy it again")
    return sha.hexdigest()


def _members(body: IO[bytes], path: Path) -> Iterator[tuple[str, bytes]]:
    """Names and bytes of all files in the tar file, each within the archive and a plain file."""
    body.seek(0)
    try:
        with tarfile.open(fileobj=body, mode="r:") as tar:
            for member in tar:
                pure = PurePosixPath(member.name)
                if pure.is_absolute() or ".." in pure.parts or "\\" in member.name:
                    raise ArchiveError(f"{path} holds the path {member.name!r}, which leads out of the results root")
                if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
                    raise ArchiveError(f"{path} holds {member.name!r}, which is a link or no plain file")
                data = tar.extractfile(member)
                assert data is not None
                yield member.name, data.read()
    except (tarfile.TarError, EOFError) as error:
        raise ArchiveError(f"{path} is damaged ({error})") from error


def _manifest(members: Iterator[tuple[str, bytes]], path: Path) -> JsonObject:
    name, data = next(members, ("", b""))
    if name != MANIFEST:
        raise ArchiveError(f"{path} is not an archive of results: it does not begin with {MANIFEST}")
    manifest = _parse(path, name, data)
    if manifest.get("format") != FORMAT:
        raise ArchiveError(
            f"{path} is in archive format {manifest.get('format')}, this nbsp_ray reads format {FORMAT}; "
            "import it with the version that wrote it"
        )
    kinds = {"sweep": str, "title": str, "overrides": list, "phases": list, "files": dict}
    for part, kind in kinds.items():
        if not isinstance(manifest.get(part), kind):
            raise ArchiveError(f"{path} is damaged: its {MANIFEST} has no {part}")
    return manifest


def _parse(path: Path, name: str, data: bytes) -> JsonObject:
    try:
        return from_json(data)
    except ValueError as error:
        raise ArchiveError(f"{path} is damaged: {name} is no JSON ({error})") from error


def _split(name: str) -> tuple[str, str]:
    """`phases/<key>` and the name in it, or `searches` and the name in it; of the manifest two empty texts."""
    depth = {"phases": 2, "searches": 1}.get(name.split("/")[0], 0)
    parts = name.split("/", depth)
    return "/".join(parts[:depth]), parts[-1] if depth else ""


def _check_name(name: str, path: Path) -> None:
    folder, file = _split(name)
    of_phase = re.fullmatch(f"phases/{KEY}", folder) and PORTABLE.fullmatch(file)
    if not of_phase and not re.fullmatch(rf"searches/{KEY}\.json", name):
        raise ArchiveError(f"{path} holds {name!r}, which is no file of a results root that can be imported")


def _check_phases(path: Path, keys: Sequence[Any], names: Mapping[str, None], specs: Mapping[str, JsonObject]) -> None:
    folders = dict.fromkeys(folder for folder, _ in map(_split, names) if folder.startswith("phases/"))
    if [f"phases/{key}" for key in keys] != list(folders):
        raise ArchiveError(f"{path} is damaged: the phases it names are not those it holds")
    for key in keys:
        missing = next((name for name in NEEDED if f"phases/{key}/{name}" not in names), None)
        if missing is not None:
            raise ArchiveError(f"{path} lacks {missing} of phase {key}")
        if (found := _key(specs[key])) != key:
            raise ArchiveError(f"{path} holds phase {key} with the spec.json of {found or 'no phase at all'}")
        absent = next((need for need in _needs(specs[key]) if need not in specs), None)
        if absent is not None:
            raise ArchiveError(f"{path} holds phase {key} without phase {absent}, which it rests on")


def _key(spec: JsonObject) -> str | None:
    try:
        return key_of(spec) if "task" in spec else None
    except (TypeError, ValueError, AttributeError):
        return None


def _needs(spec: JsonObject) -> list[str]:
    auxiliary = spec.get("auxiliary")
    others = auxiliary.values() if isinstance(auxiliary, dict) else ()
    return [str(key) for key in (spec.get("previous"), *others) if key]


# Importing


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

    def sentences(self, root: Path) -> Iterator[str]:
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
    remove_scraps(store.files)
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
            refused[key] = "begun"
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
