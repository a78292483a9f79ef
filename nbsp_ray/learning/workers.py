"""Environments in processes of their own, one for each core, while this one learns.

Actions go in and observations come out through shared memory: nothing is pickled in the loop. An episode of a policy
that does not learn is played by a worker as a whole, with a copy of the weights; between its env steps the worker
serves those that learn.
"""

import multiprocessing
from collections import Counter
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from nbsp_ray.benchmarks import Action, Benchmark, Env, Observation, Spaces, Step
from nbsp_ray.errors import NbspError
from nbsp_ray.learning.evaluation import Episode
from nbsp_ray.learning.rollouts import Recorder
from nbsp_ray.learning.seats import (
    ANSWERED,
    BEGIN,
    IDLE,
    PATIENCE,
    PLAY,
    RAISED,
    Episodes,
    Seats,
    Task,
    rng_words,
    set_rng,
)
from nbsp_ray.learning.wishes import Begin, Play, Watch
from nbsp_ray.learning.worker import run


class WorkerDiedError(NbspError):
    """The process of an environment is gone; its phase goes on from its checkpoint."""


class RemoteEnv(Env):
    """An environment in a worker. It is asked, and answers later; `reset` and `step` wait for it."""

    def __init__(self, workers: "Workers", task: Task, variations: int, horizon: int) -> None:
        self._workers, self._task = workers, task
        self.variations, self.horizon = variations, horizon
        self._seat: int | None = None
        self._asked: Begin | Play | Watch | None = None
        self._ticket = -1
        self._process: tuple[int, int] | None = None

    def ask(self, wish: Begin | Play | Watch) -> None:
        """Begin to fulfil a wish."""
        self._asked, workers = wish, self._workers
        if isinstance(wish, Watch):
            self._ticket, self._process = workers.watch(self._task, wish)
            return
        if self._seat is None:
            self._seat, self._process = workers.sit(self._task)
        self._check()
        seat, columns = self._seat, workers.columns
        if isinstance(wish, Begin):
            columns["variation"][seat], columns["rng"][seat] = wish.variation, rng_words(wish.rng)
        else:
            columns["action"][seat] = wish.action
        columns["state"][seat] = BEGIN if isinstance(wish, Begin) else PLAY
        workers.wake(workers.worker_of(seat))

    def _check(self) -> None:
        assert self._process is not None
        self._workers.check(*self._process)

    def answered(self) -> bool:
        """Whether the answer is there.

        Raises:
            WorkerDiedError: there will be none.
        """
        workers = self._workers
        self._check()
        if isinstance(self._asked, Watch):
            return self._ticket in workers.answers
        assert self._seat is not None
        return bool(workers.states.item(self._seat) >= ANSWERED)

    def answer(self) -> Any:
        """The answer, once it is there; an exception of the environment is raised."""
        wish, workers = self._asked, self._workers
        if isinstance(wish, Watch):
            episode, steps = workers.answers.pop(self._ticket)
            if isinstance(episode, Exception):
                raise episode
            return _recorded(episode, steps, wish.recorder)
        assert self._seat is not None
        seat, columns = self._seat, workers.columns
        if workers.states.item(seat) == RAISED:
            raise workers.error_of(seat)
        workers.states[seat] = IDLE
        if isinstance(wish, Begin):
            set_rng(wish.rng, columns["rng"][seat])
            return columns["observation"][seat].copy()
        success = columns["success"].item(seat)
        return Step(
            observation=columns["observation"][seat].copy(),
            reward=columns["reward"].item(seat),
            terminated=columns["terminated"].item(seat),
            truncated=columns["truncated"].item(seat),
            success=None if success < 0 else bool(success),
            score=columns["score"].item(seat) if columns["has_score"].item(seat) else None,
            resumes=columns["resumes"][seat].copy() if columns["has_resumes"].item(seat) else None,
        )

    def reset(self, variation: int, rng: np.random.Generator) -> Observation:
        """Begin an episode, and wait for it."""
        found: Observation = self._waited(Begin(self, variation, rng))
        return found

    def step(self, action: Action) -> Step:
        """Play one env step, and wait for it."""
        found: Step = self._waited(Play(self, action))
        return found

    def _waited(self, wish: Begin | Play) -> Any:
        self.ask(wish)
        while not self.answered():
            self._workers.wait()
        return self.answer()

    def close(self) -> None:
        """Let another have the seat."""
        if self._seat is not None:
            self._workers.leave(self._seat)
            self._seat = None


def _recorded(episode: Episode, steps: Any, recorder: Recorder | None) -> Episode:
    for one in steps:
        assert recorder is not None
        recorder.add(*one)
    if recorder is not None:
        assert episode.env_return is not None
        recorder.end_episode(episode.env_return)
    return episode


class Workers:
    """Processes that play; to be closed when nobody needs them.

    Args:
        benchmark: Whose environments; what a process started anew can know of it is what its modules say.
        spaces: Of all its tasks here.
        seats: Environments that learn at a time.
        processes: As many as cores.

    Raises:
        ConfigError: there is too little shared memory.
    """

    def __init__(self, benchmark: Benchmark, spaces: Spaces, seats: int, processes: int) -> None:
        self._benchmark, self._spaces, self._count = benchmark, spaces, seats
        self._seats = Seats(spaces, seats)
        self.columns = self._seats.columns
        self.states = self.columns["state"]
        self.answers: dict[int, Any] = {}
        """Of episodes that were watched, by ticket; of seats that raised, by -1 - seat."""
        self._context = multiprocessing.get_context("spawn")
        self._news = self._context.Semaphore(0)
        self._tickets = 0
        self._taken: set[int] = set()
        self._watching: Counter[int] = Counter()
        self._worker_of_ticket: dict[int, int] = {}
        self.processes: list[Any] = []
        self._pipes: list[Connection] = []
        self._wakes: list[Any] = []
        self._generation: list[int] = [0] * processes
        self._ends: dict[int, str] = {}
        for number in range(processes):
            self._start(number)

    def _start(self, number: int) -> None:
        here, there = self._context.Pipe()
        wake = self._context.Semaphore(0)
        arguments = self._benchmark, self._spaces, self._count, self._seats.memory, there, wake, self._news
        process = self._context.Process(target=run, args=arguments, daemon=True, name=f"environments {number}")
        process.start()
        there.close()
        self.processes[number : number + 1] = [process]
        self._pipes[number : number + 1] = [here]
        self._wakes[number : number + 1] = [wake]

    def make_env(self, task: str, seed: int, *, heldout: bool = False) -> RemoteEnv:
        """An environment, as `Benchmark.make_env`; the worker makes it when it is first asked for something."""
        return RemoteEnv(self, Task(task, seed, heldout), self._benchmark.variations, self._benchmark.horizon)

    def sit(self, task: Task) -> tuple[int, tuple[int, int]]:
        """A free seat with an environment of a task, and the process that has it."""
        busy = Counter(self.worker_of(seat) for seat in self._taken)
        seat = min(set(range(self._count)) - self._taken, key=lambda one: (busy[self.worker_of(one)], one))
        self._taken.add(seat)
        self.states[seat] = IDLE
        self._tell(self.worker_of(seat), (seat, task))
        return seat, self._process_now(self.worker_of(seat))

    def _process_now(self, worker: int) -> tuple[int, int]:
        return worker, self._generation[worker]

    def leave(self, seat: int) -> None:
        """The seat is free, and its environment can go."""
        self._taken.discard(seat)
        self._tell(self.worker_of(seat), (seat, None))

    def worker_of(self, seat: int) -> int:
        """The worker that serves a seat."""
        return seat % len(self.processes)

    def watch(self, task: Task, wish: Watch) -> tuple[int, tuple[int, int]]:
        """Let the worker with least to watch play an episode; its ticket, and the process."""
        worker = min(range(len(self.processes)), key=lambda one: self._watching[one])
        self._tickets += 1
        self._watching[worker] += 1
        self._worker_of_ticket[self._tickets] = worker
        policy, plan = wish.policy, wish.plan
        order = Episodes(
            ticket=self._tickets,
            task=task,
            layout=policy.layout,
            action=self._spaces.action,
            weights=policy.weights(),
            variation=plan.variation,
            rng=rng_words(plan.generator),
            deterministic=wish.deterministic,
            stop_at_success=wish.stop_at_success,
            recorded=wish.recorder is not None,
        )
        self._tell(worker, order)
        return self._tickets, self._process_now(worker)

    def _tell(self, worker: int, message: Any) -> None:
        try:
            self._pipes[worker].send(message)
        except OSError:
            return  # It is gone: `check` says so to whoever waits.
        self.wake(worker)

    def wake(self, worker: int) -> None:
        """There is something to do."""
        self._wakes[worker].release()

    def wait(self) -> None:
        """Sleep until a worker has done something, or a second has passed; one that is gone is started anew."""
        if not self._news.acquire(timeout=PATIENCE):
            for number, process in enumerate(self.processes):
                if not process.is_alive():
                    self._ends[number] = f"{process.pid} of environments ended with exit code {process.exitcode}"
                    self._generation[number] += 1
                    self._watching[number] = 0
                    self._start(number)
        self.collect()

    def nudge(self, done: object = None) -> None:
        """There is something to do for whoever waits, though no worker has done it."""
        self._news.release()

    def collect(self) -> None:
        """Take what came through the pipes."""
        for pipe in self._pipes:
            try:
                while pipe.poll():
                    ticket, answer = pipe.recv()
                    self.answers[ticket] = answer
                    self._watching[self._worker_of_ticket.pop(ticket, -1)] -= 1
            except (EOFError, OSError):
                continue

    def error_of(self, seat: int) -> Exception:
        """What a seat's environment raised."""
        while -1 - seat not in self.answers:
            self.wait()
        error: Exception = self.answers.pop(-1 - seat)
        return error

    def check(self, worker: int, generation: int) -> None:
        """The process is still the one that it was.

        Raises:
            WorkerDiedError: it is gone.
        """
        if self._generation[worker] != generation:
            raise WorkerDiedError(f"process {self._ends[worker]} (killed for want of memory, perhaps)")

    def close(self) -> None:
        """End all processes."""
        for pipe in self._pipes:
            pipe.close()
        for wake, process in zip(self._wakes, self.processes, strict=True):
            wake.release()
            process.join(timeout=5)
            if process.is_alive():
                process.kill()
