"""Files written whole or not at all, and the bytes of JSON and arrays. Knows no names."""

import contextlib
import errno
import hashlib
import io
import json
import os
import shutil
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]
JsonObject = dict[str, Any]
SCRAP_SECONDS = 3_600.0
"""Nobody takes so long to write one file."""


class Files:
    """A tree of files on a local disk (or one that behaves like it), addressed by paths relative to its root."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, name: str) -> Path:
        """Where `name` lies."""
        return self.root / name

    def write(self, name: str, *chunks: bytes | memoryview, durable: bool = True) -> None:
        """Write a file whole: under another name, to the disk (if `durable`, through all caches), then renamed."""
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
        try:
            with temporary.open("wb") as file:
                for chunk in chunks:
                    file.write(chunk)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def read(self, name: str) -> bytes | None:
        """A file's bytes, or None if there is no such file."""
        try:
            return self.path(name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def names(self, folder: str) -> list[str]:
        """Names in a folder, sorted; none if it is not there. Files still being written are not listed."""
        try:
            return sorted(name for name in os.listdir(self.path(folder)) if not name.startswith("."))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def exists(self, name: str) -> bool:
        """Whether there is such a file or folder."""
        return self.path(name).exists()

    def move(self, folder: str, name: str) -> bool:
        """Give a folder its name in one step; False, and nothing is changed, if something is there already."""
        try:
            self.path(folder).rename(self.path(name))
        except OSError as error:
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
                return False
            raise
        return True

    def remove(self, name: str) -> None:
        """Remove a file or a folder with all in it; nothing happens if it is not there."""
        path = self.path(name)
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)

    def remove_scraps(self, folder: str) -> None:
        """Remove the half-written files that killed writers left in a folder, but none that may be at work."""
        for path in self.path(folder).glob(".*.????????"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > SCRAP_SECONDS:
                    path.unlink()


def to_json(data: Any) -> bytes:
    """JSON, and no number that JSON lacks."""
    return json.dumps(data, indent=1, allow_nan=False).encode() + b"\n"


def from_json(data: bytes) -> JsonObject:
    """A JSON object.

    Raises:
        ValueError: it is not one.
    """
    found = json.loads(data)
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")
    return found


def digest_of(data: Any) -> str:
    """SHA-256 of the JSON of `data`."""
    return hashlib.sha256(to_json(data)).hexdigest()


def to_npy(*arrays: Array) -> tuple[bytes | memoryview, ...]:
    """Header and body of an `.npy` file with the rows of all `arrays`; the body is the arrays' own memory."""
    header = io.BytesIO()
    parts = [np.ascontiguousarray(array) for array in arrays]
    data = np.lib.format.header_data_from_array_1_0(parts[0])
    data["shape"] = (sum(len(part) for part in parts), *parts[0].shape[1:])
    np.lib.format.write_array_header_1_0(header, data)
    return header.getvalue(), *(part.data.cast("B") for part in parts if part.size)


def to_lines(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """JSON lines."""
    return "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows).encode()
