"""Opening a phase: as its furthest whole checkpoint has it, or at its beginning."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from nbsp_ray.benchmarks import get_benchmark
from nbsp_ray.config.schema import Resources
from nbsp_ray.errors import CorruptCheckpointError
from nbsp_ray.learning import compiling
from nbsp_ray.learning.agent import UpdateCounts
from nbsp_ray.learning.evaluation import MakeEnv
from nbsp_ray.learning.hooks import ActiveMethod, Ingredient
from nbsp_ray.learning.machine import prepare
from nbsp_ray.learning.past import PastReader
from nbsp_ray.learning.phase import Phase, Spread
from nbsp_ray.learning.replay import new_replay
from nbsp_ray.learning.seeding import Stream
from nbsp_ray.specs import PhaseSpec
from nbsp_ray.store import Attempt, Checkpoint, PhaseFolder, Store

log = logging.getLogger(__name__)
METHOD = "method/"
"""Prefix of a method's arrays in a checkpoint."""


@dataclass
class OpenPhase:
    """A phase between two episodes, and what a checkpoint says of it beside its state."""

    phase: Phase
    past: PastReader
    """The phases before it."""
    attempt: Attempt
    """Where its checkpoints go."""
    compiled: bool
    seconds: float = 0.0
    """That learning has taken so far."""
    notes: list[str] = field(default_factory=list[str])
    """For the result: what somebody who reads it should know."""


def open_phase(
    store: Store,
    spec: PhaseSpec,
    ingredients: Sequence[Ingredient],
    resources: Resources,
    make_env: MakeEnv | None = None,
    *,
    alone: bool = True,
) -> OpenPhase:
    """Open a phase, so that `learn` can go on with it.

    Args:
        store: Where its checkpoints are.
        spec: What it is.
        ingredients: Those of the spec, as objects.
        resources: How its update is made.
        make_env: In place of the benchmark's own.
        alone: Whether it makes its own updates; else a pack does, by `agent.rules`.

    Raises:
        ConfigError: its update is to be compiled, and cannot be; or the device or precision asked for is not there.
        PhaseError: a phase that it needs is not in the store, or an ingredient changed its past.
    """
    benchmark, device = get_benchmark(spec.benchmark), prepare(resources, spec.sac)
    make_env = make_env or benchmark.make_env
    past = PastReader(store, spec, benchmark.task_spaces(spec.task), device)
    folder = store.phase(spec.key())
    folder.write_spec(spec.model_dump(mode="json"))
    attempt, notes = folder.attempt(), list[str]()
    found = _checkpoint(folder, attempt, notes)
    method, agent = ActiveMethod(tuple(ingredients)), past.initial_agent()
    if found is not None:
        method.arrays = {
            name.removeprefix(METHOD): array for name, array in found.tensors.items() if name.startswith(METHOD)
        }
        method.report = dict(found.counters["report"])
    elif ingredients:
        known = past.past(Stream.METHOD)
        method.prepare(known)
        method.begin(known, agent)
    compile = _wants_compiling(spec, resources, found, notes)
    agent.rules, why_not = method.restraints(agent), None
    if alone and (why_not := compiling.build(agent, agent.rules, resources, compile=compile)):
        notes.append(why_not)
    tasks = (*(task for task in spec.earlier_tasks if task != spec.task), spec.task)
    phase = Phase(
        spec=spec,
        agent=agent,
        replay=new_replay(agent.spaces, min(spec.sac.buffer_size, spec.learning.env_steps), device),
        past_replay=past.buffers() if method.needs_buffers else None,
        influence=method,
        env=make_env(spec.task, spec.seed),
        evaluation_envs={task: make_env(task, spec.seed) for task in tasks},
    )
    opened = OpenPhase(phase, past, attempt, compiled=compile and not why_not, notes=notes)
    if found is not None:
        _resume(opened, found)
    for note in notes:
        log.warning("phase %s: %s", folder.key, note)
    if found is not None:
        opened.notes = [*found.counters["notes"], *notes]
    return opened


def _wants_compiling(spec: PhaseSpec, resources: Resources, found: Checkpoint | None, notes: list[str]) -> bool:
    """Compiled or not is decided once per phase, as sums round otherwise."""
    wanted = compiling.wanted(resources, spec)
    if found is None:
        return wanted
    before = bool(found.counters.get("compiled", False))
    if resources.compile == "auto":
        return before
    if wanted != before:
        notes.append(f"resources.compile changed from {before} to {wanted}: sums round otherwise")
    return wanted


def _checkpoint(folder: PhaseFolder, attempt: Attempt, notes: list[str]) -> Checkpoint | None:
    """The furthest one that is whole; the attempt goes on from it."""
    for stored in folder.checkpoints():
        try:
            checkpoint = stored.read()
        except CorruptCheckpointError as error:
            notes.append(f"{error}: going on from the checkpoint before it, or from the start if there is none")
            continue
        attempt.adopt(stored)
        return checkpoint
    return None


def _resume(opened: OpenPhase, checkpoint: Checkpoint) -> None:
    phase, counters = opened.phase, checkpoint.counters
    phase.agent.restore(checkpoint.tensors)
    phase.agent.updates = UpdateCounts(**counters["updates"])
    phase.env_steps, phase.episode = counters["env_steps"], counters["episode"]
    phase.evaluations_at_threshold, phase.curve = counters["mastered"], list(checkpoint.curve)
    phase.returns = Spread(**counters.get("returns", {}))
    for start, rows in checkpoint.rows:
        phase.replay.restore(start, rows)
    opened.seconds = counters["seconds"]
    if counters["threads"] != torch.get_num_threads():
        threads = torch.get_num_threads()
        opened.notes.append(f"threads changed from {counters['threads']} to {threads}: sums round otherwise")
