"""What processes that learn and that play share: memory for actions and observations, and what is sent by pipe."""

import shutil
from dataclasses import dataclass
from multiprocessing.sharedctypes import RawArray
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nbsp_ray.benchmarks import Discrete, Frames, Spaces
from nbsp_ray.errors import ConfigError
from nbsp_ray.units import gb

SHARED_MEMORY = Path("/dev/shm")
IDLE, BEGIN, PLAY, ANSWERED, RAISED = range(5)
"""What a seat's state says: nothing to do, a command, or how it ended."""
PATIENCE = 1.0
"""Seconds after which whoever waits looks whether the other is still there."""


class Seats:
    """Shared memory: for each environment that learns a command, an action, and what came of it."""

    def __init__(self, spaces: Spaces, count: int, memory: Any = None) -> None:
        seen, action = spaces.observation, spaces.action
        frames = isinstance(seen, Frames)
        shape = (seen.stack, *seen.frame) if isinstance(seen, Frames) else (seen.size,)
        kind, size = ("i8", ()) if isinstance(action, Discrete) else ("f4", (action.size,))
        self.record = np.dtype(
            [
                ("state", "i1"),
                ("action", kind, size),
                ("variation", "i8"),
                ("rng", "u8", (6,)),
                ("observation", "u1" if frames else "f4", shape),
                ("reward", "f8"),
                ("terminated", "?"),
                ("truncated", "?"),
                ("success", "i1"),
                ("has_score", "?"),
                ("score", "f8"),
                ("has_resumes", "?"),
                ("resumes", "u1" if frames else "f4", shape),
            ],
            align=True,
        )
        self.memory = memory if memory is not None else _shared(self.record.itemsize * count)
        rows = np.frombuffer(self.memory, self.record, count)
        self.columns: dict[str, npt.NDArray[Any]] = {name: rows[name] for name in self.record.names or ()}
        """Each field of all seats (seats, ...): to find it in a seat's row takes longer than to read it."""


def _shared(size: int) -> Any:
    try:
        free = shutil.disk_usage(SHARED_MEMORY).free
    except OSError:
        free = 0
    if free < size:
        raise ConfigError(
            f"environments in processes of their own need {gb(size)} of shared memory, and {SHARED_MEMORY} has "
            f"{gb(free)} free: give it more (Docker: --shm-size=1g), or set resources.lanes=1"
        )
    return RawArray("b", size)


def rng_words(rng: np.random.Generator) -> npt.NDArray[np.uint64]:
    """The state of a generator on PCG64, as six words."""
    state, mask = rng.bit_generator.state, (1 << 64) - 1
    inner: dict[str, int] = state["state"]
    halves = [half for name in ("state", "inc") for half in (inner[name] >> 64, inner[name] & mask)]
    return np.array([*halves, state["has_uint32"], state["uinteger"]], np.uint64)


def set_rng(rng: np.random.Generator, words: npt.NDArray[np.uint64]) -> None:
    """Give a generator that state."""
    high, low, inc_high, inc_low, has, rest = (int(word) for word in words)
    inner = {"state": high << 64 | low, "inc": inc_high << 64 | inc_low}
    rng.bit_generator.state = {"bit_generator": "PCG64", "state": inner, "has_uint32": has, "uinteger": rest}


@dataclass(frozen=True)
class Task:
    """Which environment."""

    task: str
    seed: int
    heldout: bool


@dataclass(frozen=True)
class Episodes:
    """An episode to be watched: all that a worker needs to play it."""

    ticket: int
    task: Task
    layout: Any
    action: Any
    weights: npt.NDArray[np.float32]
    variation: int
    rng: npt.NDArray[np.uint64]
    deterministic: bool
    stop_at_success: bool
    recorded: bool
