"""`nbsp_ray` as a contender: a first phase, opened as a worker of a sweep opens it, and its own loop."""

import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from contenders import EPISODE, PIXEL_PREFILLED, PREFILLED, TASKS, Entry, timed, transitions

from nbsp_ray.benchmarks import Step
from nbsp_ray.learning.opening import open_phase
from nbsp_ray.learning.phase import Phase, learn
from nbsp_ray.learning.wishes import alone
from nbsp_ray.plan.build import make_plan
from nbsp_ray.specs import PlannedPhase
from nbsp_ray.store import Store
from nbsp_ray.sweepfile import load_sweep


def first_phase(folder: Path, benchmark: str, tasks: tuple[str, str], changes: dict[str, Any]) -> PlannedPhase:
    """The first phase of a sweep with some settings changed, checked as any user's sweep is."""
    file = folder / "perf.yaml"
    file.write_text(f"benchmark: {benchmark}\npairs: {tasks[0]}:{tasks[1]}\nmethods: base\n")
    words = [f"{name}={_word(value)}" for name, value in ({"seeds": 0} | changes).items()]
    plan = make_plan("perf", load_sweep(str(file), words).sweeps)
    return next(phase for phase in plan.phases.values() if phase.spec.index == 0)


def _word(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


class Ours:
    """A phase of Meta-World."""

    def __init__(self, entry: Entry, hidden: tuple[int, ...], learning_starts: int, filled: bool) -> None:
        self._open("metaworld", TASKS, entry.settings | {"sac.hidden": hidden, "sac.learning_starts": learning_starts})
        self.phase.env.horizon = EPISODE
        if filled:
            for observation, action, reward, following, terminated in transitions(PREFILLED):
                step = Step(following, reward, terminated, False, success=False)
                self.phase.replay.add(observation, action, step, last=terminated)

    def _open(self, benchmark: str, tasks: tuple[str, str], changes: dict[str, Any]) -> None:
        self._folder = TemporaryDirectory(prefix="nbsp-ray-perf-")
        folder = Path(self._folder.name)
        # One short evaluation, before learning; none between episodes.
        fixed = {"first.stop": "fixed", "first.eval_every": 1_000_000, "first.eval_episodes": 1}
        planned = first_phase(folder, benchmark, tasks, changes | fixed)
        store = Store(folder / "results", create=True)
        self.phase: Phase = open_phase(store, planned.spec, [], planned.resources).phase
        self._loop: Iterator[None] = alone(learn(self.phase))

    def updates(self, seconds: float, at_a_time: int = 2) -> tuple[float, float]:
        agent, replay, rng = self.phase.agent, self.phase.replay, torch.Generator().manual_seed(0)
        return timed(lambda count: [agent.learn(replay, rng) for _ in range(count)], seconds, at_a_time)

    def steps(self, env_steps: int) -> tuple[float, float]:
        """At least `env_steps`, in whole episodes: a phase stands nowhere else."""
        before, start = self.phase.env_steps, time.perf_counter()
        while self.phase.env_steps < before + env_steps:
            next(self._loop)
        return self.phase.env_steps - before, time.perf_counter() - start

    def first_update(self) -> None:
        """Learn until the first update is made."""
        agent = self.phase.agent
        learn_until = agent.learn_until

        def learn_and_leave(*args: Any) -> None:
            learn_until(*args)
            raise StopIteration("made")

        agent.learn_until = learn_and_leave  # type: ignore[method-assign,assignment]
        try:
            next(self._loop)
        except RuntimeError as error:  # What a StopIteration inside of a generator becomes.
            if not isinstance(error.__cause__, StopIteration):
                raise


class Pixels(Ours):
    """A phase of Atari; its buffer is filled by its own loop, playing at random."""

    def __init__(self, entry: Entry) -> None:
        self._open("atari", ("Pong", "Bowling"), entry.settings | {"sac.learning_starts": 900_000})
        self.steps(PIXEL_PREFILLED)

    def updates(self, seconds: float, at_a_time: int = 1) -> tuple[float, float]:
        return super().updates(seconds, at_a_time)


CONTENDERS = {"ours": Ours}
