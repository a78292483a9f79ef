"""One phase from start to commit: open or resume, learn, hand over to the store, evaluate.

`PhaseRun` is what a Ray worker, `nbsp-ray try` and the tests drive alike, by small helpings of time; it does not know
which of them it is. It always stands between two episodes when `advance` returns, so that it can be saved there.
"""

import logging
import os
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch

from nbsp_ray.benchmarks import get_benchmark
from nbsp_ray.config.schema import Resources
from nbsp_ray.errors import CorruptCheckpointError
from nbsp_ray.learning import compiling
from nbsp_ray.learning.agent import Agent, UpdateCounts
from nbsp_ray.learning.final import FinalEvaluation
from nbsp_ray.learning.hooks import ActiveMethod
from nbsp_ray.learning.machine import check_precision, find_device
from nbsp_ray.learning.manifest import digest, evidence
from nbsp_ray.learning.past import PastReader
from nbsp_ray.learning.phase import Phase, learn
from nbsp_ray.learning.replay import new_replay
from nbsp_ray.learning.seeding import Stream, generator
from nbsp_ray.methods import read_ingredient
from nbsp_ray.specs import EvaluationSpec, PhaseSpec
from nbsp_ray.store import Attempt, Checkpoint, Store, StoredCheckpoint

log = logging.getLogger(__name__)
PROGRESS_SECONDS = 2.0
SAMPLE_TRANSITIONS = 2_560
"""Transitions that a later phase keeps of its buffer, for Fisher and importance (10 x 256)."""
METHOD = "method/"
"""Prefix of a method's arrays in a checkpoint."""


@dataclass(frozen=True)
class Progress:
    """How far a phase is."""

    stage: Literal["learning", "evaluating", "done"]
    env_steps: int
    budget: int
    updates: int
    success: float | None
    """The last evaluation of the phase's own task."""
    env_steps_per_second: float | None

    @property
    def done(self) -> bool:
        """Whether the result and all wanted evaluations are stored."""
        return self.stage == "done"


class PhaseRun:
    """A phase at work.

    Raises:
        ConfigError: the device or the precision asked for is not there.
        PhaseError: a phase that this one needs is not in the store.
    """

    def __init__(
        self,
        store: Store,
        spec: PhaseSpec,
        evaluations: Sequence[EvaluationSpec],
        resources: Resources,
        *,
        keep_buffer: bool = False,
    ) -> None:
        self.store, self.spec, self.resources = store, spec, resources
        self.folder = store.phase(spec.key())
        self.device = find_device(resources)
        check_precision(spec.sac, self.device)
        torch.set_num_threads(resources.cpus)
        # Adam's moments decay into denormal numbers, on which a CPU is many times slower: 1.4 x on a whole phase.
        torch.set_flush_denormal(True)
        self._evaluations = () if self.folder.imported() else evaluations
        self._keep_buffer = keep_buffer or spec.index == 0
        self._benchmark = get_benchmark(spec.benchmark)
        self._spaces = self._benchmark.task_spaces(spec.task)
        self._past = PastReader(store, spec, self._spaces, self.device)
        self._phase: Phase | None = None
        self._attempt: Attempt | None = None
        self._final: FinalEvaluation | None = None
        self._progress = Progress("learning", 0, spec.learning.env_steps, 0, None, None)
        self._seconds = 0.0
        self._saved_at = self._told_at = time.monotonic()
        self._started = time.time()
        self._speed: float | None = None
        self._notes: list[str] = []
        self._compiled = False
        self._work = self._steps()

    def advance(self, seconds: float) -> Progress:
        """Work for about `seconds`: at least one episode, and then to the end of the episode under way."""
        end = time.monotonic() + seconds
        for _ in self._work:
            now = time.monotonic()
            if now - self._saved_at > 60 * self.resources.checkpoint_minutes:
                self.save()
            self._tell_at_times()
            if now >= end:
                break
        self._tell()
        return self.progress()

    def progress(self) -> Progress:
        """How far it is now."""
        phase = self._phase
        if phase is not None:
            own = [row for row in phase.curve if row["kind"] == "evaluation" and row["task"] == self.spec.task]
            self._progress = replace(
                self._progress,
                env_steps=phase.env_steps,
                updates=phase.agent.updates.critic,
                success=own[-1]["success"] if own else None,
                env_steps_per_second=self._speed,
            )
        return self._progress

    def curve(self) -> list[dict[str, Any]]:
        """All evaluations and training episodes so far."""
        return self._phase.curve if self._phase else self.folder.curve()

    def save(self) -> None:
        """Write a checkpoint of where it stands; costs what was added since the last one."""
        phase, attempt = self._phase, self._attempt
        if self._final is not None:
            self._final.save()
        elif phase is not None and attempt is not None and not self._has_learnt():
            try:
                self._save(phase, attempt)
            except OSError:
                # Another process may have committed just now, and removed what is no longer needed.
                if not self._has_learnt():
                    raise
        self._saved_at = time.monotonic()

    def _save(self, phase: Phase, attempt: Attempt) -> None:
        prepared = {METHOD + name: array for name, array in phase.influence.arrays.items()}
        attempt.save(
            env_steps=phase.env_steps,
            counters={
                "env_steps": phase.env_steps,
                "episode": phase.episode,
                "mastered": phase.evaluations_at_threshold,
                "updates": asdict(phase.agent.updates),
                "seconds": self._seconds,
                "report": phase.influence.report,
                "notes": self._notes,
                "threads": torch.get_num_threads(),
                "compiled": self._compiled,
            },
            curve=phase.curve,
            tensors=phase.agent.arrays() | prepared,
            added=phase.replay.added,
            capacity=phase.replay.slots,
            rows=phase.replay.rows,
        )

    def _tell(self) -> None:
        progress = self.progress()
        if progress.done:
            return
        who = {"host": socket.gethostname(), "pid": os.getpid(), "notes": self._notes}
        self.folder.write_progress(asdict(progress) | who)
        self._told_at = time.monotonic()

    def _tell_at_times(self) -> None:
        if time.monotonic() - self._told_at > PROGRESS_SECONDS:
            self._tell()

    def _steps(self) -> Iterator[None]:
        """All the work, with a pause wherever it may be saved or stopped."""
        if not self._has_learnt():
            self._phase = self._open()
            self._phase.heartbeat = self._tell_at_times
            self._tell()
            yield from self._learn(self._phase)
            if not self._has_learnt():
                self._commit(self._phase)
            self.progress()
            self._phase = None  # And with it the buffers.
        self._progress = replace(self._progress, stage="evaluating")
        for record in self._evaluations:
            if not self.folder.has_evaluation(record.id):
                agent = self._past.trained_agent(self.folder.key)
                self._final = FinalEvaluation(self.folder, self._benchmark, self.spec, record, agent)
                yield from self._final.play()
        self._final = None
        self._progress = replace(self._progress, stage="done")
        self.folder.clean()

    def _has_learnt(self) -> bool:
        """Whether there is nothing to learn: the result is there, and the whole buffer too if it is wanted."""
        return self.folder.imported() or (self.folder.done() and (not self._keep_buffer or self.folder.has_replay()))

    def _learn(self, phase: Phase) -> Iterator[None]:
        began, before = time.monotonic(), phase.env_steps
        for _ in learn(phase):
            now = time.monotonic()
            self._seconds += now - began
            if before >= self.spec.sac.learning_starts:  # Random steps are fast, and would promise too much.
                speed = (phase.env_steps - before) / max(now - began, 1e-9)
                self._speed = speed if self._speed is None else 0.9 * self._speed + 0.1 * speed
            began, before = now, phase.env_steps
            yield
            began = time.monotonic()
            if self._has_learnt():
                log.warning("phase %s was committed by another process; its result is used", self.folder.key)
                return

    # Opening

    def _open(self) -> Phase:
        """The phase as the furthest whole checkpoint has it, or at its beginning."""
        spec = self.spec
        self.folder.write_spec(spec.model_dump(mode="json"))
        self._attempt = self.folder.attempt()
        found = self._checkpoint()
        influence = ActiveMethod(tuple(read_ingredient(data) for data in spec.ingredients))
        agent = self._past.initial_agent()
        if found is None:
            if influence.ingredients:
                past = self._past.past(Stream.METHOD)
                influence.prepare(past)
                influence.begin(past, agent)
        else:
            influence.arrays = {
                name.removeprefix(METHOD): array for name, array in found.tensors.items() if name.startswith(METHOD)
            }
            influence.report = dict(found.counters["report"])
        self._build_update(agent, influence, found)
        tasks = (*(task for task in spec.earlier_tasks if task != spec.task), spec.task)
        phase = Phase(
            spec=spec,
            agent=agent,
            replay=new_replay(self._spaces, min(spec.sac.buffer_size, spec.learning.env_steps), self.device),
            past_replay=self._past.buffers() if influence.needs_buffers else None,
            influence=influence,
            env=self._benchmark.make_env(spec.task, spec.seed),
            evaluation_envs={task: self._benchmark.make_env(task, spec.seed) for task in tasks},
        )
        if found is not None:
            self._resume(phase, found)
        return phase

    def _build_update(self, agent: Agent, influence: ActiveMethod, found: Checkpoint | None) -> None:
        """Compiled or not is decided once per phase, as sums round otherwise."""
        wanted = compiling.wanted(self.resources, self.spec)
        if found is not None:
            before = bool(found.counters.get("compiled", False))
            if self.resources.compile == "auto":
                wanted = before
            elif wanted != before:
                self._note(f"resources.compile changed from {before} to {wanted}: sums round otherwise")
        why = compiling.build(agent, influence.restraints(agent), self.resources, compile=wanted)
        if why:
            self._note(why)
        self._compiled = wanted and not why

    def _checkpoint(self) -> Checkpoint | None:
        for stored in self.folder.checkpoints():
            try:
                checkpoint = stored.read()
            except CorruptCheckpointError as error:
                self._note(f"{error}: going on from the checkpoint before it, or from the start if there is none")
                continue
            self._adopt(stored)
            return checkpoint
        return None

    def _adopt(self, stored: StoredCheckpoint) -> None:
        assert self._attempt is not None
        self._attempt.adopt(stored)

    def _note(self, note: str) -> None:
        log.warning("phase %s: %s", self.folder.key, note)
        self._notes.append(note)

    def _resume(self, phase: Phase, checkpoint: Checkpoint) -> None:
        counters = checkpoint.counters
        phase.agent.restore(checkpoint.tensors)
        phase.agent.updates = UpdateCounts(**counters["updates"])
        phase.env_steps, phase.episode = counters["env_steps"], counters["episode"]
        phase.evaluations_at_threshold, phase.curve = counters["mastered"], list(checkpoint.curve)
        for start, rows in checkpoint.rows:
            phase.replay.restore(start, rows)
        self._seconds = counters["seconds"]
        self._notes = [*counters["notes"], *self._notes]
        if counters["threads"] != torch.get_num_threads():
            self._note(f"threads changed from {counters['threads']} to {torch.get_num_threads()}: sums round otherwise")

    # Ending

    def _commit(self, phase: Phase) -> None:
        spec = self.spec
        if phase.influence.ingredients:
            phase.influence.finish(self._past.past(Stream.DRIFT), phase.agent)
        phase.past_replay = None  # It makes room for what is written.
        agent = phase.agent.arrays()
        result = {
            "key": self.folder.key,
            "task": spec.task,
            "env_steps": phase.env_steps,
            "updates": phase.agent.updates.critic,
            "stop_reason": phase.stop_reason,
            "seconds": self._seconds,
            "env_steps_per_second": phase.env_steps / max(self._seconds, 1e-9),
            "replay_share": phase.agent.updates.past_share(),
            "buffer_transitions": len(phase.replay),
            **phase.influence.report,
            "notes": self._notes,
            "digest": digest(agent),
        }
        rng = generator(spec.seed, spec.index, Stream.SAMPLE)
        self.folder.commit(
            result=result,
            manifest={"started": self._started, "finished": time.time()}
            | evidence(self.device, compiled=self._compiled),
            curve=phase.curve,
            agent=agent,
            prepared=phase.influence.arrays,
            replay=phase.replay.pieces() if self._keep_buffer else None,
            sample=None if spec.index == 0 else phase.replay.subset(SAMPLE_TRANSITIONS, rng),
        )
