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

from nbsp_ray.errors import StoreError
from nbsp_ray.store.checkpoints import Attempt, StoredCheckpoint
from nbsp_ray.store.files import Array, Arrays, Files, JsonObject, from_json, to_json, to_lines, to_npy


class PhaseFolder:
    """One phase's folder. Reading never fails for what is not there yet: it gives None, or nothing."""

    def __init__(self, files: Files, key: str) -> None:
        self._files = files
        self.key = key
        self._at = f"phases/{key}"

    @property
    def path(self) -> Path:
        """The folder."""
        return self._files.path(self._at)

    def _damaged(self, name: str, error: Exception) -> StoreError:
        path = self._files.path(f"{self._at}/{name}")
        return StoreError(f"{path} is damaged ({error}); remove the folder {self.path} and run again")

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

    def _read_arrays(self, name: str) -> dict[str, Array] | None:
        data = self._files.read(f"{self._at}/{name}")
        if data is None:
            return None
        try:
            return load_safetensors(data)
        except SafetensorError as error:
            raise self._damaged(name, error) from error

    # What a phase is, and whether it is done

    def write_spec(self, spec: Mapping[str, Any]) -> None:
        """Write what the phase is, once: every attempt would write the same."""
        if not self._files.exists(f"{self._at}/spec.json"):
            self._write_json("spec.json", dict(spec))

    def spec(self) -> JsonObject | None:
        """The spec that `write_spec` wrote, or None."""
        return self._read_json("spec.json")

    def done(self) -> bool:
        """True once the phase has learnt to its end (its final evaluations are records of their own)."""
        return self._files.exists(f"{self._at}/result.json")

    def imported(self) -> bool:
        """Whether it came from an archive: it has results, and nothing can be trained further from it."""
        return self._files.exists(f"{self._at}/imported.json")

    def is_complete(self, evaluations: Iterable[str], *, with_buffer: bool) -> bool:
        """Whether the phase has learnt to its end, and has these final evaluations and (if wanted) its whole buffer.

        An imported phase is as complete as it will ever be: its agent, who could be evaluated further, is elsewhere.
        """
        return self.imported() or self.has_all(evaluations, with_buffer=with_buffer)

    def has_all(self, evaluations: Iterable[str], *, with_buffer: bool) -> bool:
        """Whether the result, these final evaluations and (if wanted) the whole buffer are there."""
        return (
            self.done()
            and (not with_buffer or self.has_replay())
            and all(self.has_evaluation(record) for record in evaluations)
        )

    def result(self) -> JsonObject | None:
        """The result, or None while the phase is not done."""
        return self._read_json("result.json")

    def manifest(self) -> JsonObject | None:
        """The record of where, when and with what the phase was made, or None."""
        return self._read_json("manifest.json")

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
        """End the phase: data first, `result.json` last.

        A phase that is done already stays as it is, but for a whole buffer that it lacks.
        """
        # Also where the phase is done: a later sweep may need the buffer that an earlier one did not keep.
        if replay is not None and not (self.done() and self.has_replay()):
            self._files.write(f"{self._at}/replay.npy", *to_npy(*replay))
        parts: dict[str, tuple[bytes | memoryview, ...]] = {
            "curve.jsonl": (to_lines(curve),),
            "agent.safetensors": (save_safetensors(dict(agent)),),
        }
        if prepared:
            parts["prepared.safetensors"] = (save_safetensors(dict(prepared)),)
        if sample is not None:
            parts["sample.npy"] = to_npy(sample)
        parts |= {"manifest.json": (to_json(dict(manifest)),), "result.json": (to_json(dict(result)),)}
        for name, chunks in parts.items():
            if self.done():  # another process has committed meanwhile
                return
            self._files.write(f"{self._at}/{name}", *chunks)

    def clean(self) -> None:
        """Remove what only unfinished work needs; the phase must be done."""
        if self.done():
            for name in ("attempts", "unfinished", "failures", "progress.json"):
                self._files.remove(f"{self._at}/{name}")
            for folder in (self._at, f"{self._at}/evaluations"):
                self._files.remove_scraps(folder)

    # What a later phase reads

    def agent(self) -> dict[str, Array] | None:
        """The final networks and optimizers, by name."""
        return self._read_arrays("agent.safetensors")

    def prepared(self) -> dict[str, Array]:
        """Arrays that the method prepared from the past, by name; empty if there are none."""
        return self._read_arrays("prepared.safetensors") or {}

    def has_replay(self) -> bool:
        """True if the whole replay buffer is kept."""
        return self._files.exists(f"{self._at}/replay.npy")

    def replay(self) -> npt.NDArray[Any] | None:
        """The whole replay buffer (n, width), mapped copy-on-write: trials on one machine share its memory."""
        return self._rows("replay.npy")

    def sample(self) -> npt.NDArray[Any] | None:
        """Transitions drawn from the buffer (n, width)."""
        return self._rows("sample.npy")

    def _rows(self, name: str) -> npt.NDArray[Any] | None:
        path = self.path / name
        try:
            # "c", copy-on-write: torch takes writable memory only, and nothing that is written reaches the file.
            return np.asarray(np.load(path, mmap_mode="c", allow_pickle=False))
        except FileNotFoundError:
            return None
        except (ValueError, EOFError) as error:
            raise self._damaged(name, error) from error

    def curve(self) -> list[dict[str, Any]]:
        """All rows of the curve: of the finished phase, or up to the last whole checkpoint. A torn line ends it."""
        data = self._files.read(f"{self._at}/curve.jsonl")
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

    def evaluations(self) -> list[str]:
        """Ids of all final evaluations that are there, sorted."""
        names = self._files.names(f"{self._at}/evaluations")
        return [name.removesuffix(".json") for name in names if name.endswith(".json")]

    def evaluation(self, record: str) -> JsonObject | None:
        """A final evaluation by its id, or None."""
        return self._read_json(f"evaluations/{record}.json")

    def has_evaluation(self, record: str) -> bool:
        """True if that final evaluation is there."""
        return self._files.exists(f"{self._at}/evaluations/{record}.json")

    def rollouts(self, record: str) -> dict[str, Array] | None:
        """The steps of a final evaluation that kept them."""
        return self._read_arrays(f"evaluations/{record}.safetensors")

    def write_episode(self, record: str, number: int, rows: Array) -> None:
        """Keep the steps of one episode of a final evaluation, whose record is written when all are played."""
        self._files.write(f"{self._at}/evaluations/{record}/{number:05d}.npy", *to_npy(rows))

    def episode(self, record: str, number: int) -> Array | None:
        """The steps of one episode, mapped copy-on-write."""
        return self._rows(f"evaluations/{record}/{number:05d}.npy")

    def write_unfinished(self, record: str, episodes: Sequence[Mapping[str, Any]]) -> None:
        """Keep how the episodes played so far went, of a final evaluation under way."""
        self._write_json(f"unfinished/{record}.json", {"episodes": list(episodes)})

    def unfinished(self, record: str) -> list[JsonObject]:
        """Episodes that `write_unfinished` kept; none if its file is missing or damaged: they can be played again."""
        with contextlib.suppress(StoreError):
            return list((self._read_json(f"unfinished/{record}.json") or {}).get("episodes", []))
        return []

    def write_evaluation(self, record: str, data: Mapping[str, Any], rollouts: Arrays | None) -> None:
        """Keep a final evaluation; its steps first."""
        if rollouts is not None:
            self._files.write(f"{self._at}/evaluations/{record}.safetensors", save_safetensors(dict(rollouts)))
        self._write_json(f"evaluations/{record}.json", dict(data))

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
        found = (self._read_json(f"failures/{name}") for name in self._files.names(f"{self._at}/failures"))
        return [failure for failure in found if failure is not None]

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
