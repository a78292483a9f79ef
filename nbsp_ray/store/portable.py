"""What of a finished phase travels to another results root: its results, never its buffers or its work under way."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from nbsp_ray.errors import StoreError
from nbsp_ray.store.commits import Commits
from nbsp_ray.store.encoding import from_json, to_json
from nbsp_ray.store.files import Files
from nbsp_ray.store.phases import PhaseFolder

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
_OUTSIDE = ("result.json", "probes/")
"""Not among the files of a commit."""
UNTOUCHED = {"commits", "leases"}
"""In the folder of a phase that nobody has begun; an import that was killed leaves no more."""


class Portable:
    """The files of one phase that travel."""

    def __init__(self, files: Files, key: str) -> None:
        self._files = files
        self._at = f"phases/{key}"
        self._folder, self._commits = PhaseFolder(files, key), Commits(files, key)

    def read(self, *, agents: bool = False) -> dict[str, bytes]:
        """The phase's files by name, in the order in which an archive has them: `result.json` last.

        Args:
            agents: The agent too, and whatever a method made of the past.

        Raises:
            StoreError: a file is missing or damaged.
        """
        found = dict(self._read(agents=agents))
        try:
            manifest = from_json(found["manifest.json"])
            prepared = load_safetensors(found[PREPARED]) if PREPARED in found and not agents else {}
            missing = [name for name in NEEDED if name not in found]
            if missing:
                raise KeyError(missing[0])
        except (KeyError, ValueError, SafetensorError) as error:
            path = self._files.called(self._at)
            raise StoreError(f"{path} is damaged ({error}); remove that folder and run again") from error
        if prepared:
            small = {name: array for name, array in prepared.items() if array.nbytes <= LARGEST_PREPARED}
            found[PREPARED] = save_safetensors(small)
        found["manifest.json"] = to_json({name: one for name, one in manifest.items() if name not in PRIVATE})
        return found

    def _read(self, *, agents: bool) -> Iterator[tuple[str, bytes]]:
        commit = self._commits.find()
        if commit is None:
            return
        spec = commit.read(self._files, "spec.json") or self._files.read(f"{self._at}/spec.json")
        committed = {
            name: data
            for name in ("curve.jsonl", *((AGENT,) if agents else ()), PREPARED, "manifest.json")
            if (data := commit.read(self._files, name)) is not None
        }
        manifest = committed.pop("manifest.json", None)
        yield from {} if spec is None else {"spec.json": spec}.items()
        yield from committed.items()
        for record in self._folder.evaluations():
            yield f"evaluations/{record}.json", to_json(self._folder.evaluation(record))
        for name in self._files.names(f"{self._at}/probes"):
            probe = self._files.read(f"{self._at}/probes/{name}") if name.endswith(".json") else None
            if probe is not None:
                yield f"probes/{name}", probe
        if manifest is not None:
            yield "manifest.json", manifest
        yield "result.json", to_json(commit.result)

    def begun(self) -> bool:
        """Whether anybody has worked on it here."""
        return not UNTOUCHED.issuperset(self._files.names(self._at))

    def place(self, contents: Mapping[str, bytes], origin: Mapping[str, Any]) -> bool:
        """Make the phase of what `read` gave elsewhere; False, and nothing is changed, if it has been begun here.

        It is there when all of it is, so a kill leaves the whole phase or none of it.

        Raises:
            ValueError: the result is no JSON.
        """
        if self._commits.done() or self.begun():
            return False
        files = {name: (data,) for name, data in contents.items() if not name.startswith(_OUTSIDE)}
        placed = self._commits.make(from_json(contents["result.json"]), files, dict(origin))
        if placed:
            self.add_records({name: data for name, data in contents.items() if name.startswith("probes/")})
        return placed

    def add_records(self, contents: Mapping[str, bytes]) -> int:
        """Write those of the evaluations and probes in `contents` that the phase lacks; how many."""
        added = 0
        for name, data in contents.items():
            folder, _, file = name.partition("/")
            record = file.removesuffix(".json")
            if folder == "evaluations" and not self._folder.has_evaluation(record):
                self._folder.write_evaluation(record, from_json(data), None)
                added += 1
            elif folder == "probes" and not self._files.exists(f"{self._at}/{name}"):
                added += self._files.create(f"{self._at}/{name}", data)
        return added
