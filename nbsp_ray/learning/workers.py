"""Environments in processes of their own, one for each core, while this one learns.

Actions go in and observations come out through shared memory: nothing is pickled in the loop. An episode of a policy
that does not learn is played by a worker as a whole, with a copy of the weights; between its env steps the worker
serves those that learn.
"""

import multiprocessing
import os
import shutil
import traceback
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import RawArray
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from nbsp_ray.benchmarks import Action, Benchmark, Discrete, Env, Frames, Observation, Spaces, Step
from nbsp_ray.errors import ConfigError, NbspError
from nbsp_ray.learning.acting import new_policy
from nbsp_ray.learning.evaluation import Episode, EpisodePlan, play
from nbsp_ray.learning.rollouts import Recorder
from nbsp_ray.learning.wishes import Begin, Play, Watch
from nbsp_ray.units import gb

SHARED_MEMORY = Path("/dev/shm")
IDLE, BEGIN, PLAY, ANSWERED, RAISED = range(5)
"""What a seat's state says: nothing to do, a command, or how it ended."""
PATIENCE = 1.0
"""Seconds after which whoever waits looks whether the other is still there."""


class WorkerDiedError(NbspError):
    """The process of an environment is gone; its phase goes on from its checkpoint."""


class Seats:
    """Shared memory: for each environment that learns a command, an action, and what came of it."""

    def __init__(self, spaces: Spaces, count: int, memory: Any = None) -> None:
        seen, action = spaces.observation, spaces.action
        frames = isinstance(seen, Frames)
        shape = (seen.stack, *seen.frame) if isinstance(seen, Frames) else (seen.size,)
        kind, size = ("i8", ()) if isinstance(action, Discrete) else ("f4", (action.size,))
        self.record = np.dtype(
            [
                ("state", "i1"),
                ("action", kind, size),
                ("variation", "i8"),
                ("rng", "u8", (6,)),
                ("observation", "u1" if frames else "f4", shape),
                ("reward", "f8"),
                ("terminated", "?"),
                ("truncated", "?"),
                ("success", "i1"),
                ("has_score", "?"),
                ("score", "f8"),
                ("has_resumes", "?"),
                ("resumes", "u1" if frames else "f4", shape),
            ],
            align=True,
        )
        self.memory = memory if memory is not None else _shared(self.record.itemsize * count)
        self.rows = np.frombuffer(self.memory, self.record, count)


def _shared(size: int) -> Any:
    try:
        free = shutil.disk_usage(SHARED_MEMORY).free
    except OSError:
        free = 0
    if free < size:
        raise ConfigError(
            f"environments in processes of their own need {gb(size)} of shared memory, and {SHARED_MEMORY} has "
            f"{gb(free)} free: give it more (Docker: --shm-size=1g), or set resources.lanes=1"
        )
    return RawArray("b", size)


def rng_words(rng: np.random.Generator) -> npt.NDArray[np.uint64]:
    """The state of a generator on PCG64, as six words."""
    state, mask = rng.bit_generator.state, (1 << 64) - 1
    inner: dict[str, int] = state["state"]
    halves = [half for name in ("state", "inc") for half in (inner[name] >> 64, inner[name] & mask)]
    return np.array([*halves, state["has_uint32"], state["uinteger"]], np.uint64)


def set_rng(rng: np.random.Generator, words: npt.NDArray[np.uint64]) -> None:
    """Give a generator that state."""
    high, low, inc_high, inc_low, has, rest = (int(word) for word in words)
    inner = {"state": high << 64 | low, "inc": inc_high << 64 | inc_low}
    rng.bit_generator.state = {"bit_generator": "PCG64", "state": inner, "has_uint32": has, "uinteger": rest}


@dataclass(frozen=True)
class Task:
    """Which environment."""

    task: str
    seed: int
    heldout: bool


@dataclass(frozen=True)
class Episodes:
    """An episode to be watched: all that a worker needs to play it."""

    ticket: int
    task: Task
    layout: Any
    action: Any
    weights: npt.NDArray[np.float32]
    variation: int
    rng: npt.NDArray[np.uint64]
    deterministic: bool
    stop_at_success: bool
    recorded: bool


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


# In the worker


class Worker:
    """What runs in a process: environments that learn, by seat, and one of each task to be watched."""

    def __init__(self, benchmark: Benchmark, spaces: Spaces, seats: int, memory: Any, pipe: Connection) -> None:
        self._benchmark, self._pipe = benchmark, pipe
        self._rows = Seats(spaces, seats, memory).rows
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
            if self._rows["state"][seat] in (BEGIN, PLAY):
                self._answer(seat, env)
                news.release()

    def _answer(self, seat: int, env: Env) -> None:
        row = self._rows[seat]
        try:
            if row["state"] == BEGIN:
                rng = np.random.default_rng(0)
                set_rng(rng, row["rng"])
                row["observation"] = env.reset(int(row["variation"]), rng)
                row["rng"] = rng_words(rng)
            else:
                action = row["action"]
                self._write(row, env.step(action.copy() if action.ndim else np.int64(action)))
        except Exception as error:
            self._pipe.send((-1 - seat, _told(error)))
            row["state"] = RAISED
        else:
            row["state"] = ANSWERED

    @staticmethod
    def _write(row: Any, step: Step) -> None:
        row["observation"], row["reward"] = step.observation, step.reward
        row["terminated"], row["truncated"] = step.terminated, step.truncated
        row["success"] = -1 if step.success is None else step.success
        row["has_score"], row["has_resumes"] = step.score is not None, step.resumes is not None
        if step.score is not None:
            row["score"] = step.score
        if step.resumes is not None:
            row["resumes"] = step.resumes

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


def _run(benchmark: Benchmark, spaces: Spaces, seats: int, memory: Any, pipe: Connection, wake: Any, news: Any) -> None:
    # A signal to the group, as Ctrl-C and `timeout` send it, is for the process that learns: it lets episodes end.
    os.setsid()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # As `machine.prepare` does, so that numbers are the same.
    Worker(benchmark, spaces, seats, memory, pipe).serve(wake, news)


# In the process that learns


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
        row = workers.rows[self._seat]
        if isinstance(wish, Begin):
            row["variation"], row["rng"] = wish.variation, rng_words(wish.rng)
        else:
            row["action"] = wish.action
        row["state"] = BEGIN if isinstance(wish, Begin) else PLAY
        workers.wake(workers.worker_of(self._seat))

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
        return bool(workers.rows["state"][self._seat] >= ANSWERED)

    def answer(self) -> Any:
        """The answer, once it is there; an exception of the environment is raised."""
        wish, workers = self._asked, self._workers
        if isinstance(wish, Watch):
            episode, steps = workers.answers.pop(self._ticket)
            if isinstance(episode, Exception):
                raise episode
            return _recorded(episode, steps, wish.recorder)
        assert self._seat is not None
        row = workers.rows[self._seat]
        if row["state"] == RAISED:
            raise workers.error_of(self._seat)
        row["state"] = IDLE
        if isinstance(wish, Begin):
            set_rng(wish.rng, row["rng"])
            return row["observation"].copy()
        return Step(
            observation=row["observation"].copy(),
            reward=float(row["reward"]),
            terminated=bool(row["terminated"]),
            truncated=bool(row["truncated"]),
            success=None if row["success"] < 0 else bool(row["success"]),
            score=float(row["score"]) if row["has_score"] else None,
            resumes=row["resumes"].copy() if row["has_resumes"] else None,
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
        self.rows = self._seats.rows
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
        process = self._context.Process(target=_run, args=arguments, daemon=True, name=f"environments {number}")
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
        self.rows["state"][seat] = IDLE
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
