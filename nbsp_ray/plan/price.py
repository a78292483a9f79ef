"""What a plan costs on this machine: hours and disk, from measured speeds.

The speed of a phase is, in this order: what finished phases of the same kind ran at here, what `plan --measure` timed
here, or a reference from another machine, which is then called one.
"""

import contextlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from nbsp_ray.errors import StoreError
from nbsp_ray.limits import usable_cpus
from nbsp_ray.plan.sizes import buffer_bytes, disk_bytes, evaluation_steps, kind, multiplications, on_gpu, spaces_of
from nbsp_ray.specs import Plan, PlannedPhase
from nbsp_ray.store import Store


@dataclass(frozen=True)
class Reference:
    """Speeds of one kind of network on one core of a 2-core machine without a GPU, both cores busy."""

    env_steps_per_second: float
    """Of learning."""
    multiplications: float
    """Per env step, by `sizes.multiplications`: other sizes, batches and rates are scaled by theirs."""
    evaluation_steps_per_second: float
    """The simulator and one forward pass."""


REFERENCES: Mapping[str, Reference] = {
    # Zen 4; hidden 256-256 on Meta-World's 39 observations, batch 256, one update per env step.
    "vectors": Reference(90.0, 19_660_800, 2_500.0),
    # 14 to 27 env steps/s on CPUs of 2023 to 2025; Table 2's network, batch 64, one update per four env steps.
    "pixels": Reference(20.0, 149_536_768, 400.0),
}

Source = Literal["finished phases", "measured", "reference"]


@dataclass(frozen=True)
class Price:
    """Cost of what is left of a plan."""

    cpu_hours: float
    """Hours times CPUs."""
    hours: float
    """With as many phases side by side as there are CPUs and memory for here; a chain of phases cannot be split."""
    side_by_side: int
    speed_source: Source
    disk_gb: float
    """What the finished store holds of the plan, in GB (10^9 bytes)."""
    peak_disk_gb: float
    """While buffers of running phases are checkpointed beside it."""


def speed_kind(phase: PlannedPhase) -> str:
    """Phases of one kind run at one speed: the benchmark and all that decides how long an update takes."""
    sac = phase.spec.sac
    size = "-".join(map(str, sac.hidden))
    rate = f"{sac.updates_per_env_step:g}x{sac.policy_frequency}"
    where = "gpu" if on_gpu(phase) else f"{phase.resources.cpus} cpus"
    precision = "" if sac.precision == "fp32" else f"/{sac.precision}"
    return f"{phase.spec.benchmark}/{size}/batch {sac.batch_size}/{rate}/{where}{precision}"


def price(plan: Plan, store: Store, keys: list[str], *, fits: int | None = None) -> Price:
    """Price the phases `keys` of `plan` (those that are left), evaluation included; memory holds `fits` at a time."""
    speeds, source = _speeds(plan, store)
    slots = min(cpu_slots(plan), fits or sys.maxsize)
    seconds = {key: _seconds(plan.phases[key], speeds) for key in keys}
    chains: dict[str, float] = {}
    for key in plan.phases:  # each after those it needs
        needs = [chains.get(need, 0.0) for need in plan.phases[key].spec.needs]
        chains[key] = max(needs, default=0.0) + seconds.get(key, 0.0)
    total = sum(seconds.values())
    disk = sum(disk_bytes(phase) for phase in plan.phases.values())
    buffers = sorted((buffer_bytes(plan.phases[key]) for key in keys), reverse=True)
    return Price(
        cpu_hours=sum(seconds[key] * plan.phases[key].resources.cpus for key in keys) / 3600,
        hours=max(total / slots, max(chains.values(), default=0.0)) / 3600,
        side_by_side=slots,
        speed_source=source,
        disk_gb=disk / 1e9,
        peak_disk_gb=(disk + sum(buffers[:slots])) / 1e9,
    )


def cpu_slots(plan: Plan) -> int:
    """How many phases, by the largest of their requests, there are CPUs for here."""
    cpus = max((phase.resources.cpus for phase in plan.phases.values()), default=1)
    return max(1, usable_cpus() // cpus)


def _speeds(plan: Plan, store: Store) -> tuple[dict[str, float], Source]:
    found: dict[str, list[float]] = {}
    begun = set(store.phases())
    for key, phase in plan.phases.items():
        result = None
        with contextlib.suppress(StoreError, OSError):  # Of what cannot be read, `status` tells.
            result = store.phase(key).result() if key in begun else None
        if result is not None:
            found.setdefault(speed_kind(phase), []).append(float(result["env_steps_per_second"]))
    if found:
        return {kind: sum(values) / len(values) for kind, values in found.items()}, "finished phases"
    measured = store.speeds()
    known = {speed_kind(phase) for phase in plan.phases.values()} & set(measured)
    return measured, "measured" if known else "reference"


def _seconds(phase: PlannedPhase, speeds: dict[str, float]) -> float:
    reference = REFERENCES[kind(spaces_of(phase))]
    speed = speeds.get(speed_kind(phase)) or reference.env_steps_per_second / _work(phase, reference)
    steps = sum(evaluation_steps(phase, record) for record in phase.evaluations.values())
    return phase.spec.learning.env_steps / speed + steps / reference.evaluation_steps_per_second


def _work(phase: PlannedPhase, reference: Reference) -> float:
    """How many times the reference's an env step costs; the simulator and the bookkeeping are never free."""
    return max(multiplications(spaces_of(phase), phase.spec.sac) / reference.multiplications, 0.05)
