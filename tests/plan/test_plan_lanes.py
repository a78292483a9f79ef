"""How many phases learn side by side, and which can."""

import pytest
from toy_phases import toy_plan

from nbsp_ray.errors import ConfigError
from nbsp_ray.limits import Memory
from nbsp_ray.plan.build import make_plan
from nbsp_ray.plan.lanes import CUDA_BYTES, by_shape, lane_bytes, lanes
from nbsp_ray.specs import Plan
from nbsp_ray.sweepfile import load_sweep

ROOMY = Memory(10**12)


def plan(**resources: object) -> Plan:
    return toy_plan(methods=("base", "nbsp", "ewc"), seeds=tuple(range(40)), resources=resources)


@pytest.mark.parametrize(
    ("asked", "cpus", "gpu_lanes", "expected"),
    [
        ({}, 16, None, 1),
        ({"lanes": 1}, 16, None, 1),
        ({"lanes": "auto"}, 16, None, 1),  # A CPU.
        ({"lanes": 7}, 16, None, 7),
        ({"lanes": 1_000}, 16, None, 160),  # No more than there are phases.
        ({"lanes": "auto", "device": "cuda"}, 16, 1_000, 64),
        ({"lanes": "auto", "device": "cuda"}, 3, 1_000, 12),
        ({"lanes": "auto", "device": "cuda"}, 16, 9.5, 9),
        ({"lanes": "auto", "device": "cuda"}, 16, 0.5, 1),
        ({"lanes": 9, "gpus": 1.0}, 16, 9.5, 9),
    ],
)
def test_as_many_as_asked_for_or_as_the_device_allows(
    asked: dict[str, object], cpus: int, gpu_lanes: float | None, expected: int
) -> None:
    of = plan(**asked)
    keys = list(of.phases)
    gpu_bytes = None if gpu_lanes is None else CUDA_BYTES + int(gpu_lanes * lane_bytes(of, keys))
    assert lanes(of, keys, ROOMY, cpus, gpu_bytes) == expected


def test_more_than_the_memory_holds_is_refused_with_the_number_that_fits() -> None:
    of = plan(lanes=9)
    keys = list(of.phases)
    room = 450_000_000 * 3 + int(4.5 * lane_bytes(of, keys))
    with pytest.raises(
        ConfigError, match=r"resources\.lanes=9: 9 lanes take .*: resources\.lanes=4 fits, or lower sac"
    ):
        lanes(of, keys, Memory(room), 2)
    with pytest.raises(ConfigError, match=r"resources\.lanes=1 takes one phase after another"):
        lanes(of, keys, Memory(10**6), 2)


def test_buffers_are_most_of_what_lanes_of_atari_take() -> None:
    of = make_plan("atari", load_sweep("atari_main", ["seeds=0"]).sweeps[:1])
    nbsp = next(phase for phase in of.phases.values() if phase.spec.has("replay"))
    # D and D_pre, 2 x 10^5 frames of 7,060 bytes each.
    assert lane_bytes(of, [nbsp.key]) == pytest.approx(2 * 200_000 * 7_060, rel=0.2)


def test_phases_of_one_shape_may_differ_in_method_task_seed_and_budget() -> None:
    of = plan(lanes=4)
    assert [len(keys) for keys in by_shape(of, of.phases).values()] == [160]
    other = toy_plan(sac={"gamma": 0.8, "learning_starts": 60})
    assert len(by_shape(Plan("", "", {**of.phases, **other.phases}, ()), {**of.phases, **other.phases})) == 2
    same = toy_plan(sac={"learning_starts": 60})
    assert len(by_shape(Plan("", "", {**of.phases, **same.phases}, ()), {**of.phases, **same.phases})) == 1
