"""What a plan costs: CPU hours, GPU hours and disk, from measured speeds.

The speed of a phase is, in this order: what finished phases of the same kind ran at in this results root, what
`plan --measure` timed here, or a reference from another machine, which is then called one.
"""

import contextlib
import heapq
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

from nbsp_ray.errors import StoreError
from nbsp_ray.limits import usable_cpus
from nbsp_ray.plan.lanes import most_lanes
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
"""Where a speed is from. A reference is one of a CPU core, for a phase on a GPU too: nothing else is known then."""


@dataclass(frozen=True)
class Speed:
    """How fast phases of one kind learn."""

    env_steps_per_second: float
    source: Source
    device: str | None = None
    """The GPU that it was found on; None of a CPU."""
    load: float | None = None
    """Other processes that were busy on the machine while it was measured; None if nobody looked."""
    cpus: int | None = None
    """CPUs that they shared with it."""


@dataclass(frozen=True)
class Work:
    """What is left to do of a phase, at most."""

    learning: int
    """Env steps."""
    evaluations: int
    """Env steps of final evaluations."""


@dataclass(frozen=True)
class Price:
    """Cost of what is left of a plan."""

    seconds: Mapping[str, float]
    """Of each phase that is left, final evaluations included, by its key."""
    cpu_hours: float
    """Hours times CPUs."""
    gpu_hours: float
    """Hours times GPUs, or parts of one."""
    evaluation_hours: float
    """Hours of final evaluations, of one phase after another."""
    speeds: Mapping[str, Speed]
    """By kind of phase, of all kinds that are left."""
    disk_gb: float
    """What the finished store holds of the plan, in GB (10^9 bytes)."""
    peak_disk_gb: float
    """While buffers of running phases are checkpointed beside it."""
    written_gb: float
    """Written in all on the way there, of what is left: its results, and each buffer in checkpoints, once."""


def speed_kind(phase: PlannedPhase, manifest: Mapping[str, Any] | None = None) -> str:
    """Phases of one kind run at one speed: the benchmark and all that decides how long an update takes.

    Args:
        phase: As it is planned.
        manifest: Of the finished phase: it may have run elsewhere than the plan would have it now.
    """
    sac = phase.spec.sac
    size = "-".join(map(str, sac.hidden))
    rate = f"{sac.updates_per_env_step:g}x{sac.policy_frequency}"
    # Trials that share a GPU take turns.
    gpu = f"{phase.resources.gpus:g} gpu" if 0 < phase.resources.gpus < 1 else "gpu"
    where = gpu if on_gpu(phase) else f"{phase.resources.cpus} cpus"
    lanes = lanes_of(phase)
    if manifest:
        where = f"{manifest.get('threads', phase.resources.cpus)} cpus" if manifest.get("device") == "cpu" else gpu
        lanes = int(manifest.get("lanes", 1))
    where += f"/{lanes} lanes" * (lanes > 1)
    precision = "" if sac.precision == "fp32" else f"/{sac.precision}"
    return f"{phase.spec.benchmark}/{size}/batch {sac.batch_size}/{rate}/{where}{precision}"


def lanes_of(phase: PlannedPhase) -> int:
    """Phases that share what such a phase asks for, at most."""
    return most_lanes(phase, phase.resources.cpus)


def share(seconds: float, phase: PlannedPhase) -> float:
    """What a phase takes of the time of what it asks for: a lane has its part of a pack's."""
    return seconds / lanes_of(phase)


def whole(phase: PlannedPhase) -> Work:
    """All the work of a phase."""
    return Work(phase.spec.learning.env_steps, evaluation_work(phase))


def evaluation_work(phase: PlannedPhase, done: Sequence[str] = ()) -> int:
    """Env steps of the final evaluations that are wanted and not among `done`, at most."""
    return sum(evaluation_steps(phase, one) for name, one in phase.evaluations.items() if name not in done)


def seconds(phase: PlannedPhase, work: Work, env_steps_per_second: float) -> float:
    """How long the work takes where learning goes on at so many env steps a second.

    Evaluations are as much slower than the reference's as learning is: by what else the machine has to do. Whatever
    makes learning faster, a GPU or compiled code, does nothing for the simulator.
    """
    return _Pace.of(phase, env_steps_per_second).seconds(work)


@dataclass(frozen=True)
class _Pace:
    """Env steps a second of a phase."""

    learning: float
    evaluations: float

    @classmethod
    def of(cls, phase: PlannedPhase, env_steps_per_second: float) -> "_Pace":
        reference = REFERENCES[kind(spaces_of(phase))]
        pace = 1.0 if on_gpu(phase) else min(1.0, env_steps_per_second / _of_a_core(phase))
        return cls(env_steps_per_second, pace * reference.evaluation_steps_per_second)

    def seconds(self, work: Work) -> float:
        return work.learning / self.learning + work.evaluations / self.evaluations


def price(
    plan: Plan,
    store: Store,
    left: Mapping[str, Work] | Sequence[str],
    *,
    at_once: int | None = None,
    known: Mapping[str, Speed] | None = None,
) -> Price:
    """Price what is left of a plan.

    Args:
        plan: With all its phases.
        store: Where finished phases and measured speeds are.
        left: What is left of each phase that is not done; keys alone: all of it.
        at_once: Phases that work side by side; None: as many as this machine has CPUs for.
        known: Speeds by kind, of a plan that this one is to be compared with.
    """
    work = left if isinstance(left, Mapping) else {key: whole(plan.phases[key]) for key in left}
    resources = {key: plan.phases[key].resources for key in work}
    kind_of = plan.once_for_alike(speed_kind)
    kinds = {kind_of(key): plan.phases[key] for key in work}
    speeds = dict(known) if known and kinds.keys() <= known.keys() else known_speeds(plan, store, kinds)
    pace = plan.once_for_alike(lambda phase: _Pace.of(phase, speeds[speed_kind(phase)].env_steps_per_second))
    taken = {key: pace(key).seconds(one) for key, one in work.items()}
    evaluating = sum(share(pace(key).seconds(Work(0, one.evaluations)), plan.phases[key]) for key, one in work.items())
    disk, peak = disk_use(plan, work, at_once)
    disk_of, buffer_of = plan.once_for_alike(disk_bytes), plan.once_for_alike(buffer_bytes)
    return Price(
        seconds=taken,
        cpu_hours=sum(share(taken[key], plan.phases[key]) * wanted.cpus for key, wanted in resources.items()) / 3600,
        gpu_hours=sum(share(taken[key], plan.phases[key]) * wanted.gpus for key, wanted in resources.items()) / 3600,
        evaluation_hours=evaluating / 3600,
        speeds=speeds,
        disk_gb=disk / 1e9,
        peak_disk_gb=peak / 1e9,
        written_gb=sum(disk_of(key) + buffer_of(key) for key in work) / 1e9,
    )


def disk_use(plan: Plan, left: Collection[str], at_once: int | None = None) -> tuple[int, int]:
    """Bytes that the finished store holds of a plan, and the most while so many phases that are left work.

    Without a number, as many as this machine has CPUs for.
    """
    if at_once is None:
        at_once = max(1, usable_cpus() // max((plan.phases[key].resources.cpus for key in left), default=1))
        at_once *= max((lanes_of(plan.phases[key]) for key in left), default=1)
    disk = sum(map(plan.once_for_alike(disk_bytes), plan.phases))
    buffers = heapq.nlargest(at_once, map(plan.once_for_alike(buffer_bytes), left))
    return disk, disk + sum(buffers)


def known_speeds(plan: Plan, store: Store, kinds: Mapping[str, PlannedPhase]) -> dict[str, Speed]:
    """The best that is known of each of some kinds of phases, which have a phase of theirs beside them."""
    found: dict[str, list[float]] = {}
    devices: dict[str, str] = {}
    begun = set(store.phases())
    store = store.snapshot([key for key in plan.phases if key in begun], parts=("manifest.json",))
    for key, phase in plan.phases.items():
        folder, result = store.phase(key), None
        with contextlib.suppress(StoreError, OSError):  # Of what cannot be read, `status` tells.
            result = folder.result() if key in begun and not folder.imported() else None
        if result is not None:
            manifest = folder.manifest()
            name = speed_kind(phase, manifest)
            found.setdefault(name, []).append(float(result["env_steps_per_second"]))
            devices[name] = str((manifest or {}).get("device", "cpu"))
    measured = store.speeds()
    speeds: dict[str, Speed] = {}
    for name, phase in kinds.items():
        if name in found:
            device = devices[name]
            speeds[name] = Speed(fmean(found[name]), "finished phases", None if device == "cpu" else device)
        elif name in measured:
            one = measured[name]
            speed = float(one["env_steps_per_second"])
            speeds[name] = Speed(speed, "measured", one.get("device"), one.get("load"), one.get("cpus"))
        else:
            speeds[name] = Speed(_reference_speed(phase), "reference")
    return speeds


def _reference_speed(phase: PlannedPhase) -> float:
    """Of one core of the reference machine, which the lanes of a pack share."""
    return _of_a_core(phase) / (1 if on_gpu(phase) else lanes_of(phase))


def _of_a_core(phase: PlannedPhase) -> float:
    """Of one core of the reference machine; the simulator and the bookkeeping are never free."""
    reference = REFERENCES[kind(spaces_of(phase))]
    work = max(multiplications(spaces_of(phase), phase.spec.sac) / reference.multiplications, 0.05)
    return reference.env_steps_per_second / work
