"""How many phases learn side by side in one process (`resources.lanes`), and which of them can.

Lanes of one pack have one shape: the spaces of their tasks and the settings of SAC. Methods, tasks, seeds, numbers of
skill neurons, coefficients and budgets may differ.
"""

from collections.abc import Collection, Mapping

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


def shape(phase: PlannedPhase) -> Shape:
    """What lanes of one pack have in common."""
    settings = phase.spec.sac.model_dump(mode="json", exclude=set(LANES_MAY_DIFFER))
    return phase.spec.benchmark, str(spaces_of(phase)), canonical(settings)


def by_shape(plan: Plan, keys: Collection[str]) -> Mapping[Shape, list[str]]:
    """The keys of each shape, in the plan's order."""
    found: dict[Shape, list[str]] = {}
    for key in plan.phases:
        if key in keys:
            found.setdefault(shape(plan.phases[key]), []).append(key)
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
    wanted, uses_gpu = first.resources.lanes, on_gpu(first)
    if wanted == 1 or (wanted == "auto" and not uses_gpu):
        return 1
    each = lane_bytes(plan, keys)
    process = PROCESS_BYTES[kind(spaces_of(first))]
    if uses_gpu:
        room, where = (gpu_bytes or 0) - CUDA_BYTES, f"{gb(gpu_bytes or 0)} are free on the GPU"
    else:
        room, where = found.available - process * (1 + cpus * (cpus > 1)), free(found)
    fits = max(0, room // each)
    if wanted == "auto":
        return max(1, min(fits, MOST, PER_CPU * cpus, len(keys)))
    needed = min(wanted, len(keys))
    if needed > fits:
        way_out = f"resources.lanes={fits} fits" if fits > 1 else "resources.lanes=1 takes one phase after another"
        raise ConfigError(
            f"resources.lanes={wanted}: {needed} lanes take {gb(needed * each)} ({gb(each)} each, most of it replay "
            f"buffers), and {where}: {way_out}, or lower sac.buffer_size"
        )
    return needed
