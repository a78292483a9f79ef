"""The folder of one phase: what it is, what came of it, what later phases read, and its unfinished work."""

import contextlib
import json
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from nbsp_ray.errors import DamagedPhaseError, StoreError
from nbsp_ray.store.checkpoints import Attempt, StoredCheckpoint
from nbsp_ray.store.commits import OLD, Commits
from nbsp_ray.store.encoding import (
    Array,
    Arrays,
    Chunk,
    JsonObject,
    from_json,
    sealed,
    to_json,
    to_lines,
    to_npy,
    unsealed,
)
from nbsp_ray.store.files import Files, Part

EVALUATIONS, PHASES = "evaluations", "phases"
REPORTED = ("manifest.json", "curve.jsonl")
"""What reports read of a commit."""
STEPS = "steps"
"""In an evaluation's record: the files with its steps."""


class PhaseFolder:
    """One phase's folder. Reading never fails for what is not there yet: it gives None, or nothing."""

    def __init__(self, files: Files, key: str) -> None:
        self._files = files
        self.key = key
        self._at = f"phases/{key}"
        self._commits = Commits(files, key)
        self._evaluations: dict[str, JsonObject] = {}

    @property
    def path(self) -> Path:
        """The folder; of an object store, its copy on this machine, with what was read so far."""
        return self._files.path(self._at)

    @property
    def called(self) -> str:
        """What users call the folder."""
        return self._files.called(self._at)

    def _damaged(self, name: str, error: Exception) -> StoreError:
        path = self._files.called(f"{self._at}/{name}")
        return StoreError(f"{path} is damaged ({error}); remove the folder {self.called} and run again")

    def _read_json(self, name: str) -> JsonObject | None:
        data = self._files.read(f"{self._at}/{name}")
        if data is None:
            return None
        try:
            return from_json(data)
        except ValueError as error:
            raise self._damaged(name, error) from error

    def _write_json(self, name: str, data: Any) -> None:
        self._files.write(f"{self._at}/{name}", to_json(data))

    def _committed(self, name: str) -> bytes | None:
        commit = self._commits.find()
        return None if commit is None else commit.read(self._files, name)

    def _wrong(self, name: str, error: Exception) -> StoreError:
        """What to raise of a file of the commit in force whose bytes make no sense."""
        commit = self._commits.find()
        return self._damaged(name, error) if commit is None else commit.damaged(self._files, name, str(error))

    def _committed_arrays(self, name: str) -> dict[str, Array] | None:
        data = self._committed(name)
        try:
            return None if data is None else load_safetensors(data)
        except SafetensorError as error:
            raise self._wrong(name, error) from error

    # What a phase is, and whether it is done

    def write_spec(self, spec: Mapping[str, Any]) -> None:
        """Write what the phase is; every attempt writes the same, and what was damaged is whole again."""
        data = to_json(dict(spec))
        if self._files.read(f"{self._at}/spec.json") != data:
            self._files.write(f"{self._at}/spec.json", data)

    def spec(self) -> JsonObject | None:
        """The spec that `write_spec` wrote, or that came with an import; or None."""
        data = self._committed("spec.json")
        return self._read_json("spec.json") if data is None else from_json(data)

    def done(self) -> bool:
        """True once the phase has learnt to its end (its final evaluations are records of their own)."""
        return self._commits.done()

    def imported(self) -> bool:
        """Whether it came from an archive: it has results, and nothing can be trained further from it."""
        return self._commits.imported() is not None

    def is_complete(self, evaluations: Iterable[str], *, with_buffer: bool) -> bool:
        """Whether the phase has learnt to its end, and has these final evaluations and (if wanted) its whole buffer.

        An imported phase is as complete as it will ever be: its agent, who could be evaluated further, is elsewhere.
        """
        return self.done() and (self.imported() or self.has_all(evaluations, with_buffer=with_buffer))

    def has_all(self, evaluations: Iterable[str], *, with_buffer: bool) -> bool:
        """Whether the result, these final evaluations and (if wanted) the whole buffer are there."""
        return (
            self.done()
            and (not with_buffer or self.has_replay())
            and all(self.has_evaluation(record) for record in evaluations)
        )

    def result(self) -> JsonObject | None:
        """The result, or None while the phase is not done."""
        commit = self._commits.find()
        return None if commit is None else dict(commit.result)

    def manifest(self) -> JsonObject | None:
        """The record of where, when and with what the phase was made, or None."""
        data = self._committed("manifest.json")
        try:
            return None if data is None else from_json(data)
        except ValueError as error:
            raise self._wrong("manifest.json", error) from error

    def commit(
        self,
        *,
        result: Mapping[str, Any],
        manifest: Mapping[str, Any],
        curve: Sequence[Mapping[str, Any]],
        agent: Arrays,
        prepared: Arrays,
        replay: Sequence[Array] | None,
        sample: Array | None,
    ) -> None:
        """End the phase: data first, then the one file that names them, if no other process was earlier.

        A phase that is done already stays as it is, but for a whole buffer that it lacks.

        Raises:
            ValueError: the result is no JSON.
        """
        buffer = {} if replay is None else {"replay.npy": to_npy(*replay)}
        parts: dict[str, tuple[Chunk, ...]] = {
            **buffer,
            "curve.jsonl": (to_lines(curve),),
            "agent.safetensors": (save_safetensors(dict(agent)),),
        }
        if prepared:
            parts["prepared.safetensors"] = (save_safetensors(dict(prepared)),)
        if sample is not None:
            parts["sample.npy"] = to_npy(sample)
        spec = self._files.read(f"{self._at}/spec.json")
        if spec is not None:
            parts["spec.json"] = (spec,)
        parts["manifest.json"] = (to_json(dict(manifest)),)
        committed = not self.done() and self._commits.make(result, parts)
        if buffer and not committed and not self.has_replay():
            # A later sweep needs the buffer that an earlier one did not keep.
            self._commits.add_buffer(buffer["replay.npy"])

    def parts(self, names: Iterable[str]) -> list[str]:
        """Where these files of the commit in force lie, of those that it has."""
        with contextlib.suppress(DamagedPhaseError):
            commit = self._commits.find()
            if commit is not None:
                return [f"{commit.at}/{name}" for name in names if commit.has(self._files, name)]
        return []

    def set_aside(self, damage: DamagedPhaseError) -> None:
        """What was found damaged does not count any more, and stays in the folder for inspection: it is made anew."""
        if damage.record is None:
            self._commits.set_aside({"why": f"{damage.file}: {damage.why}", "time": time.time()})
            return
        self._evaluations.clear()
        for name in self._evaluation_names(damage.record):
            data = self._files.read(name)
            if data is not None:
                self._files.write(f"{name}.damaged", data)
                self._files.remove(name)

    def aside(self) -> list[str]:
        """Why results of this phase were set aside, oldest first."""
        return [str(one.get("why")) for one in self._commits.aside()]

    def clean(self) -> None:
        """Remove what only unfinished work needs; the phase must be done."""
        if self.done():
            for name in ("attempts", "unfinished", "failures", "leases", "progress.json"):
                self._files.remove(f"{self._at}/{name}")
            for folder in (self._at, f"{self._at}/evaluations", self._evaluation_names("x")[0].rpartition("/")[0]):
                self._files.remove_scraps(folder)

    # What a later phase reads

    def agent(self) -> dict[str, Array] | None:
        """The final networks and optimizers, by name."""
        return self._committed_arrays("agent.safetensors")

    def prepared(self) -> dict[str, Array]:
        """Arrays that the method prepared from the past, by name; empty if there are none."""
        return self._committed_arrays("prepared.safetensors") or {}

    def has_replay(self) -> bool:
        """True if the whole replay buffer is kept, or was until nobody needed it and `clean` let it go."""
        return self._commits.buffer() is not None

    def replay(self) -> npt.NDArray[Any] | None:
        """The whole replay buffer (n, width), mapped copy-on-write: trials on one machine share its memory."""
        found = self._commits.buffer()
        if found is not None and self._commits.freed():
            path = self._files.called(found[0])
            raise DamagedPhaseError(self.key, path, "it was let go by `nbsp-ray clean`")
        return None if found is None else self._rows(*found)

    def sample(self) -> npt.NDArray[Any] | None:
        """Transitions drawn from the buffer (n, width)."""
        commit = self._commits.find()
        if commit is None or not commit.has(self._files, "sample.npy"):
            return None
        return self._rows(f"{commit.at}/sample.npy", commit.part("sample.npy"))

    def _rows(self, name: str, part: Part | None, record: str | None = None) -> npt.NDArray[Any] | None:
        try:
            path = self._files.local(name, part)
            if path is None:
                if part is None:
                    return None
                raise ValueError("it is missing")
            # "c", copy-on-write: torch takes writable memory only, and nothing that is written reaches the file.
            return np.asarray(np.load(path, mmap_mode="c", allow_pickle=False))
        except (ValueError, EOFError) as error:
            raise DamagedPhaseError(self.key, self._files.called(name), str(error), record) from error

    def curve(self) -> list[dict[str, Any]]:
        """All rows of the curve: of the finished phase, or up to the last whole checkpoint. A torn line ends it."""
        data = self._committed("curve.jsonl")
        if data is None:
            newest = self._checkpoint_names()[:1]
            data = self._files.read(f"{newest[0].removesuffix('.json')}.curve") if newest else b""
        lines = (data or b"").splitlines()
        with contextlib.suppress(ValueError):
            return list(json.loads(b"[" + b",".join(lines) + b"]"))  # three times as fast as line by line
        rows: list[dict[str, Any]] = []
        for line in lines:
            try:
                rows.append(json.loads(line))
            except ValueError:
                break
        return rows

    # Final evaluations

    def _evaluation_names(self, record: str) -> list[str]:
        """Where a final evaluation may lie; it belongs to one commit."""
        stem = self._commits.stem
        own = f"evaluations/{stem.removeprefix('results/')}/{record}.json"
        return [own, f"{self._at}/evaluations/{record}.json"] if stem.endswith(OLD) else [own]

    def _imported_part(self, record: str) -> str | None:
        """Those of an imported phase are files of its commit."""
        name = f"evaluations/{record}.json"
        commit = self._commits.find() if self._commits.imported() is not None else None
        return name if commit is not None and commit.has(self._files, name) else None

    def evaluations(self) -> list[str]:
        """Ids of all final evaluations that are there, sorted."""
        found = set[str]()
        for name in self._evaluation_names("x"):
            found.update(self._files.names(name.rpartition("/")[0]))
        commit = self._commits.find() if self._commits.imported() is not None else None
        if commit is not None and commit.parts is not None:
            found |= {name.removeprefix("evaluations/") for name in commit.parts if name.startswith("evaluations/")}
        return sorted(name.removesuffix(".json") for name in found if name.endswith(".json"))

    def evaluation(self, record: str) -> JsonObject | None:
        """A final evaluation by its id, or None.

        Raises:
            DamagedPhaseError: it is altered.
        """
        found = self._evaluation(record)
        return found and {name: value for name, value in found.items() if name != STEPS}

    def _evaluation(self, record: str) -> JsonObject | None:
        """With its steps."""
        if record not in self._evaluations:
            found = self._read_evaluation(record)
            if found is None:
                return None
            self._evaluations[record] = found
        return self._evaluations[record]

    def _read_evaluation(self, record: str) -> JsonObject | None:
        for name in self._evaluation_names(record):
            data = self._files.read(name)
            if data is not None:
                try:
                    return from_json(data) if name.startswith(self._at) else unsealed(data)
                except ValueError as error:
                    raise DamagedPhaseError(self.key, self._files.called(name), str(error), record) from error
        part = self._imported_part(record)
        data = None if part is None else self._committed(part)
        try:
            return None if data is None else from_json(data)
        except ValueError as error:
            raise self._wrong(f"evaluations/{record}.json", error) from error

    def has_evaluation(self, record: str) -> bool:
        """True if that final evaluation is there."""
        there = any(self._files.exists(name) for name in self._evaluation_names(record))
        return there or self._imported_part(record) is not None

    def rollouts(self, record: str) -> dict[str, Array] | None:
        """The steps of a final evaluation that kept them."""
        found = self._evaluation(record) or {}
        listed = found.get(STEPS, {}).get("arrays")
        name = listed["name"] if listed else f"{self._at}/evaluations/{record}.safetensors"
        data = self._files.read(name) if listed or self._commits.stem.endswith(OLD) else None
        try:
            if listed:
                wrong = "it is missing" if data is None else Part(listed["bytes"], listed["sha256"]).check(data)
                if wrong is not None:
                    raise ValueError(wrong)
            return None if data is None else load_safetensors(data)
        except (ValueError, SafetensorError) as error:
            raise DamagedPhaseError(self.key, self._files.called(name), str(error), record) from error

    def write_episode(self, record: str, number: int, rows: Array) -> JsonObject:
        """Keep the steps of one episode of a final evaluation, whose record is written when all are played.

        Returns:
            What the record must have of it.
        """
        return self._write_steps(f"{record}/{number:05d}.{uuid.uuid4().hex[:8]}.npy", to_npy(rows))

    def _write_steps(self, name: str, chunks: Sequence[Chunk]) -> JsonObject:
        self._files.write(f"{self._at}/evaluations/{name}", *chunks)
        return {"name": f"{self._at}/evaluations/{name}", **vars(Part.of(chunks))}

    def episode(self, record: str, number: int) -> Array | None:
        """The steps of one episode, mapped copy-on-write."""
        listed = (self._evaluation(record) or {}).get(STEPS, {}).get("episodes", [])
        if number < len(listed):
            one = listed[number]
            return self._rows(one["name"], Part(one["bytes"], one["sha256"]), record)
        if not self._commits.stem.endswith(OLD):
            return None
        return self._rows(f"{self._at}/evaluations/{record}/{number:05d}.npy", None, record)

    def write_unfinished(self, record: str, episodes: Sequence[Mapping[str, Any]]) -> None:
        """Keep how the episodes played so far went, of a final evaluation under way."""
        self._write_json(f"unfinished/{record}.json", {"episodes": list(episodes)})

    def unfinished(self, record: str) -> list[JsonObject]:
        """Episodes that `write_unfinished` kept; none if its file is missing or damaged: they can be played again."""
        with contextlib.suppress(StoreError):
            return list((self._read_json(f"unfinished/{record}.json") or {}).get("episodes", []))
        return []

    def write_evaluation(
        self,
        record: str,
        data: Mapping[str, Any],
        rollouts: Arrays | None,
        episodes: Sequence[JsonObject] = (),
    ) -> None:
        """Keep a final evaluation, if no other process was earlier; its steps first.

        Args:
            record: Its id.
            data: What it came to.
            rollouts: Its steps.
            episodes: What `write_episode` gave, if they are kept one by one.
        """
        steps: JsonObject = {}
        if rollouts is not None:
            name = f"{record}.{uuid.uuid4().hex[:8]}.safetensors"
            steps["arrays"] = self._write_steps(name, (save_safetensors(dict(rollouts)),))
        if episodes:
            steps["episodes"] = list(episodes)
        kept = sealed({**data, **({STEPS: steps} if steps else {})})
        if not self._files.create(self._evaluation_names(record)[0], kept) and rollouts is not None:
            self._files.remove(steps["arrays"]["name"])

    # Probes

    def probe(self, record: str) -> JsonObject | None:
        """A probe's findings by their id; None if they are missing or damaged, as they can be measured again."""
        with contextlib.suppress(StoreError):
            return self._read_json(f"probes/{record}.json")
        return None

    def write_probe(self, record: str, data: Mapping[str, Any]) -> None:
        """Keep a probe's findings."""
        self._write_json(f"probes/{record}.json", dict(data))

    # Unfinished work

    def write_progress(self, progress: Mapping[str, Any]) -> None:
        """Say how far the phase is."""
        data = to_json({**progress, "time": time.time()})
        self._files.write(f"{self._at}/progress.json", data, durable=False)  # Nothing rests on it.

    def progress(self) -> JsonObject | None:
        """The last progress of the phase, with its `time`; None if it never told any, or is done."""
        with contextlib.suppress(StoreError):
            return self._read_json("progress.json")
        return None

    def write_failure(self, failure: Mapping[str, Any]) -> None:
        """Keep the traceback of a failed attempt."""
        self._write_json(f"failures/{time.time_ns()}.json", {**failure, "time": time.time()})

    def failures(self) -> list[dict[str, Any]]:
        """Failed attempts since the phase last got a fresh chance, oldest first."""
        found: list[dict[str, Any]] = []
        for name in self._files.names(f"{self._at}/failures"):
            with contextlib.suppress(StoreError):  # One that cannot be read says nothing.
                found.append(self._read_json(f"failures/{name}") or {})
        return [failure for failure in found if failure]

    def forget_failures(self) -> None:
        """Give the phase a fresh chance."""
        self._files.remove(f"{self._at}/failures")

    def attempt(self) -> "Attempt":
        """A folder for this process alone to write checkpoints in."""
        return Attempt(self._files, f"{self._at}/attempts/{uuid.uuid4().hex[:12]}")

    def _checkpoint_names(self) -> list[str]:
        """Manifests of all checkpoints of all attempts, the furthest first."""
        at = f"{self._at}/attempts"
        found = [
            f"{at}/{attempt}/{name}"
            for attempt in self._files.names(at)
            for name in self._files.names(f"{at}/{attempt}")
            if name.endswith(".json")
        ]
        # A name is the env steps, padded with zeros: sorted as text, the furthest is the largest.
        return sorted(found, key=lambda name: name.rsplit("/", 1)[1], reverse=True)

    def checkpoints(self) -> Iterator["StoredCheckpoint"]:
        """Checkpoints, the furthest first; each is checked when it is read."""
        return (StoredCheckpoint(self._files, name) for name in self._checkpoint_names())
