"""The store: one folder per phase, named by its key; the only code that knows file names.

    <root>/store.json                           the format, so that an incompatible version stops at the door
    <root>/sweeps/<name>.json                   how a sweep was last run
    <root>/speeds.json                          speeds measured here, for prices
    <root>/reports/<name>/...                   what `report` wrote
    <root>/phases/<key>/spec.json               what the phase is
                       /result.json             written last: the phase is done if and only if it is there
                       /manifest.json           where, when and with what it was made
                       /curve.jsonl             every evaluation and training episode
                       /agent.safetensors       the final networks and optimizers
                       /replay.npy              the whole buffer, of a first phase and where a later one replays it
                       /sample.npy              a sample of the buffer of a later phase
                       /prepared.safetensors    what the method made of the past (masks, scores)
                       /evaluations/<id>.json   a final evaluation, with <id>.safetensors if its steps were kept
                       /probes/<id>.json        what a probe of the phase found
                       /progress.json           how far it is; advice for `status`, nothing rests on it
                       /attempts/<id>/...       checkpoints of unfinished work, removed when the phase is done
                       /failures/<id>.json      attempts that failed, with their traceback

Every file is written whole and then named, so a reader never sees half of one. Attempts never share a file, the first
valid commit wins, and a second one of the same phase changes nothing. All file access goes through `Files`, the seam
where other storage than a local disk would fit. No torch, no Ray, no pickle.
"""

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from nbsp_ray.errors import CorruptCheckpointError, StoreError

FORMAT = 1
Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]
JsonObject = dict[str, Any]
KEY = re.compile(r"[0-9a-f]{20}")
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


def _json(data: Any) -> bytes:
    return json.dumps(data, indent=1, allow_nan=False).encode() + b"\n"


def _object(data: bytes) -> JsonObject:
    found = json.loads(data)
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")
    return found


def _digest(data: Any) -> str:
    return hashlib.sha256(_json(data)).hexdigest()


def _npy(array: Array) -> tuple[bytes, memoryview]:
    header = io.BytesIO()
    contiguous = np.ascontiguousarray(array)
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(contiguous))
    return header.getvalue(), contiguous.data.cast("B")


class Store:
    """A results root.

    Raises:
        StoreError: the root was written by an incompatible version, or (with `create`) cannot be written.
    """

    def __init__(self, root: str | Path, *, create: bool = False) -> None:
        self.root = Path(root).expanduser().absolute()
        self.files = Files(self.root)
        if create:
            self._check_writable()
        self._check_format(create=create)

    def _check_writable(self) -> None:
        probe = f"probe-{uuid.uuid4().hex[:8]}"
        try:
            self.files.write(probe, b"")
            self.files.remove(probe)
        except OSError as error:
            raise StoreError(
                f"the results root {self.root} cannot be written: {error.strerror}; name another with --root"
            ) from error

    def _check_format(self, *, create: bool) -> None:
        data = self.files.read("store.json")
        if data is None:
            if create:
                self.files.write("store.json", _json({"format": FORMAT}))
            return
        try:
            found = json.loads(data)["format"]
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f'{self.root / "store.json"} is damaged; it should read {{"format": {FORMAT}}}') from error
        if found != FORMAT:
            raise StoreError(
                f"{self.root} was written in store format {found}, this nbsp_ray reads format {FORMAT}; "
                "use the version that wrote it, or another --root (nothing was changed)"
            )

    def phase(self, key: str) -> "PhaseFolder":
        """The folder of a phase, which need not exist yet."""
        if not KEY.fullmatch(key):
            raise StoreError(f"{key!r} is not the key of a phase (20 hex digits)")
        return PhaseFolder(self.files, key)

    def phases(self) -> list[str]:
        """Keys of all phases ever begun."""
        return [name for name in self.files.names("phases") if KEY.fullmatch(name)]

    def _read_json(self, name: str) -> JsonObject | None:
        data = self.files.read(name)
        try:
            return None if data is None else _object(data)
        except ValueError as error:
            path = self.files.path(name)
            raise StoreError(f"{path} is damaged ({error}); remove it: no result is in it") from error

    def write_sweep(self, name: str, data: Mapping[str, Any]) -> None:
        """Remember how a sweep was last run."""
        self.files.write(f"sweeps/{name}.json", _json(dict(data)))

    def read_sweep(self, name: str) -> JsonObject | None:
        """What `write_sweep` wrote."""
        return self._read_json(f"sweeps/{name}.json")

    def sweeps(self) -> list[str]:
        """Names of all sweeps ever run here."""
        return [name.removesuffix(".json") for name in self.files.names("sweeps")]

    def speeds(self) -> dict[str, float]:
        """Env steps per second measured here, by kind of phase."""
        return {kind: float(speed) for kind, speed in (self._read_json("speeds.json") or {}).items()}

    def write_speed(self, kind: str, env_steps_per_second: float) -> None:
        """Remember a measured speed."""
        self.files.write("speeds.json", _json({**self.speeds(), kind: env_steps_per_second}))

    def report_folder(self, name: str) -> Path:
        """Where the report of a sweep goes."""
        return self.files.path(f"reports/{name}")


@dataclass(frozen=True)
class Checkpoint:
    """A phase between two episodes."""

    env_steps: int
    counters: dict[str, Any]
    """JSON: everything but tensors."""
    curve: list[dict[str, Any]]
    tensors: Arrays
    rows: list[tuple[int, Array]] = field(default_factory=list[tuple[int, Array]])
    """Pieces of the replay buffer: the number of the first row, and the rows."""


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
            return _object(data)
        except ValueError as error:
            raise self._damaged(name, error) from error

    def _write_json(self, name: str, data: Any) -> None:
        self._files.write(f"{self._at}/{name}", _json(data))

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
        """Say what the phase is; the same for every attempt."""
        if not self._files.exists(f"{self._at}/spec.json"):
            self._write_json("spec.json", dict(spec))

    def spec(self) -> JsonObject | None:
        """What `write_spec` wrote."""
        return self._read_json("spec.json")

    def done(self) -> bool:
        """Whether the phase has learnt to its end (its final evaluations are records of their own)."""
        return self._files.exists(f"{self._at}/result.json")

    def result(self) -> JsonObject | None:
        """The result, or None while the phase is not done."""
        return self._read_json("result.json")

    def manifest(self) -> JsonObject | None:
        """Where, when and with what the phase was made."""
        return self._read_json("manifest.json")

    def commit(
        self,
        *,
        result: Mapping[str, Any],
        manifest: Mapping[str, Any],
        curve: Sequence[Mapping[str, Any]],
        agent: Arrays,
        prepared: Arrays,
        replay: Array | None,
        sample: Array | None,
    ) -> None:
        """End the phase: data first, `result.json` last.

        A phase that is done already stays as it is, but for a whole buffer that it lacks.
        """
        if replay is not None and not (self.done() and self.has_replay()):
            self._files.write(f"{self._at}/replay.npy", *_npy(replay))
        parts: dict[str, tuple[bytes | memoryview, ...]] = {
            "curve.jsonl": (_lines(curve),),
            "agent.safetensors": (save_safetensors(dict(agent)),),
        }
        if prepared:
            parts["prepared.safetensors"] = (save_safetensors(dict(prepared)),)
        if sample is not None:
            parts["sample.npy"] = _npy(sample)
        parts |= {"manifest.json": (_json(dict(manifest)),), "result.json": (_json(dict(result)),)}
        for name, chunks in parts.items():
            if self.done():  # another process has committed meanwhile
                return
            self._files.write(f"{self._at}/{name}", *chunks)

    def clean(self) -> None:
        """Remove what only unfinished work needs; the phase must be done."""
        if self.done():
            for name in ("attempts", "failures", "progress.json"):
                self._files.remove(f"{self._at}/{name}")
            for folder in (self._at, f"{self._at}/evaluations"):
                self._files.remove_scraps(folder)

    # What a later phase reads

    def agent(self) -> dict[str, Array] | None:
        """The final networks and optimizers, by name."""
        return self._read_arrays("agent.safetensors")

    def prepared(self) -> dict[str, Array]:
        """What the method made of the past, by name."""
        return self._read_arrays("prepared.safetensors") or {}

    def has_replay(self) -> bool:
        """Whether the whole replay buffer is kept."""
        return self._files.exists(f"{self._at}/replay.npy")

    def replay(self) -> npt.NDArray[np.float32] | None:
        """The whole replay buffer (n, width), mapped copy-on-write: trials on one machine share its memory."""
        return self._rows("replay")

    def sample(self) -> npt.NDArray[np.float32] | None:
        """Transitions drawn from the buffer (n, width)."""
        return self._rows("sample")

    def _rows(self, name: str) -> npt.NDArray[np.float32] | None:
        path = self.path / f"{name}.npy"
        try:
            return np.asarray(np.load(path, mmap_mode="c", allow_pickle=False))
        except FileNotFoundError:
            return None
        except (ValueError, EOFError) as error:
            raise self._damaged(path.name, error) from error

    def curve(self) -> list[dict[str, Any]]:
        """All rows of the curve: of the finished phase, or up to the last whole checkpoint. A torn line ends it."""
        data = self._files.read(f"{self._at}/curve.jsonl")
        if data is None:
            newest = self._checkpoint_names()[:1]
            data = self._files.read(f"{newest[0].removesuffix('.json')}.curve") if newest else b""
        rows: list[dict[str, Any]] = []
        for line in (data or b"").splitlines():
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
        """Whether that final evaluation is there."""
        return self._files.exists(f"{self._at}/evaluations/{record}.json")

    def rollouts(self, record: str) -> dict[str, Array] | None:
        """The steps of a final evaluation that kept them."""
        return self._read_arrays(f"evaluations/{record}.safetensors")

    def write_evaluation(self, record: str, data: Mapping[str, Any], rollouts: Arrays | None) -> None:
        """Keep a final evaluation; its steps first."""
        if rollouts is not None:
            self._files.write(f"{self._at}/evaluations/{record}.safetensors", save_safetensors(dict(rollouts)))
        self._write_json(f"evaluations/{record}.json", dict(data))

    # Probes

    def probe(self, record: str) -> JsonObject | None:
        """What a probe found, by its id; None if it is not there, or damaged: it can be measured again."""
        with contextlib.suppress(StoreError):
            return self._read_json(f"probes/{record}.json")
        return None

    def write_probe(self, record: str, data: Mapping[str, Any]) -> None:
        """Keep what a probe found."""
        self._write_json(f"probes/{record}.json", dict(data))

    # Unfinished work

    def write_progress(self, progress: Mapping[str, Any]) -> None:
        """Say how far the phase is."""
        data = _json({**progress, "time": time.time()})
        self._files.write(f"{self._at}/progress.json", data, durable=False)  # Nothing rests on it.

    def progress(self) -> JsonObject | None:
        """How far the phase is, with the `time` it said so; None if it never did, or is done."""
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
        return sorted(found, key=lambda name: name.rsplit("/", 1)[1], reverse=True)

    def checkpoints(self) -> Iterator["StoredCheckpoint"]:
        """Checkpoints, the furthest first; each is checked when it is read."""
        return (StoredCheckpoint(self._files, name) for name in self._checkpoint_names())


def _lines(rows: Sequence[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows).encode()


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
            manifest = _object(self._files.read(self.name) or b"")
            whole = manifest.pop("sha256") == _digest(manifest)
        except (ValueError, KeyError):
            whole = False
        if not whole:
            raise CorruptCheckpointError(f"{self._files.path(self.name)} is truncated or altered")
        return manifest

    @property
    def pieces(self) -> list[Piece]:
        """The pieces of the replay buffer."""
        return [Piece(**piece) for piece in self.manifest["pieces"]]

    def read(self) -> Checkpoint:
        """All of it, each file checked against its digest.

        Raises:
            CorruptCheckpointError: a file is missing or altered.
        """
        manifest, stem = self.manifest, self.name.removesuffix(".json")
        curve = self._checked(f"{stem}.curve", manifest["curve"])
        tensors = load_safetensors(self._checked(f"{stem}.safetensors", manifest["tensors"]))
        rows = [
            (piece.start, np.load(io.BytesIO(self._checked(piece.name, piece.sha256)), allow_pickle=False))
            for piece in self.pieces
        ]
        lines = [json.loads(line) for line in curve.splitlines()]
        return Checkpoint(manifest["env_steps"], manifest["counters"], lines, tensors, rows)

    def _checked(self, name: str, sha256: str) -> bytes:
        data = self._files.read(name)
        if data is None:
            raise CorruptCheckpointError(f"{self._files.path(name)} is missing")
        if hashlib.sha256(data).hexdigest() != sha256:
            raise CorruptCheckpointError(f"{self._files.path(name)} is truncated or altered")
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
        start = max(saved, added - capacity)
        if added > start:
            self._pieces.append(self._write_piece(start, added, rows(start, added)))
        self._pieces = [piece for piece in self._pieces if piece.end > added - capacity]
        stem = f"{self._at}/{env_steps:012d}"
        curve_bytes, tensor_bytes = _lines(curve), save_safetensors(dict(tensors))
        self._files.write(f"{stem}.curve", curve_bytes)
        self._files.write(f"{stem}.safetensors", tensor_bytes)
        manifest = {
            "env_steps": env_steps,
            "counters": dict(counters),
            "curve": hashlib.sha256(curve_bytes).hexdigest(),
            "tensors": hashlib.sha256(tensor_bytes).hexdigest(),
            "pieces": [vars(piece) for piece in self._pieces],
        }
        self._files.write(f"{stem}.json", _json(manifest | {"sha256": _digest(manifest)}))
        self._own = [*(name for name in self._own if name != stem), stem]
        for old in self._own[:-2]:
            for suffix in (".json", ".safetensors", ".curve"):
                self._files.remove(old + suffix)
        self._own = self._own[-2:]

    def _write_piece(self, start: int, end: int, rows: Array) -> Piece:
        name = f"{self._at}/rows-{start:012d}-{end:012d}.npy"
        header, body = _npy(rows)
        self._files.write(name, header, body)
        digest = hashlib.sha256(header)
        digest.update(body)
        return Piece(start, end, name, digest.hexdigest())
