"""Checkpoints of unfinished phases: what they hold, how they are written, and how a damaged one is noticed."""

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from nbsp_ray.errors import CorruptCheckpointError
from nbsp_ray.store.encoding import Array, Arrays, JsonObject, digest_of, from_json, to_json, to_lines, to_npy
from nbsp_ray.store.files import Files

PIECE_BYTES = 2**26
"""The most bytes of a piece of a replay buffer, which is held twice for a moment when it is written or read."""


@dataclass(frozen=True)
class Checkpoint:
    """A phase between two episodes."""

    env_steps: int
    counters: dict[str, Any]
    """JSON: everything but tensors."""
    curve: list[dict[str, Any]]
    tensors: Arrays
    rows: Iterable[tuple[int, Array]] = ()
    """Pieces of the replay buffer: the number of the first row, and the rows; read one by one, as all may be GB."""


@dataclass(frozen=True)
class Piece:
    """Rows `start` to `end` of all ever added to a buffer, in a file of their own that never changes."""

    start: int
    end: int
    name: str
    sha256: str


class StoredCheckpoint:
    """A checkpoint on disk, which may be damaged."""

    def __init__(self, files: Files, name: str) -> None:
        self._files = files
        self.name = name

    @cached_property
    def manifest(self) -> JsonObject:
        """Names and digests of the checkpoint's files."""
        try:
            manifest = from_json(self._files.read(self.name) or b"")
            whole = manifest.pop("sha256") == digest_of(manifest)
        except (ValueError, KeyError):
            whole = False
        if not whole:
            raise CorruptCheckpointError(f"{self._files.called(self.name)} is truncated or altered")
        return manifest

    @property
    def pieces(self) -> list[Piece]:
        """The pieces of the replay buffer."""
        return [Piece(**piece) for piece in self.manifest["pieces"]]

    def read(self) -> Checkpoint:
        """Read the whole checkpoint; every file is checked against its digest.

        Raises:
            CorruptCheckpointError: a file is missing or altered.
        """
        manifest, stem = self.manifest, self.name.removesuffix(".json")
        curve = self._checked(f"{stem}.curve", manifest["curve"])
        tensors = load_safetensors(self._checked(f"{stem}.safetensors", manifest["tensors"]))
        # All pieces are checked before the first is handed out: an older checkpoint can still be taken now, and no more
        # once a buffer is half filled.
        for piece in self.pieces:
            self._checked(piece.name, piece.sha256)
        rows = (
            (piece.start, np.load(io.BytesIO(self._checked(piece.name, piece.sha256)), allow_pickle=False))
            for piece in self.pieces
        )
        lines = [json.loads(line) for line in curve.splitlines()]
        return Checkpoint(manifest["env_steps"], manifest["counters"], lines, tensors, rows)

    def _checked(self, name: str, sha256: str) -> bytes:
        data = self._files.read(name)
        if data is None:
            raise CorruptCheckpointError(f"{self._files.called(name)} is missing")
        if hashlib.sha256(data).hexdigest() != sha256:
            raise CorruptCheckpointError(f"{self._files.called(name)} is truncated or altered")
        return data


class Attempt:
    """The checkpoints that one process writes for one phase.

    The replay buffer is saved in pieces that are never written again, so that a checkpoint costs only what was added
    since the last one, and a checkpoint may name pieces that an earlier attempt wrote.
    """

    def __init__(self, files: Files, at: str) -> None:
        self._files = files
        self._at = at
        self._pieces: list[Piece] = []
        self._own: list[str] = []

    def adopt(self, checkpoint: StoredCheckpoint) -> None:
        """Go on from a checkpoint, whoever wrote it."""
        self._pieces = checkpoint.pieces

    def save(
        self,
        *,
        env_steps: int,
        counters: Mapping[str, Any],
        curve: Sequence[Mapping[str, Any]],
        tensors: Arrays,
        added: int,
        capacity: int,
        rows: Callable[[int, int], Array],
    ) -> None:
        """Write a checkpoint; the two before it are kept.

        Args:
            env_steps: Where the phase is; orders the checkpoints.
            counters: JSON, everything but tensors.
            curve: All rows so far.
            tensors: The agent and what the method prepared.
            added: Rows ever added to the replay buffer.
            capacity: Rows it holds; older pieces are let go.
            rows: Gives rows `start` to `end` of all ever added.
        """
        saved = self._pieces[-1].end if self._pieces else 0
        # The buffer is a ring: of what was added since, only the last `capacity` rows are still there.
        start = max(saved, added - capacity)
        if added > start:
            step = max(1, PIECE_BYTES // rows(start, start + 1).nbytes)
            for begin in range(start, added, step):
                end = min(begin + step, added)
                self._pieces.append(self._write_piece(begin, end, rows(begin, end)))
        self._pieces = [piece for piece in self._pieces if piece.end > added - capacity]
        stem = f"{self._at}/{env_steps:012d}"
        curve_bytes, tensor_bytes = to_lines(curve), save_safetensors(dict(tensors))
        self._files.write(f"{stem}.curve", curve_bytes)
        self._files.write(f"{stem}.safetensors", tensor_bytes)
        # The manifest, with the digests of all other files, is written last: without it there is no checkpoint.
        manifest = {
            "env_steps": env_steps,
            "counters": dict(counters),
            "curve": hashlib.sha256(curve_bytes).hexdigest(),
            "tensors": hashlib.sha256(tensor_bytes).hexdigest(),
            "pieces": [vars(piece) for piece in self._pieces],
        }
        self._files.write(f"{stem}.json", to_json(manifest | {"sha256": digest_of(manifest)}))
        self._own = [*(name for name in self._own if name != stem), stem]
        # Pieces are left alone: a checkpoint of another attempt may name them. `PhaseFolder.clean` removes them all.
        for old in self._own[:-2]:
            for suffix in (".json", ".safetensors", ".curve"):
                self._files.remove(old + suffix)
        self._own = self._own[-2:]

    def _write_piece(self, start: int, end: int, rows: Array) -> Piece:
        name = f"{self._at}/rows-{start:012d}-{end:012d}.npy"
        chunks = to_npy(rows)
        self._files.write(name, *chunks)
        digest = hashlib.sha256()
        for chunk in chunks:
            digest.update(chunk)
        return Piece(start, end, name, digest.hexdigest())
