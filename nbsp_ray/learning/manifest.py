"""With what, where and by which command a phase was made, and a digest of what came of it."""

import hashlib
import platform
import socket
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from nbsp_ray.benchmarks import benchmarks, version_of
from nbsp_ray.limits import processor

CHECKOUT = Path(__file__).parents[2]
PACKAGES = ("nbsp-ray", "torch", "numpy", "ray", "gymnasium")
"""What may change numbers whatever the benchmark; each benchmark adds its own."""


def evidence(device: torch.device, *, compiled: bool = False) -> dict[str, Any]:
    """What stands beside a result, and in no key: host, device, threads, command, commit and versions, as JSON."""
    return {
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "processor": processor(),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "compiled": compiled,
        "command": sys.argv,
        "git_commit": git_commit(),
        "versions": {"python": platform.python_version()} | versions(),
    }


def versions() -> dict[str, str]:
    """Of the packages that results rest on, those of all benchmarks among them; what is not installed is left out."""
    names = dict.fromkeys([*PACKAGES, *(name for one in benchmarks().values() for name in one.packages)])
    return {name: version for name in names if (version := version_of(name)) is not None}


@cache
def git_commit() -> str | None:
    """The commit of the checkout that this package runs from, with `+changes` if it is altered; None outside one."""
    if not (CHECKOUT / ".git").exists():
        return None
    try:
        commit = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty=+changes", "--exclude=*"],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return commit.stdout.strip()


def digest(arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    """SHA-256 over names, shapes and bytes of all arrays: equal if and only if the agents are, bit for bit."""
    sha = hashlib.sha256()
    for name in sorted(arrays):
        sha.update(f"{name}{arrays[name].shape}{arrays[name].dtype}".encode())
        sha.update(np.ascontiguousarray(arrays[name]).tobytes())
    return sha.hexdigest()
