"""A results root in an object store: an S3 server on this machine, over real connections."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from s3 import BUCKET, Server
from s3 import s3 as s3  # A fixture.
from stored import firsts, small_plan, write_done
from toy_phases import toy_plan

from nbsp_ray.errors import ConfigError, StorageAwayError, StoreError
from nbsp_ray.local import run_trial
from nbsp_ray.status import is_complete, sweep_status
from nbsp_ray.store import Store
from nbsp_ray.store import files as files_module
from nbsp_ray.store.leases import Driver
from nbsp_ray.store.objects import ObjectFiles

ROOT = f"s3://{BUCKET}/a/root"


@pytest.mark.parametrize("names_conditions", [True, False])
def test_files_are_put_whole_and_created_once(s3: Server, names_conditions: bool) -> None:
    s3.names_conditions = names_conditions
    files = Store(ROOT, create=True).files
    assert files.read("x/y") is files.changed("x/y") is None
    assert not files.exists("x/y")
    assert files.create("x/y", b"one ", memoryview(b"two"))
    assert files.create("x/y", b"one two"), "it is our own"
    assert not files.create("x/y", b"another")
    files.write("x/z/w", b"1")
    assert (files.read("x/y"), files.names("x"), files.exists("x/y")) == (b"one two", ["y", "z"], True)
    assert abs((files.changed("x/y") or 0) - time.time()) < 60
    assert {name: found.bytes for name, found in files.walk("x").items()} == {"x/y": 7, "x/z/w": 1}
    assert set(files.walk("x", "z")) == {"x/z/w"}
    files.remove("x")
    assert files.names("x") == []
    with pytest.raises(StoreError, match="no name of a file"):
        files.read("../a")


def test_a_long_listing_comes_in_parts(s3: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    from nbsp_ray.store import objects

    monkeypatch.setattr(objects, "LISTED", 2)
    files = Store(ROOT, create=True).files
    for name in "abcde":
        files.write(f"x/{name}/y", b"1")
    s3.counts.clear()
    assert list(files.walk("x")) == [f"x/{name}/y" for name in "abcde"]
    assert files.names("x") == list("abcde")
    assert s3.counts == {"LIST": 6}


def test_a_claim_holds_while_its_driver_renews(s3: Server) -> None:
    key, store = firsts(small_plan())[0].key, Store(ROOT, create=True)
    with Driver(store.files) as one, Driver(store.files) as other:
        assert (one.claim(key), one.claim(key), other.claim(key)) == (True, True, False)
        one.__exit__(None, None, None)
        assert other.claim(key)


def test_what_is_large_is_sent_in_parts_and_what_breaks_off_is_not_there(
    s3: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nbsp_ray.store import objects

    monkeypatch.setattr(objects, "STREAMED_BYTES", 5 * 2**20)
    monkeypatch.setattr(objects, "SLICE_BYTES", 2**20)
    store = Store(ROOT, create=True)
    data = os.urandom(12 * 2**20)
    store.files.write("big", data[: 2**20], memoryview(data)[2**20 :])
    assert store.files.read("big") == data
    assert s3.counts["POST"] >= 2, "a start and an end of several parts"
    s3.fails = lambda method: method == "PUT" and s3.counts["PUT"] > 8
    store.files.patience = 0.0
    with pytest.raises(StorageAwayError):
        store.files.write("other", data, data)
    s3.fails = lambda method: False
    assert not store.files.exists("other")


def test_readers_list_and_keep_copies_that_a_change_makes_void(s3: Server, tmp_path: Path) -> None:
    plan, here = small_plan(), Store(tmp_path / "here", create=True)
    there = Store(ROOT, create=True)
    for store in (here, there):
        for phase in plan.phases.values():
            write_done(store, phase)
    expected = sweep_status(plan, here)
    s3.counts.clear()
    assert [one.state for one in sweep_status(plan, Store(ROOT)).phases] == [one.state for one in expected.phases]
    first = s3.counts.copy()
    assert first["LIST"] <= 4
    assert first["GET"] == 1 + 2 * len(plan.phases), "of each phase the result, and the success at its own task"
    s3.counts.clear()
    assert sweep_status(plan, Store(ROOT)).done == expected.done
    assert s3.counts["GET"] <= 1, "store.json"
    assert s3.counts["LIST"] <= 4
    assert not s3.counts["HEAD"]
    assert there.mend(plan.phases) == []
    # Damaged in the bucket: the copies do not hide it.
    key = firsts(plan)[0].key
    (curve,) = there.phase(key).parts(["curve.jsonl"])
    there.files.remove(curve)
    (said,) = Store(ROOT).mend(plan.phases)
    assert f"{ROOT}/{curve} is damaged (it is missing)" in said
    assert not is_complete(plan.phases[key], there)
    # A copy that is damaged here is read again.
    for path in there.root.rglob("*.json"):
        path.write_bytes(b"x" + path.read_bytes())
    assert len(sweep_status(plan, Store(ROOT)).done) == len(expected.done) - 1


def test_where_tracebacks_are_is_said_as_users_call_it(s3: Server) -> None:
    plan, store = small_plan(), Store(ROOT, create=True)
    key = firsts(plan)[0].key
    store.phase(key).write_failure({"error": "it failed"})
    (found,) = (one for one in sweep_status(plan, store).phases if one.attempts)
    assert found.failures == f"{ROOT}/phases/{key}/failures"


def test_what_a_store_says_without_a_text_is_told_by_its_code(s3: Server) -> None:
    def refused() -> None:
        answer = RuntimeError()
        answer.response = {"Error": {"Code": "InvalidThing", "Message": None}}  # type: ignore[attr-defined]
        raise OSError(errno.EINVAL, None) from answer

    files = Store(ROOT, create=True).files
    assert isinstance(files, ObjectFiles)
    with pytest.raises(OSError, match="InvalidThing"):
        files._ask(refused)
    files.write("evaluations/stray", b"what somebody left there")
    assert sweep_status(small_plan(), Store(ROOT)).done == []


def test_a_buffer_is_copied_once_and_checked(s3: Server) -> None:
    plan, store = small_plan(), Store(ROOT, create=True)
    first = firsts(plan)[0]
    write_done(store, first)
    s3.counts.clear()
    for _ in range(2):
        rows = Store(ROOT).phase(first.key).replay()
        assert rows is not None
        assert rows.shape == (1, 1)
    assert s3.counts["GET"] == 1 + 2 * 2, "the buffer once, store.json and the result each time"
    (copied,) = store.root.rglob("replay.npy")
    copied.write_bytes(b"x" * copied.stat().st_size)
    assert Store(ROOT).phase(first.key).replay() is not None


def test_a_fifth_of_all_requests_may_fail(s3: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files_module, "FIRST_WAIT", 1e-3)
    plan, store = small_plan(), Store(ROOT, create=True)
    s3.fail_at_random(0.2, seed=1)
    for phase in plan.phases.values():
        write_done(store, phase)
    assert len(sweep_status(plan, store).done) == len(plan.phases)
    s3.fails = lambda method: False
    for key in plan.phases:
        assert len(store.files.names(f"phases/{key}/commits")) == 1


def test_a_store_that_stays_away_is_said(s3: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(ROOT, create=True, patience=0.5)
    s3.close()
    with pytest.raises(StorageAwayError, match=f"{ROOT} has not answered for .*; all that is committed"):
        store.files.read("x")


def test_what_cannot_be_is_said_before_anything_starts(s3: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreError, match="there is no bucket nowhere: make it"):
        Store("s3://nowhere/x")
    with pytest.raises(ConfigError, match="names no bucket"):
        Store("s3://")
    with pytest.raises(ConfigError, match="not known"):
        Store("s4://bucket/x")
    with pytest.raises(ConfigError, match="not seen by other processes"):
        Store("memory://bucket/x")
    with pytest.raises(ConfigError, match=r"only --root takes s3://"):
        Store(Path(ROOT))
    s3.has_conditions = False
    with pytest.raises(StoreError, match=r"no conditional put \(If-None-Match\)"):
        Store(ROOT, create=True)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", "/nowhere")
    with pytest.raises(StoreError, match=r"does not let this process in .*AWS_ACCESS_KEY_ID"):
        Store(ROOT)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    with pytest.raises(ConfigError, match=r"pip install -c constraints.txt \"nbsp-ray\[s3\]\""):
        Store(ROOT)


SETTINGS: dict[str, Any] = {
    "methods": ["nbsp"],
    "first": {"env_steps": 400},
    "resources": {"checkpoint_minutes": 0.001},
}
WORKER = """
import json
import sys
from toy_phases import toy_plan
from nbsp_ray.local import run_trial
from nbsp_ray.store import Store
plan = toy_plan(**json.loads(sys.argv[2]))
store = Store(sys.argv[1], create=True)
print("ready", flush=True)
assert run_trial(plan, plan.trials[0], store)
"""


def checkpoints(store: Store) -> list[str]:
    """Manifests of all that there are."""
    return [name for name in store.files.walk("phases") if "/attempts/" in name and name.endswith(".json")]


def work() -> "subprocess.Popen[str]":
    """A process that trains a trial; it has loaded what it needs."""
    here = str(Path(__file__).parent)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([here, *sys.path])}
    command = [sys.executable, "-c", WORKER, ROOT, json.dumps(SETTINGS)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_a_trial_that_is_killed_and_one_beside_it_give_the_numbers_of_a_folder(s3: Server, tmp_path: Path) -> None:
    plan, store = toy_plan(**SETTINGS), Store(ROOT, create=True)
    assert run_trial(plan, plan.trials[0], Store(tmp_path / "here", create=True))
    with work() as process:
        while not any(int(name.rpartition("/")[2][:12]) > 200 for name in checkpoints(store)):
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    with work() as one:
        assert run_trial(plan, plan.trials[0], store)
        assert one.wait(120) == 0
    for key in plan.trials[0].phases:
        here, there = (Store(root).phase(key) for root in (tmp_path / "here", ROOT))
        assert (there.result() or {})["digest"] == (here.result() or {})["digest"]
        assert there.curve() == here.curve()
        rows = [(one.replay() if plan.phases[key].keep_buffer else one.sample()) for one in (here, there)]
        assert np.array_equal(*rows)  # type: ignore[call-overload]
        for record in plan.phases[key].evaluations:
            assert there.evaluation(record) == here.evaluation(record)
        assert len(store.files.names(f"phases/{key}/commits")) == 1
        assert (
            store.files.names(f"phases/{key}")
            == ["commits", "evaluations", "spec.json"][:: 1 if plan.phases[key].spec.index == 0 else 2]
        )
