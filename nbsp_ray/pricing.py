"""What a plan costs on this machine: hours and disk, from measured speeds.

The speed of a phase is, in this order: what finished phases of the same kind ran at here, what `plan --measure` timed
here, or a reference from another machine, which is then called one.
"""

import itertools
import os
from dataclasses import dataclass
from typing import Literal

from nbsp_ray.benchmarks import get_benchmark
from nbsp_ray.methods import NETWORKS
from nbsp_ray.plan import EvaluationSpec, Plan, PlannedPhase
from nbsp_ray.store import Store

REFERENCE_ENV_STEPS_PER_SECOND = 90.0
"""Of the default network (hidden 256-256, batch 256, one update per env step) on one core of a 2-core Zen 4 machine,
both cores busy; other networks are scaled by their multiplications."""
REFERENCE_EVALUATION_STEPS_PER_SECOND = 2_500.0
"""Env steps per second of an evaluation there: the simulator and one forward pass."""
FLOAT_BYTES = 4
COPIES = 3
"""An agent is stored with Adam's two moments."""

Source = Literal["finished phases", "measured", "reference"]


@dataclass(frozen=True)
class Price:
    """Cost of what is left of a plan."""

    cpu_hours: float
    """Hours times CPUs."""
    hours: float
    """With as many phases side by side as this machine has CPUs for; a chain of phases cannot be split."""
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
    return f"{phase.spec.benchmark}/{size}/batch {sac.batch_size}/{rate}/{phase.resources.cpus} cpus"


def price(plan: Plan, store: Store, keys: list[str]) -> Price:
    """Price the phases `keys` of `plan` (those that are left); evaluation included."""
    speeds, source = _speeds(plan, store)
    slots = _slots(plan)
    seconds = {key: _seconds(plan.phases[key], speeds) for key in keys}
    chains: dict[str, float] = {}
    for key in plan.phases:  # each after those it needs
        needs = [chains.get(need, 0.0) for need in plan.phases[key].spec.needs]
        chains[key] = max(needs, default=0.0) + seconds.get(key, 0.0)
    total = sum(seconds.values())
    disk = sum(_disk(phase) for phase in plan.phases.values())
    buffers = sorted((_buffer_bytes(plan.phases[key]) for key in keys), reverse=True)
    return Price(
        cpu_hours=sum(seconds[key] * plan.phases[key].resources.cpus for key in keys) / 3600,
        hours=max(total / slots, max(chains.values(), default=0.0)) / 3600,
        side_by_side=slots,
        speed_source=source,
        disk_gb=disk / 1e9,
        peak_disk_gb=(disk + sum(buffers[:slots])) / 1e9,
    )


def _slots(plan: Plan) -> int:
    cpus = max((phase.resources.cpus for phase in plan.phases.values()), default=1)
    return max(1, (os.cpu_count() or 1) // cpus)


def _speeds(plan: Plan, store: Store) -> tuple[dict[str, float], Source]:
    found: dict[str, list[float]] = {}
    for key, phase in plan.phases.items():
        result = store.phase(key).result()
        if result is not None:
            found.setdefault(speed_kind(phase), []).append(float(result["env_steps_per_second"]))
    if found:
        return {kind: sum(values) / len(values) for kind, values in found.items()}, "finished phases"
    measured = store.speeds()
    known = {speed_kind(phase) for phase in plan.phases.values()} & set(measured)
    return measured, "measured" if known else "reference"


def _seconds(phase: PlannedPhase, speeds: dict[str, float]) -> float:
    spec = phase.spec
    speed = speeds.get(speed_kind(phase)) or REFERENCE_ENV_STEPS_PER_SECOND * _reference_scale(phase)
    steps = sum(_evaluation_steps(phase, record) for record in phase.evaluations.values())
    return spec.learning.env_steps / speed + steps / REFERENCE_EVALUATION_STEPS_PER_SECOND


def _evaluation_steps(phase: PlannedPhase, record: EvaluationSpec) -> int:
    return record.episodes * get_benchmark(phase.spec.benchmark).horizon


def _reference_scale(phase: PlannedPhase) -> float:
    """How many times faster than the reference an env step is, by its multiplications."""
    sac = phase.spec.sac
    reference = 256 * 256 + 256 * 40
    hidden = sac.hidden
    products = 40 * hidden[0] + sum(a * b for a, b in itertools.pairwise(hidden))
    work = products * sac.batch_size * sac.updates_per_env_step / (reference * 256)
    return 1 / max(work, 0.05)


def _buffer_bytes(phase: PlannedPhase) -> int:
    spaces = get_benchmark(phase.spec.benchmark).task_spaces(phase.spec.task)
    width = 2 * spaces.observations + spaces.actions + 2
    return min(phase.spec.sac.buffer_size, phase.spec.learning.env_steps) * width * FLOAT_BYTES


def _disk(phase: PlannedPhase) -> int:
    spec = phase.spec
    benchmark = get_benchmark(spec.benchmark)
    spaces = benchmark.task_spaces(spec.task)
    widths = (spaces.observations + spaces.actions, *spec.sac.hidden, 1)
    network = sum(a * b + b for a, b in itertools.pairwise(widths))
    agent = (len(NETWORKS) * COPIES + 2) * network * FLOAT_BYTES
    steps = sum(_evaluation_steps(phase, record) for record in phase.evaluations.values() if record.mode == "rollouts")
    rollouts = steps * (spaces.observations + spaces.actions) * FLOAT_BYTES
    kept = _buffer_bytes(phase) if spec.index == 0 else 0
    return agent + rollouts + kept
