"""The store: one folder per phase, named by its key; the only code that knows file names (this folder).

    <root>/store.json                           the format, so that an incompatible version stops at the door
    <root>/sweeps/<name>.json                   how a sweep was last run
    <root>/searches/<id>.json                   numbers of skill neurons that a search has chosen so far
    <root>/checked.json                         which phases were found whole; a help, which may be removed
    <root>/speeds.json                          speeds measured here, for prices
    <root>/reports/<name>/...                   what `report` wrote
    <root>/results/<key>.<n>.json               written last: the phase is done if and only if it is there. What came of
                                                the phase, and which files, of what size and SHA-256, are its own
                              .damaged.json     that commit was found damaged, and does not count; the next one is n + 1
                              .buffer.json      names a replay buffer that was added later
                              .freed.json       its replay buffer was let go, as nobody needed it any more
                              .imported.json    it came from an archive: which one
    <root>/evaluations/<key>.<n>/<id>.json      final evaluations of that commit
    <root>/drivers/<id>.json                    a process that hands out phases, and renews this file
    <root>/phases/<key>/spec.json               what the phase is
                       /commits/<id>/...        the files of a commit, in a folder of the attempt that made it:
                           manifest.json        where, when and with what it was made
                           spec.json            what the phase is, once more: checked like all of them
                           curve.jsonl          every evaluation and training episode
                           agent.safetensors    the final networks and optimizers
                           replay.npy           the whole buffer, of a first phase and where a later one replays it
                           sample.npy           a sample of the buffer of a later phase
                           prepared.safetensors what the method made of the past (masks, scores)
                       /evaluations/...         steps of final evaluations that were kept
                       /probes/<id>.json        what a probe of the phase found
                       /leases/<n>.json         who works on it: claims, the last of which holds while its driver renews
                       /progress.json           how far it is; advice for `status`, nothing rests on it
                       /attempts/<id>/...       checkpoints of unfinished work, removed when the phase is done
                       /unfinished/<id>.json    episodes of a final evaluation under way, removed then too
                       /failures/<id>.json      attempts that failed, with their traceback

Every file is written whole and then named, so a reader never sees half of one. Attempts never share a file; what makes
something of theirs valid is created exclusively, so the first one wins, and nothing is committed twice. What is read of
a finished phase is checked against its digest. All file access goes through `Files`, which an object store has too
(`store.objects`). No torch, no Ray, no pickle.

Format 1, which is read too: `result.json` and the files of the commit lie in the phase's folder, with
`evaluations/<id>.json`, and have no digests; `imported.json` says which archive the phase came from.
"""

import copy
import re
import tempfile
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from nbsp_ray.errors import DamagedPhaseError, StoreError
from nbsp_ray.folders import existing, is_address, local
from nbsp_ray.store.checked import Checked
from nbsp_ray.store.checkpoints import Attempt, Checkpoint, StoredCheckpoint
from nbsp_ray.store.commits import RESULTS
from nbsp_ray.store.encoding import JsonObject, from_json, to_json
from nbsp_ray.store.files import READING_PATIENCE, WORKING_PATIENCE, Files, why
from nbsp_ray.store.phases import EVALUATIONS, PHASES, REPORTED, PhaseFolder
from nbsp_ray.store.portable import Portable

__all__ = [
    "DEFAULT_ROOT",
    "FORMAT",
    "REPORTED",
    "Attempt",
    "Checkpoint",
    "Files",
    "PhaseFolder",
    "Portable",
    "Store",
    "StoredCheckpoint",
]

FORMAT = 2
READABLE = (1, FORMAT)
DEFAULT_ROOT = "results"
"""The results root of commands that name no other."""
KEY = re.compile(r"[0-9a-f]{20}")


class Store:
    """A results root.

    Args:
        root: Its folder, or the address of an object store (`s3://bucket/prefix`).
        create: Whether it is to be made, and written.
        patience: Seconds that each call to the storage may fail; by default minutes with `create`, else seconds.

    Raises:
        StoreError: the root was written by an incompatible version, or (with `create`) cannot be written.
    """

    def __init__(self, root: str | Path, *, create: bool = False, patience: float | None = None) -> None:
        self.files = _files_at(root)
        self.root = self.files.root
        """Its folder; of an object store, that of this machine with copies of it, where reports are written too."""
        self.address = self.files.address
        """What users call it, and other machines too."""
        if create:
            self._check_writable()
        self._check_format(create=create)
        self.files.patience = patience or (WORKING_PATIENCE if create else READING_PATIENCE)

    def snapshot(
        self,
        keys: Collection[str] = (),
        *,
        evaluations: Collection[tuple[str, str]] | None = (),
        parts: Collection[str] = (),
        whole: bool = False,
    ) -> "Store":
        """The same root, to be read as it is at this moment: it spares requests where they are slow.

        Args:
            keys: Phases whose results will be read.
            evaluations: Final evaluations that will be read too: phase and id; None means all of these phases.
            parts: Files of their commits that will be read too.
            whole: Everything below `phases` is asked for, and not results and evaluations alone.
        """
        folders = (RESULTS, EVALUATIONS, PHASES) if whole else (RESULTS, EVALUATIONS)
        files = self.files.snapshot(*folders, entries=() if whole else (PHASES,))
        if files is self.files:
            return self
        now, own = copy.copy(self), set(keys)
        now.files = files
        names = [name for folder in (RESULTS, EVALUATIONS) for name in files.walk(folder)]

        def is_read(name: str) -> bool:
            folder, numbered, *record = name.removesuffix(".json").split("/")
            key = numbered.partition(".")[0]
            return key in own if folder == RESULTS or evaluations is None else (key, *record) in evaluations

        files.fetch(filter(is_read, names))
        if parts:
            files.fetch(name for key in keys for name in now.phase(key).parts(parts))
        return now

    def fetch_progress(self, keys: Iterable[str]) -> None:
        """Of a snapshot: read side by side how far these phases are."""
        self.files.fetch(f"{PHASES}/{key}/progress.json" for key in keys)

    def _check_writable(self) -> None:
        try:
            self.files.check()
        except OSError as error:
            raise self._unwritable(error) from error

    def check_can_be_written(self) -> None:
        """The results root can be made, or written; nothing is left there.

        Raises:
            StoreError: it cannot, as one that was opened with `create` says too.
        """
        if is_address(self.address):
            return  # It was read a moment ago, and cannot be asked more without writing.
        try:
            tempfile.TemporaryFile(dir=existing(self.root)).close()
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> StoreError:
        return StoreError(f"the results root {self.address} cannot be written: {why(error)}; name another with --root")

    def _check_format(self, *, create: bool) -> None:
        data = self.files.read("store.json")
        found = None if data is None else self._format(data)
        if create and found != FORMAT:
            # From here on an older version, which would not see what is committed, stops at the door.
            self.files.write("store.json", to_json({"format": FORMAT}))
        if create or found is not None:
            self.files.guard = "store.json"

    def _format(self, data: bytes) -> int:
        try:
            found = from_json(data)["format"]
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f'{self.files.called("store.json")} is damaged; it should read {{"format": {FORMAT}}}'
            ) from error
        if found not in READABLE:
            raise StoreError(
                f"{self.address} was written in store format {found}, this nbsp_ray reads format {FORMAT}; "
                "use the version that wrote it, or another --root (nothing was changed)"
            )
        return int(found)

    def phase(self, key: str) -> "PhaseFolder":
        """The folder of a phase, which need not exist yet."""
        if not KEY.fullmatch(key):
            raise StoreError(f"{key!r} is not the key of a phase (20 hex digits)")
        return PhaseFolder(self.files, key)

    def portable(self, key: str) -> "Portable":
        """What of a phase travels to another results root."""
        return Portable(self.files, self.phase(key).key)

    def phases(self) -> list[str]:
        """Keys of all phases ever begun."""
        return [name for name in self.files.names("phases") if KEY.fullmatch(name)]

    def set_aside(self) -> dict[str, int]:
        """How many results of a phase were damaged and set aside, by its key, of those of which any was."""
        names = (name.split(".") for name in self.files.names(RESULTS))
        return Counter(name[0] for name in names if name[-2:] == ["damaged", "json"])

    def mend(self, keys: Iterable[str]) -> list[str]:
        """Set aside what is damaged of finished phases, so that it is made anew; a sentence for each.

        All that reports read is looked at, but for what was whole and was not written since. Weights and buffers are
        checked by whoever reads them: they are large.
        """
        said: list[str] = []
        keys = list(keys)
        now = self.snapshot(keys, evaluations=None, parts=REPORTED, whole=True)
        checked = Checked(now.files, (RESULTS, EVALUATIONS), REPORTED)
        for key in keys:
            if checked.is_known(key):
                continue
            error = now._damage(key)
            if error is None:
                checked.add(key)
            while error is not None:
                self.phase(key).set_aside(error)
                made = (
                    f"phase {key} is trained"
                    if error.record is None
                    else f"evaluation {error.record} of {key} is played"
                )
                said.append(f"{error.file} is damaged ({error.why}): it is set aside, and {made} anew")
                error = self._damage(key)
        checked.save()
        return said

    def _damage(self, key: str) -> DamagedPhaseError | None:
        folder = self.phase(key)
        try:
            if folder.result() is not None:
                folder.manifest()
                folder.curve()
                for record in folder.evaluations():
                    folder.evaluation(record)
        except DamagedPhaseError as error:
            return error
        return None

    def find(self, begun: str) -> str:
        """The one key of a phase that begins so, as reports abbreviate it.

        Raises:
            StoreError: there is none, or there are several.
        """
        found = [key for key in self.phases() if key.startswith(begun)] if begun else []
        if len(found) == 1:
            return found[0]
        if found:
            raise StoreError(
                f"{begun!r} begins {len(found)} keys in {self.address}; give more digits: {', '.join(found[:5])}"
            )
        raise StoreError(
            f"{self.address} has no phase {begun!r}; the table `Every trial` of a report has the keys, and --root "
            "names another results root"
        )

    def _read_json(self, name: str) -> JsonObject | None:
        data = self.files.read(name)
        try:
            return None if data is None else from_json(data)
        except ValueError as error:
            path = self.files.called(name)
            raise StoreError(f"{path} is damaged ({error}); remove it: no result is in it") from error

    def write_sweep(self, name: str, data: Mapping[str, Any]) -> None:
        """Remember how a sweep was last run."""
        self.files.write(f"sweeps/{name}.json", to_json(dict(data)))

    def read_sweep(self, name: str) -> JsonObject | None:
        """The data that `write_sweep` wrote; None if that sweep was never run here."""
        return self._read_json(f"sweeps/{name}.json")

    def sweeps(self) -> list[str]:
        """Names of all sweeps ever run here."""
        return [name.removesuffix(".json") for name in self.files.names("sweeps") if name.endswith(".json")]

    def damaged_phase(self, key: str) -> StoreError:
        """What to say of a phase's folder without a spec."""
        path = self.phase(key).called
        return StoreError(f"{path} has no spec.json: it was not written to its end; remove the folder and run again")

    def write_search(self, search: str, data: Mapping[str, Any]) -> None:
        """Remember what a search has chosen."""
        self.files.write(f"searches/{search}.json", to_json(dict(data)))

    def read_search(self, search: str) -> JsonObject | None:
        """The data that `write_search` wrote; None if that search has chosen nothing."""
        return self._read_json(f"searches/{search}.json")

    def speeds(self) -> dict[str, JsonObject]:
        """Speeds measured here, by kind of phase: `env_steps_per_second`, and how it was measured."""
        found = self._read_json("speeds.json") or {}
        return {kind: one if isinstance(one, dict) else {"env_steps_per_second": one} for kind, one in found.items()}

    def write_speed(self, kind: str, data: Mapping[str, Any]) -> None:
        """Remember a measured speed: its `env_steps_per_second`, and how it was measured."""
        self.files.write("speeds.json", to_json({**self.speeds(), kind: dict(data)}))

    def report_folder(self, name: str) -> Path:
        """The folder of a sweep's report."""
        return self.files.path(f"reports/{name}")


def _files_at(root: str | Path) -> Files:
    if is_address(root):
        from nbsp_ray.store.objects import ObjectFiles

        return ObjectFiles(str(root), patience=READING_PATIENCE)
    return Files(local(root).absolute(), patience=READING_PATIENCE)
