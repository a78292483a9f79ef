"""Whether the buffers of a plan fit in this machine's memory: said before the start, not when the machine is full.

A buffer fills in hours, so that a phase for which there is too little memory would be killed when much is done. Counted
is what a phase can come to hold; on a machine with a GPU whose memory the buffers take, they are not counted here.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from nbsp_ray.errors import ConfigError
from nbsp_ray.plan.sizes import PROCESS_BYTES, buffer_bytes, kind, on_gpu, replayed_bytes, row_bytes, spaces_of
from nbsp_ray.specs import Plan
from nbsp_ray.units import gb

CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
"""What a container, or a job of Slurm or Kubernetes, may use: psutil tells of the whole machine."""


@dataclass(frozen=True)
class MemoryNeed:
    """The most memory, in bytes, that a phase can come to hold."""

    key: str
    label: str
    own: int
    """D, its own replay buffer."""
    replayed: int
    """D_pre, the buffers of earlier phases that it replays."""
    process: int
    """All else: torch, the environment, the networks."""
    row: int
    """Of a transition."""

    @property
    def total(self) -> int:
        """All of it."""
        return self.own + self.replayed + self.process


def need(plan: Plan, key: str) -> MemoryNeed:
    """What one phase of `plan` can come to hold."""
    phase, spaces = plan.phases[key], spaces_of(plan.phases[key])
    own, replayed = (0, 0) if on_gpu(phase) else (buffer_bytes(phase), replayed_bytes(plan, key))
    return MemoryNeed(key, phase.label, own, replayed, PROCESS_BYTES[kind(spaces)], row_bytes(spaces))


def largest_need(plan: Plan, keys: Collection[str]) -> MemoryNeed:
    """That of the phase that can hold most, of one at least."""
    return max((need(plan, key) for key in keys), key=lambda one: one.total)


def available_bytes() -> int:
    """Memory that processes can still get here."""
    import psutil

    free = int(psutil.virtual_memory().available)
    try:
        return min(free, int(CGROUP_LIMIT.read_text()))
    except (OSError, ValueError):  # no such file, or no limit: "max"
        return free


def fits_side_by_side(plan: Plan, keys: Collection[str], available: int) -> int:
    """How many phases of `keys` so many bytes hold, by the largest of them.

    Raises:
        ConfigError: not even one.
    """
    most = largest_need(plan, keys)
    if most.total > available:
        raise ConfigError(f"{_refusal(most, available)}; {_way_out(most, available)}")
    return available // most.total


def memory_note(plan: Plan, keys: Collection[str], available: int, side_by_side: int) -> str:
    """For `plan`: what `run` would say of memory, or what it will need."""
    most = largest_need(plan, keys)
    try:
        fits = fits_side_by_side(plan, keys, available)
    except ConfigError as error:
        return f"It cannot run here: {error}"
    held = f"memory {gb(most.total)} a phase at most, {gb(available)} free here"
    return held if fits >= side_by_side else f"{held}: `run` works on {fits} side by side"


def _refusal(most: MemoryNeed, available: int) -> str:
    """What does not fit, in numbers."""
    replayed = f", {gb(most.replayed)} of the buffers it replays" if most.replayed else ""
    return (
        f"{most.label} can come to hold {gb(most.total)} of memory ({gb(most.own)} of its replay buffer{replayed}, "
        f"{gb(most.process)} of the process), and {gb(available)} are free here"
    )


def _way_out(most: MemoryNeed, available: int) -> str:
    """The buffer size that would fit, if any would."""
    buffers = most.own + most.replayed
    room = available - most.process
    if not buffers or room < buffers / 100:
        return "free memory, or use a machine with more"
    fits = most.own // most.row * room // buffers
    rounded = fits // 10 ** (len(str(fits)) - 2) * 10 ** (len(str(fits)) - 2)
    return f"sac.buffer_size={rounded} would fit, or free memory"
