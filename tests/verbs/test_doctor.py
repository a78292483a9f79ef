from pathlib import Path

import pytest

from nbsp_ray.benchmarks import _mujoco_gl
from nbsp_ray.errors import ClusterError, NbspError
from nbsp_ray.verbs import doctor
from nbsp_ray.verbs.doctor import Check, examine


def checks(root: Path) -> dict[str, Check]:
    return {check.name: check for check in examine(root)}


def test_this_machine_can_learn_both_benchmarks(tmp_path: Path) -> None:
    found = checks(tmp_path)
    assert "check" not in found, found["check"]
    assert found["Atari"].state == "ok"
    assert "ale-py 0.12.1 with 108 games" in found["Atari"].found
    assert "ale-py 0.12.1" in found["versions"].found
    assert found["ffmpeg"].state == "ok"
    assert all(check.advice for check in found.values() if check.state == "bad")


def test_missing_games_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ale_py import roms

    monkeypatch.setattr(roms, "get_all_rom_ids", lambda: ["pong", "bowling", "tennis"])
    found = checks(tmp_path)["Atari"]
    assert found.state == "bad"
    assert found.found.endswith("no ROM of alien, bank_heist, carnival, demon_attack")
    assert "install it again" in found.advice


def test_missing_simulators_are_bad_and_a_missing_renderer_is_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version_of = doctor.version_of
    monkeypatch.setattr(
        doctor, "version_of", lambda name: None if name in ("ale-py", "metaworld") else version_of(name)
    )
    monkeypatch.setattr("ctypes.util.find_library", lambda name: None)
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    found = checks(tmp_path)
    for name in ("atari", "metaworld"):
        assert (found[name].state, found[name].advice) == ("bad", "install nbsp-ray with its dependencies: make setup")
    assert found["rendering"].state == "note"
    assert "only films of Meta-World and DeepMind Control need one" in found["rendering"].advice


def test_a_renderer_that_is_there_and_does_not_draw_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As glfw with the name of a screen that nobody has switched on."""
    monkeypatch.setattr(_mujoco_gl, "DRAWING", "raise OSError('no such screen')")
    with pytest.raises(NbspError, match=r"MuJoCo cannot draw here with glfw \(OSError: no such screen\): install one"):
        _mujoco_gl.check_drawing("glfw")
    monkeypatch.setattr(_mujoco_gl, "check_renderer", lambda: "glfw")
    assert checks(tmp_path)["rendering"].found.endswith("nothing draws")


def test_what_ray_needs_of_a_machine_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("x" * 40)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    monkeypatch.setattr(doctor, "home", lambda: None)
    monkeypatch.setattr(doctor, "remove_stale", lambda *, remove: [])
    found = checks(tmp_path)
    assert found["temporary files"].state == "note"
    assert found["temporary files"].found == f"Ray's sockets go to /tmp, as {long} has a longer path"
    assert found["network"].state == "ok"
    assert found["home"].found == "this user has none"

    def silent() -> None:
        raise ClusterError("this machine does not answer itself at 127.0.0.1")

    monkeypatch.setattr(doctor, "check_loopback", silent)
    assert checks(tmp_path)["network"].state == "bad"
