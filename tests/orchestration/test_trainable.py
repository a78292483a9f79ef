"""One phase as Tune sees it, around a phase run that does as the test says; without a cluster."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from stored import firsts, new_store, small_plan

from nbsp_ray.config.schema import Resources
from nbsp_ray.learning import run as run_module
from nbsp_ray.learning.run import Progress
from nbsp_ray.orchestration import trainable as trainable_module
from nbsp_ray.orchestration.failures import SAME_FAILURES, describe, fingerprint
from nbsp_ray.orchestration.jobs import GAVE_UP, LEAVES, Job, PhaseJob
from nbsp_ray.orchestration.trainable import THREADS, Trainable
from nbsp_ray.store import Store

PHASE = firsts(small_plan())[0]
NODE = "f00d"


class FakeRun:
    """Ten env steps at a time, and whatever trouble the test has in store."""

    trouble: Any = None
    made = 0
    pace = 0.0

    def __init__(self, store: Store, *rest: object, keep_buffer: bool) -> None:
        type(self).made += 1
        self.folder = store.phase(PHASE.key)
        self.env_steps, self.saves = 0, 0

    def advance(self, seconds: float) -> Progress:
        self.env_steps += 10
        if self.trouble:
            raise type(self.trouble)(*self.trouble.args)  # anew: a traceback grows by each raise
        self.folder.write_progress({"stage": "learning", "env_steps": self.env_steps})
        return self.progress()

    def progress(self) -> Progress:
        stage = "done" if self.env_steps >= 30 else "learning"
        return Progress(stage, self.env_steps, 30, 0, 0.5, None)  # type: ignore[arg-type]

    def save(self) -> None:
        self.saves += 1


@pytest.fixture(autouse=True)
def _fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "PhaseRun", FakeRun)
    monkeypatch.setattr(FakeRun, "trouble", None)
    monkeypatch.setattr(ray._private.state.state, "get_draining_nodes", dict)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: NODE))
    for name in (*THREADS, "CUDA_VISIBLE_DEVICES"):
        monkeypatch.setenv(name, "7")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return new_store(tmp_path)


def job(store: Store, **resources: Any) -> dict[str, Any]:
    asked = Resources(**resources)
    phase = PhaseJob(spec=PHASE.spec, evaluations=())
    return Job(root=str(store.root), phases=(phase,), resources=asked).model_dump(mode="json")


def worker(store: Store, **resources: Any) -> Trainable:
    """Without Ray's own part, which makes folders in the home directory."""
    made = Trainable.__new__(Trainable)
    made.setup(job(store, **resources))
    return made


def run_of(made: Trainable) -> FakeRun:
    run: Any = made._run
    assert isinstance(run, FakeRun)
    return run


def test_it_works_by_steps_and_says_when_it_is_done(store: Store) -> None:
    made = worker(store)
    results = [made.step() for _ in range(3)]
    assert [result["done"] for result in results] == [False, False, True]
    assert results[1] == {
        "done": False,
        "stage": "learning",
        "env_steps": 20,
        "updates": 0,
        "success": 0.5,
        "env_steps_per_second": None,
        "node": NODE,
    }
    run = run_of(made)
    made.cleanup()
    assert run.saves == 0
    assert "stopped" not in (store.phase(PHASE.key).progress() or {})


def test_stopped_it_saves_and_says_so(store: Store) -> None:
    made = worker(store)
    made.step()
    run = run_of(made)
    made.cleanup()
    made.cleanup()
    assert run.saves == 1
    progress = store.phase(PHASE.key).progress()
    assert progress is not None
    assert (progress["stopped"], progress["env_steps"]) == (True, 10)


def test_stopped_before_its_first_step_it_has_nothing_to_save(store: Store) -> None:
    worker(store).cleanup()
    assert not store.phase(PHASE.key).path.exists()


def test_the_same_failure_three_times_is_given_up(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeRun, "trouble", ValueError("no such thing\nat all"))
    folder = store.phase(PHASE.key)
    for attempt in range(SAME_FAILURES - 1):
        with pytest.raises(ValueError, match="no such thing"):
            worker(store).step()
        assert len(folder.failures()) == attempt + 1
    assert worker(store).step() == {"done": True, GAVE_UP: True}
    failures = folder.failures()
    assert [failure["final"] for failure in failures] == [False, False, True]
    assert failures[0]["error"] == "ValueError: no such thing"
    assert failures[0]["env_steps"] == 10
    assert "in advance" in failures[0]["traceback"]


def test_failures_that_differ_or_come_elsewhere_are_not_counted_together(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for attempt in range(2 * SAME_FAILURES):
        monkeypatch.setattr(FakeRun, "trouble", None)
        made = worker(store)
        for _ in range(attempt % 2):
            made.step()
        monkeypatch.setattr(FakeRun, "trouble", ValueError(f"number {attempt // 2}"))
        with pytest.raises(ValueError, match="number"):
            made.step()


def test_addresses_in_memory_make_no_failure_another() -> None:
    one, other = ({"env_steps": 1, "traceback": f"<thing at {address}>"} for address in ("0x7f01", "0xabc"))
    assert fingerprint(one) == fingerprint(other)
    assert fingerprint(one) != fingerprint(one | {"env_steps": 2})


def test_an_error_without_a_text_has_its_kind() -> None:
    assert describe(MemoryError())["error"] == "MemoryError"


def test_after_a_failure_nothing_is_saved(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made = worker(store)
    made.step()
    run = run_of(made)
    monkeypatch.setattr(FakeRun, "trouble", OSError("disk"))
    with pytest.raises(OSError, match="disk"):
        made.step()
    made.cleanup()
    assert run.saves == 0


def test_a_failure_that_cannot_be_stored_does_not_hide_the_error(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeRun, "trouble", ValueError("the first trouble"))
    (store.root / "phases").write_text("in the way")
    with pytest.raises(ValueError, match="the first trouble"):
        worker(store).step()


def test_another_phase_can_follow_in_the_same_process(store: Store) -> None:
    made = worker(store)
    made.step()
    run = run_of(made)
    assert made.reset_config(job(store))
    assert run.saves == 1
    made.step()
    assert run_of(made) is not run


def test_on_a_node_that_is_taken_away_it_saves_at_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made = worker(store)
    made.step()
    monkeypatch.setattr(ray._private.state.state, "get_draining_nodes", lambda: {"another": 0})
    made.step()
    assert run_of(made).saves == 0
    made = worker(store)
    made.step()
    run = run_of(made)
    monkeypatch.setattr(ray._private.state.state, "get_draining_nodes", lambda: {NODE: 0})
    result = made.step()
    assert (result["done"], result[LEAVES], result["env_steps"]) == (True, True, 20)
    assert run.saves == 1
    assert (store.phase(PHASE.key).progress() or {})["stopped"]


def test_a_ray_that_cannot_tell_of_draining_does_no_harm(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(ray._private.state, "state")
    assert worker(store).step()["env_steps"] == 10


def test_threads_and_gpus_are_those_asked_for(store: Store) -> None:
    worker(store, cpus=2)
    assert {os.environ[name] for name in THREADS} == {"2"}
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
    os.environ["CUDA_VISIBLE_DEVICES"] = "0"
    worker(store, gpus=0.25)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"


def test_it_asks_for_what_the_plan_says(store: Store) -> None:
    asked = Trainable.default_resource_request(job(store, cpus=2, gpus=0.25, memory_gb=1.5))
    assert asked.bundles == [{"CPU": 2, "GPU": 0.25, "memory": 1.5 * 2**30}]
    assert Trainable.default_resource_request(job(store)).bundles == [{"CPU": 1}]


def test_the_phase_is_opened_by_the_first_step(store: Store) -> None:
    before = FakeRun.made
    made = worker(store)
    assert FakeRun.made == before
    made.step()
    assert FakeRun.made == before + 1


def test_a_step_is_a_fraction_of_tunes_patience() -> None:
    assert trainable_module.STEP_SECONDS <= 5
