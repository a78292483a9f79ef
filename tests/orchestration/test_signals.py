"""The wish to stop: signals, and what is made of them in Tune's loop; no cluster."""

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.experiment import Trial
from stored import new_store

from nbsp_ray.orchestration import callbacks as hooks_module
from nbsp_ray.orchestration.callbacks import ExperimentHooks, Stopper
from nbsp_ray.orchestration.cluster import watch
from nbsp_ray.orchestration.gate import Gate
from nbsp_ray.orchestration.jobs import WORKER
from nbsp_ray.states import State
from nbsp_ray.stopping import StopRequest
from nbsp_ray.store import PhaseFolder


def test_the_first_signal_is_a_wish_the_second_an_end_and_then_all_is_as_before() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    said: list[str] = []
    with StopRequest(said.append) as stop:
        assert not stop.heard()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.asked
        assert said == []  # a handler must not print
        assert stop.heard()
        assert stop.heard()
        assert said == ["saving and stopping (a second Ctrl-C stops at once)"]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert before == {number: signal.getsignal(number) for number in before}


def test_handlers_that_others_put_in_between_are_replaced_and_not_given_back() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    with StopRequest(print) as stop:
        signal.signal(signal.SIGUSR1, lambda number, frame: None)
        stop.install()
        os.kill(os.getpid(), signal.SIGUSR1)
        assert stop.asked
    assert signal.getsignal(signal.SIGUSR1) is before


def test_nohup_is_respected() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest(print):
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_outside_the_main_thread_no_signal_is_taken() -> None:
    found: list[Any] = []

    def elsewhere() -> None:
        with StopRequest(print):
            found.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert found == [before]


HANGING = """
import signal, sys, time, types
from pathlib import Path
from nbsp_ray.orchestration import cluster
from nbsp_ray.stopping import StopRequest
sys.modules["ray"] = types.SimpleNamespace(init=lambda **options: (print("starting", flush=True), time.sleep(60)))
cluster.PATIENCE_SECONDS = 0.5
folder = Path(sys.argv[1], "nbsp-12345678")
folder.mkdir()
with StopRequest(lambda text: print(text, flush=True)) as stop:
    cluster._connect({"address": "local", "_temp_dir": str(folder / "ray")}, stop)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_heard_while_ray_hangs_as_it_starts(number: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, "-c", HANGING, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "starting\n"
        process.send_signal(number)
        said = process.stdout.read()
        assert process.wait(30) == 3
    assert "saving and stopping" in said
    assert "stopped before Ray was there: nothing was begun, and the same command goes on" in said
    assert list(tmp_path.iterdir()) == []


class Wish(StopRequest):
    """One that takes no signals; `said` is all that it told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        super().__init__(self.said.append)

    def install(self) -> None: ...


def make(
    tmp_path: Path, *, at_once: bool = False, fit: Any = None, out_of_memory: Any = None
) -> tuple[ExperimentHooks, Stopper, Wish, Gate]:
    gate, wish = Gate({"0" * 20: (), "1" * 20: ()}, lambda key: False), Wish()
    hooks = ExperimentHooks(
        new_store(tmp_path),
        gate,
        lambda trial_id: [trial_id.partition("-")[0]],
        wish,
        fit or (lambda: None),
        out_of_memory or (lambda keys: None),
        at_once=at_once,
    )
    return hooks, Stopper(hooks), wish, gate


def trial(status: str) -> Any:
    return SimpleNamespace(status=status)


def test_trials_stop_at_their_next_result_and_the_rest_when_none_works(tmp_path: Path) -> None:
    hooks, stopper, wish, gate = make(tmp_path)
    hooks.on_step_begin(1, [trial(Trial.RUNNING)])
    assert not stopper("a", {})
    assert not stopper.stop_all()
    wish.asked = True
    assert stopper("a", {})
    assert not stopper.stop_all()  # not before it is known who works
    hooks.on_step_begin(2, [trial(Trial.RUNNING), trial(Trial.PENDING)])
    assert not stopper.stop_all()
    assert gate.next() is None
    hooks.on_step_begin(3, [trial(Trial.TERMINATED), trial(Trial.PENDING)])
    assert stopper.stop_all()


def test_a_trial_that_a_signal_stops_before_the_next_step_of_tune_has_not_failed(tmp_path: Path) -> None:
    _, stopper, wish, gate = make(tmp_path)
    key = gate.next()
    assert key is not None
    wish.asked = True  # between the beginning of Tune's step and the trial's result
    assert stopper("a", {})
    assert not stopper("a", {WORKER: ""}), "a pack ends by itself"
    gate.finished(key, ok=True)
    assert gate.states[key] is State.READY


def test_where_trials_queue_all_stop_at_once(tmp_path: Path) -> None:
    hooks, stopper, wish, _ = make(tmp_path, at_once=True)
    wish.asked = True
    hooks.on_step_begin(1, [trial(Trial.RUNNING)])
    assert stopper.stop_all()


def test_machines_are_counted_now_and_then_and_trouble_with_it_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def fit() -> None:
        calls.append(1)
        raise OSError("Ray is busy")

    monkeypatch.setattr(hooks_module, "FIT_SECONDS", -1)
    hooks, *_ = make(tmp_path, fit=fit)
    hooks.on_step_begin(1, [])
    hooks.on_step_begin(2, [])
    assert len(calls) == 2


def test_a_run_that_cannot_even_store_a_failure_stops_and_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full: to try each phase again and again would come to nothing."""
    hooks, stopper, wish, gate = make(tmp_path)
    said = wish.said

    def full(self: object, failure: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(PhaseFolder, "write_failure", full)
    for _ in range(2):
        key = gate.next()
        assert key is not None
        failed: Any = SimpleNamespace(trial_id=f"{key}-0", error_file=str(tmp_path / "not there"))
        hooks.on_trial_error(1, [], failed)
    assert stopper("a", {})
    root = hooks._store.root
    assert said == [f"{root} cannot be written (No space left on device): stopping; mend that, and it goes on"]


def test_workers_that_do_not_start_are_told_of_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks_module, "FIT_SECONDS", -1)
    for case, (seconds, statuses, number) in enumerate(
        ((0, [Trial.PENDING], 1), (60, [Trial.PENDING], 0), (0, [Trial.RUNNING], 0))
    ):
        monkeypatch.setattr(hooks_module, "WORKER_SECONDS", seconds)
        hooks, _, wish, _ = make(tmp_path / str(case))
        for step in range(3):
            hooks.on_step_begin(step, [trial(status) for status in statuses])
        assert len(wish.said) == number
        assert all(text.startswith("no worker has started in 0 minutes") for text in wish.said)


def test_only_the_last_failure_of_a_phase_is_final(tmp_path: Path) -> None:
    hooks, _, _, gate = make(tmp_path)
    key = gate.next()
    assert key == "0" * 20
    folder = hooks._store.phase(key)
    failed: Any = SimpleNamespace(trial_id=f"{key}-0", error_file=str(tmp_path / "not there"))
    folder.write_failure({"error": "OSError: disk", "traceback": "", "final": False})
    gate.finished(key, ok=False)
    assert gate.states[key] is State.FAILED
    (tmp_path / "error.txt").write_text("The actor died")
    failed.error_file = str(tmp_path / "error.txt")
    hooks.on_trial_error(2, [], failed)
    last = folder.failures()[-1]
    assert (last["error"], last["traceback"]) == ("OSError: disk; tried often enough", "The actor died")
    assert last["final"]
    hooks.on_trial_error(3, [], SimpleNamespace(trial_id="unheard of"))  # type: ignore[arg-type]


DIED = "The actor is dead because its worker process has died."


@pytest.mark.parametrize(
    ("text", "kills", "error", "memory"),
    [
        (DIED, 0, "the worker was killed", False),
        (DIED, 1, "the worker was killed for want of memory", True),
        (f"{DIED} Worker exit type: NODE_OUT_OF_MEMORY", 0, "the worker was killed for want of memory", True),
        ("Traceback ...\nModuleNotFoundError: No module named 'torch'", 0, "ModuleNotFoundError: No module", False),
    ],
)
def test_a_worker_that_told_nothing_has_its_end_noted_each_time(
    text: str, kills: int, error: str, memory: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count, freed = 5, list[str]()
    monkeypatch.setattr(hooks_module, "out_of_memory_kills", lambda: count)
    hooks, _, _, gate = make(tmp_path, out_of_memory=freed.extend)
    (tmp_path / "error.txt").write_text(text)
    key = gate.next()
    assert key is not None
    folder = hooks._store.phase(key)
    failed: Any = SimpleNamespace(trial_id="", error_file=str(tmp_path / "error.txt"))
    for attempt in range(2):
        count += kills
        gate.put_back(key)
        hooks.on_trial_error(
            1, [], SimpleNamespace(trial_id=f"{key}-{attempt}", error_file=str(tmp_path / "error.txt"))
        )  # type: ignore[arg-type]
        assert gate.next() == key
    assert [failure["error"].startswith(error) for failure in folder.failures()] == [True, True]
    assert not any(failure["final"] for failure in folder.failures())
    assert freed == [key, key] * memory
    # What the worker told itself is not told again.
    folder.write_failure({"error": "OSError: disk", "traceback": "", "final": False})
    hooks.on_trial_error(1, [], failed)
    assert len(folder.failures()) == 3


def test_a_head_is_lost_when_nothing_has_answered_there_for_some_time() -> None:
    lost, over = threading.Event(), threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as head:
        address = f"127.0.0.1:{head.getsockname()[1]}"
        watching = threading.Thread(target=watch, args=(address, over, lost.set, 0.5))
        watching.start()
        assert not lost.wait(1.5)
    assert lost.wait(10)
    watching.join()
    over.set()
    lost.clear()
    watch(address, over, lost.set, 0.5)
    assert not lost.is_set()
