"""A process of environments: it plays for agents that learn elsewhere, and episodes of policies that do not learn."""

import os
import traceback
from collections import deque
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch

from nbsp_ray.benchmarks import Action, Benchmark, Env, Observation, Spaces, Step
from nbsp_ray.learning.acting import new_policy
from nbsp_ray.learning.evaluation import EpisodePlan, play
from nbsp_ray.learning.rollouts import Recorder
from nbsp_ray.learning.seats import ANSWERED, BEGIN, PATIENCE, PLAY, RAISED, Episodes, Seats, Task, rng_words, set_rng


class StepList(Recorder):
    """Keeps what another recorder is told later."""

    def __init__(self) -> None:
        super().__init__(by_success=False)
        self.steps: list[tuple[Observation, Action, Step]] = []

    def add(self, observation: Observation, action: Action, step: Step) -> None:
        """Keep one step."""
        self.steps.append((np.array(observation), np.array(action), step))

    def _keep(self, observation: Observation, action: Action, step: Step) -> None:
        """In `add`."""

    def end_episode(self, env_return: float) -> None:
        """Nothing more to keep."""


class Worker:
    """What runs in a process: environments that learn, by seat, and one of each task to be watched."""

    def __init__(self, benchmark: Benchmark, spaces: Spaces, seats: int, memory: Any, pipe: Connection) -> None:
        self._benchmark, self._pipe = benchmark, pipe
        self._columns = Seats(spaces, seats, memory).columns
        self._envs: dict[int, Env] = {}
        self._watched: dict[Task, Env] = {}
        self._orders: deque[Episodes] = deque()

    def serve(self, wake: Any, news: Any) -> None:
        """Work until the pipe is closed at the other end."""
        parent = os.getppid()
        while os.getppid() == parent:
            wake.acquire(timeout=PATIENCE)
            try:
                self._read(news)
            except EOFError:
                return
            while self._orders:
                self._watch(self._orders.popleft(), news)

    def _read(self, news: Any) -> None:
        """Take what came through the pipe, and serve the seats."""
        while self._pipe.poll():
            message = self._pipe.recv()
            if isinstance(message, Episodes):
                self._orders.append(message)
            else:
                seat, task = message
                self._envs.pop(seat, None)
                if task is not None:
                    self._envs[seat] = self._make(task)
        for seat, env in self._envs.items():
            if self._columns["state"][seat] in (BEGIN, PLAY):
                self._answer(seat, env)
                news.release()

    def _answer(self, seat: int, env: Env) -> None:
        columns = self._columns
        try:
            if columns["state"][seat] == BEGIN:
                rng = np.random.default_rng(0)
                set_rng(rng, columns["rng"][seat])
                columns["observation"][seat] = env.reset(int(columns["variation"][seat]), rng)
                columns["rng"][seat] = rng_words(rng)
            else:
                action = columns["action"][seat]
                self._write(seat, env.step(action.copy() if action.ndim else np.int64(action)))
        except Exception as error:
            self._pipe.send((-1 - seat, _told(error)))
            columns["state"][seat] = RAISED
        else:
            columns["state"][seat] = ANSWERED

    def _write(self, seat: int, step: Step) -> None:
        columns = self._columns
        columns["observation"][seat], columns["reward"][seat] = step.observation, step.reward
        columns["terminated"][seat], columns["truncated"][seat] = step.terminated, step.truncated
        columns["success"][seat] = -1 if step.success is None else step.success
        columns["has_score"][seat], columns["has_resumes"][seat] = step.score is not None, step.resumes is not None
        if step.score is not None:
            columns["score"][seat] = step.score
        if step.resumes is not None:
            columns["resumes"][seat] = step.resumes

    def _watch(self, order: Episodes, news: Any) -> None:
        recorder = StepList() if order.recorded else None
        try:
            if order.task not in self._watched:
                self._watched[order.task] = self._make(order.task)
            rng = np.random.default_rng(0)
            set_rng(rng, order.rng)
            weights = torch.from_numpy(order.weights)[None, None]
            found: Any = play(
                new_policy(order.layout, weights, order.action),
                Polite(self._watched[order.task], lambda: self._read(news)),
                EpisodePlan(order.variation, rng),
                deterministic=order.deterministic,
                stop_at_success=order.stop_at_success,
                recorder=recorder,
            )
        except EOFError:
            return
        except Exception as error:
            found = _told(error)
        self._pipe.send((order.ticket, (found, recorder.steps if recorder else [])))
        news.release()

    def _make(self, task: Task) -> Env:
        return self._benchmark.make_env(task.task, task.seed, heldout=task.heldout)


def _told(error: Exception) -> Exception:
    """What an environment raised, as something that can be sent: with where it was raised as a note."""
    told = type(error)(*error.args) if type(error).__module__ == "builtins" else RuntimeError(repr(error))
    told.add_note("In a process of environments: " + "".join(traceback.format_exception(error)))
    return told


class Polite(Env):
    """An environment that lets others go first at each step."""

    def __init__(self, env: Env, others: Callable[[], None]) -> None:
        self._env, self._others = env, others
        self.variations, self.horizon = env.variations, env.horizon

    def reset(self, variation: int, rng: np.random.Generator) -> Observation:
        """Of the environment itself."""
        self._others()
        return self._env.reset(variation, rng)

    def step(self, action: Action) -> Step:
        """Of the environment itself."""
        self._others()
        return self._env.step(action)


def run(benchmark: Benchmark, spaces: Spaces, seats: int, memory: Any, pipe: Connection, wake: Any, news: Any) -> None:
    """What the process does: serve its seats until its pipe is closed."""
    # A signal to the group, as Ctrl-C and `timeout` send it, is for the process that learns: it lets episodes end.
    os.setsid()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # As `machine.prepare` does, so that numbers are the same.
    Worker(benchmark, spaces, seats, memory, pipe).serve(wake, news)
