"""One phase from start to commit: open or resume, learn, hand over to the store, evaluate.

`PhaseRun` is what a Ray worker, `nbsp-ray try` and the tests drive alike, by small helpings of time; it does not know
which of them it is. It always stands between two episodes when `advance` returns, so that it can be saved there.
"""

import logging
import os
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from nbsp_ray.benchmarks import AnySpaces, PixelSpaces, get_benchmark
from nbsp_ray.config import Resources
from nbsp_ray.errors import CorruptCheckpointError, PhaseError
from nbsp_ray.learning import compiling
from nbsp_ray.learning.agent import Agent, UpdateCounts
from nbsp_ray.learning.evaluation import (
    Episode,
    EpisodePlan,
    GameRollouts,
    Recorder,
    Rollouts,
    VectorRollouts,
    mean_return,
    play,
)
from nbsp_ray.learning.evidence import digest, evidence
from nbsp_ray.learning.frames import FrameReplay
from nbsp_ray.learning.machine import check_precision, find_device
from nbsp_ray.learning.phase import Phase, learn
from nbsp_ray.learning.replay import AnyReplay, Mixture, new_replay, replay_of
from nbsp_ray.learning.seeding import Stream, generator
from nbsp_ray.methods import Auxiliary, Influence, Past, read_ingredient
from nbsp_ray.plan import EvaluationSpec, PhaseSpec
from nbsp_ray.store import Attempt, Checkpoint, PhaseFolder, Store, StoredCheckpoint

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
        self._evaluations = evaluations
        self._keep_buffer = keep_buffer or spec.index == 0
        self._benchmark = get_benchmark(spec.benchmark)
        self._spaces = self._benchmark.task_spaces(spec.task)
        self._phase: Phase | None = None
        self._attempt: Attempt | None = None
        self._stage: Literal["learning", "evaluating", "done"] = "learning"
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
            if self._phase and now - self._saved_at > 60 * self.resources.checkpoint_minutes:
                self.save()
            if now - self._told_at > PROGRESS_SECONDS:
                self._tell()
            if now >= end:
                break
        self._tell()
        return self.progress()

    def progress(self) -> Progress:
        """How far it is now."""
        phase = self._phase
        rows = phase.curve if phase else []
        own = [row["success"] for row in rows if row["kind"] == "evaluation" and row["task"] == self.spec.task]
        return Progress(
            stage=self._stage,
            env_steps=phase.env_steps if phase else 0,
            budget=self.spec.learning.env_steps,
            updates=phase.agent.updates.critic if phase else 0,
            success=own[-1] if own else None,
            env_steps_per_second=self._speed,
        )

    def save(self) -> None:
        """Write a checkpoint of where it stands; costs what was added since the last one."""
        phase, attempt = self._phase, self._attempt
        if phase is None or attempt is None or self._stage != "learning" or self._has_learnt():
            return
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
                "mastered": phase.mastered,
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
        who = {"host": socket.gethostname(), "pid": os.getpid()}
        self.folder.write_progress(asdict(progress) | who)
        self._told_at = time.monotonic()

    def _steps(self) -> Iterator[None]:
        """All the work, with a pause wherever it may be saved or stopped."""
        if not self._has_learnt():
            self._phase = phase = self._open()
            self._tell()
            yield from self._learn(phase)
            if not self._has_learnt():
                self._commit(phase)
        self._stage = "evaluating"
        for record in self._evaluations:
            if not self.folder.has_evaluation(record.id):
                yield from self._evaluate(record)
        self._stage = "done"
        self.folder.clean()

    def _has_learnt(self) -> bool:
        """Whether there is nothing to learn: the result is there, and the whole buffer too if it is wanted."""
        return self.folder.done() and (not self._keep_buffer or self.folder.has_replay())

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
        influence = Influence(tuple(read_ingredient(data) for data in spec.ingredients))
        agent = self._initial_agent()
        if found is None:
            if influence.ingredients:
                influence.prepare(self._past(Stream.RANDOM_NEURONS))
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
            past_replay=self._past_buffers() if influence.needs_buffers else None,
            influence=influence,
            env=self._benchmark.make_env(spec.task, spec.seed),
            evaluation_envs={task: self._benchmark.make_env(task, spec.seed) for task in tasks},
        )
        if found is not None:
            self._resume(phase, found)
        return phase

    def _build_update(self, agent: Agent, influence: Influence, found: Checkpoint | None) -> None:
        """Compiled or not is decided once per phase, as sums round otherwise."""
        wanted = compiling.wanted(self.resources, self.spec)
        if found is not None:
            before = bool(found.counters.get("compiled", False))
            if self.resources.compile == "auto":
                wanted = before
            elif wanted != before:
                self._note(f"resources.compile changed from {before} to {wanted}: sums round otherwise")
        why = compiling.build(agent, influence.restraints(agent), self.store, self.resources, compile=wanted)
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
        phase.mastered, phase.curve = counters["mastered"], list(checkpoint.curve)
        for start, rows in checkpoint.rows:
            phase.replay.restore(start, rows)
        self._seconds = counters["seconds"]
        self._notes = [*counters["notes"], *self._notes]
        if counters["threads"] != torch.get_num_threads():
            self._note(f"threads changed from {counters['threads']} to {torch.get_num_threads()}: sums round otherwise")

    def _initial_agent(self) -> Agent:
        """New networks for a first phase; for a later one those of the phase before, with new optimizers."""
        spec = self.spec
        agent = Agent(spec.sac, self._spaces, self.device, generator(spec.seed, 0, Stream.NETWORKS))
        if spec.previous is not None:
            weights = self._needed(spec.previous, "agent", self.store.phase(spec.previous).agent())
            agent.restore(weights, weights_only=True)
            if spec.reset_log_alpha and spec.sac.autotune:
                agent.state.log_alpha.zero_()
        return agent

    def _needed(self, key: str, what: str, found: Any) -> Any:
        if found is None:
            raise PhaseError(
                f"the {what} of phase {key} is missing from {self.store.phase(key).path}, and phase {self.folder.key} "
                "needs it; remove that folder and run the sweep again: it trains what is missing"
            )
        return found

    def _past_buffers(self) -> Mixture:
        """D_pre: the whole buffers of all earlier phases, oldest first."""
        keys: list[str] = []
        key = self.spec.previous
        while key is not None:
            keys.insert(0, key)
            key = self._needed(key, "spec", self.store.phase(key).spec())["previous"]
        return Mixture([self._buffer(key, "replay buffer", self.store.phase(key).replay()) for key in keys])

    def _buffer(self, key: str, what: str, rows: npt.NDArray[Any] | None) -> AnyReplay:
        return replay_of(self._spaces, self._needed(key, what, rows), self.device)

    def _last_transitions(self) -> AnyReplay:
        """The whole buffer of a first phase before this one, the sample that a later one keeps."""
        previous = self.spec.previous
        assert previous is not None
        folder = self.store.phase(previous)
        if self.spec.index == 1:
            return self._buffer(previous, "replay buffer", folder.replay())
        return self._buffer(previous, "sample of transitions", folder.sample())

    def _past(self, stream: Stream) -> Past:
        """All that the method may know; its generator is `stream`'s."""
        spec, rollouts = self.spec, None
        assert spec.previous is not None
        if spec.rollouts is not None:
            rollouts = read_rollouts(self.store.phase(spec.previous), spec.rollouts.id, self._spaces)
            rollouts = self._needed(spec.previous, f"evaluation {spec.rollouts.id}", rollouts)
        return Past(
            agent=self._initial_agent(),
            replay=self._last_transitions(),
            rollouts=rollouts,
            auxiliary={method: self._auxiliary(key) for method, key in spec.auxiliary.items()},
            generator=generator(spec.seed, spec.index, stream),
            carried=self.store.phase(spec.previous).prepared(),
        )

    def _auxiliary(self, key: str) -> Auxiliary:
        folder = self.store.phase(key)
        agent = self._initial_agent()
        agent.restore(self._needed(key, "agent", folder.agent()), weights_only=True)
        return Auxiliary(
            agent,
            self._buffer(key, "sample of transitions", folder.sample()),
            self._needed(key, "result", folder.result())["env_steps"],
        )

    # Ending

    def _commit(self, phase: Phase) -> None:
        spec = self.spec
        if phase.influence.ingredients:
            phase.influence.finish(self._past(Stream.DRIFT), phase.agent)
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
        chance = generator(spec.seed, spec.index, Stream.SAMPLE)
        self.folder.commit(
            result=result,
            manifest={"started": self._started, "finished": time.time()}
            | evidence(self.device, compiled=self._compiled),
            curve=phase.curve,
            agent=agent,
            prepared=phase.influence.arrays,
            replay=phase.replay.pieces() if self._keep_buffer else None,
            sample=None if spec.index == 0 else phase.replay.subset(SAMPLE_TRANSITIONS, chance),
        )

    def _evaluate(self, record: EvaluationSpec) -> Iterator[None]:
        """Play one final evaluation, pausing between episodes, and store it."""
        spec = self.spec
        agent = Agent(spec.sac, self._spaces, self.device, generator(spec.seed, 0, Stream.NETWORKS))
        agent.restore(self._needed(self.folder.key, "agent", self.folder.agent()))
        env = self._benchmark.make_env(record.task, spec.seed, heldout=record.goals == "heldout")
        policy, episodes = agent.policy(), list[Episode]()
        recorder = Recorder(self._spaces) if record.mode == "rollouts" else None
        while not _enough(record, episodes):
            number = len(episodes)
            plan = EpisodePlan(number % env.variations, generator(spec.seed, spec.index, Stream.FINAL, number))
            cut = recorder is None
            deterministic = record.mode == "deterministic"
            episodes.append(
                play(policy, env, plan, deterministic=deterministic, stop_at_success=cut, rollouts=recorder)
            )
            if recorder and isinstance(self._spaces, PixelSpaces):
                self.folder.write_game(record.id, number, recorder.take_rows())
            yield
        returns = [episode.env_return for episode in episodes]
        data = record.model_dump() | {"env_return": returns}
        if self._benchmark.measure == "success":
            flags = [int(bool(episode.success)) for episode in episodes]
            data |= {"success": flags, "success_rate": float(np.mean(flags))}
        else:
            data |= {"success": [], "success_rate": None, "mean_return": mean_return(episodes)}
            data |= {"episodes": len(episodes), "env_steps": sum(episode.env_steps for episode in episodes)}
        kept = recorder.arrays() if recorder and not isinstance(self._spaces, PixelSpaces) else None
        self.folder.write_evaluation(record.id, data, kept)


def _enough(record: EvaluationSpec, episodes: Sequence[Episode]) -> bool:
    """Whether a final evaluation is over: so many episodes, or so many env steps with the last game finished."""
    if record.env_steps is None:
        return len(episodes) >= record.episodes
    return sum(episode.env_steps for episode in episodes) >= record.env_steps


def read_rollouts(folder: PhaseFolder, record: str, spaces: AnySpaces) -> Rollouts | None:
    """The steps of a final evaluation that kept them; None if they are not there."""
    if not isinstance(spaces, PixelSpaces):
        arrays = folder.rollouts(record)
        if arrays is None:
            return None
        return VectorRollouts(arrays["success"].astype(np.float64), arrays["observations"], arrays["actions"])
    data = folder.evaluation(record)
    games = folder.games(record, len(data["env_return"])) if data else None
    if data is None or games is None:
        return None
    buffers = [FrameReplay.of(spaces, rows) for rows in games]
    return GameRollouts(np.repeat(data["env_return"], [len(game) for game in buffers]), buffers)
