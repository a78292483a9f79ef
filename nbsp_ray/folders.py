"""Folders of this machine outside of the results root: a home there may be none of, and where compiled code is kept."""

import contextlib
import hashlib
import os
import re
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from nbsp_ray.errors import ClusterError, ConfigError

MANGLED = ("s3:/", "gs:/", "gcs:/", "az:/", "abfs:/")
"""An address of an object store that was taken for a path on its way."""
COMPILES = re.compile(r"[A-Za-z0-9_./+-]+")
"""Paths that get through a C++ compiler's command line and sources as they are."""
FAILED_SECONDS = 3_600.0
"""A failure to compile is remembered so long: to fail takes up to a minute."""


def home() -> Path | None:
    """The home directory; None where a user id has none, as in many a container."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def is_address(path: str | Path) -> bool:
    """Whether it is the address of other storage than a file system's: `s3://bucket/prefix`."""
    return "://" in str(path) and not str(path).startswith("file://")


def place(path: str | Path) -> str:
    """A results root as it was named: the address of an object store, or a path with `~` at its front written out."""
    return str(path).rstrip("/") if is_address(path) else str(local(path))


def spare_home() -> None:
    """Matplotlib gets a folder of ours for what it keeps in a home directory, if there is none that it could use."""
    at_home = home()
    if at_home is None or not os.access(existing(at_home / ".config" / "matplotlib"), os.W_OK):
        with contextlib.suppress(ConfigError):
            os.environ.setdefault("MPLCONFIGDIR", str(code_folder()))


def local(path: str | Path) -> Path:
    """A path with `~` at its front written out.

    Raises:
        ConfigError: there is no such home, or it is an address of other storage than a file system's.
    """
    if is_address(path) or str(path).startswith(MANGLED):
        raise ConfigError(f"{path} is no folder of this machine: give a path (only --root takes s3://bucket/prefix)")
    try:
        return Path(str(path).removeprefix("file://")).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{path}: there is no home directory that ~ could mean here; write the whole path") from error


def existing(path: Path) -> Path:
    """The path, or what there is above it."""
    return next(folder for folder in (path, *path.parents) if folder.exists())


def user_name() -> str:
    """A name of the user for a folder that others see: the number of the user id, which needs no entry anywhere."""
    return str(os.geteuid()) if hasattr(os, "geteuid") else "user"


# Temporary folders

SHORT = 25
"""Most bytes in the path of a folder for Ray: the name of a socket may have 107, and our part and Ray's take 82."""
FREE_BYTES = 20_000_000
"""A Ray started here writes some 5 MB in an hour."""
PREFIX, LOCK = "nbsp-", "lock"
STALE_SECONDS = 60.0
"""A folder is made a moment before it is locked."""
UNLOCKED_SECONDS = 3_600.0


def temporary_parent() -> Path:
    """A folder for temporary folders of Ray: TMPDIR if it will do, or else the next best.

    Raises:
        ClusterError: there is none.
    """
    tried = {name: unfit(name) for name in dict.fromkeys(_temporary_folders())}
    for name, why in tried.items():
        if why is None:
            return Path(name)
    raise ClusterError(
        f"Ray needs a folder for its sockets and logs, with a path of at most {SHORT} characters, that you may write "
        f"in: {'; '.join(f'{name} {why}' for name, why in tried.items())}. Name one in the environment's TMPDIR"
    )


def unfit(name: str) -> str | None:
    """Why temporary folders of Ray cannot be in a folder; None: they can."""
    if not name.startswith("/"):
        return "is no absolute path"
    if len(os.fsencode(name)) > SHORT:
        return "has a longer path"
    if not COMPILES.fullmatch(name):
        return "has blanks or quotes in its path"
    if not Path(name).is_dir():
        return "is no folder"
    if not os.access(name, os.W_OK | os.X_OK):
        return "cannot be written"
    return None if shutil.disk_usage(name).free >= FREE_BYTES else "is full"


def _temporary_folders() -> Iterator[str]:
    yield os.environ.get("TMPDIR") or "/tmp"
    yield from ("/tmp", "/var/tmp", "/dev/shm")
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        yield runtime


def remove_stale(*, remove: bool = True) -> list[tuple[Path, int]]:
    """Remove the temporary folders of runs that were killed: those of ours that nobody has locked.

    Args:
        remove: False: they are only found.

    Returns:
        Each, and its bytes.
    """
    found: list[tuple[Path, int]] = []
    for folder in (
        path for name in dict.fromkeys(_temporary_folders()) for path in Path(name).glob(f"{PREFIX}????????")
    ):
        with contextlib.suppress(OSError, Timeout), _abandoned(folder):
            size = sum(path.lstat().st_size for path in folder.rglob("*"))
            if remove:
                shutil.rmtree(folder, ignore_errors=True)
            found.append((folder, size))
    return found


@contextlib.contextmanager
def _abandoned(folder: Path) -> Iterator[None]:
    """Nobody else can take the folder up meanwhile.

    Raises:
        OSError, Timeout: it is in use, or is not ours.
    """
    found = folder.lstat()
    age = time.time() - found.st_mtime
    if not _owned(found) or not stat.S_ISDIR(found.st_mode) or age < STALE_SECONDS:
        raise FileNotFoundError(folder)
    if (folder / LOCK).exists():
        with FileLock(folder / LOCK, timeout=0):
            yield
    elif age > UNLOCKED_SECONDS:  # It was killed before it had a lock.
        yield
    else:
        raise FileNotFoundError(folder)


# Compiled code


def code_folder() -> Path:
    """Where compiled code is kept on this machine: in the user's cache, or else in a temporary folder.

    Not with the results, which may lie on a slow disk, and whose path may be one that compilers cannot take: this one
    has neither blanks nor quotes. None but the user can write there, as what is found there is run.

    Raises:
        ConfigError: no folder is like that.
    """
    for folder in _code_folders():
        if COMPILES.fullmatch(str(folder)) and _is_ours(folder):
            return folder
    raise ConfigError(
        "there is no folder for compiled code: one that you alone may write in, without blanks or quotes in its path; "
        "name one in the environment's XDG_CACHE_HOME"
    )


def mirror_folder(address: str) -> Path:
    """Where this machine keeps copies of what it read from an object store; all of it can be removed at any time.

    In NBSP_RAY_SCRATCH, or else beside the compiled code: replay buffers, which are mapped, are there too.
    """
    scratch = os.environ.get("NBSP_RAY_SCRATCH")
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", address)[:80] + "." + hashlib.sha256(address.encode()).hexdigest()[:8]
    return (Path(scratch) if scratch else code_folder()) / "roots" / name


def _code_folders() -> Iterator[Path]:
    cache = os.environ.get("XDG_CACHE_HOME", "")
    if cache.startswith("/"):
        yield Path(cache, "nbsp_ray")
    if found := home():
        yield found / ".cache" / "nbsp_ray"
    for parent in _temporary_folders():
        yield Path(parent, f"nbsp_ray-{user_name()}")


def _is_ours(folder: Path) -> bool:
    """Whether the folder is there, if need be made just now, and nobody else can write in it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return False
    others = stat.S_IWGRP | stat.S_IWOTH
    ours = stat.S_ISDIR(found.st_mode) and _owned(found) and not found.st_mode & others
    return ours and os.access(folder, os.W_OK | os.X_OK)


def _owned(found: os.stat_result) -> bool:
    return not hasattr(os, "geteuid") or found.st_uid == os.geteuid()


def remember_failure(name: str, why: str) -> None:
    """What is called `name` could not be compiled on this machine: for an hour nobody tries again."""
    (code_folder() / f"{name}.failed").write_text(why, encoding="utf-8", errors="replace")


def remembered_failure(name: str) -> str | None:
    """Why `name` could not be compiled, if that is known and not long ago."""
    return remembered_failures().get(name)


def remembered_failures() -> dict[str, str]:
    """All that could not be compiled of late, and why; what is older is forgotten."""
    found: dict[str, str] = {}
    try:
        paths = sorted(code_folder().glob("*.failed"))
    except ConfigError:
        return {}
    for path in paths:
        try:
            if time.time() - path.stat().st_mtime < FAILED_SECONDS:
                found[path.stem] = path.read_text(encoding="utf-8")
            else:
                path.unlink()
        except FileNotFoundError:  # another process was quicker
            continue
    return found


def forget_failures() -> None:
    """Whoever starts anew may have mended what was wrong."""
    for name in remembered_failures():
        (code_folder() / f"{name}.failed").unlink(missing_ok=True)
