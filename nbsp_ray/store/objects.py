"""Files in an object store: S3 and what speaks its language, or whatever else fsspec writes to.

What was said of files on a disk holds here as well, by other means: an object is put whole or not at all; of several
writers one creates it, by a conditional put (`If-None-Match: *`), without which a store is refused at the start. There
are no folders and no links. A request takes tens of milliseconds and costs money: so readers take a `snapshot` (one
listing for 1,000 files), read side by side, and keep copies on this machine, which are checked when they are read again
and may be removed at any time. Files of commits never change; of others the listing tells whether they have.
"""

import contextlib
import copy
import errno
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock

from nbsp_ray.errors import ConfigError, NbspError, StoreError
from nbsp_ray.folders import mirror_folder
from nbsp_ray.store.encoding import Chunk
from nbsp_ray.store.files import READING_PATIENCE, Files, Found, Part, why
from nbsp_ray.store.mirror import COMMITTED, Mirror

Answer = TypeVar("Answer")
EXTRAS = {"s3": "s3", "s3a": "s3"}
"""Of this package, by the protocol that needs it."""
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    # It is `Files` that tries again, and says so: what lies below must not do so for minutes in silence. With more than
    # one part at a time, s3fs would ask for the size of whatever is read.
    "s3": {
        "config_kwargs": {"retries": {"total_max_attempts": 1}, "connect_timeout": 5, "read_timeout": 60},
        "max_concurrency": 1,
    },
}
ALONE = ("memory", "http", "https", "data", "simplecache", "filecache", "blockcache")
"""Protocols of what other machines do not see, or nobody writes."""
STREAMED_BYTES = 2**26
"""What is larger is sent in parts, so that it is not held twice."""
SLICE_BYTES = 2**24
PACE_SECONDS = 15.0
SIDE_BY_SIDE = 500
LISTED = 1_000
"""Names in one answer of a listing: the most that S3 gives."""


class ObjectFiles(Files):
    """A tree of files in an object store.

    Args:
        address: `protocol://bucket/prefix`; endpoint and credentials come from the environment, as the store's own
            tools take them (AWS_ENDPOINT_URL, AWS_PROFILE, ...), or from fsspec's configuration.
        patience: Seconds that a call may fail in a row.

    Raises:
        ConfigError: there is no such protocol, or what it needs is not installed.
        StoreError: by every method: the store does not let this process in, or has no such bucket.
    """

    may_be_old = False
    pace = PACE_SECONDS

    def __init__(self, address: str, *, patience: float = READING_PATIENCE) -> None:
        address = address.rstrip("/")
        self._protocol, _, self._base = address.partition("://")
        if not self._base:
            raise ConfigError(f"{address} names no bucket: give {self._protocol}://bucket/prefix")
        self._fs = _file_system(self._protocol, address)
        super().__init__(mirror_folder(address), patience=patience)
        self.address = address
        self._mirror = Mirror(self.root)
        self._folders: tuple[str, ...] | None = None
        """Of a snapshot: those that were listed."""
        self._listed: Mapping[str, Found] = {}
        """What there was in them."""
        self._below: Mapping[str, set[str]] = {}
        self._entries: Mapping[str, set[str]] = {}
        self._fetched: dict[str, bytes | None] = {}

    def is_there(self) -> bool:
        """Whether anything was written there."""
        return self.exists("store.json")

    def check(self) -> None:
        """The store can be written, and refuses to create an object that is there.

        Raises:
            OSError: it cannot.
            StoreError: it has no conditional put.
        """
        probe = f"probe-{uuid.uuid4().hex[:8]}"
        try:
            self.create(probe, b"one")
            second = self.create(probe, b"another")
        except NotImplementedError as error:
            raise StoreError(f"{self.address} cannot be written ({why(error)}): name another with --root") from error
        finally:
            with contextlib.suppress(NbspError, OSError, NotImplementedError):
                self.remove(probe)
        if second:
            raise StoreError(
                f"the store of {self.address} has no conditional put (If-None-Match), by which one of several writers "
                "comes first: use one that has it (S3 and current versions of MinIO, Ceph and others do), or a folder"
            )

    # Snapshots

    def snapshot(self, *folders: str, entries: Sequence[str] = ()) -> "ObjectFiles":
        """The same files, of which those in these folders are as one listing has them."""
        now = copy.copy(self)
        now._fetched = {}
        now._entries = {folder: set(self.names(folder)) for folder in entries}
        now._listed = {name: found for folder in folders for name, found in self.walk(folder).items()}
        now._folders = tuple(f"{folder}/" for folder in folders)
        below = defaultdict[str, set[str]](set)
        for name in now._listed:
            while "/" in name:
                folder, _, last = name.rpartition("/")
                if last in below[folder]:
                    break
                below[folder].add(last)
                name = folder
        now._below = below
        return now

    def fetch(self, names: Iterable[str]) -> None:
        """Read these of a snapshot's files side by side, but for those of which this machine has copies."""
        wanted = [name for name in names if self._copy(name) is None]
        for begin in range(0, len(wanted), SIDE_BY_SIDE):
            left = dict.fromkeys(wanted[begin : begin + SIDE_BY_SIDE])
            self._patiently(wanted[begin], partial(self._get_all, left))
        if wanted:
            self._mirror.save()

    def _get_all(self, left: dict[str, None]) -> None:
        """Read all that is left; what has come is left no more, whatever becomes of the rest."""
        paths = {name: self._at(name) for name in left}
        got = self._ask(lambda: self._fs.cat(list(paths.values()), on_error="return"))
        if not isinstance(got, Mapping):  # Of one file, the bytes alone.
            got = dict.fromkeys(paths.values(), got)
        failed: Exception | None = None
        for name, path in paths.items():
            data = got[path]
            if isinstance(data, Exception) and not isinstance(data, FileNotFoundError):
                failed = data
                continue
            del left[name]
            if self._stamp(name) is None:
                self._fetched[name] = data if isinstance(data, bytes) else None
            elif isinstance(data, bytes):
                self._keep(name, data)
        if failed is not None:
            self._ask(partial(_raise, failed))

    def _knows(self, name: str) -> bool:
        return self._folders is not None and name.startswith(self._folders)

    def _stamp(self, name: str) -> str | None:
        """What a copy of a file must bear; None if a copy cannot be relied on."""
        if self._folders is None:
            return None
        if self._knows(name):
            found = self._listed.get(name)
            return None if found is None else found.stamp
        return COMMITTED if name.split("/")[2:3] == ["commits"] else None

    def _copy(self, name: str) -> bytes | None:
        stamp = self._stamp(name)
        return None if stamp is None else self._mirror.read(name, stamp)

    def _is_absent(self, name: str) -> bool:
        """Whether a snapshot knows that there is no such file, nor anything below it."""
        folder, _, rest = name.partition("/")
        entries = self._entries.get(folder)
        return entries is not None and bool(rest) and rest.partition("/")[0] not in entries

    def _keep(self, name: str, data: bytes) -> None:
        stamp = self._stamp(name)
        if stamp is not None:
            self._mirror.write(name, stamp, data)

    # How it is done

    def _at(self, name: str) -> str:
        return f"{self._base}/{name}"

    def _ask(self, act: Callable[[], Answer]) -> Answer:
        """Whatever the store says, as an OSError, or as a sentence if waiting does not mend it."""
        try:
            return act()
        except (FileNotFoundError, FileExistsError) as error:
            if _code(error) == "NoSuchBucket":
                bucket = self._base.partition("/")[0]
                raise StoreError(f"there is no bucket {bucket}: make it, or name another with --root") from error
            raise
        except PermissionError as error:
            raise StoreError(self._refused(why(error))) from error
        except OSError as error:
            code = _code(error)
            if code in ("PreconditionFailed", "412"):  # Of S3 itself, s3fs says so; others do not name the condition.
                raise FileExistsError(errno.EEXIST, why(error)) from error
            if code and not error.strerror:
                raise OSError(error.errno or errno.EIO, code) from error
            raise
        except Exception as error:
            if "Credentials" in type(error).__name__ or "Token" in type(error).__name__:
                raise StoreError(self._refused(why(error))) from error
            if type(error).__module__.partition(".")[0] in ("botocore", "aiobotocore", "aiohttp", "asyncio", "fsspec"):
                raise OSError(errno.ECONNABORTED, why(error)) from error
            raise

    def _refused(self, reason: str) -> str:
        return (
            f"{self.address} does not let this process in ({reason}): give it credentials, as the store's own tools "
            "take them (of S3: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or the machine's role; the "
            "address of another store than Amazon's in AWS_ENDPOINT_URL)"
        )

    def _write(self, name: str, chunks: Sequence[Chunk], *, durable: bool) -> None:
        if sum(len(chunk) for chunk in chunks) <= STREAMED_BYTES:
            self._ask(lambda: self._fs.pipe_file(self._at(name), b"".join(chunks)))
        else:
            self._ask(lambda: self._stream(name, chunks))

    def _stream(self, name: str, chunks: Sequence[Chunk]) -> None:
        file = self._fs.open(self._at(name), "wb", block_size=STREAMED_BYTES)
        try:
            for chunk in chunks:
                whole = memoryview(chunk)
                for begin in range(0, len(whole), SLICE_BYTES):
                    file.write(whole[begin : begin + SLICE_BYTES])
        except BaseException:
            file.discard()  # To close it would make an object of half of it.
            file.closed = True
            raise
        file.close()

    def _create(self, name: str, chunks: Sequence[Chunk]) -> bool:
        data = b"".join(chunks)
        try:
            self._ask(lambda: self._fs.pipe_file(self._at(name), data, mode="create"))
        except FileExistsError:
            # An answer may have been lost on its way: then it is our own.
            return self._get(name) == data
        return True

    def _get(self, name: str) -> bytes | None:
        try:
            return bytes(self._ask(lambda: self._fs.cat_file(self._at(name))))
        except FileNotFoundError:
            return None

    def _read(self, name: str) -> bytes | None:
        if self._is_absent(name) or (self._knows(name) and not self._exists(name)):
            return None
        if name in self._fetched:
            return self._fetched[name]
        found = self._copy(name)
        if found is None:
            found = self._get(name)
            if found is not None:
                self._keep(name, found)
        return found

    def _names(self, folder: str) -> list[str]:
        if self._knows(f"{folder}/"):
            return sorted(self._below.get(folder, ()))
        if folder in self._entries:
            return sorted(self._entries[folder])
        if self._is_absent(folder):
            return []
        if self._protocol in EXTRAS:
            files, folders = self._list(f"{folder}/", "/")
            inside = {name.rpartition("/")[2] for name in files} | {name.split("/")[-2] for name in folders}
            return sorted(name for name in inside if name and not name.startswith("."))
        at = self._at(folder)
        try:
            paths = self._ask(lambda: self._fs.ls(at, detail=False))
        except FileNotFoundError:
            return []
        found = {str(path).rstrip("/").rpartition("/")[2] for path in paths if str(path).rstrip("/") != at}
        return sorted(name for name in found if name and not name.startswith("."))

    def _list(self, start: str, delimiter: str = "") -> tuple[dict[str, Mapping[str, Any]], list[str]]:
        """Of S3: all files whose names begin so, and the folders among them; what fsspec offers asks more than once."""
        bucket, _, base = f"{self._base}/".partition("/")
        asked: dict[str, Any] = {"Bucket": bucket, "Prefix": base + start, "MaxKeys": LISTED}
        asked |= {"Delimiter": delimiter} if delimiter else {}
        files: dict[str, Mapping[str, Any]] = {}
        folders: list[str] = []
        while True:
            page: Mapping[str, Any] = self._ask(lambda: self._fs.call_s3("list_objects_v2", **asked))
            files |= {str(one["Key"]).removeprefix(base): one for one in page.get("Contents") or ()}
            folders += [str(one["Prefix"]).removeprefix(base) for one in page.get("CommonPrefixes") or ()]
            if not page.get("IsTruncated"):
                return files, folders
            asked["ContinuationToken"] = page["NextContinuationToken"]

    def _exists(self, name: str) -> bool:
        if self._knows(name):
            return name in self._listed or name in self._below
        return not self._is_absent(name) and self._info(name) is not None

    def _info(self, name: str) -> Mapping[str, Any] | None:
        """Of one file, by one request where a protocol's own way is known."""
        at = self._at(name)
        try:
            if self._protocol in EXTRAS:
                bucket, _, key = at.partition("/")
                head: Mapping[str, Any] = self._ask(lambda: self._fs.call_s3("head_object", Bucket=bucket, Key=key))
                return {"LastModified": head["LastModified"]}
            found: Mapping[str, Any] = self._ask(lambda: self._fs.info(at))
        except FileNotFoundError:
            return None
        except OSError as error:
            if _code(error) in ("404", "NoSuchKey"):
                return None
            raise
        return found if found.get("type", "file") == "file" else None

    def _changed(self, name: str) -> float | None:
        if self._knows(name):
            found = self._listed.get(name)
            return None if found is None else found.changed
        info = self._info(name)
        return None if info is None else _found(info).changed

    def _remove(self, name: str) -> None:
        """The object of that name, and all below it."""
        with contextlib.suppress(FileNotFoundError):
            self._ask(lambda: self._fs.rm_file(self._at(name)))
        if "." in name.rpartition("/")[2]:
            return  # No folder is called so, and to look costs a listing.
        inside = list(self._walk(name, ""))
        if inside:
            with contextlib.suppress(FileNotFoundError):
                self._ask(lambda: self._fs.rm([self._at(one) for one in inside]))

    def _walk(self, folder: str, beginning: str) -> dict[str, Found]:
        start = f"{folder}/{beginning}"
        if self._knows(f"{folder}/"):
            known: dict[str, Found] = {}
            left = [f"{folder}/{name}" for name in self._below.get(folder, ()) if name.startswith(beginning)]
            while left:
                name = left.pop()
                left += [f"{name}/{one}" for one in self._below.get(name, ())]
                if name in self._listed:
                    known[name] = self._listed[name]
            return known
        if self._protocol in EXTRAS:
            return {name: _found(info) for name, info in self._list(start)[0].items()}
        try:
            listed = self._ask(lambda: self._fs.find(self._at(folder), prefix=beginning, detail=True))
        except FileNotFoundError:
            return {}
        skip = len(self._base) + 1
        found = {str(path)[skip:]: _found(info) for path, info in listed.items() if info.get("type") == "file"}
        return {name: one for name, one in found.items() if name.startswith(start)}

    def _stamps(self, folder: str, names: Iterable[str]) -> dict[str, str]:
        inside = self._walk(folder, "")
        return {name: inside[at].stamp for name in names if (at := f"{folder}/{name}") in inside}

    def _settle(self, folder: str) -> None: ...

    def scraps(self) -> dict[str, Found]:
        """None: nothing is ever half written."""
        return {}

    def remove_scraps(self, folder: str) -> None:
        """There are none."""

    def _local(self, name: str, part: Part | None) -> Path | None:
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Of the phases that start on this machine side by side, one downloads what all read.
        with FileLock(path.with_name(f".{path.name}.lock")):
            if path.exists():
                with contextlib.suppress(ValueError):
                    return super()._local(name, part) if part is not None else self._download(name, part)
            return self._download(name, part)

    def _download(self, name: str, part: Part | None) -> Path | None:
        path = self.path(name)
        if part is not None:
            self._mirror.make_room(part.bytes)
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
        try:
            self._ask(lambda: self._fs.get_file(self._at(name), str(temporary)))
            temporary.replace(path)
        except FileNotFoundError:
            return None
        finally:
            temporary.unlink(missing_ok=True)
        return super()._local(name, part)


def _file_system(protocol: str, address: str) -> Any:
    import fsspec

    extra = EXTRAS.get(protocol)
    try:
        if protocol in ALONE or "::" in protocol:
            raise ValueError("it is not seen by other processes, or cannot be written")
        made = fsspec.filesystem(
            protocol, use_listings_cache=False, skip_instance_cache=True, **OPTIONS.get("s3" if extra else protocol, {})
        )
    except ImportError as error:
        with_it = f'pip install -c constraints.txt "nbsp-ray[{extra}]"' if extra else str(error)
        raise ConfigError(f"{address} needs a package that is not installed here: {with_it}") from error
    except ValueError as error:
        raise ConfigError(
            f"{address} cannot be a results root ({error}): give a folder, or s3://bucket/prefix"
        ) from error
    if extra:
        made.retries = 1
    return made


def _found(info: Mapping[str, Any]) -> Found:
    changed = next((info[name] for name in ("LastModified", "mtime", "updated", "last_modified") if name in info), 0.0)
    if isinstance(changed, str):
        from datetime import datetime

        changed = datetime.fromisoformat(changed)
    seconds = float(changed) if isinstance(changed, int | float) else changed.timestamp()
    size = int(info.get("size") or info.get("Size") or 0)
    return Found(size, seconds, str(info.get("ETag") or info.get("etag") or f"{seconds}.{size}").strip('"'))


def _raise(error: Exception) -> None:
    raise error


def _code(error: BaseException) -> str | None:
    """What the store itself called an error."""
    seen: BaseException | None = error
    while seen is not None:
        response = getattr(seen, "response", None)
        if isinstance(response, Mapping):
            return str(response.get("Error", {}).get("Code"))
        seen = seen.__cause__
    return None
