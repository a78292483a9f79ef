"""One phase from start to commit: open it, learn, hand over to the store, evaluate.

`PhaseRun` is what a Ray worker, `nbsp-ray try` and the tests drive alike, by small helpings of time; it does not know
which of them it is. It always stands between two episodes when `advance` returns, so that it can be saved there.
"""

import logging
import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Literal

import torch

from nbsp_ray.benchmarks import get_benchmark
from nbsp_ray.config.schema import Resources
from nbsp_ray.errors import StoreError
from nbsp_ray.learning.evaluation import MakeEnv
from nbsp_ray.learning.final import FinalEvaluation
from nbsp_ray.learning.hooks import ActiveMethod, Ingredient
from nbsp_ray.learning.machine import prepare
from nbsp_ray.learning.manifest import digest, evidence
from nbsp_ray.learning.opening import METHOD, OpenPhase, open_phase
from nbsp_ray.learning.past import load_agent
from nbsp_ray.learning.phase import learn
from nbsp_ray.learning.seeding import Stream, generator
from nbsp_ray.learning.wishes import Aside, Work, alone
from nbsp_ray.specs import SAMPLE_TRANSITIONS, EvaluationSpec, PhaseSpec
from nbsp_ray.store import Store

log = logging.getLogger(__name__)
PROGRESS_SECONDS = 2.0


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

    Args:
        store: Where it is kept.
        spec: What it is.
        ingredients: Those of the spec, as objects: whoever knows the methods hands them in.
        evaluations: The final evaluations wanted.
        resources: How it is to be computed.
        keep_buffer: Whether its whole buffer is wanted afterwards; that of a first phase always is.

    Raises:
        ConfigError: the device or the precision asked for is not there.
        PhaseError: a phase that this one needs is not in the store.
    """

    def __init__(
        self,
        store: Store,
        spec: PhaseSpec,
        ingredients: Sequence[Ingredient],
        evaluations: Sequence[EvaluationSpec],
        resources: Resources,
        *,
        keep_buffer: bool = False,
    ) -> None:
        if [one.model_dump(mode="json") for one in ingredients] != list(spec.ingredients):
            raise ValueError(f"the ingredients of phase {spec.key()} are {spec.ingredients}, not {ingredients}")
        self._ingredients = ingredients
        self.store, self.spec, self.resources = store, spec, resources
        self.folder = store.phase(spec.key())
        self.device = prepare(resources, spec.sac)
        self._evaluations = () if self.folder.imported() else evaluations
        self._keep_buffer = keep_buffer or spec.index == 0
        self._benchmark = get_benchmark(spec.benchmark)
        self.adopt: Callable[[OpenPhase], None] | None = None
        """A pack that takes the phase in when it is open, before it learns, and makes its updates."""
        self.lanes = 1
        """Phases that can be at work in this process: of a pack, its slots."""
        self.make_env: MakeEnv = self._benchmark.make_env
        self._open: OpenPhase | None = None
        self._final: FinalEvaluation | None = None
        self._progress = Progress("learning", 0, spec.learning.env_steps, 0, None, None)
        self._saved_at = self._told_at = self._looked_at = time.monotonic()
        self.pace = store.files.pace
        """Seconds between two tellings of how far it is, and two looks at whether others have done it; 0: each time."""
        self._started = time.time()
        self._speed: float | None = None
        self._work = alone(self.work())

    def advance(self, seconds: float) -> Progress:
        """Work for about `seconds`: at least one episode, and then to the end of the episode under way."""
        end = time.monotonic() + seconds
        for _ in self._work:
            self.pause()
            if time.monotonic() >= end:
                break
        if not self.pace or time.monotonic() - self._told_at > self.pace:
            self._tell()
        return self.progress()

    def pause(self) -> None:
        """Save and tell, if it is time to; for whoever drives `work`, where that yields None."""
        if time.monotonic() - self._saved_at > 60 * self.resources.checkpoint_minutes:
            self.save()
        self._tell_at_times()

    def progress(self) -> Progress:
        """How far it is now."""
        if self._open is not None:
            phase = self._open.phase
            own = [row for row in phase.curve if row["kind"] == "evaluation" and row["task"] == self.spec.task]
            self._progress = replace(
                self._progress,
                env_steps=phase.env_steps,
                updates=phase.agent.updates.critic,
                success=own[-1]["success"] if own else None,
                env_steps_per_second=self._speed,
            )
        return self._progress

    def again(self) -> "PhaseRun":
        """The same phase, opened anew: as its furthest checkpoint has it."""
        return PhaseRun(
            self.store,
            self.spec,
            self._ingredients,
            self._evaluations,
            self.resources,
            keep_buffer=self._keep_buffer,
        )

    @property
    def opened(self) -> OpenPhase | None:
        """The phase while it learns."""
        return self._open

    def curve(self) -> list[dict[str, Any]]:
        """All evaluations and training episodes so far."""
        return self._open.phase.curve if self._open else self.folder.curve()

    def save(self) -> None:
        """Write a checkpoint of where it stands; costs what was added since the last one."""
        if self._final is not None:
            self._final.save()
        elif self._open is not None and not self._has_learnt():
            try:
                _save(self._open)
            except (OSError, StoreError):
                # Another process may have committed just now, and removed what is no longer needed.
                if not self._has_learnt():
                    raise
        self._saved_at = time.monotonic()

    def _tell(self) -> None:
        progress = self.progress()
        if progress.done:
            return
        who = {"host": socket.gethostname(), "pid": os.getpid(), "notes": self._open.notes if self._open else []}
        self.folder.write_progress(asdict(progress) | who)
        self._told_at = time.monotonic()

    def _tell_at_times(self) -> None:
        if time.monotonic() - self._told_at > max(PROGRESS_SECONDS, self.pace):
            self._tell()

    def work(self) -> Work:
        """All of it as a coroutine (`wishes`), with a pause wherever it may be saved or stopped."""
        if not self._has_learnt():
            given = self.store, self.spec, self._ingredients, self.resources, self.make_env
            opened: OpenPhase = yield Aside(partial(open_phase, *given, alone=self.adopt is None))
            self._open = opened
            if self.adopt is not None:
                self.adopt(opened)
            opened.phase.heartbeat = self._tell_at_times
            self._tell()
            yield from self._learn(opened)
            if not self._has_learnt():
                yield Aside(self._commit(opened))
            self.progress()
            del opened
            self._open = None  # And with it the buffers.
        self._progress = replace(self._progress, stage="evaluating")
        for record in self._evaluations:
            if not self.folder.has_evaluation(record.id):
                agent = yield Aside(partial(load_agent, self.store, self.folder.key, self.device))
                method = ActiveMethod(tuple(self._ingredients))
                method.arrays = self.folder.prepared()
                self._final = FinalEvaluation(
                    self.folder, self._benchmark, self.spec, record, agent, method, self.make_env
                )
                yield from self._final.play()
        self._final = None
        self._progress = replace(self._progress, stage="done")
        self.folder.clean()

    def _has_learnt(self) -> bool:
        """Whether there is nothing to learn: the result is there, and the whole buffer too if it is wanted."""
        return self.folder.is_complete((), with_buffer=self._keep_buffer)

    def _is_done_elsewhere(self) -> bool:
        now = time.monotonic()
        if now - self._looked_at < self.pace:
            return False
        self._looked_at = now
        return self._has_learnt()

    def _learn(self, opened: OpenPhase) -> Work:
        phase, answer = opened.phase, None
        loop = learn(phase)
        began, before = time.monotonic(), phase.env_steps
        while True:
            try:
                wish = loop.send(answer)
            except StopIteration:
                return
            if wish is not None:
                answer = yield wish
                continue
            now = time.monotonic()
            opened.seconds += now - began
            if before >= self.spec.sac.learning_starts:  # Random steps are fast, and would promise too much.
                speed = (phase.env_steps - before) / max(now - began, 1e-9)
                self._speed = speed if self._speed is None else 0.9 * self._speed + 0.1 * speed
            began, before, answer = now, phase.env_steps, None
            yield None
            began = time.monotonic()
            if self._is_done_elsewhere():
                log.warning("phase %s was committed by another process; its result is used", self.folder.key)
                return

    def _commit(self, opened: OpenPhase) -> Callable[[], None]:
        """What writes all that came of the phase; others may learn beside it meanwhile."""
        spec, phase = self.spec, opened.phase
        if self._ingredients:
            phase.influence.finish(opened.past.past(Stream.DRIFT), phase.agent)
        phase.past_replay = None  # It makes room for what is written.
        agent = phase.agent.arrays()
        result = {
            "key": self.folder.key,
            "task": spec.task,
            "env_steps": phase.env_steps,
            "updates": phase.agent.updates.critic,
            "stop_reason": phase.stop_reason,
            "seconds": opened.seconds,
            "env_steps_per_second": phase.env_steps / max(opened.seconds, 1e-9),
            "replay_share": phase.agent.updates.past_share(),
            "buffer_transitions": len(phase.replay),
            **phase.influence.report,
            "notes": opened.notes,
            "digest": digest(agent),
        }
        rng = generator(spec.seed, spec.index, Stream.SAMPLE)
        return partial(
            self.folder.commit,
            result=result,
            manifest={"started": self._started, "finished": time.time(), "lanes": self.lanes}
            | evidence(self.device, compiled=opened.compiled),
            curve=phase.curve,
            agent=agent,
            prepared=phase.influence.arrays,
            replay=phase.replay.pieces() if self._keep_buffer else None,
            sample=None if spec.index == 0 else phase.replay.subset(SAMPLE_TRANSITIONS, rng),
        )


def _save(opened: OpenPhase) -> None:
    phase = opened.phase
    prepared = {METHOD + name: array for name, array in phase.influence.arrays.items()}
    opened.attempt.save(
        env_steps=phase.env_steps,
        counters={
            "env_steps": phase.env_steps,
            "episode": phase.episode,
            "mastered": phase.evaluations_at_threshold,
            "returns": asdict(phase.returns),
            "updates": asdict(phase.agent.updates),
            "seconds": opened.seconds,
            "report": phase.influence.report,
            "notes": opened.notes,
            "threads": torch.get_num_threads(),
            "compiled": opened.compiled,
        },
        curve=phase.curve,
        tensors=phase.agent.arrays() | prepared,
        added=phase.replay.added,
        capacity=phase.replay.slots,
        rows=phase.replay.rows,
    )
