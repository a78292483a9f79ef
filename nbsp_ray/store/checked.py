"""What of a results root was found whole, so that it is not read again as long as nothing is written.

Sizes and times of files say whether they were: a listing tells them of many files at once, where reading each is slow.
What is kept is a help that may be removed at any time: all is looked at again then. Whoever reads weights, buffers and
results for their numbers checks their digests as ever.
"""

import contextlib
import hashlib
import json
import uuid
from collections import defaultdict
from collections.abc import Iterable

from nbsp_ray.store.files import Files

INDEX = "checked.json"


class Checked:
    """The phases of a root that were found whole, by what their files looked like then.

    Args:
        files: The root.
        folders: Those whose entries are named by a key and a dot.
        parts: Files in the folders of commits that are looked at too.
    """

    def __init__(self, files: Files, folders: Iterable[str], parts: Iterable[str]) -> None:
        self._files, self._parts = files, tuple(parts)
        self._path = files.root / INDEX
        self._known: dict[str, str] = {}
        self._new: dict[str, str] = {}
        self._looks: dict[str, str | None] = {}
        with contextlib.suppress(OSError, ValueError, TypeError):
            self._known = dict(json.loads(self._path.read_bytes()))
        self._beside = defaultdict[str, list[tuple[str, str]]](list)
        for folder in folders:
            for name, found in sorted(files.walk(folder).items()):
                self._beside[name.split("/")[1].partition(".")[0]].append((name, found.stamp))

    def is_known(self, key: str) -> bool:
        """Whether the phase was found whole, and nothing of it was written since."""
        self._looks[key] = self._look(key)
        return self._looks[key] is not None and self._known.get(key) == self._looks[key]

    def add(self, key: str) -> None:
        """The phase was found whole, as its files were when it was asked whether it is known."""
        looks = self._looks.get(key)
        if looks is not None:
            self._new[key] = looks

    def _look(self, key: str) -> str | None:
        beside = self._beside.get(key)
        if not beside:
            return None
        at = f"phases/{key}/commits"
        inside = [
            (name, stamp)
            for commit in self._files.names(at)
            for name, stamp in self._files.stamps(f"{at}/{commit}", self._parts).items()
        ]
        return hashlib.sha256(repr((beside, inside)).encode()).hexdigest()[:20]

    def save(self) -> None:
        """Keep what was found; of several at once the last one does."""
        if not self._new:
            return
        temporary = self._path.with_name(f".{INDEX}.{uuid.uuid4().hex[:8]}")
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(self._known | self._new))
            temporary.replace(self._path)
