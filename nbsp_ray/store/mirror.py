"""Copies on this machine of what was read of an object store; they may be removed at any time."""

import contextlib
import hashlib
import json
import shutil
import uuid
from pathlib import Path

from nbsp_ray.folders import existing

INDEX = "index.json"
COMMITTED = "committed"
"""For the stamp of a file that never changes."""
SPARE_BYTES = 2**30
"""Of the disk with the copies, so much is left free."""


class Mirror:
    """Copies on this machine of files that were read, each with what the store said of it and its own digest."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._index: dict[str, tuple[str, str]] | None = None
        self._is_new = False

    @property
    def index(self) -> dict[str, tuple[str, str]]:
        """Stamp and SHA-256 of each copy."""
        if self._index is None:
            self._index = {}
            with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
                read = json.loads((self._folder / INDEX).read_bytes())
                self._index = {str(name): (str(stamp), str(sha)) for name, (stamp, sha) in read.items()}
        return self._index

    def read(self, name: str, stamp: str) -> bytes | None:
        """A copy, if there is one of what bears this stamp, and it is whole."""
        known = self.index.get(name)
        if known is None or stamp not in (known[0], COMMITTED):
            return None
        with contextlib.suppress(OSError):
            data = (self._folder / name).read_bytes()
            if hashlib.sha256(data).hexdigest() == known[1]:
                return data
        return None

    def write(self, name: str, stamp: str, data: bytes) -> None:
        """Keep a copy, if this machine has room for it."""
        path = self._folder / name
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(data)
            temporary.replace(path)
            self.index[name] = stamp, hashlib.sha256(data).hexdigest()
            self._is_new = True

    def save(self) -> None:
        """Write down what there is; of several writers at once the last is right, and what others had is read again."""
        if self._is_new:
            with contextlib.suppress(OSError):
                temporary = self._folder / f".{INDEX}.{uuid.uuid4().hex[:8]}"
                temporary.write_text(json.dumps(self.index))
                temporary.replace(self._folder / INDEX)
                self._is_new = False

    def make_room(self, size: int) -> None:
        """Remove large copies, those first that were not used for longest, until the disk has room for one more."""
        with contextlib.suppress(OSError):
            large = sorted(self._folder.rglob("*.npy"), key=lambda path: path.stat().st_atime)
            while large and shutil.disk_usage(existing(self._folder)).free < size + SPARE_BYTES:
                # Who has mapped it keeps what it mapped.
                large.pop(0).unlink(missing_ok=True)
