"""`make perf-learning`: env steps and seconds to 0.9 success, ours beside the reference, and fp32 beside bf16.

    python perf/learning.py [--seeds 0-4] [--tasks drawer-close,window-close] [--only NAME,NAME] [--budget N] [--root F]

Hours. Every finished run is a file in perf/learning-runs; the same command does only what is left, and writes
docs/performance-learning.md from all that is there. As many runs side by side as cores, each on one thread of its own.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from contenders import Entry
from learning_table import write
from pool import ONE_THREAD, ROOT

from nbsp_ray.limits import usable_cores

if TYPE_CHECKING:
    from nbsp_ray.learning.acting import Policy

RUNS = {
    "cleanrl": Entry("CleanRL-style reference", "cleanrl"),
    "ours": Entry("ours, fp32", "ours", settings={"resources.compile": True}),
    "ours-bf16": Entry("ours, bf16", "ours", "bf16", {"resources.compile": True, "sac.precision": "bf16"}),
    "ours-normalised": Entry(
        "ours, normalised networks", "ours", settings={"resources.compile": True, "sac.network": "normalised"}
    ),
}
BUDGETS = {
    "drawer-close": 50_000,
    "door-close": 50_000,
    "window-close": 100_000,
    "window-open": 100_000,
    "drawer-open": 150_000,
}
OTHER = "reach"
"""A sweep needs a second task; it is never learnt here."""


@dataclass(frozen=True)
class Protocol:
    """What both sides have in common; all other settings are the defaults of `nbsp_ray.config.schema.Sac`."""

    budget: int
    learning_starts: int = 2_500
    eval_every: int = 2_500
    eval_episodes: int = 10
    threshold: float = 0.9
    in_a_row: int = 3
    """Evaluations in a row at the threshold that end a run before its budget."""


class Clock:
    """The evaluations of a run, each with what it took since the start: learning, playing, evaluating, compiling.

    Seconds of the wall clock, and of the CPU, its compilers' included: what else ran beside it is not in these.
    """

    def __init__(self) -> None:
        self._start = self._now()
        self.evaluations: list[dict[str, float]] = []

    @staticmethod
    def _now() -> tuple[float, float]:
        return time.perf_counter(), sum(os.times()[:4])

    def note(self, env_steps: int, success: float) -> None:
        seconds, cpu_seconds = (now - start for now, start in zip(self._now(), self._start, strict=True))
        self.evaluations.append(
            {"env_steps": env_steps, "seconds": seconds, "cpu_seconds": cpu_seconds, "success": success}
        )


class ReferencePolicy:
    """The reference, as `play` asks it to act: the noise is its own."""

    def __init__(self, agent: Any) -> None:
        self._agent = agent

    def noise(self, rng: Any) -> None:
        """None of ours."""

    def __call__(self, observation: Any, noise: None) -> Any:
        return self._agent.act(observation)


def learn_ours(entry: Entry, task: str, seed: int, protocol: Protocol, folder: Path) -> Clock:
    """A first phase of a sweep, through the store and its run, in a results root of its own."""
    from ours import first_phase

    from nbsp_ray.learning.run import PhaseRun
    from nbsp_ray.store import Store

    learning = {
        "first.env_steps": protocol.budget,
        "first.eval_every": protocol.eval_every,
        "first.eval_episodes": protocol.eval_episodes,
        "first.stop_threshold": protocol.threshold,
        "first.stop_evaluations": protocol.in_a_row,
        "first.stop_confirm_episodes": 0,
        "sac.learning_starts": protocol.learning_starts,
    }
    planned = first_phase(folder, "metaworld", (task, OTHER), {"seeds": seed, **learning, **entry.settings})
    clock = Clock()
    run = PhaseRun(Store(folder / "results", create=True), planned.spec, [], [], planned.resources)
    done = False
    while not done:
        done = run.advance(0).done
        rows = [row for row in run.curve() if row["kind"] == "evaluation"]
        for row in rows[len(clock.evaluations) :]:
            clock.note(row["env_steps"], row["success"])
    return clock


def learn_reference(entry: Entry, task: str, seed: int, protocol: Protocol, folder: Path) -> Clock:
    """The reference's own loop, evaluated as a phase is: at the first end of an episode after every `eval_every`."""
    import torch
    from cleanrl_style import Buffer, Reference, learn
    from contenders import ACTIONS, BUFFER, OBSERVATIONS

    from nbsp_ray.benchmarks import Continuous, Spaces, Vector, get_benchmark
    from nbsp_ray.config.schema import Sac

    torch.set_num_threads(1)
    spaces, benchmark = Spaces(Vector(OBSERVATIONS), Continuous(ACTIONS)), get_benchmark("metaworld")
    agent = Reference(spaces, Sac(learning_starts=protocol.learning_starts), seed)
    clock, env, trial = Clock(), benchmark.make_env(task, seed), benchmark.make_env(task, seed)
    clock.note(0, success_of(agent, trial, seed, 0, protocol))
    done, in_a_row = 0, 0
    for env_steps in learn(agent, env, Buffer(spaces, min(BUFFER, protocol.budget))):
        over = env_steps >= protocol.budget
        if over or (env_steps % env.horizon == 0 and env_steps // protocol.eval_every > done // protocol.eval_every):
            success, done = success_of(agent, trial, seed, env_steps, protocol), env_steps
            clock.note(env_steps, success)
            in_a_row = in_a_row + 1 if success >= protocol.threshold and agent.updates else 0
            if over or in_a_row >= protocol.in_a_row:
                break
    return clock


def success_of(agent: Any, env: Any, seed: int, env_steps: int, protocol: Protocol) -> float:
    """Share of successful episodes of the frozen stochastic policy."""
    import numpy as np

    from nbsp_ray.learning.evaluation import EpisodePlan, play

    found, policy = [], cast("Policy", ReferencePolicy(agent))
    for number in range(protocol.eval_episodes):
        rng = np.random.default_rng([seed, env_steps, number])
        plan = EpisodePlan(int(rng.integers(env.variations)), rng)
        found.append(play(policy, env, plan, stop_at_success=True).success)
    return float(np.mean(found))


def run_one(path: Path, name: str, task: str, seed: int, protocol: Protocol) -> None:
    """One run, and its file when it is finished."""
    from tempfile import TemporaryDirectory

    from worker import versions

    from nbsp_ray.limits import processor

    entry = RUNS[name]
    with TemporaryDirectory(prefix="nbsp-ray-perf-") as folder:
        learn = learn_ours if entry.kind == "ours" else learn_reference
        clock = learn(entry, task, seed, protocol, Path(folder))
    data: dict[str, Any] = {"name": name, "task": task, "seed": seed, "protocol": vars(protocol)}
    data |= {"cpu": processor(), "versions": versions()}
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(data | {"evaluations": clock.evaluations}, indent=1))
    fresh.replace(path)


@dataclass(frozen=True)
class Job:
    """A run that may be finished."""

    name: str
    task: str
    seed: int
    budget: int
    root: Path

    @property
    def path(self) -> Path:
        return self.root / f"{self.name}.{self.task}.{self.seed}.json"

    def finished(self) -> bool:
        """Whether its file is there, from these very settings."""
        if not self.path.exists():
            return False
        if json.loads(self.path.read_text())["protocol"] != vars(Protocol(self.budget)):
            sys.exit(f"{self.path} was made with other settings: name another folder with --root, or remove it")
        return True

    def start(self, core: int) -> "subprocess.Popen[bytes]":
        """The run in a process on a core of its own."""
        given = [self.name, self.task, str(self.seed), str(self.budget), str(core), str(self.path)]
        with self.path.with_suffix(".log").open("wb") as log:
            command = [sys.executable, str(Path(__file__)), "--run", *given]
            # As in a sweep, the first run compiles for all.
            cache = {"TORCHINDUCTOR_CACHE_DIR": str(ROOT / "results" / "perf" / "compiled")}
            return subprocess.Popen(command, stderr=log, env=os.environ | ONE_THREAD | cache, cwd=ROOT)


def run_all(jobs: Sequence[Job]) -> list[Job]:
    """Run `jobs` side by side, one on each core; those that failed."""
    waiting, failed = list(jobs), []
    busy: dict[int, tuple[Job, subprocess.Popen[bytes]]] = {}
    cores = usable_cores()
    try:
        while waiting or busy:
            for core in [core for core in cores if core not in busy and waiting]:
                if waiting:
                    job = waiting.pop(0)
                    busy[core] = job, job.start(core)
            time.sleep(0.5)
            for core, (job, process) in [(core, one) for core, one in busy.items() if one[1].poll() is not None]:
                del busy[core]
                if process.returncode:
                    failed.append(job)
                    sys.stderr.write(f"failed: {job.path.stem}; {job.path.with_suffix('.log')} says why\n")
                else:
                    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {job.path.stem}; {len(waiting)} wait\n")
    finally:
        for _, process in busy.values():
            process.terminate()
    return failed


def seeds(text: str) -> Iterator[int]:
    first, _, last = text.partition("-")
    return iter(range(int(first), int(last or first) + 1))


def main() -> None:
    if sys.argv[1:2] == ["--run"]:
        name, task, seed, budget, core, path = sys.argv[2:]
        os.sched_setaffinity(0, {int(core)})
        return run_one(Path(path), name, task, int(seed), Protocol(int(budget)))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0-4", help="a range such as 0-4, or one")
    parser.add_argument("--tasks", default=",".join(BUDGETS))
    parser.add_argument("--only", default=",".join(RUNS), help=f"of {', '.join(RUNS)}")
    parser.add_argument("--budget", type=int, help="env steps at most; with --root, to try the script")
    parser.add_argument("--root", type=Path, help="where the runs are kept; the table is then written there too")
    given = parser.parse_args()
    root = given.root or ROOT / "perf" / "learning-runs"
    root.mkdir(parents=True, exist_ok=True)
    names, tasks = given.only.split(","), given.tasks.split(",")
    if wrong := [word for word in names if word not in RUNS] + [word for word in tasks if word not in BUDGETS]:
        parser.error(f"{', '.join(wrong)}: there are {', '.join(RUNS)} and {', '.join(BUDGETS)}")
    jobs = [
        Job(name, task, seed, given.budget or BUDGETS[task], root)
        for seed in seeds(given.seeds)
        for task in tasks
        for name in names
    ]
    left = [job for job in jobs if not job.finished()]
    sys.stderr.write(f"{len(jobs) - len(left)} of {len(jobs)} runs are there, {len(left)} are left\n")
    failed = run_all(left)
    page = (root if given.root else ROOT / "docs") / "performance-learning.md"
    write(page, root, {name: entry.name for name, entry in RUNS.items()})
    sys.stderr.write(f"written: {page}\n")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
