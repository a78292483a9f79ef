"""Sweeps of the toy benchmark on a real Ray: whole, again, grown, failing, killed and stopped."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from phase_files import path_of
from ray.util import placement_group, remove_placement_group
from stored import firsts, new_store, small_plan

from nbsp_ray.config.schema import Resources
from nbsp_ray.errors import ClusterError
from nbsp_ray.orchestration import launch as launch_module
from nbsp_ray.orchestration import machines
from nbsp_ray.orchestration.ask import check_cluster
from nbsp_ray.orchestration.cluster import reservations_released
from nbsp_ray.orchestration.launch import Outcome, run_plan
from nbsp_ray.specs import Plan
from nbsp_ray.status import SweepStatus, sweep_status
from nbsp_ray.store import Store

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster")]
LEARNING = {"env_steps": 300, "stop": "fixed", "eval_every": 150, "eval_episodes": 2}
BEFORE = signal.getsignal(signal.SIGINT)
"""A shell starts what is in the background with SIGINT ignored."""
SETTINGS: dict[str, Any] = {
    "sac": {"hidden": [16, 16], "batch_size": 16, "learning_starts": 100},
    "first": LEARNING,
    "second": LEARNING,
    "evaluation": {"episodes": 2},
    "resources": {"checkpoint_minutes": 0.005, "compile": False},
}


def toy(**changes: Any) -> Plan:
    return small_plan(**SETTINGS | changes)


def one_seed() -> Plan:
    """Three phases of `toy()`."""
    return toy(seeds=(0,))


def done(store: Store, plan: Plan) -> set[str]:
    return set(sweep_status(plan, store).done)


def digests(store: Store, plan: Plan) -> dict[str, str]:
    results = {key: store.phase(key).result() for key in plan.phases}
    return {key: str(result["digest"]) for key, result in results.items() if result}


def run(plan: Plan, store: Store, **options: Any) -> Outcome:
    """With `max_concurrent=1` where nothing is asked of several: each worker loads torch and Ray for some seconds."""
    return run_plan(plan, store, on_status=lambda status: None, **options)


def wait_for(happened: Callable[[], bool], seconds: float = 300) -> None:
    """Long, for a busy machine: what does not happen at all fails later, and nothing else waits for it."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.05)


@contextmanager
def meanwhile(act: Callable[[threading.Event], None]) -> Iterator[None]:
    """Do `act` in a thread until the block ends."""
    over = threading.Event()
    thread = threading.Thread(target=act, args=(over,))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def workers() -> list[psutil.Process]:
    """Processes of ours that learn a phase now; they come and go while one looks."""
    found: list[psutil.Process] = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if "ray::Trainable" in " ".join(process.cmdline()):
                found.append(process)
    return found


@pytest.fixture(scope="module")
def undisturbed(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Store, list[SweepStatus]]:
    """A whole sweep, run in one go."""
    plan, store = toy(), new_store(tmp_path_factory.mktemp("undisturbed"))
    seen: list[SweepStatus] = []
    outcome = run_plan(plan, store, on_status=seen.append)
    assert outcome == Outcome(done=6, failed=0, blocked=0, left=0, interrupted=False)
    assert outcome.exit_code == 0
    return plan, store, seen


def test_a_whole_plan_runs_each_phase_after_those_it_needs(undisturbed: tuple[Plan, Store, list[SweepStatus]]) -> None:
    plan, store, seen = undisturbed
    assert done(store, plan) == set(plan.phases)
    manifests = {key: store.phase(key).manifest() or {} for key in plan.phases}
    for key, phase in plan.phases.items():
        assert all(manifests[need]["finished"] < manifests[key]["started"] for need in phase.spec.needs)
    assert seen[-1].left == []
    assert len({len(status.left) for status in seen}) > 2
    assert not (store.root / "phases" / next(iter(plan.phases)) / "attempts").exists()


def test_the_process_is_left_as_it_was(undisturbed: tuple[Plan, Store, list[SweepStatus]]) -> None:
    assert signal.getsignal(signal.SIGINT) is BEFORE
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    assert not [name for name in os.environ if name.startswith("TUNE_")]
    assert not Path("~/ray_results").expanduser().exists()


def test_what_is_done_starts_nothing_and_more_seeds_and_methods_run_only_what_is_new(
    undisturbed: tuple[Plan, Store, list[SweepStatus]], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store, _ = undisturbed
    with monkeypatch.context() as patched:
        patched.setattr(launch_module, "connected_ray", None)
        assert run(plan, store) == Outcome(6, 0, 0, 0, interrupted=False)
    before = {key: path_of(store, store.phase(key), "result.json").stat().st_mtime_ns for key in plan.phases}
    grown = toy(seeds=(0, 1, 2), methods=("base", "replay_only", "nbsp"))
    record = path_of(
        store, store.phase(firsts(plan)[0].key), f"evaluations/{next(iter(firsts(plan)[0].evaluations))}.json"
    )
    record.unlink()  # one evaluation is missing: the phase is evaluated, not learnt, anew
    assert run(grown, store, max_concurrent=1) == Outcome(12, 0, 0, 0, interrupted=False)
    assert done(store, grown) == set(grown.phases)
    assert record.exists()
    assert before == {key: path_of(store, store.phase(key), "result.json").stat().st_mtime_ns for key in plan.phases}


def test_a_failing_first_phase_blocks_those_that_need_it_and_no_others(tmp_path: Path) -> None:
    plan, store = toy(methods=("base",)), new_store(tmp_path)
    broken = firsts(plan)[0]
    in_the_way = store.phase(broken.key).path / "commits"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.write_text("")  # it learns, and cannot be committed
    outcome = run(plan, store, max_concurrent=1)
    assert outcome == Outcome(done=2, failed=1, blocked=1, left=0, interrupted=False)
    assert outcome.exit_code == 1
    status = sweep_status(plan, store)
    assert (status.failed, len(status.blocked)) == ([broken.key], 1)
    found = next(phase for phase in status.phases if phase.key == broken.key)
    assert found.attempts == 3
    assert "commits" in (found.error or "")
    in_the_way.unlink()
    assert run(plan, store, max_concurrent=1) == Outcome(4, 0, 0, 0, interrupted=False)


def command_line(process: psutil.Process) -> str:
    """Empty of one that has just ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def test_workers_killed_at_any_moment_change_no_number(
    undisturbed: tuple[Plan, Store, list[SweepStatus]], tmp_path: Path
) -> None:
    _, store, _ = undisturbed
    plan, killed, rng = one_seed(), list[int](), random.Random(7)

    def kill(over: threading.Event) -> None:
        while len(killed) < 3 and not over.wait(rng.uniform(0.2, 1.0)):
            if found := workers():
                victim = rng.choice(found)
                with suppress(psutil.Error):  # It may have ended by itself.
                    victim.kill()
                    killed.append(victim.pid)

    again = new_store(tmp_path)
    with meanwhile(kill):
        outcome = run(plan, again)
    assert outcome == Outcome(3, 0, 0, 0, interrupted=False)
    assert len(killed) >= 3
    assert digests(again, plan) == digests(store, plan)


def test_a_phase_whose_worker_always_dies_fails_with_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, store = toy(methods=("base",), seeds=(0,)), new_store(tmp_path)

    def kill(over: threading.Event) -> None:
        while not over.wait(0.1):
            for worker in workers():
                with suppress(psutil.Error):
                    worker.kill()

    with meanwhile(kill):
        outcome = run(plan, store, failure_retries=1)
    assert outcome == Outcome(done=0, failed=1, blocked=1, left=0, interrupted=False)
    found = next(phase for phase in sweep_status(plan, store).phases if phase.state == "failed")
    assert found.error == "the worker was killed; tried often enough"


def test_a_signal_saves_and_stops(tmp_path: Path) -> None:
    long = LEARNING | {"env_steps": 200_000}
    late = {"checkpoint_minutes": 60, "compile": False}
    plan, store = toy(methods=("base",), seeds=(0,), first=long, second=long, resources=late), new_store(tmp_path)
    folder = store.phase(firsts(plan)[0].key)

    def learning() -> bool:
        return (folder.progress() or {"env_steps": 0})["env_steps"] > 200

    def stop(over: threading.Event) -> None:
        wait_for(learning)
        os.kill(os.getpid(), signal.SIGTERM)

    with meanwhile(stop):
        outcome = run(plan, store)
    assert outcome == Outcome(done=0, failed=0, blocked=0, left=2, interrupted=True)
    assert outcome.exit_code == 3
    checkpoint = next(folder.checkpoints()).read()
    assert checkpoint.env_steps == (folder.progress() or {})["env_steps"] > 200
    assert sweep_status(plan, store).keys("stopped") == [folder.key]
    assert signal.getsignal(signal.SIGTERM) not in (signal.SIG_IGN, None)


def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    """The first would wait for the end of an evaluation that lasts for hours."""
    long = LEARNING | {"env_steps": 200_000, "eval_episodes": 10_000_000}
    plan, store = toy(methods=("base",), first=long, second=long, seeds=(0,)), new_store(tmp_path)

    def stop(over: threading.Event) -> None:
        wait_for(lambda: bool(store.phase(firsts(plan)[0].key).progress()))
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)
        assert not over.is_set()
        os.kill(os.getpid(), signal.SIGINT)

    with meanwhile(stop):
        outcome = run(plan, store)
    assert outcome == Outcome(done=0, failed=0, blocked=0, left=2, interrupted=True)
    assert signal.getsignal(signal.SIGINT) is BEFORE


def test_what_no_machine_can_hold_fails_fast_and_begins_nothing(tmp_path: Path) -> None:
    plan, store = toy(resources={"cpus": 64}), new_store(tmp_path)
    began = time.monotonic()
    for cpus in (2, 64):  # known before Ray is asked, and told by Ray
        with pytest.raises(ClusterError, match=r"resources.cpus=64, and this machine offers 2 CPUs: .* raise --cpus"):
            run(plan, store, cpus=cpus)
    assert time.monotonic() - began < 60  # Tune alone would wait without end.
    assert store.phases() == []


def test_machines_must_write_the_root_and_have_our_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One machine, which is looked at as each machine of a cluster is."""
    store, said = new_store(tmp_path), list[str]()

    def look(**changed: str) -> machines.Machines:
        found = machines.Machines(store, said.append)
        found._code = machines.code() | changed
        found.look(seconds=60)
        return found

    assert [(node.cpus, node.ip) for node in look().usable()] == [(2.0, "127.0.0.1")]
    assert said == []
    for changed, says in (
        ({"nbsp-ray": "9.9.9"}, r"has nbsp-ray 0\.1\.0, this machine 9\.9\.9: install the same version"),
        ({"source": "f00d"}, "has other source files of nbsp-ray"),
    ):
        found = look(**changed)
        assert found.usable() == []
        (id,) = (node.id for node in machines.machines())
        assert found.selector(Resources()) == {machines.NODE_ID: f"!in({id})"}
        assert not found.holds(id)
        with pytest.raises(ClusterError, match=says):
            found.check()
    with monkeypatch.context() as patched:
        patched.setattr(type(store.files), "write", lambda *rest: None)
        patched.setattr(machines, "LOOKS", 1)
        with pytest.raises(ClusterError, match="must be a folder that all machines share"):
            look().check()
    assert len(said) == 3
    assert list(store.root.iterdir()) == [store.root / "store.json"]


def test_what_is_reserved_and_forgotten_is_given_back() -> None:
    """And what was there before is not ours to take."""

    def reserved() -> float:
        return 2 - ray.available_resources().get("CPU", 0.0)

    before = placement_group([{"CPU": 1}])
    ray.get(before.ready(), timeout=60)
    with reservations_released():
        ray.get(placement_group([{"CPU": 1}]).ready(), timeout=60)
        wait_for(lambda: reserved() == 2, 60)
    wait_for(lambda: reserved() == 1, 60)
    remove_placement_group(before)
    wait_for(lambda: reserved() == 0, 60)


def test_a_cluster_is_asked_before_it_is_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    head = ray.get_runtime_context().gcs_address
    assert check_cluster(head) == head
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "f00d" * 16)
    began = time.monotonic()
    with pytest.raises(ClusterError, match=r"it did not accept this process's token.* RAY_AUTH_TOKEN_PATH"):
        check_cluster(head)
    assert time.monotonic() - began < 60


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder for temporary files with a name short enough for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def drive(store: Store, plan_settings: dict[str, Any], temporary: Path, *address: str) -> "subprocess.Popen[str]":
    """A driver in a process group of its own, as a shell starts it."""
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here.parent), str(here.parents[1])])
    return subprocess.Popen(
        [sys.executable, str(here / "driver.py"), str(store.root), json.dumps(plan_settings), *address],
        env=os.environ | {"PYTHONPATH": paths, "TMPDIR": str(temporary)},
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )


def test_a_driver_stopped_with_its_whole_group_and_another_killed_lose_nothing(
    undisturbed: tuple[Plan, Store, list[SweepStatus]], tmp_path: Path, temporary: Path
) -> None:
    _, store, _ = undisturbed
    plan, again, settings = one_seed(), new_store(tmp_path), SETTINGS | {"seeds": [0]}

    own = drive(again, settings, temporary)  # with a Ray of its own
    wait_for(lambda: any(next(again.phase(key).checkpoints(), None) for key in plan.phases) or own.poll() is not None)
    assert own.poll() is None, own.communicate()[1]
    processes = psutil.Process(own.pid).children(recursive=True)
    os.killpg(own.pid, signal.SIGTERM)  # as `timeout` and systemd do: Ray's processes get it too
    _, said = own.communicate(timeout=120)
    assert own.returncode == 3, said
    assert "saving and stopping" in said
    assert "phases done" in said.splitlines()[-1]
    assert list(temporary.iterdir()) == []
    assert len(psutil.wait_procs(processes, timeout=60)[0]) == len(processes) >= 3

    before = len(done(again, plan))
    assert before < len(plan.phases)
    shared = drive(again, settings, temporary, ray.get_runtime_context().gcs_address)
    wait_for(lambda: len(done(again, plan)) > before or shared.poll() is not None)
    shared.kill()  # its workers live on for a while, and may still commit
    shared.communicate()

    assert run(plan, again, max_concurrent=1) == Outcome(3, 0, 0, 0, interrupted=False)
    assert digests(again, plan) == digests(store, plan)
