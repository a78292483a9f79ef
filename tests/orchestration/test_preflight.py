"""What is known to be wrong before anything starts; no Ray."""

import dataclasses
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from stored import new_store, small_plan

from nbsp_ray.config.schema import Resources
from nbsp_ray.errors import ClusterError, ConfigError, StoreError
from nbsp_ray.learning import machine
from nbsp_ray.limits import Memory
from nbsp_ray.orchestration import nodes, preflight
from nbsp_ray.orchestration.jobs import pace
from nbsp_ray.orchestration.nodes import Node, placed
from nbsp_ray.plan.lanes import pack_bytes
from nbsp_ray.plan.memory import RAY_BYTES, largest_need
from nbsp_ray.plan.memory import need as memory_need
from nbsp_ray.plan.price import price
from nbsp_ray.specs import Plan

SMALL, LARGE = Node("small", 2, 0, 4), Node("large", 16, 1, 64)


def plan_with(**resources: Any) -> Plan:
    return small_plan(resources=resources)


@pytest.mark.parametrize(
    ("resources", "says"),
    [
        ({"cpus": 32}, "resources.cpus=32, and the largest of its machines offers 16 CPUs .large.*--autoscaling"),
        ({"gpus": 2.0}, "resources.gpus=2, and the largest of its machines offers 1 GPUs"),
        ({"memory_gb": 100.0}, "resources.memory_gb=100, and the largest of its machines offers 64 GiB"),
        ({"cpus": 64, "gpus": 2.0}, "resources.cpus=64"),
    ],
)
def test_what_no_machine_can_hold_is_refused_by_name(resources: dict[str, Any], says: str) -> None:
    plan = plan_with(**resources)
    with pytest.raises(ClusterError, match=says):
        preflight.check_nodes(plan, plan.phases, [SMALL, LARGE], local=False)


def test_what_no_machine_can_hold_at_once_is_refused() -> None:
    plan = plan_with(cpus=8, gpus=1.0)
    nodes = [Node("cpus", 64, 0, 64), Node("gpus", 2, 8, 64)]
    with pytest.raises(ClusterError, match="at once"):
        preflight.check_nodes(plan, plan.phases, nodes, local=False)


def test_on_one_machine_the_advice_is_another() -> None:
    plan = plan_with(cpus=8)
    with pytest.raises(
        ClusterError, match=r"this machine offers 2 CPUs: set resources.cpus to at most that, raise --c"
    ):
        preflight.check_nodes(plan, plan.phases, [SMALL], local=True)


def test_a_ray_started_here_has_the_cpus_that_it_is_given() -> None:
    plan = plan_with(cpus=8, gpus=1.0)
    preflight.check_cpus(plan, plan.phases, 8)
    with pytest.raises(ClusterError, match="this machine offers 7 CPUs"):
        preflight.check_cpus(plan, plan.phases, 7)


def test_the_more_work_side_by_side_the_seldomer_each_tells_how_far_it_is() -> None:
    assert [pace(slots) for slots in (1, 60, 100, 400, 5_000)] == [0, 0, 5, 20, 30]


def test_what_is_done_need_not_fit() -> None:
    preflight.check_nodes(plan_with(cpus=99), [], [SMALL], local=True)


@pytest.mark.parametrize(
    ("resources", "slots"),
    [
        ({}, 18),
        ({"cpus": 3}, 5),
        ({"gpus": 0.25}, 4),
        ({"gpus": 0.1}, 10),
        ({"memory_gb": 3.0}, 17),
        ({"cpus": 17}, 0),
        ({"gpus": 0.4}, 2),
        ({"gpus": 1.0}, 1),
        ({"labels": ("zone=b",)}, 16),
        ({"labels": ("zone=!b",)}, 2),
        ({"labels": ("zone=in(a,b)",)}, 16),
        ({"labels": ("zone=!in(a,c)",)}, 18),
    ],
)
def test_slots_are_those_of_all_machines(resources: dict[str, Any], slots: int) -> None:
    plan = small_plan(resources=resources, seeds=tuple(range(20)))
    large = dataclasses.replace(LARGE, labels=(("zone", "b"),))
    small = dataclasses.replace(SMALL, labels=())
    assert nodes.slots(plan, plan.phases, [small, large]) == slots


@pytest.mark.parametrize(("lanes", "number", "cpus"), [(1, 2, 6), (3, 6, 2), (100, 6, 1), ("auto", 2, 6)])
def test_slots_of_packs_are_their_lanes(lanes: object, number: int, cpus: int) -> None:
    """Six phases of one shape on two CPUs, one for each pack."""
    plan = plan_with(lanes=lanes)
    assert nodes.slots(plan, plan.phases, [SMALL]) == number
    assert nodes.cpus_in_use(plan, plan.phases, 64, None) == cpus


def test_a_pack_asks_for_the_memory_of_all_its_lanes() -> None:
    one, three = (preflight.with_memory(plan_with(lanes=lanes), plan_with().phases) for lanes in (1, 3))
    (alone,), (packed,) = ({phase.resources.memory_gb for phase in plan.phases.values()} for plan in (one, three))
    need = memory_need(one, next(iter(one.phases))).total / 2**30
    assert alone == pytest.approx(need, abs=0.1)
    # Its process counts once, each lane has its own buffers and weights.
    assert packed is not None
    assert need < packed < 3 * need


def test_memory_for_packs_is_counted_and_a_pack_that_does_not_fit_is_refused() -> None:
    plan = plan_with(lanes=3)
    assert preflight.check_lanes(plan_with(), plan.phases, Memory(10**12)) is None
    each = pack_bytes(plan, list(plan.phases), 3)
    assert preflight.check_lanes(plan, plan.phases, Memory(RAY_BYTES + 2 * each)) == 6
    with pytest.raises(ConfigError, match=r"resources\.lanes=3: 3 lanes take"):
        preflight.check_lanes(plan, plan.phases, Memory(each // 2))


def test_on_one_machine_labels_do_not_matter() -> None:
    assert Node("here", 2, 0, 4).fits(Resources(labels=("market=spot",))) == 2
    assert Node("there", 2, 0, 4, labels=()).fits(Resources(labels=("market=spot",))) == 0


def test_a_fraction_is_of_one_gpu() -> None:
    """Four GPUs hold two phases of 0.4 each, and not ten of them."""
    node = Node("gpus", 64, 4, 256)
    assert node.fits(Resources(gpus=0.4)) == 8
    assert node.without(Resources(gpus=0.4), 3).gpus == 2
    assert node.fits(Resources(gpus=2)) == 2


def test_requests_of_several_kinds_share_the_machines() -> None:
    """Three machines of two CPUs, one of them with a GPU: one phase on it, and five beside."""
    gpu, cpu = Resources(gpus=1), Resources()
    nodes = [Node(name, 2, name == "b", 8) for name in "abc"]
    assert placed({gpu: 6, cpu: 8}, nodes) == {gpu: 1, cpu: 5}
    assert placed({gpu: 1, cpu: 5}, nodes) == {gpu: 1, cpu: 5}
    assert placed({}, nodes) == {}


def test_a_machine_without_cpus_is_none_to_work_on() -> None:
    plan = plan_with()
    with pytest.raises(ClusterError, match=r"no machine of the cluster offers CPUs .* --min-machines, or say --autosc"):
        preflight.check_nodes(plan, plan.phases, [Node("head", 0, 0, 8)], local=False)


def test_on_a_cluster_the_memory_that_a_phase_can_come_to_hold_is_asked_for() -> None:
    plan = plan_with()
    asked = preflight.with_memory(plan, list(plan.phases))
    most = max(phase.resources.memory_gb or 0 for phase in asked.phases.values())
    assert most == pytest.approx(largest_need(plan, list(plan.phases)).total / 2**30, abs=0.1)
    assert set(asked.phases) == set(plan.phases)
    with pytest.raises(ClusterError, match=r"resources.memory_gb=.* offers 0.1 GiB .*lower sac.buffer_size"):
        preflight.check_nodes(asked, asked.phases, [Node("tiny", 2, 0, 0.1)], local=False)
    own = plan_with(memory_gb=7.0)
    assert {phase.resources.memory_gb for phase in preflight.with_memory(own, list(own.phases)).phases.values()} == {7}


def test_a_machine_that_is_no_part_of_the_cluster_is_told_how_to_become_one() -> None:
    nodes = [("10.9.0.10", True), ("10.9.0.11", False)]
    preflight.check_member("10.9.0.10:6379", nodes, ["127.0.0.1", "10.9.0.10"])
    for ours in (["10.9.0.99"], ["10.9.0.11"]):
        with pytest.raises(ClusterError, match=r"no part of the cluster .*`ray start --address 10\.9\.0\.10:6379"):
            preflight.check_member("10.9.0.10:6379", nodes, ours)


def test_other_versions_are_named() -> None:
    ours = {"ray": "2.60.0", "python": "3.11.7"}
    preflight.check_versions(ours, ours)
    with pytest.raises(ClusterError, match=r"the cluster runs Python 3\.12\.1, this process Python 3\.11\.7"):
        preflight.check_versions(ours | {"python": "3.12.1"}, ours)


@pytest.mark.parametrize(
    ("resources", "says"),
    [({"gpus": 1.5}, "whole ones only"), ({"device": "cuda"}, "resources.gpus=0 does not reserve")],
)
def test_resources_that_make_no_sense_are_refused(resources: dict[str, Any], says: str) -> None:
    plan = plan_with(**resources)
    with pytest.raises(ClusterError, match=says):
        preflight.check_settings(plan, plan.phases)


def test_resources_that_make_sense_pass() -> None:
    plan = plan_with(gpus=2.0, device="cuda")
    preflight.check_settings(plan, plan.phases)


def free(monkeypatch: pytest.MonkeyPatch, share: float, plan: Plan, root: Path) -> list[str]:
    """Check the disk of which `share` of what is needed is free; what is said."""
    store, said = new_store(root), list[str]()
    need = price(plan, store, list(plan.phases)).peak_disk_gb * 1e9
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda path: SimpleNamespace(free=share * need))
    preflight.check_disk(plan, list(plan.phases), store, said.append)
    return said


@pytest.mark.parametrize(("precision", "gain", "says"), [("bf16", 0.5, 1), ("bf16", 2.0, 0), ("fp32", 0.5, 0)])
def test_a_precision_that_costs_time_is_spoken_of_once(
    precision: str, gain: float, says: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_has_bf16", lambda device: True)
    monkeypatch.setattr(machine, "bf16_gain", lambda: gain)
    plan, said = small_plan(sac={"precision": precision}), list[str]()
    preflight.check_here(plan, plan.phases, said.append)
    assert len(said) == says
    assert all("sac.precision=bf16 costs time here" in sentence for sentence in said)


def test_a_disk_that_is_large_enough_is_no_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert free(monkeypatch, 1.01, small_plan(), tmp_path) == []


def test_a_disk_that_may_be_too_small_is_spoken_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (said,) = free(monkeypatch, 0.5, small_plan(), tmp_path)
    assert "if phases stop early" in said


def test_a_disk_that_is_too_small_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreError, match=r"GB are free there; make room, .* --root, or lower sac.buffer_size"):
        free(monkeypatch, 0.05, small_plan(), tmp_path)
    fixed = small_plan(
        first={"env_steps": 1_000, "stop": "fixed"}, second={"env_steps": 500, "stop": "fixed"}, seeds=(0,)
    )
    with pytest.raises(StoreError, match="GB are free"):
        free(monkeypatch, 0.5, fixed, tmp_path / "fixed")


def test_a_machine_that_does_not_answer_itself_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    preflight.check_loopback()
    with socket.create_server(("127.0.0.1", 0)) as gone:
        nobody = gone.getsockname()
    monkeypatch.setattr(preflight.socket.socket, "getsockname", lambda self: nobody)
    with pytest.raises(ClusterError, match=r"does not answer itself at 127\.0\.0\.1 .*refused.*`lo` is up"):
        preflight.check_loopback()


def test_an_address_at_which_nobody_listens_is_refused_at_once() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(ClusterError, match=f"no Ray cluster answers at 127.0.0.1:{port}.*ray start --head"):
            preflight.check_address(f"127.0.0.1:{port}")
        taken.listen()
        preflight.check_address(f"127.0.0.1:{port}")


@pytest.mark.parametrize("address", ["ray://head:10001", "http://head:8265"])
def test_an_address_of_another_kind_is_refused(address: str) -> None:
    with pytest.raises(ClusterError, match="ray job submit"):
        preflight.check_address(address)


def test_an_address_without_a_port_is_refused() -> None:
    with pytest.raises(ClusterError, match="nowhere is no address of a Ray cluster: give `auto`, or host:port"):
        preflight.check_address("nowhere")


def test_a_refused_connection_speaks_of_the_token() -> None:
    error = preflight.unreachable("head:6379", "Failed to connect to GCS.\nand more")
    assert "Failed to connect to GCS. and more" in str(error)
    assert "RAY_AUTH_MODE=token" in str(error)
    assert "doctor" in str(preflight.unreachable("local", "why"))


def test_no_resources_are_no_slots() -> None:
    assert SMALL.fits(Resources(gpus=0.5)) == 0


def test_ray_gets_no_more_cpus_than_phases_can_use() -> None:
    """It starts a process for each of them at once."""
    plan = plan_with(cpus=2)
    assert len(plan.phases) == 6
    assert nodes.cpus_in_use(plan, plan.phases, 64, None) == 12
    assert nodes.cpus_in_use(plan, plan.phases, 64, 3) == 6
    assert nodes.cpus_in_use(plan, plan.phases, 4, None) == 4
    assert nodes.cpus_in_use(plan, [], 64, None) == 0
