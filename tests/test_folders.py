"""Folders of the machine: short ones for sockets, what killed runs left, and no home at all."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock

from nbsp_ray import folders
from nbsp_ray.errors import ClusterError, ConfigError
from nbsp_ray.orchestration import cluster


@pytest.mark.parametrize("address", ["s3://bucket/x", "gs://b", Path("s3://bucket/x")])
def test_an_address_is_no_folder(address: str | Path) -> None:
    with pytest.raises(ConfigError, match=f"{address} is no folder of this machine: give a path"):
        folders.local(address)


def test_a_results_root_is_a_path_or_an_address() -> None:
    assert folders.place("s3://bucket/x/") == "s3://bucket/x"
    assert folders.place("results") == "results"
    assert folders.place("file:///x/y") == "/x/y"


def test_where_there_is_no_home_only_paths_that_need_one_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(self: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", nobody)
    monkeypatch.setenv("HOME", "")
    assert folders.home() is None
    with pytest.raises(ConfigError, match="there is no home directory that ~ could mean"):
        folders.local("~/results")
    with cluster.home_for_ray():
        made = Path(os.environ["HOME"])
        assert made.is_dir()
        assert made.stat().st_mode & 0o077 == 0
    assert os.environ["HOME"] == ""


def test_sockets_go_to_the_first_folder_that_is_short_and_writable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    long = tmp_path / ("x" * 40)
    long.mkdir()
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("TMPDIR", str(long))
    assert folders.temporary_parent() == Path("/tmp")
    monkeypatch.setattr(folders, "SHORT", len(str(long)))
    assert folders.temporary_parent() == long
    monkeypatch.setattr(folders, "SHORT", 3)
    reasons = "; ".join(f"{name} has a longer path" for name in (long, "/tmp", "/var/tmp", "/dev/shm"))
    with pytest.raises(ClusterError, match=rf"at most 3 characters.*: {reasons}. Name one in the environment's TMPDIR"):
        folders.temporary_parent()


def test_a_folder_that_is_full_or_may_not_be_written_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(folders, "SHORT", 1_000)
    monkeypatch.setattr(folders, "_temporary_folders", lambda: iter([str(tmp_path), "/tmp"]))
    assert folders.temporary_parent() == tmp_path
    usage = shutil.disk_usage
    full = SimpleNamespace(free=folders.FREE_BYTES - 1)
    monkeypatch.setattr(folders.shutil, "disk_usage", lambda name: full if name == str(tmp_path) else usage(name))
    assert folders.unfit(str(tmp_path)) == "is full"
    assert folders.temporary_parent() == Path("/tmp")
    monkeypatch.setattr(os, "access", lambda name, how: name != str(tmp_path))
    assert folders.unfit(str(tmp_path)) == "cannot be written"
    assert folders.unfit(str(tmp_path / "gone")) == "is no folder"
    assert folders.unfit("/tmp/it's") == folders.unfit("/tmp/a b") == "has blanks or quotes in its path"
    assert folders.unfit("tmp") == "is no absolute path"


def test_the_longest_name_of_a_socket_fits() -> None:
    ours = f"/{folders.PREFIX}12345678/ray"
    rays = "/session_2026-11-26_09-47-46_599219_4194304/sockets/plasma_store"
    assert folders.SHORT + len(ours) + len(rays) == 107


def test_what_a_killed_run_left_is_removed_and_nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(folders, "SHORT", 1_000)
    code = (
        "import os\nfrom nbsp_ray import folders\nfrom nbsp_ray.orchestration.cluster import temporary_folder\n"
        "folders.SHORT = 1_000\nwith temporary_folder() as folder: print(folder, flush=True); os._exit(9)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    left = Path(done.stdout.strip())
    assert done.returncode == 9
    assert left.parent == tmp_path
    (left / "ray" / "session").mkdir(parents=True)
    mine = [tmp_path / name for name in ("nbsp-in_use__", "nbsp-unlocked", "nbsp-other-name", "other")]
    ancient = tmp_path / "nbsp-no_locks"
    for folder in (*mine, ancient):
        folder.mkdir()
        (folder / folders.LOCK).touch()
    (mine[1] / folders.LOCK).unlink()
    monkeypatch.setattr(folders, "_temporary_folders", lambda: iter([str(tmp_path)]))
    with FileLock(mine[0] / folders.LOCK):
        with cluster.temporary_folder() as new:
            assert left.exists()  # it may have been made just now
        assert not new.exists()
        for folder in (left, *mine):
            os.utime(folder, (time.time() - 61,) * 2)
        (ancient / folders.LOCK).unlink()
        (ancient / "sweep").write_bytes(b"12345")
        os.utime(ancient, (time.time() - 3_601,) * 2)
        found = dict(folders.remove_stale(remove=False))
        assert {path: size for path, size in found.items() if path.parent == tmp_path} == {left: 4_096 * 2, ancient: 5}
        with cluster.temporary_folder():
            pass
    assert sorted(tmp_path.iterdir()) == sorted(mine)
