"""The arithmetic of sizes, held against what learning really allocates and what the store really keeps."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pixel_toy import pixel_spaces

from nbsp_ray.benchmarks import Continuous, Discrete, Frames, Spaces, Vector, get_benchmark
from nbsp_ray.config.schema import Sac, Sweep
from nbsp_ray.learning.agent import Agent, new_losses
from nbsp_ray.learning.replay import new_replay
from nbsp_ray.plan import sizes
from nbsp_ray.plan.build import make_plan
from nbsp_ray.plan.price import REFERENCES, Speed, Work, price, seconds, speed_kind
from nbsp_ray.specs import Plan
from nbsp_ray.store import Store

SMALL_FRAMES = Frames((36, 44), 2)
SPACES = [
    Spaces(Vector(39), Continuous(4)),
    Spaces(Vector(5), Discrete(3)),
    Spaces(SMALL_FRAMES, Continuous(2)),
    Spaces(SMALL_FRAMES, Discrete(300)),
    Spaces(SMALL_FRAMES, Discrete(3), clipped_rewards=True),
    pixel_spaces(6),
    pixel_spaces(18),
]
each_space = pytest.mark.parametrize("spaces", SPACES, ids=str)


def plan(benchmark: str = "atari", **changes: Any) -> Plan:
    """One pair of a benchmark with its own settings, or other ones."""
    chosen = get_benchmark(benchmark)
    data = {"benchmark": benchmark, "pairs": chosen.pairs[:1], "methods": ("base", "nbsp"), "seeds": (0,)}
    merged: dict[str, Any] = data | dict(chosen.defaults)
    for section, values in changes.items():
        merged[section] = {**merged.get(section, {}), **values} if isinstance(values, dict) else values
    return make_plan("x", [Sweep.model_validate(merged)])


def keys_by_method(found: Plan) -> dict[str, str]:
    return {"first": found.trials[0].phases[0]} | {trial.method: trial.phases[1] for trial in found.trials}


@each_space
def test_a_row_is_as_long_as_the_replay_buffers(spaces: Spaces) -> None:
    (row,) = new_replay(spaces, 4)._rows[:1]
    assert row.nbytes == sizes.row_bytes(spaces)


@each_space
@pytest.mark.parametrize("hidden", [(12,), (32, 16)])
def test_parameters_are_those_of_the_networks(spaces: Spaces, hidden: tuple[int, ...]) -> None:
    assert sizes.parameters(spaces, Sac(hidden=hidden)) == new_losses(Sac(hidden=hidden), spaces).critic.parameters


def test_the_multiplications_of_the_papers_networks_by_hand() -> None:
    atari = Sac.model_validate(get_benchmark("atari").defaults["sac"])
    conv = 20**2 * 8**2 * 4 * 32 + 9**2 * 4**2 * 32 * 64 + 7**2 * 3**2 * 64 * 64
    by_hand = {
        "pixels": (conv + 7**2 * 64 * 512 + 512 * 6) * 64 / 4,
        "vectors": (43 * 256 + 256 * 256 + 256) * 256,
    }
    assert sizes.multiplications(pixel_spaces(6), atari) == by_hand["pixels"]
    assert sizes.multiplications(Spaces(Vector(39), Continuous(4)), Sac()) == by_hand["vectors"]
    assert {name: reference.multiplications for name, reference in REFERENCES.items()} == by_hand


def test_the_sample_of_a_later_phase_is_as_learning_draws_it() -> None:
    spaces = pixel_spaces(3, (36, 44), 2)
    replay = new_replay(spaces, 10)
    replay._rows[:] = 0
    replay.added = 10
    drawn = replay.subset(4, np.random.default_rng(0))
    assert drawn.nbytes == 4 * sizes._sample_bytes(spaces)


@pytest.mark.parametrize("benchmark", ["atari", "metaworld"])
def test_an_agent_on_disk(benchmark: str) -> None:
    """Networks, targets and Adam's moments; an actor differs from a Q network in its ends alone."""
    phase = plan(benchmark, evaluation={"episodes": 2, "env_steps": None}).phases
    spec = next(iter(phase.values())).spec
    spaces = get_benchmark(benchmark).task_spaces(spec.task)
    agent = Agent(spec.sac, spaces, torch.device("cpu"), np.random.default_rng(0))
    stored = sum(array.nbytes for array in agent.arrays().values())
    priced = (3 * sizes.COPIES + 2) * sizes.parameters(spaces, spec.sac) * sizes.FLOAT_BYTES
    assert priced == pytest.approx(stored, rel=0.03)


def test_the_disk_of_an_atari_trial_by_hand() -> None:
    found = plan()
    keys = keys_by_method(found)
    agent = 11 * 1_687_206 * 4
    first = agent + 100_000 * 7_060 + 200_000 * 7_060
    assert sizes.disk_bytes(found.phases[keys["first"]]) == first
    assert sizes.disk_bytes(found.phases[keys["nbsp"]]) == agent + 2_560 * 5 * 7_060
    assert sizes.buffer_bytes(found.phases[keys["nbsp"]]) == 1_412_000_000  # 1.41 GB, as single frames


def test_only_what_is_replayed_counts_as_replayed() -> None:
    found = plan(sac={"buffer_size": 1_000, "learning_starts": 10}, first={"env_steps": 700})
    keys = keys_by_method(found)
    assert sizes.replayed_bytes(found, keys["base"]) == sizes.replayed_bytes(found, keys["first"]) == 0
    assert sizes.replayed_bytes(found, keys["nbsp"]) == 700 * 7_060
    longer = plan("toy", pairs=(("reach", "avoid", "reach"),), methods=("nbsp",))
    last = longer.trials[0].phases[-1]
    assert sizes.replayed_bytes(longer, last) == (3_000 + 2_000) * (2 * 5 + 2 + 2) * 4


@pytest.mark.parametrize(
    ("benchmark", "wanted", "rollouts", "deterministic"),
    [
        ("atari", {}, 100_000, 30 * sizes.USUAL_ENV_STEPS),
        ("atari", {"env_steps": None, "episodes": 10}, 10 * sizes.USUAL_ENV_STEPS, 10 * sizes.USUAL_ENV_STEPS),
        ("metaworld", {}, 200 * 500, 50 * 500),
        ("toy", {}, 40 * 25, 20 * 25),
    ],
)
def test_env_steps_of_an_evaluation(benchmark: str, wanted: dict[str, Any], rollouts: int, deterministic: int) -> None:
    phase = next(iter(plan(benchmark, evaluation=wanted).phases.values()))
    found = {record.mode: sizes.evaluation_steps(phase, record) for record in phase.evaluations.values()}
    assert found == {"rollouts": rollouts, "deterministic": deterministic}


# Prices


def test_phases_that_run_at_other_speeds_are_of_other_kinds() -> None:
    def kind(**changes: Any) -> str:
        return speed_kind(next(iter(plan("metaworld", **changes).phases.values())))

    assert kind() == "metaworld/256-256/batch 256/1x2/1 cpus"  # what older results were measured as
    others = [{"sac": {"precision": "bf16"}}, {"resources": {"gpus": 0.5}}, {"sac": {"batch_size": 64}}]
    others.append({"resources": {"gpus": 1}})
    assert len({kind(), *(kind(**one) for one in others)}) == 5
    assert kind(sac={"tau": 0.5}) == kind(seeds=(1,)) == kind()


def test_the_price_of_an_atari_phase_is_that_of_its_network(tmp_path: Path) -> None:
    found, store = plan(methods=("base",)), Store(tmp_path)
    (first, _) = found.trials[0].phases
    cost = price(found, store, [first])
    whole = 1_500_000 / REFERENCES["pixels"].env_steps_per_second + (100_000 + 30 * sizes.USUAL_ENV_STEPS) / 400
    assert cost.cpu_hours == pytest.approx(whole / 3600)
    assert cost.evaluation_hours == pytest.approx((100_000 + 30 * sizes.USUAL_ENV_STEPS) / 400 / 3600)
    assert [speed.source for speed in cost.speeds.values()] == ["reference"]
    assert cost.disk_gb == pytest.approx(sum(sizes.disk_bytes(phase) for phase in found.phases.values()) / 1e9)
    assert cost.peak_disk_gb == pytest.approx(cost.disk_gb + 1.412)
    assert cost.written_gb == pytest.approx(sizes.disk_bytes(found.phases[first]) / 1e9 + 1.412)


def test_gpu_hours_are_those_that_phases_ask_for_and_its_speed_is_not_a_cpus(tmp_path: Path) -> None:
    """Two phases of an hour each of learning, a quarter of a GPU and two CPUs each."""
    changes = {"methods": ("base",), "resources": {"gpus": 0.25, "cpus": 2}}
    learning = {"env_steps": 360_000, "stop": "fixed"}
    found = plan("metaworld", first=learning, second=learning, evaluation={"episodes": 5}, **changes)
    store = Store(tmp_path)
    (kind,) = {speed_kind(phase) for phase in found.phases.values()}
    assert kind.endswith("/0.25 gpu")
    store.write_speed(kind, {"env_steps_per_second": 100.0, "device": "some GPU", "load": 3.0, "cpus": 2})
    cost = price(found, store, list(found.phases))
    # Five episodes of 500 steps: the first phase's task drawn and not, and both tasks after the second.
    evaluations = (2 + 4) * 5 * 500 / 2_500 / 3600
    assert cost.gpu_hours == pytest.approx(0.25 * (2 + evaluations))
    assert cost.cpu_hours == pytest.approx(2 * (2 + evaluations))
    assert cost.speeds == {kind: Speed(100.0, "measured", "some GPU", 3.0, 2)}


def test_phases_that_ran_on_a_cpu_say_nothing_of_a_gpu(tmp_path: Path) -> None:
    """Resources are in no key: the same phases are found, and their speed is that of where they were learnt."""
    store = Store(tmp_path)
    found = plan("metaworld", methods=("base",), resources={"gpus": 1})
    for phase, device in zip(found.phases.values(), ("cpu", "cpu"), strict=True):
        store.phase(phase.key).commit(
            result={"env_steps": 400, "env_steps_per_second": 50.0},
            manifest={"device": device, "threads": 1},
            curve=[],
            agent={"weights": np.zeros(1)},
            prepared={},
            replay=None,
            sample=None,
        )
    (speed,) = price(found, store, list(found.phases)).speeds.values()
    assert speed.source == "reference"
    on_cpu = plan("metaworld", methods=("base",))
    (speed,) = price(on_cpu, store, list(on_cpu.phases)).speeds.values()
    assert speed == Speed(50.0, "finished phases")


def test_a_machine_that_is_slowed_down_evaluates_as_slowly() -> None:
    """At a third of the reference's speed it takes thrice as long; a faster update makes no simulator fast."""
    phase = next(iter(plan("metaworld").phases.values()))
    reference = REFERENCES["vectors"]
    assert seconds(phase, Work(0, 2_500), reference.env_steps_per_second / 3) == pytest.approx(3)
    assert seconds(phase, Work(0, 2_500), reference.env_steps_per_second * 3) == pytest.approx(1)


@settings(deadline=None, max_examples=30)
@given(st.integers(8, 256), st.sampled_from([0.125, 0.25, 0.5, 1.0]), st.integers(64, 1_024))
def test_more_work_never_costs_less(batch_size: int, updates: float, hidden: int) -> None:
    def hours(**sac: Any) -> float:
        found = plan(methods=("base",), sac=sac)
        return price(found, Store("/nonexistent"), list(found.phases)).cpu_hours

    least = hours(batch_size=batch_size, updates_per_env_step=updates, hidden=(hidden,))
    assert math.isfinite(least)
    assert least > 0
    for more in (
        {"batch_size": 2 * batch_size, "updates_per_env_step": updates, "hidden": (hidden,)},
        {"batch_size": batch_size, "updates_per_env_step": 2 * updates, "hidden": (hidden,)},
        {"batch_size": batch_size, "updates_per_env_step": updates, "hidden": (2 * hidden,)},
    ):
        assert hours(**more) >= least


def test_a_pack_costs_what_its_phases_cost_alone_and_is_timed_as_a_pack(tmp_path: Path) -> None:
    """On a CPU, where nothing is known of its speed: lanes share one core."""
    store = Store(tmp_path / "results", create=True)
    alone, packed = (plan("metaworld", resources={"lanes": lanes}) for lanes in (1, 3))
    one, other = (price(found, store, list(found.phases)) for found in (alone, packed))
    assert other.cpu_hours == pytest.approx(one.cpu_hours)
    (kind,) = other.speeds
    assert kind.endswith("/1 cpus/3 lanes")
    first, *_ = alone.phases.values()
    assert speed_kind(first, {"device": "cpu", "threads": 1}) in one.speeds
    assert speed_kind(first, {"device": "cpu", "threads": 1, "lanes": 3}) == kind
