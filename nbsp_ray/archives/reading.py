"""Opening an archive: all of it is checked before any of it is used."""

import hashlib
import lzma
import re
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any

from nbsp_ray.archives import FORMAT, IN_MEMORY, KEY, MANIFEST
from nbsp_ray.errors import ArchiveError
from nbsp_ray.specs import key_of
from nbsp_ray.store.encoding import JsonObject, from_json
from nbsp_ray.store.portable import NEEDED, PORTABLE


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
