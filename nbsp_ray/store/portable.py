"""What of a finished phase travels to another results root: its results, never its buffers or its work under way."""

import re
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from nbsp_ray.errors import StoreError
from nbsp_ray.store.files import SCRAP_SECONDS, Files, from_json, to_json

NEEDED = ("spec.json", "curve.jsonl", "manifest.json", "result.json")
AGENT = "agent.safetensors"
PREPARED = "prepared.safetensors"
RECORDS = ("evaluations", "probes")
_NAME = r"[^./\\\x00-\x1f][^/\\\x00-\x1f]*"
PORTABLE = re.compile(
    "|".join([*map(re.escape, (*NEEDED, AGENT, PREPARED)), *(rf"{folder}/{_NAME}\.json" for folder in RECORDS)])
)
"""Names of the files that may travel, relative to the phase's folder; none of them can lead out of it."""
LARGEST_PREPARED = 2**17
"""Bytes of an array that a method made of the past, for it to travel without the agent: selections of neurons and their
scores do; anchors and their Fisher information are as large as the agent itself."""
PRIVATE = ("host", "command")
"""Of a manifest: they name somebody's machine and folders, and no number rests on them."""
_SCRAP = ".import-"


class Portable:
    """The files of one phase that travel."""

    def __init__(self, files: Files, key: str) -> None:
        self._files = files
        self._at = f"phases/{key}"

    def read(self, *, agents: bool = False) -> dict[str, bytes]:
        """The phase's files by name, in the order in which a phase commits them: `result.json` last.

        Args:
            agents: The agent too, and whatever a method made of the past.

        Raises:
            StoreError: a file is missing or damaged.
        """
        first, last = ("spec.json", "curve.jsonl"), ("manifest.json", "result.json")
        names = [*first, *((AGENT,) if agents else ()), PREPARED, *self._records(), *last]
        found = {name: data for name in names if (data := self._files.read(f"{self._at}/{name}")) is not None}
        try:
            manifest = from_json(found["manifest.json"])
            prepared = load_safetensors(found[PREPARED]) if PREPARED in found and not agents else {}
            missing = [name for name in NEEDED if name not in found]
            if missing:
                raise KeyError(missing[0])
        except (KeyError, ValueError, SafetensorError) as error:
            path = self._files.path(self._at)
            raise StoreError(f"{path} is damaged ({error}); remove that folder and run again") from error
        if prepared:
            small = {name: array for name, array in prepared.items() if array.nbytes <= LARGEST_PREPARED}
            found[PREPARED] = save_safetensors(small)
        found["manifest.json"] = to_json({name: one for name, one in manifest.items() if name not in PRIVATE})
        return found

    def _records(self) -> Iterator[str]:
        for folder in RECORDS:
            for name in self._files.names(f"{self._at}/{folder}"):
                if name.endswith(".json"):
                    yield f"{folder}/{name}"

    def place(self, contents: Mapping[str, bytes], origin: Mapping[str, Any]) -> bool:
        """Make the phase of what `read` gave elsewhere; False, and nothing is changed, if it has been begun here.

        The folder gets its name when all is in it, so a kill leaves the whole phase or none of it.
        """
        scrap = f"phases/{_SCRAP}{uuid.uuid4().hex[:8]}"
        try:
            self._files.write(f"{scrap}/imported.json", to_json(dict(origin)))
            for name, data in contents.items():
                self._files.write(f"{scrap}/{name}", data)
            return self._files.move(scrap, self._at)
        finally:
            self._files.remove(scrap)

    def add_records(self, contents: Mapping[str, bytes]) -> int:
        """Write those of the evaluations and probes in `contents` that the phase lacks; how many."""
        lacking = [
            name for name in contents if name.startswith(RECORDS) and not self._files.exists(f"{self._at}/{name}")
        ]
        for name in lacking:
            self._files.write(f"{self._at}/{name}", contents[name])
        return len(lacking)


def remove_scraps(files: Files) -> None:
    """Remove what imports that were killed have left, but nothing that may be at work."""
    for path in files.path("phases").glob(f"{_SCRAP}*"):
        if time.time() - path.stat().st_mtime > SCRAP_SECONDS:
            files.remove(f"phases/{path.name}")
