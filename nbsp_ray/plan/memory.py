"""Whether the buffers of a plan fit in this machine's memory: said before the start, not when the machine is full.

A buffer fills in hours, so that a phase for which there is too little memory would be killed when much is done. Counted
is what a phase can come to hold; on a machine with a GPU whose memory the buffers take, they are not counted here.
"""

from collections.abc import Collection
from dataclasses import dataclass

from nbsp_ray.errors import ConfigError
from nbsp_ray.limits import Memory
from nbsp_ray.plan.sizes import PROCESS_BYTES, buffer_bytes, kind, on_gpu, replayed_bytes, row_bytes, spaces_of
from nbsp_ray.specs import Plan
from nbsp_ray.units import gb

RAY_BYTES = 400_000_000
"""Bytes of the processes of a Ray started here and of `run` itself, without workers; measured on Linux."""


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
    """Bytes of a transition."""

    @property
    def total(self) -> int:
        """All of it."""
        return self.own + self.replayed + self.process


def need(plan: Plan, key: str) -> MemoryNeed:
    """The most that one phase of `plan` can come to hold."""
    phase, spaces = plan.phases[key], spaces_of(plan.phases[key])
    own, replayed = (0, 0) if on_gpu(phase) else (buffer_bytes(phase), replayed_bytes(plan, key))
    return MemoryNeed(key, phase.label, own, replayed, PROCESS_BYTES[kind(spaces)], row_bytes(spaces))


def largest_need(plan: Plan, keys: Collection[str]) -> MemoryNeed:
    """That of the phase that can hold most, of one at least."""
    return max(map(plan.once_for_alike(lambda phase: need(plan, phase.key)), keys), key=lambda one: one.total)


def check_fits(most: MemoryNeed, found: Memory) -> None:
    """The memory that there is holds the largest phase.

    Raises:
        ConfigError: it does not.
    """
    if most.total > found.available:
        raise ConfigError(f"{_refusal(most, found)}; {_way_out(most, found.available)}")


def fits_side_by_side(most: MemoryNeed, found: Memory) -> int:
    """The number of phases that the free memory holds beside Ray, by the largest of them; at least one.

    What a phase takes beside its buffers is an estimate: too little by as much as Ray takes is no certain failure.

    Raises:
        ConfigError: it would not hold one even without Ray.
    """
    check_fits(most, found)
    return max(1, (found.available - RAY_BYTES) // most.total)


def memory_note(most: MemoryNeed, found: Memory, cpu_slots: int) -> tuple[str, int | None]:
    """For `plan`: what `run` would say of memory, or what it will need; and how many fit, None if not even one."""
    try:
        fits = fits_side_by_side(most, found)
    except ConfigError as error:
        return f"It cannot run here: {error}", None
    held = f"memory {gb(most.total)} a phase at most, and {free(found)}"
    return held if fits >= cpu_slots else f"{held}: `run` works on {fits} side by side", fits


def free(found: Memory) -> str:
    """`3.1 GB are free here`, and of what if it is less than the machine's."""
    of = "" if found.limit is None else f" of the {gb(found.limit)} that this job may use"
    return f"{gb(found.available)} are free here{of}"


def _refusal(most: MemoryNeed, found: Memory) -> str:
    """The sentence that says in numbers what does not fit."""
    replayed = f", {gb(most.replayed)} of the buffers it replays" if most.replayed else ""
    return (
        f"{most.label} can come to hold {gb(most.total)} of memory ({gb(most.own)} of its replay buffer{replayed}, "
        f"{gb(most.process)} of the process), and {free(found)}"
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
