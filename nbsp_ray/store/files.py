"""Files written whole or not at all, on a disk. Knows no names.

Storage may fail for a while: every call is tried again, ever less often, until it has failed for as long as `patience`
says. What no waiting mends (a full disk, a file that may not be read) is raised at once, as it is.
"""

import contextlib
import errno
import hashlib
import logging
import os
import re
import secrets
import shutil
import stat
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from nbsp_ray.errors import StorageAwayError, StoreError
from nbsp_ray.store.encoding import Chunk

log = logging.getLogger(__name__)
Answer = TypeVar("Answer")
SCRAP_SECONDS = 3_600.0
"""A half-written file as old as this was left by a writer that was killed: nobody takes so long to write one."""
WORKING_PATIENCE = 900.0
"""Seconds that a call to the storage may fail before whoever trains gives up: a filer's restart takes minutes."""
READING_PATIENCE = 10.0
"""The same for whoever only looks."""
FIRST_WAIT, LONGEST_WAIT = 0.05, 15.0
TELL_SECONDS = 5.0
TRANSIENT = frozenset(
    getattr(errno, name)
    for name in (
        "EIO ESTALE ETIMEDOUT EAGAIN EINTR EBUSY ECONNRESET ECONNREFUSED ECONNABORTED ENETDOWN ENETUNREACH ENETRESET "
        "EHOSTDOWN EHOSTUNREACH EREMOTEIO ENOTCONN EPIPE ESHUTDOWN ENOLINK ECOMM EPROTO ENODEV ENXIO"
    ).split()
    if hasattr(errno, name)
)
"""What a network file system says while its server is away, and a disk now and then."""
NAME = re.compile(r"(?!\.{1,2}(/|$))[^/\\\x00-\x1f\x7f]+(/(?!\.{1,2}(/|$))[^/\\\x00-\x1f\x7f]+)*")
"""A path below the root: no way up, nothing absolute, no control characters."""


@dataclass(frozen=True)
class Part:
    """What a file must be."""

    bytes: int
    sha256: str

    def check(self, data: Chunk) -> str | None:
        """What is wrong with a file that reads `data`; None if nothing is."""
        if len(data) != self.bytes:
            return f"it has {len(data):,} bytes of {self.bytes:,}"
        return None if hashlib.sha256(data).hexdigest() == self.sha256 else "its bytes are not those that were written"

    @classmethod
    def of(cls, chunks: Iterable[Chunk]) -> "Part":
        """Of a file of these bytes."""
        digest, size = hashlib.sha256(), 0
        for chunk in chunks:
            digest.update(chunk)
            size += len(chunk)
        return cls(size, digest.hexdigest())


@dataclass(frozen=True)
class Found:
    """A file as a listing has it."""

    bytes: int
    changed: float
    """When it was last written, in seconds by the storage's own clock."""
    stamp: str
    """Another one if the file was written again."""


class Files:
    """A tree of files on a disk, or on what behaves like one, addressed by paths relative to its root.

    Args:
        root: Where it is.
        patience: Seconds that a call may fail in a row.
        guard: A file that has been there: when it is not, nothing is, for the disk itself has gone.

    Raises:
        StorageAwayError: by every method: the storage has not answered for all of the patience.
        StoreError: by every method: a name leads out of the root.
    """

    may_be_old = True
    """Whether phases of store format 1 may lie here."""
    pace = 0.0
    """Seconds between two looks at what others may have changed, where each of them costs requests."""

    def __init__(self, root: Path, *, patience: float = READING_PATIENCE, guard: str | None = None) -> None:
        self.root, self._root = root, str(root)
        self.address = self._root
        """What users call the root."""
        self.patience = patience
        self.guard = guard
        self._whole: dict[str, tuple[Any, Part]] = {}

    def path(self, name: str) -> Path:
        """The path of `name` on the disk."""
        return self.root / name

    def called(self, name: str) -> str:
        """What users call the file or folder `name`."""
        return f"{self.address}/{name}"

    def is_there(self) -> bool:
        """Whether there is such a root."""
        return self.root.exists()

    def check(self) -> None:
        """The root can be written as it must be; it is made if need be.

        Raises:
            OSError: it cannot.
            StoreError: it cannot keep what is promised of it.
        """
        probe = f"probe-{uuid.uuid4().hex[:8]}"
        self.create(probe, uuid.uuid4().bytes)
        self.remove(probe)

    # What can be done, patiently

    def write(self, name: str, *chunks: Chunk, durable: bool = True) -> None:
        """Write a file whole: a reader sees the old one or the new one; `durable`: on the disk, through all caches."""
        self._patiently(name, lambda: self._write(name, chunks, durable=durable))

    def create(self, name: str, *chunks: Chunk) -> bool:
        """Write a file whole if there is none; False, and nothing is changed, if there is one of other bytes.

        Of any number of writers at once, one gets True.
        """
        return self._patiently(name, lambda: self._create(name, chunks))

    def read(self, name: str) -> bytes | None:
        """A file's bytes, or None if there is no such file."""
        return self._patiently(name, lambda: self._read(name))

    def names(self, folder: str) -> list[str]:
        """Names in a folder, sorted; none if it is not there. Files still being written are not listed."""
        return self._patiently(folder, lambda: self._names(folder))

    def exists(self, name: str) -> bool:
        """True if there is such a file or folder."""
        return self._patiently(name, lambda: self._exists(name))

    def changed(self, name: str) -> float | None:
        """When a file was last written, in seconds by the storage's own clock; None if there is no such file."""
        return self._patiently(name, lambda: self._changed(name))

    def remove(self, name: str) -> None:
        """Remove a file or a folder with all in it; nothing happens if it is not there."""
        self._patiently(name, lambda: self._remove(name))

    def settle(self, folder: str) -> None:
        """See to it that the names in a folder outlive a power cut."""
        self._patiently(folder, lambda: self._settle(folder))

    def local(self, name: str, part: Part | None) -> Path | None:
        """The path of a file of this machine with the bytes of `name`, to be mapped; None if there is no such file.

        Raises:
            ValueError: it is not what `part` says.
        """
        return self._patiently(name, lambda: self._local(name, part))

    def walk(self, folder: str, beginning: str = "") -> dict[str, Found]:
        """All files below a folder, by name; of its own entries those with that beginning."""
        return self._patiently(folder, lambda: self._walk(folder, beginning))

    def stamps(self, folder: str, names: Iterable[str]) -> dict[str, str]:
        """What tells whether these files of a folder were written again, of those that are there."""
        return self._patiently(folder, lambda: self._stamps(folder, names))

    def snapshot(self, *folders: str, entries: Sequence[str] = ()) -> "Files":
        """The same files, of which those in these folders are there or not as they were at this moment.

        Of the folders `entries` it is what lies in them that is or is not there, and nothing said of what is below. It
        spares a request for each where requests are slow; here they are not.
        """
        return self

    def fetch(self, names: Iterable[str]) -> None:
        """Read these of a snapshot's files side by side, as they will be asked for; where that is no gain, nothing."""

    def _patiently(self, name: str, act: Callable[[], Answer]) -> Answer:
        if not NAME.fullmatch(name):
            raise StoreError(f"{name!r} is no name of a file in {self.address}")
        began: float | None = None
        told, wait = False, FIRST_WAIT
        while True:
            try:
                return act()
            except OSError as error:
                if not self._may_pass(error):
                    raise
                reason = error
            now = time.monotonic()
            began = now if began is None else began
            if now - began >= self.patience:
                raise StorageAwayError(
                    f"{self.address} has not answered for {now - began:.0f} s ({why(reason)}): see to the storage; all "
                    "that is committed and checkpointed is kept, and the same command goes on"
                ) from reason
            if now - began > TELL_SECONDS and not told:
                told = True
                log.warning(
                    "%s does not answer (%s); trying again for %.0f s", self.address, why(reason), self.patience
                )
            time.sleep(min(wait * (0.5 + secrets.randbelow(500) / 1_000), max(0.0, began + self.patience - now)))
            wait = min(2 * wait, LONGEST_WAIT)

    def _may_pass(self, error: OSError) -> bool:
        return error.errno in TRANSIENT or isinstance(error, TimeoutError | ConnectionError)

    # How it is done on a disk

    def _inside(self, name: str) -> Path:
        """The path of a name, none of whose folders is a link to elsewhere."""
        return Path(self._text(name))

    def _text(self, name: str) -> str:
        """As text: a path costs more to make than a file to look at."""
        at = self._root
        for part in name.split("/"):
            at = f"{at}/{part}"
            if os.path.islink(at) and not Path(at).resolve().is_relative_to(self.root.resolve()):
                raise StoreError(f"{at} is a link that leads out of {self.root}; put there what it leads to")
        return at

    def _check_guard(self) -> None:
        """Nothing is there: is that so, or has the disk gone from under its mount point?"""
        if self.guard is not None and not os.path.exists(f"{self._root}/{self.guard}"):
            raise OSError(errno.ENODEV, f"{self.guard} is gone", str(self.root / self.guard))

    @contextlib.contextmanager
    def _temporary(self, path: Path, chunks: Sequence[Chunk], *, durable: bool = True) -> Any:
        """A file beside `path` with these bytes, gone afterwards if it still has that name."""
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
        try:
            try:
                file = temporary.open("wb")
            except FileNotFoundError:
                self._check_guard()
                path.parent.mkdir(parents=True, exist_ok=True)
                file = temporary.open("wb")
            with file:
                for chunk in chunks:
                    file.write(chunk)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            yield temporary
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _write(self, name: str, chunks: Sequence[Chunk], *, durable: bool) -> None:
        path = self._inside(name)
        with self._temporary(path, chunks, durable=durable) as temporary:
            temporary.replace(path)  # Atomic within a folder: a reader sees the old file or the new one.

    def _create(self, name: str, chunks: Sequence[Chunk]) -> bool:
        path = self._inside(name)
        with self._temporary(path, chunks) as temporary:
            try:
                os.link(temporary, path)
            except FileExistsError:
                # Of a network file system, an answer may have been lost on its way: then it is our own.
                return path.read_bytes() == b"".join(bytes(chunk) for chunk in chunks)
            except OSError as error:
                if error.errno in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
                    raise StoreError(
                        f"the file system of {self.root} has no hard links ({why(error)}), by which one of several "
                        "writers comes first; name a folder on another one with --root (of a mounted bucket: its "
                        "address, s3://bucket/prefix)"
                    ) from error
                raise
        self._settle_folder(path.parent)
        return True

    def _read(self, name: str) -> bytes | None:
        try:
            return self._inside(name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            self._check_guard()
            return None

    def _names(self, folder: str) -> list[str]:
        try:
            return sorted(name for name in os.listdir(self._inside(folder)) if not name.startswith("."))
        except (FileNotFoundError, NotADirectoryError):
            self._check_guard()
            return []

    def _exists(self, name: str) -> bool:
        try:
            os.stat(self._text(name))
        except (FileNotFoundError, NotADirectoryError):
            self._check_guard()
            return False
        return True

    def _changed(self, name: str) -> float | None:
        try:
            return self._inside(name).stat().st_mtime
        except (FileNotFoundError, NotADirectoryError):
            self._check_guard()
            return None

    def _remove(self, name: str) -> None:
        path = self._inside(name)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(NotADirectoryError):
                path.unlink(missing_ok=True)

    def _settle(self, folder: str) -> None:
        self._settle_folder(self._inside(folder))

    def _settle_folder(self, folder: Path) -> None:
        with contextlib.suppress(OSError):  # Not every file system can.
            handle = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    def _local(self, name: str, part: Part | None) -> Path | None:
        path = self._inside(name)
        try:
            found = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            self._check_guard()
            return None
        seen = (found.st_mtime_ns, found.st_size, found.st_ino)
        if part is not None and self._whole.get(name) != (seen, part):
            check_file(path, part)
            self._whole[name] = seen, part  # It is asked for again and again, and may have gigabytes.
        return path

    def _walk(self, folder: str, beginning: str) -> dict[str, Found]:
        found: dict[str, Found] = {}
        for name in (one for one in self._names(folder) if one.startswith(beginning)):
            self._walk_into(f"{folder}/{name}", found)
        return found

    def _walk_into(self, name: str, found: dict[str, Found]) -> None:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # It has gone meanwhile.
            seen = os.lstat(f"{self._root}/{name}")
            if stat.S_ISDIR(seen.st_mode):
                for below in os.listdir(f"{self._root}/{name}"):
                    if not below.startswith("."):
                        self._walk_into(f"{name}/{below}", found)
            elif stat.S_ISREG(seen.st_mode):
                found[name] = Found(seen.st_size, seen.st_mtime, _stamp(seen))

    def _stamps(self, folder: str, names: Iterable[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for name in names:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                found[name] = _stamp(os.lstat(f"{self._root}/{folder}/{name}"))
        return found

    def scraps(self) -> dict[str, Found]:
        """Half-written files of writers that were killed, old enough that nobody is at work on them."""
        found: dict[str, Found] = {}
        for path in sorted(self.root.rglob(".*.????????")):
            with contextlib.suppress(OSError):
                seen = path.lstat()
                if stat.S_ISREG(seen.st_mode) and time.time() - seen.st_mtime > SCRAP_SECONDS:
                    found[str(path.relative_to(self.root))] = Found(seen.st_size, seen.st_mtime, "")
        return found

    def remove_scraps(self, folder: str) -> None:
        """Remove the half-written files that killed writers left in a folder, but none that may be at work."""
        for path in self.path(folder).glob(".*.????????"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > SCRAP_SECONDS:
                    path.unlink()


def _stamp(seen: os.stat_result) -> str:
    return f"{seen.st_mtime_ns:x}.{seen.st_size:x}.{seen.st_ino:x}"


def why(error: Exception) -> str:
    """In a few words."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def check_file(path: Path, part: Part) -> None:
    """A file's bytes are what `part` says.

    Raises:
        ValueError: they are not.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = file.tell()
    if size != part.bytes:
        raise ValueError(f"it has {size:,} bytes of {part.bytes:,}")
    if digest != part.sha256:
        raise ValueError("its bytes are not those that were written")
