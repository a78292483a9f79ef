"""What can go from a results root, and that nothing else does."""

import os
import time
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from stored import firsts, new_store, seconds, small_plan, write_done
from typer.testing import CliRunner

from nbsp_ray import folders
from nbsp_ray.errors import DamagedPhaseError
from nbsp_ray.status import sweep_status
from nbsp_ray.store import Store
from nbsp_ray.store.cleaning import ASIDE, BUFFERS, LATE, SCRAPS, WORK, free, freeable
from nbsp_ray.store.files import SCRAP_SECONDS
from nbsp_ray.verbs.clean import _buffers
from nbsp_ray.verbs.main import app


@pytest.fixture(autouse=True)
def temporary(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The one folder where temporary folders of runs are looked for."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(folders, "_temporary_folders", lambda: iter([str(folder)]))
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return new_store(tmp_path)


def test_what_nobody_needs_can_go_and_nothing_else(store: Store) -> None:
    plan = small_plan()
    done, begun = firsts(plan)
    for phase in (done, *seconds(plan)):
        write_done(store, phase)
    at = store.phase(done.key).path
    (at / "commits/late").mkdir()
    (at / "commits/late/replay.npy").write_bytes(b"12345")
    (at / "attempts/a").mkdir(parents=True)
    (at / "attempts/a/x").write_bytes(b"123")
    (store.root / "results/.x.json.01234567").write_bytes(b"1")
    (store.phase(begun.key).path / "attempts/a").mkdir(parents=True)
    assert [one.why for one in freeable(store)] == [WORK], "the others may be at work"
    for path in (at / "commits/late/replay.npy", store.root / "results/.x.json.01234567"):
        os.utime(path, (0, time.time() - SCRAP_SECONDS - 1))
    store.phase(seconds(plan)[0].key).set_aside(DamagedPhaseError(seconds(plan)[0].key, "agent", "gone"))
    write_done(store, seconds(plan)[0])
    found = freeable(store)
    assert {one.why: one.bytes for one in found if one.why != ASIDE} == {SCRAPS: 1, LATE: 5, WORK: 3}
    assert [one.why for one in found].count(ASIDE) == 1
    before = sweep_status(plan, store).done
    free(store, found)
    assert freeable(store) == []
    assert sweep_status(plan, store).done == before
    assert (store.phase(begun.key).path / "attempts/a").exists()
    assert all((store.phase(key).agent() or {})["weights"] == np.zeros(1) for key in before)


def test_a_buffer_can_go_when_no_unfinished_trial_needs_it_and_its_phase_stays_done(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = small_plan()
    monkeypatch.setattr("nbsp_ray.verbs.clean.load_plan", lambda *_: (None, plan))
    for phase in plan.phases.values():
        if phase is not seconds(plan)[-1]:
            write_done(store, phase)
    (last,) = [trial for trial in plan.trials if trial.phases[1] == seconds(plan)[-1].key]
    keys = _buffers("small", None, store)
    assert keys == [phase.key for phase in firsts(plan) if phase.key not in last.phases]
    found = freeable(store, keys)
    assert [(one.why, one.key) for one in found] == [(BUFFERS, keys[0])]
    result = CliRunner().invoke(app, ["clean", "small", "--root", str(store.root)])
    assert "can be freed, and nothing was removed: say --yes" in result.stderr
    assert store.phase(keys[0]).replay() is not None
    result = CliRunner().invoke(app, ["clean", "small", "--root", str(store.root), "--yes"])
    assert result.exit_code == 0
    assert "freed" in result.stderr
    assert not (store.root / found[0].name).exists()
    assert keys[0] in sweep_status(plan, store).done
    with pytest.raises(DamagedPhaseError, match="it was let go by `nbsp-ray clean`"):
        store.phase(keys[0]).replay()
    assert "Nothing in" in CliRunner().invoke(app, ["clean", "--root", str(store.root)]).stderr


def test_what_killed_runs_and_doctors_left_can_go_too(store: Store, temporary: Path) -> None:
    left, used, doctors = temporary / "nbsp-01234567", temporary / "nbsp-89abcdef", store.root / ".nbsp-doctor-x"
    for folder in (left, used, doctors):
        folder.mkdir()
        (folder / folders.LOCK).touch()
        os.utime(folder, (0, time.time() - SCRAP_SECONDS - 1))
    (left / "ray").write_bytes(b"12345")
    os.utime(left, (0, time.time() - SCRAP_SECONDS - 1))
    with FileLock(used / folders.LOCK):
        shown = CliRunner().invoke(app, ["clean", "--root", str(store.root)])
        assert f"1 x temporary folders of killed runs on this machine: {left}" in shown.stdout
        assert f"1 x {SCRAPS}" in shown.stdout
        assert left.exists()
        assert "freed" in CliRunner().invoke(app, ["clean", "--yes", "--root", str(store.root)]).stderr
        assert [folder.exists() for folder in (left, used, doctors)] == [False, True, False]
        assert "Nothing in" in CliRunner().invoke(app, ["clean", "--root", str(store.root)]).stderr
