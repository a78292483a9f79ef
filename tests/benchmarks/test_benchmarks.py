"""What every benchmark must keep; a new one is tested the day it is added."""

import json
import os
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from nbsp_ray.benchmarks import (
    ENTRY_POINTS,
    Action,
    Benchmark,
    Continuous,
    Discrete,
    Env,
    Frames,
    Observation,
    Spaces,
    Step,
    Vector,
    benchmarks,
    get_benchmark,
    register_benchmark,
    version_of,
)
from nbsp_ray.config.schema import Sweep
from nbsp_ray.errors import ConfigError

ALL = list(benchmarks().values())
TASKS = [(one, task) for one in ALL for task in sorted({task for pair in one.pairs for task in pair})]
each_benchmark = pytest.mark.parametrize("benchmark", ALL, ids=lambda one: one.name)


def here(benchmark: Benchmark) -> pytest.MarkDecorator:
    """Skips what is played on an optional benchmark whose packages are not installed."""
    missing = [name for name in benchmark.packages if version_of(name) is None]
    reason = f"{', '.join(missing)} not installed: {benchmark.how_to_install}"
    return pytest.mark.skipif(bool(benchmark.extra and missing), reason=reason)


each_task = pytest.mark.parametrize(
    ("benchmark", "task"),
    [pytest.param(one, task, id=f"{one.name}-{task}", marks=here(one)) for one, task in TASKS],
)


LONG = 500
"""No test plays more steps of an episode."""


def actions(benchmark: Benchmark, task: str, seed: int, steps: int) -> list[Action]:
    generator, space = np.random.default_rng(seed), benchmark.spaces()[task]
    if isinstance(space.action, Discrete):
        return list(generator.integers(space.action.size, size=steps))
    return list(generator.uniform(-1, 1, (steps, space.action.size)).astype(np.float32))


def episode(env: Env, variation: int, seed: int, moves: list[Action]) -> tuple[Observation, list[Step]]:
    """The first observation and the steps, to the end of the episode at most."""
    first, steps = env.reset(variation, np.random.default_rng(seed)), list[Step]()
    for move in moves:
        steps.append(env.step(move))
        if steps[-1].ends:
            break
    return first, steps


def content(step: Step) -> list[object]:
    """All of a step, so that two can be compared bit by bit."""
    return [part.tobytes() if isinstance(part, np.ndarray) else part for part in step]


@cache
def used_env(name: str, task: str) -> Env:
    """An environment that tests share, and so one with a past."""
    return get_benchmark(name).make_env(task, 0)


# As data


@each_benchmark
def test_names_and_numbers(benchmark: Benchmark) -> None:
    assert get_benchmark(benchmark.name) is benchmark
    assert benchmark.revision
    assert benchmark.horizon > 0
    assert type(benchmark).__doc__
    assert all(str(space) and space.action.size > 0 for space in benchmark.spaces().values())
    assert len(set(benchmark.pairs)) == len(benchmark.pairs) > 0


@each_benchmark
def test_its_pairs_can_be_learnt_by_one_network(benchmark: Benchmark) -> None:
    for pair in benchmark.pairs:
        benchmark.check_sequence(pair)


@each_benchmark
def test_its_defaults_are_settings(benchmark: Benchmark) -> None:
    least = {"benchmark": benchmark.name, "pairs": benchmark.pairs, "methods": ["base"]}
    sweep = Sweep.model_validate_json(json.dumps(least | dict(benchmark.defaults)), strict=True)
    for section in benchmark.defaults:
        assert getattr(sweep, section) != getattr(Sweep.model_validate(least), section)
    assert all(size > 0 for size in benchmark.layers(sweep.sac))


@each_benchmark
def test_unknown_tasks_and_impossible_pairs(benchmark: Benchmark) -> None:
    first, second = benchmark.pairs[0]
    assert benchmark.task_spaces(first) == benchmark.spaces()[first]
    with pytest.raises(
        ConfigError, match=rf"'{first}x' is not a task of {benchmark.name} .did you mean '{first}'.*lists them"
    ):
        benchmark.task_spaces(f"{first}x")
    with pytest.raises(ConfigError, match=f"the pair {second} > {second} learns the same task twice"):
        benchmark.check_sequence((first, second, second))


def test_tasks_of_other_spaces_cannot_be_paired(monkeypatch: pytest.MonkeyPatch) -> None:
    toy, five = get_benchmark("toy"), Spaces(Vector(5), Continuous(2))
    monkeypatch.setattr(type(toy), "spaces", lambda self: {"a": five, "b": Spaces(Vector(5), Continuous(3))})
    with pytest.raises(
        ConfigError,
        match="one network cannot serve a > b: a has 5 observations and 2 actions, b 5 observations and 3 actions",
    ):
        toy.check_sequence(("a", "b"))


def test_an_unknown_benchmark() -> None:
    with pytest.raises(ConfigError, match=r"no benchmark 'metawold' .did you mean 'metaworld'.*; there are .*toy"):
        get_benchmark("metawold")


def test_two_benchmarks_of_one_name_are_refused() -> None:
    toy = get_benchmark("toy")
    register_benchmark(toy)
    with pytest.raises(ConfigError, match="two benchmarks 'toy'; give one of them another name"):
        register_benchmark(type(toy)())
    with pytest.raises(ConfigError, match="'toy' is no benchmark"):
        register_benchmark("toy")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("axes_toys:ScoredToy.missing", "scored .* of an installed package cannot be loaded .AttributeError"),
        ("axes_toys:PAIR", r"\('reach', 'avoid'\) is no benchmark"),
        ("axes_toys:BENCHMARKS", "is no benchmark"),
    ],
)
def test_a_broken_entry_point_is_named(value: str, problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = metadata.EntryPoint("scored", value, ENTRY_POINTS)
    monkeypatch.setattr(metadata, "entry_points", lambda group: [entry] if group == ENTRY_POINTS else [])
    with pytest.raises(ConfigError, match=problem):
        benchmarks.__wrapped__()


def test_an_entry_point_makes_a_benchmark_known(tmp_path: Path) -> None:
    """In a fresh process, from a distribution that lies on the path."""
    info = tmp_path / "somebody-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: somebody\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{ENTRY_POINTS}]\nmine = somebody:BENCHMARK\n")
    code = "from nbsp_ray.benchmarks.toy import Toy\n\n\nclass Mine(Toy):\n    name = 'mine'\n\n\nBENCHMARK = Mine()\n"
    (tmp_path / "somebody.py").write_text(code)
    ask = "from nbsp_ray.benchmarks import get_benchmark; print(get_benchmark('mine').pairs)"
    path = os.pathsep.join([str(tmp_path), *sys.path])
    run = subprocess.run(
        [sys.executable, "-c", ask], capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": path}
    )
    assert run.stdout.strip() == "(('reach', 'avoid'),)"


# As environments


@each_task
def test_an_episode_is_a_function_of_its_number(benchmark: Benchmark, task: str) -> None:
    """Bit by bit, whatever ran before and in whichever environment: so no checkpoint need hold simulator state.

    NumPy's global generator is left alone.
    """
    np.random.seed(5)
    before = np.random.get_state(legacy=False)
    fresh, used = benchmark.make_env(task, 0), used_env(benchmark.name, task)
    for number, history in enumerate((7, 30, min(LONG, benchmark.horizon))):
        variation, moves = 3 * number + 1, actions(benchmark, task, number, min(60, benchmark.horizon))
        episode(used, variation + 1, 100 + number, actions(benchmark, task, 100 + number, history))
        ours, theirs = (episode(env, variation, number, moves) for env in (used, fresh))
        assert ours[0].tobytes() == theirs[0].tobytes()
        assert [content(step) for step in ours[1]] == [content(step) for step in theirs[1]]
    np.testing.assert_equal(np.random.get_state(legacy=False), before)


@each_task
def test_what_came_back_stays_as_it_was(benchmark: Benchmark, task: str) -> None:
    """No observation is a view that the next step writes into."""
    env, seen = used_env(benchmark.name, task), list[tuple[Observation, bytes]]()
    for _ in range(2):
        observation = env.reset(0, np.random.default_rng(0))
        for move in actions(benchmark, task, 0, 20):
            seen.append((observation, observation.tobytes()))
            observation = env.step(move).observation
    assert all(observation.tobytes() == before for observation, before in seen)
    assert len({before for _, before in seen}) > 5


@each_task
def test_shapes_types_and_the_horizon(benchmark: Benchmark, task: str) -> None:
    env, space = used_env(benchmark.name, task), benchmark.spaces()[task]
    assert env.horizon == benchmark.horizon
    first, steps = episode(env, 0, 0, actions(benchmark, task, 0, min(LONG, env.horizon)))
    if env.horizon <= LONG:
        assert [step.truncated for step in steps] == [False] * (env.horizon - 1) + [True]
        assert not any(step.terminated for step in steps)
    match space.observation:
        case Frames(frame=frame, stack=stack):
            kind = (np.uint8, (stack, *frame))
        case Vector(size=size):
            kind = (np.float32, (size,))
    for observation in (first, *(step.observation for step in steps)):
        assert (observation.dtype, observation.shape) == kind
        assert np.isfinite(observation).all()
    for step in steps:
        assert (type(step.reward), type(step.terminated), type(step.truncated)) == (float, bool, bool)
        assert type(step.success) is (bool if benchmark.judged_by.kind == "success" else type(None))
        assert np.isfinite((step.reward, step.points)).all()


@each_task
def test_variations_differ(benchmark: Benchmark, task: str) -> None:
    env = used_env(benchmark.name, task)
    assert env.variations == benchmark.variations, "planning knows it without an environment"
    count = min(env.variations, 8)
    assert count > 1
    chosen = np.linspace(0, env.variations - 1, count).astype(int)
    different = len({env.reset(int(variation), np.random.default_rng(0)).tobytes() for variation in chosen})
    # What differs between two beginnings of a game is not always on the screen.
    assert different == count or (benchmark.judged_by.kind == "score" and different > 1)


@each_task
def test_variations_are_those_of_the_seed_and_heldout_ones_are_others(benchmark: Benchmark, task: str) -> None:
    def seen(env: Env) -> set[bytes]:
        return {env.reset(variation, np.random.default_rng(0)).tobytes() for variation in range(5)}

    if not benchmark.heldout:
        return
    ours = seen(used_env(benchmark.name, task))
    heldout = seen(benchmark.make_env(task, 0, heldout=True))
    assert not ours & heldout
    assert not ours & seen(benchmark.make_env(task, 1))
