"""The store: nothing is ever half there, and what is damaged says so."""

import errno
import itertools
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phase_files import path_of
from safetensors.numpy import save as save_safetensors
from storage import Clock, fail_at_random

from nbsp_ray.errors import CorruptCheckpointError, DamagedPhaseError, StorageAwayError, StoreError
from nbsp_ray.store import Attempt, Files, PhaseFolder, Store, checkpoints
from nbsp_ray.store.encoding import sealed, unsealed
from nbsp_ray.store.files import SCRAP_SECONDS, TRANSIENT

KEY = "0123456789abcdef0123"
OTHER = "f" * 20


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results", create=True)


@pytest.fixture
def folder(store: Store) -> PhaseFolder:
    return store.phase(KEY)


def commit(folder: PhaseFolder, mark: float, **changes: Any) -> None:
    """A whole commit, every file of which bears `mark`."""
    folder.commit(
        **{
            "result": {"mark": mark},
            "manifest": {"mark": mark},
            "curve": [{"mark": mark}, {"mark": mark}],
            "agent": {"weights": np.full((2, 3), mark, np.float32)},
            "prepared": {"mask": np.array([True, False]), "score": np.full(2, mark)},
            "replay": [np.full((3, 5), mark, np.float32), np.full((1, 5), mark, np.float32)],
            "sample": np.full((2, 5), mark, np.float32),
            **changes,
        }
    )


def marks(folder: PhaseFolder) -> set[Any]:
    """The marks of all that a reader of a done phase can see."""
    agent, replay, sample, result, manifest = (
        folder.agent(), folder.replay(), folder.sample(), folder.result(), folder.manifest(),
    )  # fmt: skip
    assert agent is not None
    assert replay is not None
    assert sample is not None
    assert result is not None
    assert manifest is not None
    seen = {row["mark"] for row in folder.curve()} | {result["mark"], manifest["mark"]}
    for array in (agent["weights"], replay, sample, folder.prepared()["score"]):
        seen |= set(array.ravel().tolist())
    return seen


def files_of(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


# A commit


def test_a_commit_is_read_back_bit_for_bit(folder: PhaseFolder) -> None:
    generator = np.random.default_rng(0)
    arrays = {
        "single": generator.standard_normal((2, 3)).astype(np.float32),
        "double": generator.standard_normal(()),
        "flags": np.array([True, False, True]),
        "numbers": np.array([1, -(2**40)]),
        "odd": np.array([np.nan, np.inf, -0.0, 5e-324]),
    }
    replay = generator.standard_normal((7, 4)).astype(np.float32)
    commit(folder, 1.5, agent=arrays, replay=[replay[:4, ::-1], replay[4:, ::-1]], sample=replay[2:3])
    found = folder.agent()
    assert found is not None
    assert {n: (a.dtype, a.shape, a.tobytes()) for n, a in found.items()} == {
        n: (a.dtype, a.shape, a.tobytes()) for n, a in arrays.items()
    }
    np.testing.assert_array_equal(folder.replay(), replay[:, ::-1])
    np.testing.assert_array_equal(folder.sample(), replay[2:3])
    assert folder.curve() == [{"mark": 1.5}] * 2
    assert folder.done()


def test_a_mapped_buffer_can_be_written_to_and_the_file_stays(folder: PhaseFolder) -> None:
    commit(folder, 1.0)
    replay = folder.replay()
    assert replay is not None
    replay[:] = 7
    assert marks(folder) == {1.0}


def test_nothing_is_there_before(folder: PhaseFolder, store: Store) -> None:
    assert not folder.done()
    assert folder.result() is folder.manifest() is folder.agent() is folder.replay() is folder.sample() is None
    assert folder.spec() is folder.progress() is folder.evaluation("x") is folder.rollouts("x") is None
    assert folder.prepared() == {}
    assert folder.curve() == folder.failures() == list(folder.checkpoints()) == []
    assert store.phases() == []
    assert store.speeds() == {}
    assert store.read_sweep("x") is None
    folder.clean()
    folder.forget_failures()
    assert files_of(store.root) == {"store.json": b'{\n "format": 2\n}\n'}


WRITES = 7
"""replay, curve, agent, prepared, sample, manifest, and what names them."""


def failing_at(number: int, monkeypatch: pytest.MonkeyPatch, how: str) -> list[str]:
    """Let the write with that number fail; the names written before."""
    written: list[str] = []

    def counting(act: Callable[..., Any]) -> Callable[..., Any]:
        def counted(self: Files, name: str, *rest: Any, **options: Any) -> Any:
            if len(written) == number:
                with monkeypatch.context() as inner:
                    fail = OSError(28, "No space left on device")
                    for one in (how, "os.link") if how == "pathlib.Path.replace" else (how,):
                        inner.setattr(one, lambda *_, **__: (_ for _ in ()).throw(fail))
                    return act(self, name, *rest, **options)
            answer = act(self, name, *rest, **options)
            written.append(name)
            return answer

        return counted

    monkeypatch.setattr(Files, "_write", counting(Files._write))
    monkeypatch.setattr(Files, "_create", counting(Files._create))
    return written


@pytest.mark.parametrize("how", ["pathlib.Path.replace", "os.fsync"])
@pytest.mark.parametrize("number", range(WRITES))
def test_a_commit_that_fails_at_any_write_is_no_commit(
    number: int, how: str, folder: PhaseFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        written = failing_at(number, patch, how)
        with pytest.raises(OSError, match="No space left"):
            commit(folder, 1.0)
    assert len(written) == number
    assert not folder.done()
    assert folder.result() is None
    assert not [path for path in folder.path.rglob(".*")], "no scrap is left"
    commit(folder, 2.0)
    assert marks(folder) == {2.0}


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_commit_that_is_killed_at_any_system_call_is_whole_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real process is there and gone: nothing of it tidies up."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)  # The machine stays; it would take a second in all.

    def killed_at(number: int, folder: PhaseFolder) -> bool:
        child = os.fork()
        if child:
            return os.waitpid(child, 0)[1] != 0
        left = number

        def count(event: str, _: Any) -> None:
            nonlocal left
            left -= event == "open" or event.startswith(("os.", "shutil."))
            if left < 0:
                os._exit(9)

        sys.addaudithook(count)  # Of each call that reaches for a file.
        commit(folder, 1.0)
        os._exit(0)

    outcomes = list[bool]()
    for number in itertools.count():
        store = Store(tmp_path / str(number), create=True)
        killed = killed_at(number, store.phase(KEY))
        outcomes.append(store.phase(KEY).done())
        if outcomes[-1]:
            assert marks(store.phase(KEY)) == {1.0}
        else:
            assert store.phase(KEY).result() is None
        commit(store.phase(KEY), 2.0)
        assert marks(store.phase(KEY)) == {1.0 if outcomes[-1] else 2.0}
        assert len(store.files.names(f"phases/{KEY}/commits")) == 1
        if not killed:
            break
    assert number > 20
    assert outcomes == sorted(outcomes), "done from one call on"
    assert not outcomes[0]


def test_all_writes_were_tried(folder: PhaseFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    written = failing_at(-1, monkeypatch, "os.fsync")
    commit(folder, 1.0)
    assert [name.rpartition("/")[2] for name in written] == [
        "replay.npy", "curve.jsonl", "agent.safetensors", "prepared.safetensors", "sample.npy", "manifest.json",
        f"{KEY}.0.json",
    ]  # fmt: skip
    assert len(written) == WRITES


def test_a_result_that_is_no_json_is_no_commit(folder: PhaseFolder) -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        commit(folder, 1.0, result={"loss": float("nan")})
    assert not folder.done()


def test_the_first_commit_wins(folder: PhaseFolder, store: Store) -> None:
    commit(folder, 1.0)
    before = files_of(store.root)
    commit(folder, 2.0)
    assert files_of(store.root) == before


@pytest.mark.parametrize("number", range(1, WRITES))
def test_a_commit_overtaken_by_another_changes_nothing_of_it(
    number: int, folder: PhaseFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other's whole commit falls between any two writes of ours."""
    write, count = Files._write, 0

    def interrupted(self: Files, name: str, chunks: Any, **options: bool) -> None:
        nonlocal count
        write(self, name, chunks, **options)
        count += 1
        if count == number:
            commit(PhaseFolder(self, KEY), 2.0)

    monkeypatch.setattr(Files, "_write", interrupted)
    commit(folder, 1.0)
    assert count >= WRITES - 1
    assert len(folder._files.names(f"phases/{KEY}/commits")) == 1, "what came too late is gone"
    assert marks(folder) == {2.0}


def test_two_writers_at_once_leave_a_whole_phase(folder: PhaseFolder) -> None:
    """Of one phase both commit the same, as it is a function of its spec."""
    errors: list[Exception] = []

    def write() -> None:
        try:
            for _ in range(10):
                commit(folder, 1.0)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert marks(folder) == {1.0}
    assert not [path for path in folder.path.rglob(".*")]


def test_a_buffer_that_is_wanted_later_is_added_and_nothing_else(folder: PhaseFolder) -> None:
    commit(folder, 1.0, replay=None)
    assert not folder.has_replay()
    before = files_of(folder._files.root)
    commit(folder, 2.0)
    assert folder.has_replay()
    after = files_of(folder._files.root)
    assert before.items() < after.items()
    assert sorted(name.rpartition("/")[2] for name in after.keys() - before.keys()) == [
        f"{KEY}.0.buffer.json", "replay.npy",
    ]  # fmt: skip
    commit(folder, 3.0)
    assert files_of(folder._files.root) == after


def test_clean_removes_only_what_unfinished_work_needs_and_only_when_done(folder: PhaseFolder) -> None:
    folder.write_progress({"env_steps": 5})
    folder.write_failure({"error": "x"})
    save(folder.attempt(), 10)
    folder.write_evaluation("e", {"a": 1}, {"b": np.zeros(2)})
    folder.clean()
    assert len(folder.failures()) == len(list(folder.checkpoints())) == 1
    commit(folder, 1.0)
    folder.clean()
    assert folder.failures() == list(folder.checkpoints()) == []
    assert folder.progress() is None
    assert folder.evaluation("e") == {"a": 1}
    assert marks(folder) == {1.0}


def test_clean_removes_the_scraps_of_killed_writers_but_none_that_may_be_at_work(folder: PhaseFolder) -> None:
    commit(folder, 1.0)
    folder.write_evaluation("e", {}, {"a": np.zeros(2)})
    root = folder._files.root
    scraps = [root / f"evaluations/{KEY}.0/.e.json.0123abcd", folder.path / "evaluations/.e.safetensors.0123abcd"]
    for path in scraps:
        path.write_bytes(b"half")
    folder.clean()
    assert all(path.exists() for path in scraps)
    for path in scraps:
        os.utime(path, (0, time.time() - SCRAP_SECONDS - 1))
    folder.clean()
    assert not [path for path in root.rglob(".*")]
    assert marks(folder) == {1.0}
    assert folder.has_evaluation("e")


# The root


@pytest.mark.parametrize("key", ["", "..", "../../etc", KEY[:-1], KEY + "0", KEY.upper(), "g" * 20, KEY + "\n"])
def test_a_key_is_20_hex_digits(key: str, store: Store) -> None:
    with pytest.raises(StoreError, match="is not the key of a phase"):
        store.phase(key)


@pytest.mark.parametrize("name", ["", "/etc/passwd", "..", "a/../../b", "a//b", "a/./b", "a/..", "a\\b", "a\nb", "a/"])
def test_a_name_stays_in_the_root(name: str, store: Store) -> None:
    files = store.files
    for act in (files.read, files.write, files.create, files.names, files.exists, files.remove, files.settle):
        with pytest.raises(StoreError, match="is no name of a file in"):
            act(name)


def test_what_storage_names_stays_in_the_root_too(folder: PhaseFolder, store: Store) -> None:
    commit(folder, 1.0)
    path = path_of(store, folder, "result.json")
    found = unsealed(path.read_bytes())
    path.write_bytes(sealed(found | {"attempt": "../../../../etc"}))
    with pytest.raises(StoreError, match="is no name of a file in"):
        store.phase(KEY).agent()


def test_a_link_out_of_the_root_is_refused_and_one_within_is_not(store: Store, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/spec.json").write_text("{}")
    store.phase(OTHER).write_spec({"a": 1})
    (store.root / "phases" / KEY).symlink_to(tmp_path / "elsewhere")
    for act in (store.phase(KEY).spec, lambda: store.phase(KEY).write_spec({}), store.phase(KEY).failures):
        with pytest.raises(StoreError, match="is a link that leads out of"):
            act()
    (store.root / "phases" / KEY).unlink()
    (store.root / "phases" / KEY).symlink_to(store.root / "phases" / OTHER)
    assert store.phase(KEY).spec() == {"a": 1}


def test_only_phases_are_listed(store: Store) -> None:
    store.phase(OTHER).write_spec({})
    store.phase(KEY).write_spec({})
    (store.root / "phases/notes").mkdir()
    assert store.phases() == [KEY, OTHER]


def test_another_format_stops_at_the_door_and_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "store.json").write_text('{"format": 3}')
    (tmp_path / "phases").mkdir()
    before = files_of(tmp_path)
    for create in (False, True):
        with pytest.raises(StoreError, match=r"store format 3, this nbsp_ray reads format 2; .*another --root"):
            Store(tmp_path, create=create)
    assert files_of(tmp_path) == before


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 1}', "1"])
def test_a_damaged_store_file_says_what_it_should_be(text: str, tmp_path: Path) -> None:
    (tmp_path / "store.json").write_text(text)
    with pytest.raises(StoreError, match=r'store\.json is damaged; it should read {"format": 2}'):
        Store(tmp_path)


@pytest.mark.parametrize("inside", ["file", "file/deeper/still"])
def test_a_root_that_cannot_be_written(inside: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match=r"cannot be written: .*; name another with --root") as caught:
        Store(tmp_path / inside, create=True)
    assert str(tmp_path / inside) in str(caught.value)
    assert Store(tmp_path / inside).phases() == []


def test_reading_creates_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "nothing")
    assert store.phases() == []
    assert store.phase(KEY).result() is None
    assert not (tmp_path / "nothing").exists()


def test_a_root_may_be_given_from_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Store("~/results").root == tmp_path / "results"


def test_sweeps_and_speeds(store: Store) -> None:
    store.write_sweep("paper", {"title": "x"})
    assert store.read_sweep("paper") == {"title": "x"}
    store.files.write("speeds.json", b'{"atari": 14.5}')  # as an earlier version wrote it
    store.write_speed("toy", {"env_steps_per_second": 10.0})
    store.write_speed("toy", {"env_steps_per_second": 11.0, "load": 2.0})
    assert store.speeds() == {
        "atari": {"env_steps_per_second": 14.5},
        "toy": {"env_steps_per_second": 11.0, "load": 2.0},
    }


def test_a_root_that_can_be_made_is_not_made_to_see_that(tmp_path: Path) -> None:
    Store(tmp_path / "a" / "b").check_can_be_written()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file/results cannot be written: Not a directory; name another with --root"):
        Store(tmp_path / "file" / "results").check_can_be_written()


# Damage


def read_all(folder: PhaseFolder) -> dict[str, Callable[[], Any]]:
    """What reads each file of a finished phase."""
    fresh = PhaseFolder(folder._files, folder.key)
    return {
        "result.json": fresh.result, "manifest.json": fresh.manifest, "curve.jsonl": fresh.curve,
        "agent.safetensors": fresh.agent, "prepared.safetensors": fresh.prepared, "replay.npy": fresh.replay,
        "sample.npy": fresh.sample, "evaluations/e.json": lambda: fresh.evaluation("e"),
        "evaluations/e.safetensors": lambda: fresh.rollouts("e"),
    }  # fmt: skip


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "half": half, "flip": flip, "empty": lambda data: b"", "junk": lambda data: b"garbage" * 9,
    "longer": lambda data: data + b" ", "list": lambda data: b"[]", "gone": lambda data: None,
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", read_all(PhaseFolder(Files(Path()), KEY)))
def test_whatever_is_altered_is_seen_set_aside_and_made_anew(
    name: str, damage: str, folder: PhaseFolder, store: Store
) -> None:
    if damage == "gone" and name in ("result.json", "evaluations/e.json"):
        return  # then it was never there
    commit(folder, 1.0)
    folder.write_evaluation("e", {"a": 1}, {"a": np.zeros(30)})
    path = path_of(store, folder, name)
    data = DAMAGES[damage](path.read_bytes())
    path.unlink() if data is None else path.write_bytes(data)
    with pytest.raises(DamagedPhaseError) as caught:
        read_all(folder)[name]()
    assert str(path) in str(caught.value)
    assert "`nbsp-ray run` sets it aside" in str(caught.value)
    assert not isinstance(caught.value, CorruptCheckpointError)
    folder = store.phase(KEY)
    folder.set_aside(caught.value)
    if name.startswith("evaluations"):
        assert folder.done()
        assert not folder.has_evaluation("e")
        folder.write_evaluation("e", {"a": 2}, {"a": np.ones(3)})
        assert store.phase(KEY).evaluation("e") == {"a": 2}
        assert (store.phase(KEY).rollouts("e") or {})["a"].tolist() == [1] * 3
        assert marks(store.phase(KEY)) == {1.0}
        return
    assert not folder.done()
    assert folder.result() is None
    commit(folder, 2.0)
    assert marks(store.phase(KEY)) == {2.0}
    (reason,) = store.phase(KEY).aside()
    assert str(path) in reason
    assert data is None or path.read_bytes() == data, "it stays, to be looked at"
    assert not store.phase(KEY).has_evaluation("e"), "it was the damaged one's"


def test_damage_is_set_aside_once_whoever_finds_it(folder: PhaseFolder, store: Store) -> None:
    commit(folder, 1.0)
    late, damage = store.phase(KEY), DamagedPhaseError(KEY, "agent.safetensors", "it is missing")
    assert late.done()
    folder.set_aside(damage)
    commit(folder, 2.0)
    late.set_aside(damage)  # it had opened what is not in force any more
    assert marks(store.phase(KEY)) == {2.0}
    assert len(store.phase(KEY).aside()) == 1


@pytest.mark.parametrize("text", ["", '{"a": 1', "[]", "null", "\xff"])
def test_a_damaged_spec_names_the_file_and_the_way_out(text: str, folder: PhaseFolder) -> None:
    folder.write_spec({"a": 1})
    (folder.path / "spec.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(StoreError, match=r"spec.json is damaged \(.*\); remove the folder .* and run again"):
        folder.spec()


@pytest.mark.parametrize("name", ["sweeps/paper.json", "speeds.json"])
def test_damaged_notes_of_the_store_can_be_removed(name: str, store: Store) -> None:
    (store.root / "sweeps").mkdir()
    (store.root / name).write_text("{")
    with pytest.raises(StoreError, match=r"is damaged .*; remove it: no result is in it") as caught:
        store.speeds() if name == "speeds.json" else store.read_sweep("paper")
    assert str(store.root / name) in str(caught.value)


def test_pickles_are_never_read(folder: PhaseFolder) -> None:
    folder.path.mkdir(parents=True)
    (folder.path / "result.json").write_text("{}")  # of format 1, which has no digests
    np.save(folder.path / "replay.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(StoreError, match="damaged"):
        folder.replay()


def test_the_sources_load_no_pickle() -> None:
    folder = Path(__file__).parents[1] / "nbsp_ray" / "store"
    source = "".join(path.read_text() for path in folder.glob("*.py"))
    assert source.count("np.load(") == source.count("allow_pickle=False") == 2
    assert "import pickle" not in source


def test_a_torn_line_ends_the_curve_of_format_1(folder: PhaseFolder) -> None:
    folder.path.mkdir(parents=True)
    (folder.path / "result.json").write_text("{}")
    path = folder.path / "curve.jsonl"
    lines = [b'{"n": %d}\n' % number for number in range(5)]
    path.write_bytes(b"".join(lines[:3]) + lines[3][:4])
    assert folder.curve() == [{"n": 0}, {"n": 1}, {"n": 2}]
    path.write_bytes(lines[0] + b"\xff\xfe" + b"".join(lines[2:]))
    assert folder.curve() == [{"n": 0}]
    path.write_bytes(b"")
    assert folder.curve() == []


def write_old(root: Path) -> None:
    """A finished phase as store format 1 had it."""
    at = root / "phases" / KEY
    (at / "evaluations").mkdir(parents=True)
    (root / "store.json").write_text('{"format": 1}')
    for name in ("spec", "result", "manifest"):
        (at / f"{name}.json").write_text('{"mark": 1.0}')
    (at / "curve.jsonl").write_text('{"mark": 1.0}\n')
    for name, array in (("agent", {"weights": np.ones(2)}), ("prepared", {"score": np.ones(2)})):
        (at / f"{name}.safetensors").write_bytes(save_safetensors(array))
    for name in ("replay", "sample"):
        np.save(at / f"{name}.npy", np.ones((2, 3)))
    (at / "evaluations/e.json").write_text('{"success": [1]}')
    (at / "evaluations/e.safetensors").write_bytes(save_safetensors({"ends": np.ones(1)}))


def test_a_root_of_format_1_is_read_and_gone_on_with(tmp_path: Path) -> None:
    write_old(tmp_path)
    before = files_of(tmp_path)
    folder = Store(tmp_path).phase(KEY)
    assert folder.has_all(["e"], with_buffer=True)
    assert marks(folder) == {1.0}
    assert (folder.evaluation("e"), folder.evaluations()) == ({"success": [1]}, ["e"])
    assert folder.rollouts("e") is not None
    assert Store(tmp_path).phases() == [KEY]
    assert files_of(tmp_path) == before, "who only reads changes nothing"
    store = Store(tmp_path, create=True)
    folder = store.phase(KEY)
    commit(folder, 2.0)
    assert marks(folder) == {1.0}
    folder.write_evaluation("f", {"success": [0]}, None)
    assert store.phase(KEY).evaluations() == ["e", "f"]
    commit(store.phase(OTHER), 2.0)
    assert {name: data for name, data in files_of(tmp_path).items() if name in before} == before | {
        "store.json": b'{\n "format": 2\n}\n'
    }


def test_a_damaged_phase_of_format_1_is_trained_anew_as_one_of_format_2(tmp_path: Path) -> None:
    write_old(tmp_path)
    folder = Store(tmp_path, create=True).phase(KEY)
    path = folder.path / "agent.safetensors"
    path.write_bytes(half(path.read_bytes()))
    with pytest.raises(DamagedPhaseError) as caught:
        folder.agent()
    folder.set_aside(caught.value)
    assert not folder.done()
    commit(folder, 2.0)
    assert marks(folder) == {2.0}
    assert folder.evaluations() == []
    assert [str(path) in reason for reason in folder.aside()] == [True]


# Storage that fails


@pytest.mark.parametrize("seed", range(5))
def test_a_storage_that_fails_every_fifth_call_loses_nothing(
    seed: int, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = fail_at_random(monkeypatch, 0.2, seed)
    folder = store.phase(KEY)
    folder.write_spec({"a": 1})
    save(folder.attempt(), 10)
    assert next(folder.checkpoints()).read().env_steps == 10
    commit(folder, 1.0)
    folder.write_evaluation("e", {"a": 1}, {"b": np.zeros(2)})
    assert marks(store.phase(KEY)) == {1.0}
    assert store.phase(KEY).evaluation("e") == {"a": 1}
    folder.clean()
    assert store.files.names(f"phases/{KEY}/attempts") == []
    assert len(store.files.names(f"phases/{KEY}/commits")) == 1
    assert len(failed) > 5


def test_a_storage_that_is_away_for_five_minutes_is_waited_for(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        clock = Clock(patch, back=300)
        commit(store.phase(KEY), 1.0)
        assert 300 < clock.now < 330
    assert marks(store.phase(KEY)) == {1.0}
    (line,) = caplog.messages
    assert line == f"{store.root} does not answer (Stale file handle); trying again for 900 s"


def test_a_storage_that_stays_away_is_said_after_a_while(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, back=1e9)
    with pytest.raises(StorageAwayError, match=r"has not answered for 900 s \(Stale file handle\): see to the storage"):
        commit(store.phase(KEY), 1.0)
    assert clock.now == pytest.approx(900, abs=1)
    clock.now = 0
    with pytest.raises(StorageAwayError, match="has not answered for 10 s"):
        Store(store.root)


def test_what_no_waiting_mends_is_not_waited_for(folder: PhaseFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT):
        assert number not in TRANSIENT
    monkeypatch.setattr("time.sleep", None)
    failing_at(0, monkeypatch, "os.fsync")
    with pytest.raises(OSError, match="No space left"):
        commit(folder, 1.0)


def test_a_disk_that_went_from_under_its_mount_point_is_away_and_not_empty(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(store.phase(KEY), 1.0)
    store.root.rename(tmp_path / "unmounted")
    store.root.mkdir()
    store.files.patience = 0.05
    for act in (store.phase(KEY).done, store.phases, lambda: store.phase(OTHER).write_spec({})):
        with pytest.raises(StorageAwayError, match=r"store\.json is gone"):
            act()
    assert list(store.root.iterdir()) == []


# Evaluations, failures, progress, specs


def test_an_evaluation_comes_back(folder: PhaseFolder) -> None:
    steps = {"observations": np.random.default_rng(0).random((6, 2)).astype(np.float32), "success": np.ones(6, bool)}
    folder.write_evaluation("reach.rollouts.2.train", {"success": [1, 0], "env_return": [None, -1.25]}, steps)
    folder.write_evaluation("reach.stochastic.2.train", {"success": []}, None)
    assert folder.has_evaluation("reach.rollouts.2.train")
    assert not folder.has_evaluation("reach.rollouts.3.train")
    assert folder.evaluation("reach.rollouts.2.train") == {"success": [1, 0], "env_return": [None, -1.25]}
    found = folder.rollouts("reach.rollouts.2.train")
    assert found is not None
    assert {name: array.tolist() for name, array in found.items()} == {n: a.tolist() for n, a in steps.items()}
    assert found["success"].dtype == np.bool_
    assert folder.rollouts("reach.stochastic.2.train") is None


@pytest.mark.parametrize("number", [0, 1])
def test_an_evaluation_is_there_with_its_steps_or_not_at_all(
    number: int, folder: PhaseFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        failing_at(number, patch, "os.fsync")
        with pytest.raises(OSError, match="No space"):
            folder.write_evaluation("e", {"a": 1}, {"b": np.zeros(2)})
    assert not folder.has_evaluation("e")
    assert folder.evaluation("e") is None


def test_failures_come_back_in_order_and_can_be_forgotten(folder: PhaseFolder) -> None:
    for number in range(3):
        folder.write_failure({"error": f"number {number}"})
    assert [failure["error"] for failure in folder.failures()] == ["number 0", "number 1", "number 2"]
    assert all(failure["time"] > 0 for failure in folder.failures())
    folder.forget_failures()
    assert folder.failures() == []


def test_progress_is_advice_and_damage_to_it_is_no_matter(folder: PhaseFolder) -> None:
    folder.write_progress({"env_steps": 7})
    assert (folder.progress() or {})["env_steps"] == 7
    (folder.path / "progress.json").write_text("{")
    assert folder.progress() is None


def test_a_damaged_spec_is_whole_again_and_that_of_a_finished_phase_is_its_own(folder: PhaseFolder) -> None:
    folder.write_spec({"a": 1})
    (folder.path / "spec.json").write_text("{")
    folder.write_spec({"a": 1})
    assert folder.spec() == {"a": 1}
    commit(folder, 1.0)
    (folder.path / "spec.json").write_text('{"a": 2}')
    assert folder.spec() == {"a": 1}


# Checkpoints


def save(attempt: Attempt, env_steps: int, *, capacity: int = 1_000) -> None:
    attempt.save(
        env_steps=env_steps,
        counters={"env_steps": env_steps, "notes": ["ä", None, 0.1]},
        curve=[{"n": env_steps}],
        tensors={"actor": np.full(3, env_steps, np.float32)},
        added=env_steps,
        capacity=capacity,
        rows=lambda start, end: np.arange(start, end, dtype=np.float32)[:, None],
    )


def rows_in(folder: PhaseFolder, capacity: int) -> list[float]:
    """The ring that the furthest checkpoint gives back, oldest first."""
    checkpoint = next(folder.checkpoints()).read()
    ring: dict[int, float] = {}
    for start, rows in checkpoint.rows:
        ring |= {(start + n) % capacity: float(row[0]) for n, row in enumerate(rows)}
    return sorted(ring.values())


def test_a_checkpoint_comes_back_and_the_two_before_are_kept(folder: PhaseFolder) -> None:
    attempt = folder.attempt()
    for env_steps in (10, 20, 30):
        save(attempt, env_steps)
    found = [stored.read() for stored in folder.checkpoints()]
    assert [checkpoint.env_steps for checkpoint in found] == [30, 20]
    assert found[0].counters == {"env_steps": 30, "notes": ["ä", None, 0.1]}
    assert found[0].curve == [{"n": 30}]
    assert found[0].tensors["actor"].tolist() == [30] * 3
    assert [(start, len(rows)) for start, rows in found[0].rows] == [(0, 10), (10, 10), (20, 10)]
    assert folder.curve() == [{"n": 30}], "the curve of unfinished work is that of the furthest checkpoint"


@given(
    capacity=st.integers(1, 30),
    growth=st.lists(st.integers(0, 25), min_size=1, max_size=8),
    restarts=st.sets(st.integers(0, 7)),
    piece=st.sampled_from([1, 4, 10**6]),
)
@settings(max_examples=40, deadline=None)
def test_pieces_always_give_the_whole_ring(
    capacity: int, growth: list[int], restarts: set[int], piece: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = Store(tmp_path_factory.mktemp("results"), create=True).phase(KEY)
    attempt, added = folder.attempt(), 0
    for number, more in enumerate(growth):
        if number in restarts:
            attempt = folder.attempt()
            for stored in folder.checkpoints():
                attempt.adopt(stored)
                break
        added += more
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(checkpoints, "PIECE_BYTES", 4 * piece)
            save(attempt, added, capacity=capacity)
        assert rows_in(folder, capacity) == list(range(max(0, added - capacity), added))
        assert max((len(rows) for _, rows in next(folder.checkpoints()).read().rows), default=0) <= piece


def test_attempts_never_share_a_file(folder: PhaseFolder) -> None:
    attempts = [folder.attempt() for _ in range(2)]
    for attempt in attempts:
        save(attempt, 10)
    names = [stored.name for stored in folder.checkpoints()]
    assert len(names) == len({name.split("/")[3] for name in names}) == 2


def test_the_furthest_checkpoint_comes_first_whoever_wrote_it(folder: PhaseFolder) -> None:
    one, other = folder.attempt(), folder.attempt()
    for attempt, env_steps in ((one, 10), (other, 20), (one, 30), (other, 999_999_999_999)):
        attempt.save(
            env_steps=env_steps, counters={}, curve=[], tensors={}, added=0, capacity=1, rows=lambda start, end: None
        )
    assert [stored.read().env_steps for stored in folder.checkpoints()] == [999_999_999_999, 30, 20, 10]


@pytest.mark.parametrize("number", range(4))
def test_a_checkpoint_that_fails_at_any_write_leaves_the_one_before(
    number: int, folder: PhaseFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = folder.attempt()
    save(attempt, 10)
    with monkeypatch.context() as patch:
        failing_at(number, patch, "pathlib.Path.replace")
        with pytest.raises(OSError, match="No space"):
            save(attempt, 20)
    assert next(folder.checkpoints()).read().env_steps == 10
    save(attempt, 30)
    assert rows_in(folder, 1_000) == list(range(30))


def test_a_file_that_is_being_written_is_not_there(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def look(descriptor: int) -> None:
        seen.append((store.files.names("phases"), store.files.read("phases/x")))

    monkeypatch.setattr("os.fsync", look)
    store.files.write("phases/x", b"whole")
    assert seen == [([], None)]
    assert store.files.read("phases/x") == b"whole"


def test_what_was_found_whole_is_read_again_only_if_it_was_written_since(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [store.phase(key) for key in (KEY, OTHER)]
    for folder in folders:
        commit(folder, 1)
        folder.write_evaluation("x", {"success_rate": 1.0}, None)
    assert store.mend([KEY, OTHER]) == []
    read: list[str] = []
    whole = Files._read
    monkeypatch.setattr(Files, "_read", lambda self, name: read.append(name) or whole(self, name))
    assert store.mend([KEY, OTHER]) == []
    assert read == []
    for name in (f"results/{KEY}.0.json", f"evaluations/{OTHER}.0/x.json"):
        path = store.root / name
        path.write_bytes(path.read_bytes()[:-1] + b" ")
    assert len(store.mend([KEY, OTHER])) == 2
    (store.root / "checked.json").write_text("{")
    assert store.mend([KEY, OTHER]) == []
