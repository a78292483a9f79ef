"""Worker processes of contenders, and rounds of short slices that go over all of them in turn.

Machines drift: a ratio counts only within a round, where all contenders had the same minute of the same machine.
"""

import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
READY_SECONDS, SLICE_SECONDS = 240.0, 180.0
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TORCHINDUCTOR_COMPILE_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "JAX_PLATFORMS": "cpu",
    "CUDA_VISIBLE_DEVICES": "",
    "PYTHONPATH": str(ROOT),
    # As in a sweep, code is compiled once for all.
    "TORCHINDUCTOR_CACHE_DIR": str(ROOT / "results" / "perf" / "compiled"),
}


class Failed(Exception):  # noqa: N818 - an outcome, and a row of the table
    """A contender cannot go on; says why."""


class Worker:
    """A contender's process, pinned to a core."""

    def __init__(
        self, name: str, venv: str, mode: str, hidden: Sequence[int], core: int, env: Mapping[str, str] | None = None
    ) -> None:
        given = json.dumps({"name": name, "mode": mode, "hidden": list(hidden), "core": core})
        python = ROOT / venv / "bin" / "python"
        self.name, self.started = name, time.perf_counter()
        self._process: subprocess.Popen[str] | None = None
        if not python.exists():
            return
        self._process = subprocess.Popen(
            [python, str(ROOT / "perf" / "worker.py"), given],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | ONE_THREAD | dict(env or {}),
            cwd=ROOT,
        )

    def send(self, **request: float) -> None:
        """Ask for something."""
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise Failed("its process is gone") from error

    def receive(self, seconds: float = SLICE_SECONDS) -> dict[str, Any]:
        """The next answer.

        Raises:
            Failed: the contender failed, died, or took longer.
        """
        if self._process is None or self._process.stdout is None:
            raise Failed("its virtual environment is missing: run `make perf`, which sets it up")
        with selectors.DefaultSelector() as ready:
            ready.register(self._process.stdout, selectors.EVENT_READ)
            if not ready.select(seconds):
                raise Failed(f"no answer within {seconds:.0f} s")
        line = self._process.stdout.readline()
        if not line:
            raise Failed(f"its process ended with exit code {self._process.wait()}")
        found: dict[str, Any] = json.loads(line)
        if "failed" in found:
            raise Failed(found["failed"])
        return found

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()


@dataclass
class Row:
    """What was found out about a contender."""

    failed: str | None = None
    rounds: list[float] = field(default_factory=list[float])
    """A rate for each round."""
    together: list[float] = field(default_factory=list[float])
    """The same of several processes at once, added up."""
    megabytes: float | None = None
    processes: int = 1
    milliseconds: dict[str, float] = field(default_factory=dict[str, float])
    """Of an update, by what they are spent on (share.py)."""
    versions: dict[str, str] = field(default_factory=dict[str, str])


class Pool:
    """Contenders, each with as many processes as `cores`; those that fail are left out from then on."""

    def __init__(
        self,
        venvs: Mapping[str, str],
        mode: str,
        hidden: Sequence[int],
        cores: Sequence[int],
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.rows = {name: Row(processes=len(cores)) for name in venvs}
        self._workers = {
            name: [Worker(name, venv, mode, hidden, core, env) for core in cores] for name, venv in venvs.items()
        }
        for name in venvs:
            self._try(name, self._ready)

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_: object) -> None:
        for workers in self._workers.values():
            for worker in workers:
                worker.close()

    def _try(self, name: str, act: Callable[[Row, list[Worker]], None]) -> None:
        row, workers = self.rows[name], self._workers[name]
        if row.failed:
            return
        try:
            act(row, workers)
        except Failed as error:
            row.failed = str(error)
            sys.stderr.write(f"{name}: {error}\n")
            for worker in workers:
                worker.close()

    def _ready(self, row: Row, workers: list[Worker]) -> None:
        for worker in workers:
            answer = worker.receive(READY_SECONDS)
            row.versions, row.megabytes = answer["versions"], answer["megabytes"]

    def rounds(self, most: int, within: float, *, together: bool = False, **request: float) -> int:
        """Up to `most` rounds, none begun after `within` seconds but the first; their number."""
        end, done = time.perf_counter() + within, 0
        while done < most and (done == 0 or time.perf_counter() < end):
            for name in self.rows:
                self._try(name, lambda row, workers: self._slice(row, workers[:1], row.rounds, request))
                if together:
                    self._try(name, lambda row, workers: self._slice(row, workers, row.together, request))
            done += 1
        return done

    def _slice(self, row: Row, workers: list[Worker], rates: list[float], request: Mapping[str, float]) -> None:
        for worker in workers:
            worker.send(**request)
        answers = [worker.receive() for worker in workers]
        rates.append(sum(answer["done"] / answer["seconds"] for answer in answers))
        row.megabytes = max(answer["megabytes"] for answer in answers)

    def profile(self, names: Sequence[str]) -> None:
        """Ask these what the time of an update is spent on."""

        def ask(row: Row, workers: list[Worker]) -> None:
            workers[0].send(profile=1)
            row.milliseconds = workers[0].receive()["milliseconds"]

        for name in names:
            self._try(name, ask)


def compile_ahead(jobs: Sequence[tuple[str, str, Sequence[int], Mapping[str, str]]], cores: Sequence[int]) -> None:
    """Open each (contender, its venv, hidden, environment) once, one on each core: so its code is there when it counts.

    One that fails will fail again where it counts, and say why there.
    """
    waiting = list(jobs)
    while waiting:
        now, waiting = waiting[: len(cores)], waiting[len(cores) :]
        workers = [
            Worker(name, venv, "updates", hidden, core, env)
            for (name, venv, hidden, env), core in zip(now, cores, strict=False)
        ]
        for worker in workers:
            with suppress(Failed):
                worker.receive(READY_SECONDS)
            worker.close()


def startup(
    venvs: Mapping[str, str], hidden: Sequence[int], core: int, rounds: int, seconds: float, *, warm: bool
) -> dict[str, Row]:
    """Seconds from a process's start to its first update, in turn; where caches are not warm a first round is for them.

    No round but the first begins after `seconds`.
    """
    rows, end = {name: Row() for name in venvs}, time.perf_counter() + seconds
    for number in range(1 if warm else 0, rounds + 1):
        if number > 1 and time.perf_counter() > end:
            break
        for name, venv in venvs.items():
            if rows[name].failed:
                continue
            worker = Worker(name, venv, "startup", hidden, core)
            try:
                worker.receive(READY_SECONDS)
                if number > 0:
                    rows[name].rounds.append(time.perf_counter() - worker.started)
            except Failed as error:
                rows[name].failed = str(error)
            worker.close()
    return rows
