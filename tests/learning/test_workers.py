"""Environments in processes of their own: the same numbers, and what happens when a process or an environment fails."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from interrupted import what_it_left
from test_pack import CAPACITY, ready
from toy_phases import ONE_THREAD, run_whole, toy_plan

from nbsp_ray.benchmarks import get_benchmark
from nbsp_ray.errors import ConfigError
from nbsp_ray.layout import layouts
from nbsp_ray.learning.acting import new_policy
from nbsp_ray.learning.evaluation import EpisodePlan, play
from nbsp_ray.learning.pack import Pack
from nbsp_ray.learning.rollouts import VectorRecorder
from nbsp_ray.learning.run import PhaseRun
from nbsp_ray.learning.seats import rng_words, set_rng
from nbsp_ray.learning.wishes import Watch
from nbsp_ray.learning.workers import WorkerDiedError, Workers
from nbsp_ray.specs import Plan
from nbsp_ray.store import Store

TOY = get_benchmark("toy")
SPACES = TOY.task_spaces("reach")


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    """Two processes for all tests: to start one takes seconds, of which torch takes most."""
    found = Workers(TOY, SPACES, seats=4, processes=2)
    yield found
    found.close()


def test_a_generator_goes_through_six_words() -> None:
    rng, other = np.random.default_rng(3), np.random.default_rng(4)
    rng.integers(10, dtype=np.int32)  # Half of a word is left over.
    set_rng(other, rng_words(rng))
    assert rng.integers(10, size=5, dtype=np.int32).tolist() == other.integers(10, size=5, dtype=np.int32).tolist()
    assert rng.random() == other.random()


def test_episodes_and_their_chance_are_those_of_the_environment_itself(workers: Workers) -> None:
    here, there = TOY.make_env("reach", 5), workers.make_env("reach", 5)
    rngs = np.random.default_rng(1), np.random.default_rng(1)
    for variation in (3, 0):
        seen, other = here.reset(variation, rngs[0]), there.reset(variation, rngs[1])
        for number in range(here.horizon):
            np.testing.assert_array_equal(seen, other)
            actions = [rng.uniform(-1, 1, 2).astype(np.float32) for rng in rngs]
            one, two = here.step(actions[0]), there.step(actions[1])
            seen, other = one.observation, two.observation
            assert (one.reward, one.ends, one.success) == (two.reward, two.ends, two.success), number
    there.close()


@pytest.mark.parametrize("stop_at_success", [False, True])
def test_watched_episodes_are_those_played_here(workers: Workers, stop_at_success: bool) -> None:
    import torch

    layout = layouts(SPACES, (8,))["actor"]
    actor = torch.from_numpy(layout.initial(1, np.random.default_rng(2)))[None]
    policy, recorders = new_policy(layout, actor, SPACES.action), [VectorRecorder(by_success=True) for _ in range(2)]
    env = workers.make_env("avoid", 1, heldout=True)
    wish = Watch(policy, env, EpisodePlan(4, np.random.default_rng(7)), False, stop_at_success, None)
    if not stop_at_success:
        wish = wish._replace(recorder=recorders[0])
    env.ask(wish)
    while not env.answered():
        workers.wait()
    found = env.answer()
    own = TOY.make_env("avoid", 1, heldout=True)
    recorder = None if stop_at_success else recorders[1]
    plan = EpisodePlan(4, np.random.default_rng(7))
    assert found == play(policy, own, plan, stop_at_success=stop_at_success, recorder=recorder)
    if recorder is not None:
        for name, array in recorder.arrays().items():
            np.testing.assert_array_equal(recorders[0].arrays()[name], array)


def test_what_an_environment_raises_is_raised_here(workers: Workers) -> None:
    env = workers.make_env("reach", 0)
    with pytest.raises(IndexError, match="index 99 is out of bounds") as raised:
        env.reset(99, np.random.default_rng(0))
    assert "toy.py" in "".join(raised.value.__notes__)
    env.close()


def packed(plan: Plan, store: Store, workers: Workers, runs: Iterator[PhaseRun | None], slots: int = 4) -> Pack:
    pack = Pack(slots, CAPACITY, ONE_THREAD, workers=workers)
    pack.run(lambda: next(runs, None))
    return pack


@pytest.fixture(scope="module")
def plan() -> Plan:
    return toy_plan(methods=("base", "nbsp", "redo"), seeds=(0, 1), first={"env_steps": 120}, second={"env_steps": 150})


@pytest.fixture(scope="module")
def alone(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("alone"), create=True)
    for phase in plan.phases.values():
        run_whole(store, phase)
    return store


def assert_equal(plan: Plan, alone: Store, store: Store) -> None:
    for phase in plan.phases.values():
        assert what_it_left(store, phase) == what_it_left(alone, phase), phase.label


def test_phases_whose_environments_are_elsewhere_are_what_they_are_alone(
    plan: Plan, alone: Store, workers: Workers, tmp_path: Path
) -> None:
    store = Store(tmp_path / "packed", create=True)
    assert packed(plan, store, workers, ready(plan, store)).failures == {}
    assert_equal(plan, alone, store)


def test_phases_go_on_from_their_checkpoints_when_a_process_dies(
    plan: Plan, alone: Store, workers: Workers, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, told = Store(tmp_path / "packed", create=True), list[int]()

    def report(run: PhaseRun) -> None:
        told.append(run.progress().env_steps)
        run.save()
        if len(told) == 9:
            os.kill(workers.processes[0].pid, signal.SIGKILL)

    runs = ready(plan, store)
    pack = Pack(4, CAPACITY, ONE_THREAD, workers=workers, report=report)
    pack.run(lambda: next(runs, None))
    assert pack.failures == {}
    assert "goes on from its checkpoint: process" in caplog.text
    assert "ended with exit code -9" in caplog.text
    assert_equal(plan, alone, store)


def test_a_signal_to_the_group_does_not_reach_them(workers: Workers) -> None:
    """Ctrl-C, or `timeout`: this process lets episodes end, and needs its environments for that."""
    envs = [workers.make_env("reach", 0) for _ in range(2)]
    for env in envs:  # One in each process, which has then begun.
        env.reset(0, np.random.default_rng(0))
    assert os.getpgrp() not in {os.getpgid(process.pid) for process in workers.processes}
    for env in envs:
        env.close()


def test_who_waits_for_a_process_that_died_is_told(workers: Workers) -> None:
    env = workers.make_env("reach", 0)
    env.reset(0, np.random.default_rng(0))
    for process in workers.processes:
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    with pytest.raises(WorkerDiedError, match=r"process \d+ of environments ended with exit code -9"):
        env.step(np.zeros(2, np.float32))
    env.close()
    assert workers.make_env("reach", 0).reset(0, np.random.default_rng(0)).shape == (5,)


def test_too_little_shared_memory_is_said_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1_000))
    with pytest.raises(ConfigError, match=r"/dev/shm has 0.0 MB free: give it more .*--shm-size"):
        Workers(TOY, SPACES, seats=100, processes=1)
