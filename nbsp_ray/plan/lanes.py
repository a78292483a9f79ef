"""How many phases learn side by side in one process (`resources.lanes`), and which of them can.

Lanes of one pack have one shape: the spaces of their tasks and the settings of SAC. Methods, tasks, seeds, numbers of
skill neurons, coefficients and budgets may differ.
"""

from collections.abc import Collection, Iterable, Mapping
from functools import cache
from typing import NamedTuple

from nbsp_ray.config.schema import Resources, Sac
from nbsp_ray.errors import ConfigError
from nbsp_ray.layout import NETWORKS
from nbsp_ray.limits import Memory
from nbsp_ray.plan.memory import free
from nbsp_ray.plan.sizes import (
    FLOAT_BYTES,
    PROCESS_BYTES,
    buffer_bytes,
    kind,
    on_gpu,
    parameters,
    replayed_bytes,
    spaces_of,
)
from nbsp_ray.specs import LANES_MAY_DIFFER, Plan, PlannedPhase, canonical
from nbsp_ray.units import gb

MOST = 64
"""Lanes that `auto` takes at most: beyond them a GPU's arithmetic, no longer its launches, is the bound (on paper)."""
PER_CPU = 4
"""Lanes that `auto` takes for each CPU that plays."""
STACKS = 24
"""Numbers that a lane keeps for each of its weights: Adam's moments, copies, scales, anchors, gradients."""
CUDA_BYTES = 2_000_000_000
"""Of CUDA itself and its captured graphs; an estimate."""

Shape = tuple[str, str, bytes]


class Packing(NamedTuple):
    """Which phases can learn side by side, and how many of them at most."""

    shape: Shape
    lanes: int


def shape(phase: PlannedPhase) -> Shape:
    """What lanes of one pack have in common."""
    return phase.spec.benchmark, str(spaces_of(phase)), _settings(phase.spec.sac)


@cache
def _settings(sac: Sac) -> bytes:
    return canonical(sac.model_dump(mode="json", exclude=set(LANES_MAY_DIFFER)))


def most_lanes(phase: PlannedPhase, cpus: int) -> int:
    """The most lanes of a pack of such phases, before it is known what memory there is.

    Args:
        phase: One of them.
        cpus: Those that play, of which `auto` takes `PER_CPU` lanes each on a GPU.
    """
    if phase.resources.lanes != "auto":
        return phase.resources.lanes
    return min(MOST, PER_CPU * cpus) if on_gpu(phase) else 1


def capacity(phases: Iterable[PlannedPhase]) -> int:
    """Transitions of the largest buffer of some phases."""
    return max(min(one.spec.sac.buffer_size, one.spec.learning.env_steps) for one in phases)


def by_shape(plan: Plan, keys: Collection[str]) -> Mapping[Shape, list[str]]:
    """The keys of each shape, in the plan's order."""
    found, wanted = dict[Shape, list[str]](), set(keys)
    for key in plan.phases:
        if key in wanted:
            found.setdefault(shape(plan.phases[key]), []).append(key)
    return found


def packing(plan: Plan, keys: Collection[str]) -> dict[str, Packing]:
    """Of those of some phases that `run` has learn in packs, whose CPUs are those that a pack asks for."""
    found: dict[str, Packing] = {}
    many = [key for key in keys if plan.phases[key].resources.lanes != 1]
    for of_shape, alike in by_shape(plan, many).items():
        for key in alike:
            most = min(most_lanes(plan.phases[key], plan.phases[key].resources.cpus), len(alike))
            if most > 1:
                found[key] = Packing(of_shape, most)
    return found


def lane_bytes(plan: Plan, keys: Collection[str]) -> int:
    """The most memory that one of these phases takes as a lane: its buffers, and its weights several times."""
    phase = plan.phases[next(iter(keys))]
    weights = len(NETWORKS) * parameters(spaces_of(phase), phase.spec.sac) * FLOAT_BYTES * STACKS
    return weights + max(buffer_bytes(plan.phases[key]) + replayed_bytes(plan, key) for key in keys)


def lanes(plan: Plan, keys: Collection[str], found: Memory, cpus: int, gpu_bytes: int | None = None) -> int:
    """How many of these phases, all of one shape, learn side by side here.

    Args:
        plan: Where they are.
        keys: Those that are left to do.
        found: Memory of the machine.
        cpus: Those that may be used; each has a process with environments.
        gpu_bytes: Free memory of the GPU that they learn on.

    Raises:
        ConfigError: `resources.lanes` is more than the memory holds.
    """
    first = plan.phases[next(iter(keys))]
    if most_lanes(first, cpus) == 1:
        return 1
    each, most = lane_bytes(plan, keys), min(most_lanes(first, cpus), len(keys))
    if on_gpu(first):
        return lanes_on_gpu(first.resources, most, each, gpu_bytes or 0)
    return _fitting(first.resources, most, each, found.available - _processes(first, cpus), free(found))


def _processes(phase: PlannedPhase, cpus: int) -> int:
    """Bytes of a process that learns and those that play, without buffers."""
    return PROCESS_BYTES[kind(spaces_of(phase))] * (1 + cpus * (cpus > 1))


def pack_bytes(plan: Plan, keys: Collection[str], lanes: int) -> int:
    """The most main memory that a pack of some of these phases, all of one shape, can come to hold."""
    first = plan.phases[next(iter(keys))]
    buffers = 0 if on_gpu(first) else lanes * lane_bytes(plan, keys)
    return _processes(first, first.resources.cpus) + buffers


def lanes_on_gpu(resources: Resources, most: int, each: int, gpu_bytes: int) -> int:
    """How many of `most` lanes a GPU holds.

    Args:
        resources: What is asked for.
        most: Lanes that there is use for.
        each: Bytes of a lane.
        gpu_bytes: Free memory of the GPU.

    Raises:
        ConfigError: not as many as are asked for.
    """
    return _fitting(resources, most, each, gpu_bytes - CUDA_BYTES, f"{gb(gpu_bytes)} are free on the GPU")


def _fitting(resources: Resources, needed: int, each: int, room: int, where: str) -> int:
    wanted, fits = resources.lanes, max(0, room // each)
    if wanted == "auto":
        return max(1, min(fits, needed))
    if needed > fits:
        way_out = f"resources.lanes={fits} fits" if fits > 1 else "resources.lanes=1 takes one phase after another"
        raise ConfigError(
            f"resources.lanes={wanted}: {needed} lanes take {gb(needed * each)} ({gb(each)} each, most of it replay "
            f"buffers), and {where}: {way_out}, or lower sac.buffer_size"
        )
    return needed
