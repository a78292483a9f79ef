"""Commits: how a phase becomes done, exactly once, and how what it left is told from what was altered since.

The files of a commit lie in a folder of the attempt that made it. Then one small file that names that folder, and size
and SHA-256 of all in it, is created if there is none yet: of several writers one comes first, and what the others wrote
is removed. Nothing that was committed is ever written again. A commit that turns out to be damaged is marked so, by
another file created beside it, and the next commit gets the next number: no step of this rests on a rename or a lock.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nbsp_ray.errors import DamagedPhaseError
from nbsp_ray.store.encoding import Chunk, JsonObject, from_json, sealed, to_json, unsealed
from nbsp_ray.store.files import Files, Part

RESULTS = "results"
OLD = "old"
"""In place of the number of a commit of format 1: `result.json` in the phase's folder, and no digests."""


@dataclass(frozen=True)
class Commit:
    """A finished phase."""

    key: str
    at: str
    """The folder with its files."""
    result: JsonObject
    parts: Mapping[str, Part] | None
    """Its files; None of format 1, which names none."""
    imported: JsonObject | None = None
    """The archive it came from."""

    def has(self, files: Files, name: str) -> bool:
        """Whether it has that file."""
        return files.exists(f"{self.at}/{name}") if self.parts is None else name in self.parts

    def part(self, name: str) -> Part | None:
        """What a file of it must be; None if that is not known."""
        return None if self.parts is None else self.parts[name]

    def read(self, files: Files, name: str) -> bytes | None:
        """The bytes of one of its files; None if it has no such file.

        Raises:
            DamagedPhaseError: the file is missing or altered.
        """
        data = files.read(f"{self.at}/{name}") if self.parts is None or name in self.parts else None
        if self.parts is None or name not in self.parts:
            return data
        wrong = "it is missing" if data is None else self.parts[name].check(data)
        if wrong is not None:
            raise self.damaged(files, name, wrong)
        return data

    def damaged(self, files: Files, name: str, why: str) -> DamagedPhaseError:
        """What to raise."""
        return DamagedPhaseError(self.key, files.called(f"{self.at}/{name}"), why)


class Commits:
    """The commits of one phase.

    `<stem>.json`, where the stem is `results/<key>.<number>`, is the one in force if nothing else of its stem says that
    it is damaged; `<stem>.buffer.json` adds a replay buffer that it was made without.
    """

    def __init__(self, files: Files, key: str) -> None:
        self._files, self.key = files, key
        self._at = f"phases/{key}"
        self._stem: str | None = None
        self._found: Commit | None = None

    @property
    def stem(self) -> str:
        """Of the commit in force, or of the one to be made."""
        if self._stem is not None:
            return self._stem
        old = f"{RESULTS}/{self.key}.{OLD}"
        is_old = self._files.may_be_old and self._files.exists(f"{self._at}/result.json")
        if is_old and not self._files.exists(f"{old}.damaged.json"):
            return old
        number = 0
        while self._files.exists(f"{RESULTS}/{self.key}.{number}.damaged.json"):
            number += 1
        return f"{RESULTS}/{self.key}.{number}"

    def done(self) -> bool:
        """Whether there is one in force."""
        stem = self.stem
        if stem.endswith(OLD) or self._files.exists(f"{stem}.json"):
            self._stem = stem
        return self._stem is not None

    def find(self) -> Commit | None:
        """The one in force; None if the phase is not done.

        Raises:
            DamagedPhaseError: the file that names it is altered.
        """
        if self._found is None:
            stem = self.stem
            self._found = self._read_old() if stem.endswith(OLD) else self._read(f"{stem}.json")
            self._stem = stem if self._found else None
        return self._found

    def _read_old(self) -> Commit | None:
        data = self._files.read(f"{self._at}/result.json")
        origin = self._files.read(f"{self._at}/imported.json")
        try:
            imported = None if origin is None else from_json(origin)
            return None if data is None else Commit(self.key, self._at, from_json(data), None, imported)
        except ValueError as error:
            raise self._damaged(f"{self._at}/result.json", error) from error

    def _read(self, name: str) -> Commit | None:
        data = self._files.read(name)
        if data is None:
            return None
        try:
            found = unsealed(data)
            at, parts = f"{self._at}/commits/{found['attempt']}", parts_of(found["files"])
            return Commit(self.key, at, dict(found["result"]), parts, found.get("imported"))
        except (ValueError, KeyError, TypeError) as error:
            raise self._damaged(name, error) from error

    def _damaged(self, name: str, error: Exception) -> DamagedPhaseError:
        return DamagedPhaseError(self.key, self._files.called(name), str(error))

    def make(
        self, result: Mapping[str, Any], contents: Mapping[str, Sequence[Chunk]], imported: JsonObject | None = None
    ) -> bool:
        """Commit, if nobody has; whether it is now this result that is in force.

        Args:
            result: What came of the phase.
            contents: Bytes of each file.
            imported: The archive it came from.

        Raises:
            ValueError: the result is no JSON.
        """
        stem, head = self.stem, {"result": dict(result)} | ({} if imported is None else {"imported": imported})
        to_json(head)
        if imported is not None:  # Beforehand, so that one listing shows which phases were imported.
            self._files.write(f"{stem}.imported.json", to_json(imported))
        won = self._publish(f"{stem}.json", head, contents)
        if won:
            self._remove_late()
        return won

    def add_buffer(self, chunks: Sequence[Chunk]) -> None:
        """Add the replay buffer that the commit in force lacks."""
        self._publish(f"{self.stem}.buffer.json", {}, {"replay.npy": chunks})

    def _publish(self, name: str, head: Mapping[str, Any], contents: Mapping[str, Sequence[Chunk]]) -> bool:
        attempt = uuid.uuid4().hex[:12]
        at, parts = f"{self._at}/commits/{attempt}", dict[str, Part]()
        try:
            for file, chunks in contents.items():
                if self._files.exists(name):  # Another process has committed meanwhile.
                    break
                self._files.write(f"{at}/{file}", *chunks)
                parts[file] = Part.of(chunks)
            else:
                self._files.settle(at)
                listed = {file: vars(part) for file, part in parts.items()}
                if self._files.create(name, sealed({"key": self.key, "attempt": attempt, **head, "files": listed})):
                    return True
        except OSError:
            # It may have removed what came too late, while that was being written.
            if not self._files.exists(name):
                self._files.remove(at)
                raise
        self._files.remove(at)
        return False

    def buffer(self) -> tuple[str, Part | None] | None:
        """Name and digest of the replay buffer; None if the commit in force was made without."""
        commit, stem = self.find(), self.stem
        if commit is None:
            return None
        if commit.has(self._files, "replay.npy"):
            return f"{commit.at}/replay.npy", commit.part("replay.npy")
        added = self._files.read(f"{stem}.buffer.json")
        if added is None:
            return None
        try:
            found = unsealed(added)
            return f"{self._at}/commits/{found['attempt']}/replay.npy", parts_of(found["files"])["replay.npy"]
        except (ValueError, KeyError, TypeError) as error:
            raise self._damaged(f"{stem}.buffer.json", error) from error

    def freed(self) -> bool:
        """Whether the replay buffer was let go, as nobody needed it."""
        return self._files.exists(f"{self.stem}.freed.json")

    def imported(self) -> JsonObject | None:
        """The archive that the commit in force came from."""
        old = self._files.may_be_old and self.stem.endswith(OLD) and self._files.exists(f"{self._at}/imported.json")
        if not old and not self._files.exists(f"{self.stem}.imported.json"):
            return None
        commit = self.find()
        return None if commit is None else commit.imported

    def set_aside(self, damage: Mapping[str, Any]) -> None:
        """Mark the commit in force as damaged: the phase is not done any more, and its files stay for inspection."""
        if self.done():
            self._files.create(f"{self.stem}.damaged.json", to_json(dict(damage)))
        self._stem = self._found = None

    def aside(self) -> list[JsonObject]:
        """Why commits were set aside, oldest first."""
        found: list[JsonObject] = []
        for stem in self._earlier():
            data = self._files.read(f"{stem}.damaged.json")
            if data is not None:
                try:
                    found.append(from_json(data))
                except ValueError:
                    found.append({"why": "it was damaged"})
        return found

    def _earlier(self) -> list[str]:
        """Stems of the commits before the one in force."""
        number = self.stem.rpartition(".")[2]
        before = [] if number == OLD else [OLD, *range(int(number))]
        return [f"{RESULTS}/{self.key}.{one}" for one in before]

    def unnamed(self) -> list[str]:
        """Folders of attempts that no commit names: of writers that were late, or killed; or are still at work."""
        named = set[str]()
        for stem in (*self._earlier(), self.stem):
            for name in (f"{stem}.json", f"{stem}.buffer.json"):
                data = self._files.read(name)
                try:
                    named |= set() if data is None else {str(from_json(data).get("attempt"))}
                except ValueError:  # One of them is its own: all are kept.
                    return []
        return [f"{self._at}/commits/{one}" for one in self._files.names(f"{self._at}/commits") if one not in named]

    def damaged_folders(self) -> list[str]:
        """Folders of the attempts whose commits were set aside."""
        at = f"{self._at}/commits"
        kept = {self._named(self.stem + end) for end in (".json", ".buffer.json")}
        found = {self._named(stem + end) for stem in self._earlier() for end in (".json", ".buffer.json")}
        return [f"{at}/{one}" for one in sorted(found - kept) if one and self._files.exists(f"{at}/{one}")]

    def _named(self, name: str) -> str:
        """The attempt that a commit names, if it can be read."""
        data = self._files.read(name)
        try:
            found = str(from_json(data or b"").get("attempt") or "")
        except ValueError:
            return ""
        return found if found.isalnum() else ""

    def _remove_late(self) -> None:
        """What others have written of a commit that comes too late."""
        for folder in self.unnamed():
            self._files.remove(folder)


def parts_of(listed: Mapping[str, Any]) -> dict[str, Part]:
    """Files and their digests, as JSON has them.

    Raises:
        TypeError: that is not what it has.
    """
    return {str(name): Part(**part) for name, part in listed.items()}
