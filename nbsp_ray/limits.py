"""CPUs, GPUs and memory that this process may use: the one place where any of them is counted.

A job of Slurm or Kubernetes, a container or a login session often has less than the machine, by affinity (`taskset`,
cpusets) or by its control group (cgroup v1 and v2: a quota of CPU time, a limit of memory), and each group above it may
have a tighter limit than its own.
"""

import ctypes
import math
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/")
RECLAIMABLE = ("inactive_file", "active_file")
"""In `memory.stat`: pages of files, which are counted as used, and let go when memory is wanted."""


def usable_cpus(root: Path = ROOT) -> int:
    """CPUs that this process may use, at least 1; of a quota such as 2.5 CPUs the whole ones.

    Args:
        root: Where `proc` and `sys` are.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.floor(min([allowed, *_quotas(root)])))


def usable_gpus() -> int:
    """NVIDIA GPUs that this process may use, as Ray counts them: the driver's, or as few as CUDA_VISIBLE_DEVICES names.

    Torch is not asked, as a CPU build of it sees none, and takes seconds to load.
    """
    try:
        driver = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return 0
    found = ctypes.c_uint(0)
    if driver.nvmlInit_v2() != 0:
        return 0
    driver.nvmlDeviceGetCount_v2(ctypes.byref(found))
    driver.nvmlShutdown()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return found.value
    return min(found.value, 0 if visible in ("", "NoDevFiles") else len(visible.split(",")))


def processor(root: Path = ROOT) -> str:
    """The CPU's name (`Intel(R) Xeon(R) Processor`), or its kind where the system does not tell."""
    lines = _text(root / "proc/cpuinfo").splitlines()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def usable_cores() -> list[int]:
    """Numbers of as many cores as `usable_cpus`, to pin processes to."""
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    return list(allowed)[: usable_cpus()]


@dataclass(frozen=True)
class Memory:
    """Bytes that processes can still get here."""

    available: int
    limit: int | None = None
    """The name of the control group that leaves so little; None if it is the whole machine that does."""


def memory(root: Path = ROOT) -> Memory:
    """The least of what the machine and each control group have left.

    Args:
        root: Where `proc` and `sys` are.
    """
    import psutil

    least = Memory(int(psutil.virtual_memory().available))
    for folder, version in _groups(root, "memory"):
        limit, used = (_limit_v2(folder), "memory.current") if version == 2 else (_limit_v1(folder), _USED_V1)
        if limit is not None and (taken := _number(folder / used)) is not None:
            left = max(0, limit - max(0, taken - _reclaimable(folder, version)))
            least = min(least, Memory(left, limit), key=lambda one: one.available)
    return least


def out_of_memory_kills(root: Path = ROOT) -> int:
    """Processes that the kernel has killed for want of memory since it started, in whatever group; 0 if unknown."""
    return _statistics(root / "proc/vmstat").get("oom_kill", 0)


_USED_V1 = "memory.usage_in_bytes"


def _quotas(root: Path) -> Iterator[float]:
    """CPUs by the quota of each group that has one."""
    for folder, version in _groups(root, "cpu"):
        if version == 2:
            quota, _, period = _text(folder / "cpu.max").partition(" ")
        else:
            quota, period = _text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit() and int(period):  # no quota is "max", or -1
            yield int(quota) / int(period)


def _limit_v2(folder: Path) -> int | None:
    """Above `memory.high` nothing is killed, but everything is slowed down to a crawl."""
    return min(
        (limit for name in ("max", "high") if (limit := _number(folder / f"memory.{name}")) is not None), default=None
    )


def _limit_v1(folder: Path) -> int | None:
    return _number(folder / "memory.limit_in_bytes")  # no limit is a number beyond all memory


def _reclaimable(folder: Path, version: int) -> int:
    found = _statistics(folder / "memory.stat")
    return sum(found.get(name if version == 2 else f"total_{name}", 0) for name in RECLAIMABLE)


def _groups(root: Path, controller: str) -> Iterator[tuple[Path, int]]:
    """The folders of this process's group and of all above it that have a controller, with the version of cgroups."""
    own: dict[tuple[str, ...], str] = {}
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, names, path = line.split(":", 2)
        own[tuple(names.split(","))] = path
    for mount in _text(root / "proc/self/mountinfo").splitlines():
        before, _, after = mount.partition(" - ")
        (_, _, _, top, point, *_), (kind, _, options) = before.split(" "), after.split(" ")
        version = 2 if kind == "cgroup2" else 1
        if version == 1 and not (kind == "cgroup" and controller in options.split(",")):
            continue
        name = "" if version == 2 else controller
        for path in (path for names, path in own.items() if name in names):
            at = root / _unescaped(point).lstrip("/")
            # A container may see its own group mounted in place of the whole tree, and its path from outside of that.
            inner = os.path.relpath(path, _unescaped(top)) if path.startswith(_unescaped(top)) else "."
            steps = [step for step in Path(inner).parts if step not in (".", "..")]
            for depth in range(len(steps), -1, -1):
                if (folder := at.joinpath(*steps[:depth])).is_dir():
                    yield folder, version


def _unescaped(path: str) -> str:
    """A path as the kernel writes it, with octal numbers for blanks."""
    return path.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdigit() else None


def _statistics(path: Path) -> dict[str, int]:
    lines = (line.split() for line in _text(path).splitlines())
    return {words[0]: int(words[1]) for words in lines if len(words) == 2 and words[1].isdigit()}
