"""Films that show something, and one clear sentence where there can be none."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from toy_phases import phase_run, run_whole, toy_plan, trial_of

from nbsp_ray import films as filming
from nbsp_ray.benchmarks import _mujoco_gl as rendering
from nbsp_ray.benchmarks import get_benchmark
from nbsp_ray.config.schema import Sweep
from nbsp_ray.errors import NbspError, PhaseError
from nbsp_ray.films import Film, FilmOptions, film, finished_trial, framed, shots_of_phase, shots_of_trial
from nbsp_ray.learning.agent import Agent
from nbsp_ray.plan.build import make_plan
from nbsp_ray.specs import Plan, PlannedPhase
from nbsp_ray.store import Store

TOY = toy_plan(methods=("base",))
STRIPES = np.tile(np.arange(0, 240, 6, dtype=np.uint8)[:, None, None], (1, 40, 3))


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with a learnt toy trial."""
    store = Store(tmp_path_factory.mktemp("toy") / "results", create=True)
    for phase in TOY.phases.values():
        run_whole(store, phase)
    return store


def pictures(path: Path) -> tuple[float, list[np.ndarray]]:
    """Pictures per second, and the pictures, as ffmpeg reads them back."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    read = subprocess.run(command, capture_output=True, check=True)
    found = re.search(r"Video: .*, (\d+)x(\d+).*, ([\d.]+) fps", read.stderr.decode())
    assert found
    shape = (-1, int(found[2]), int(found[1]), 3)
    return float(found[3]), list(np.frombuffer(read.stdout, np.uint8).reshape(shape))


def said(
    store: Store,
    shots: list[Film],
    folder: Path,
    wish: FilmOptions = FilmOptions(),  # noqa: B008
) -> tuple[list[Path], list[str]]:
    words: list[str] = []
    return list(film(store, shots, folder, wish, words.append)), words


# What is filmed


def test_the_shots_of_a_trial_are_the_first_task_after_both_phases_and_the_second(toy: Store) -> None:
    trial = finished_trial(TOY, toy)
    assert trial == trial_of(TOY, "base")
    assert [(shot.words, shot.name) for shot in shots_of_trial(toy, trial)] == [
        ("reach after reach", "1-reach-after-reach.mp4"),
        ("reach after reach > avoid", "2-reach-after-reach-avoid.mp4"),
        ("avoid after reach > avoid", "3-avoid-after-reach-avoid.mp4"),
    ]
    assert [shot.key for shot in shots_of_trial(toy, trial)] == [trial.phases[0], *[trial.phases[1]] * 2]
    assert trial.name == "reach-avoid-base-seed0"


def test_what_is_not_done_cannot_be_filmed(tmp_path: Path) -> None:
    store = Store(tmp_path, create=True)
    assert finished_trial(TOY, store) is None
    with pytest.raises(PhaseError, match="is not done, so it has no agent to film yet; `nbsp-ray run` goes on"):
        shots_of_phase(store, TOY.trials[0].phases[0])


# Films


def test_a_film_shows_the_episodes_that_the_table_counts(toy: Store, tmp_path: Path) -> None:
    shots = shots_of_trial(toy, TOY.trials[0])[2:]
    (path,), words = said(toy, shots, tmp_path / "new" / "folder", FilmOptions(episodes=3))
    assert path == tmp_path / "new" / "folder" / "3-avoid-after-reach-avoid.mp4"
    record = toy.phase(shots[0].key).evaluation("avoid.stochastic.5.train")
    assert record is not None
    flags = record["success"][:3]
    assert [("no success" not in part) for part in words[-1].split(": ")[1].split(", ")[::2]] == [
        bool(f) for f in flags
    ]
    fps, seen = pictures(path)
    assert (fps, len(seen)) == (10, 3 * 26)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    body = np.stack(seen)[:, : -filming.CAPTION]
    assert body.std() > 10  # not of one colour
    assert any(np.abs(body[0].astype(int) - later.astype(int)).max() > 50 for later in body[1:])  # and it moves


def test_a_whole_return_is_that_of_the_final_evaluation(tmp_path: Path) -> None:
    """Of a small Atari agent, really learnt: its first game, filmed, ends as it did when it was evaluated."""
    settings: dict[str, Any] = {
        "benchmark": "atari",
        "pairs": (("Breakout", "Kaboom"),),
        "methods": ("base",),
        "seeds": (0,),
        "sac": {
            "hidden": (8,),
            "batch_size": 4,
            "learning_starts": 20,
            "updates_per_env_step": 0.25,
            "buffer_size": 99,
        },
        "first": {"env_steps": 60, "stop": "fixed", "eval_every": 60, "eval_episodes": 1},
        "second": {"env_steps": 60, "stop": "fixed"},
        "evaluation": {"env_steps": 1, "deterministic": False},
    }
    plan, store = make_plan("x", [Sweep.model_validate(settings)]), Store(tmp_path / "results", create=True)
    phase = plan.phases[plan.trials[0].phases[0]]
    assert phase_run(store, phase).advance(600).done
    (record,) = phase.evaluations
    data = store.phase(phase.key).evaluation(record)
    assert data is not None
    (path,), words = said(store, shots_of_phase(store, phase.key), tmp_path)
    assert words[-1] == f"Breakout after Breakout: score {data['env_return'][0]:g}"
    fps, seen = pictures(path)
    assert (fps, len(seen)) == (15, data["env_steps"] + 1)
    assert min(picture[: -filming.CAPTION].std() for picture in seen) > 10
    _, words = said(
        store, shots_of_phase(store, phase.key), tmp_path, FilmOptions(most_env_steps=7, deterministic=True)
    )
    assert len(pictures(path)[1]) == 8


def write(path: Path, pace: float, *drawn: np.ndarray | BaseException) -> list[int]:
    """Write a film of these pictures, one an env step; those that were drawn. An exception is raised in its place."""
    seen: list[int] = []

    def draw(number: int) -> np.ndarray:
        seen.append(number)
        picture = drawn[number]
        if isinstance(picture, BaseException):
            raise picture
        return picture

    with filming._Writer(path, pace) as writer:
        for number in range(len(drawn)):
            writer.add(partial(draw, number), f"step {number}")
    return seen


def test_a_black_film_is_none(tmp_path: Path) -> None:
    black = np.zeros((40, 40, 3), np.uint8)
    with pytest.raises(NbspError, match=r"every picture of black\.mp4 is of one colour: the renderer draws nothing"):
        write(tmp_path / "black.mp4", 10.0, black, black, black)
    assert list(tmp_path.iterdir()) == []


def test_a_broken_off_film_is_none(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "half.mp4", 10.0, STRIPES, KeyboardInterrupt())
    assert list(tmp_path.iterdir()) == []


def test_of_a_fast_task_some_steps_are_shown_and_time_stays_real(tmp_path: Path) -> None:
    assert write(tmp_path / "fast.mp4", 80.0, *[STRIPES] * 9) == [0, 2, 4, 6, 8]
    fps, seen = pictures(tmp_path / "fast.mp4")
    assert (fps, len(seen)) == (40, 5)


@pytest.mark.parametrize("shape", [(210, 160, 3), (214, 160, 3), (480, 480, 3), (33, 41, 3), (1, 1, 3)])
def test_a_frame_is_even_in_size_and_has_its_caption(shape: tuple[int, ...]) -> None:
    picture = np.full(shape, 90, np.uint8)
    frame, longer = framed(picture, "Pong after Pong"), framed(picture, "Pong after Pong " * 9)
    for one in (frame, longer):
        assert one.shape[0] % 2 == one.shape[1] % 2 == 0
        assert (one[-filming.CAPTION :] > 200).any()
        assert (one[: -filming.CAPTION] == 90).all(axis=-1).sum() >= shape[0] * shape[1]
    assert longer.shape[1] >= frame.shape[1]
    assert framed(picture, "Pong after Pong " * 9, frame.shape[1]).shape == frame.shape


# What MuJoCo draws with


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A machine without libraries to draw with."""
    monkeypatch.setattr("ctypes.util.find_library", lambda name: None)
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    return monkeypatch


def test_a_missing_renderer_is_one_clear_sentence(bare: pytest.MonkeyPatch) -> None:
    assert rendering.find_renderer() is None
    with pytest.raises(
        NbspError, match=r"needs libEGL or libOSMesa, and neither is here: install one .*Atari needs none"
    ):
        rendering.choose_renderer()
    bare.setenv("MUJOCO_GL", "osmesa")
    with pytest.raises(NbspError, match="MUJOCO_GL=osmesa needs libOSMesa, which is not here: install one"):
        rendering.choose_renderer()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is always a screen")
def test_glfw_needs_a_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "glfw")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", ":0")
    assert rendering.check_renderer() == "glfw"
    monkeypatch.delenv("DISPLAY")
    with pytest.raises(
        NbspError, match="MUJOCO_GL=glfw draws on a screen, and DISPLAY names none here: unset MUJOCO_GL"
    ):
        rendering.check_renderer()


def test_what_cannot_be_drawn_can_be_learnt() -> None:
    """MuJoCo loads what MUJOCO_GL names as it is imported; learning never draws."""
    code = (
        "import ctypes.util; ctypes.util.find_library = lambda name: None\n"
        "from nbsp_ray.benchmarks import get_benchmark\n"
        "get_benchmark('metaworld').check('drawer-close')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"MUJOCO_GL": "osmesa"},
    )
    assert done.returncode == 0, done.stderr


def metaworld_phase(store: Store) -> PlannedPhase:
    """An agent for drawer-close as it is before any update, in the store as if it had learnt."""
    plan: Plan = make_plan(
        "x", [Sweep(benchmark="metaworld", pairs=(("drawer-close", "drawer-open"),), methods=("base",), seeds=(0,))]
    )
    phase = plan.phases[plan.trials[0].phases[0]]
    spaces = get_benchmark("metaworld").task_spaces("drawer-close")
    agent = Agent(phase.spec.sac, spaces, torch.device("cpu"), np.random.default_rng(0))
    folder = store.phase(phase.key)
    folder.write_spec(phase.spec.model_dump(mode="json"))
    folder.commit(result={}, manifest={}, curve=[], agent=agent.arrays(), prepared={}, replay=None, sample=None)
    return phase


def watch(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "nbsp_ray", "watch", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)


CAN_DRAW = """
import mujoco
model = mujoco.MjModel.from_xml_string('<mujoco><worldbody><geom size="1"/></worldbody></mujoco>')
mujoco.Renderer(model, 8, 8).close()
"""


def test_a_film_of_metaworld(tmp_path: Path) -> None:
    name = rendering.find_renderer()
    if name is None:
        pytest.skip("neither libEGL nor libOSMesa is here: what is said then is tested above")
    environment = os.environ | {"MUJOCO_GL": name}
    probe = subprocess.run(
        [sys.executable, "-c", CAN_DRAW], env=environment, capture_output=True, text=True, check=False
    )
    if probe.returncode:
        pytest.skip(f"{name} is here and draws nothing: {probe.stderr.splitlines()[-1]}")
    store = Store(tmp_path / "results", create=True)
    phase = metaworld_phase(store)
    done = watch(phase.key[:8], "--root", str(store.root), "--most-env-steps", "20")
    assert done.returncode == 0, done.stderr
    assert "Exception" not in done.stderr
    path = store.report_folder("films") / phase.key / "1-drawer-close-after-drawer-close.mp4"
    fps, seen = pictures(path)
    assert (fps, len(seen)) == (40, 11)
    assert min(picture[: -filming.CAPTION].std() for picture in seen) > 20


# The verb


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["toy"], "no trial of toy is finished yet; `nbsp-ray run toy"),
        (["toi"], "no sweep 'toi' (did you mean 'toy'?)"),
        (["abcdef"], "has no phase 'abcdef'"),
    ],
)
def test_what_cannot_be_filmed_is_one_clear_message(words: list[str], message: str, tmp_path: Path) -> None:
    Store(tmp_path / "results", create=True)
    done = watch(*words, "--root", str(tmp_path / "results"))
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "results" / "reports").exists()


def test_no_ffmpeg_and_no_renderer_are_said_before_anything_slow(toy: Store, tmp_path: Path) -> None:
    key = TOY.trials[0].phases[0]
    done = watch(key, "--root", str(toy.root), "--to", str(tmp_path), IMAGEIO_FFMPEG_EXE="/nowhere/ffmpeg")
    assert done.returncode == 2
    assert "a film needs ffmpeg, and there is none at /nowhere/ffmpeg" in done.stderr
    store = Store(tmp_path / "results", create=True)
    done = watch(metaworld_phase(store).key, "--root", str(store.root), MUJOCO_GL="nonsense")
    assert done.returncode == 2
    assert "MUJOCO_GL=nonsense is none of egl, osmesa" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_film_goes_where_it_is_told(toy: Store, tmp_path: Path) -> None:
    done = watch(TOY.trials[0].phases[1][:6], "--root", str(toy.root), "--to", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "1-reach-after-reach-avoid.mp4",
        "2-avoid-after-reach-avoid.mp4",
    ]
    assert done.stderr.count("Film: ") == 2


def test_a_film_that_cannot_be_written_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A disk that is full is a long text of ffmpeg's, and no errno."""

    class Full:
        def append_data(self, picture: object) -> None:
            raise OSError("[Errno 32] Broken pipe\n\nFFMPEG COMMAND:\nffmpeg -y\n\nFFMPEG STDERR OUTPUT:\n no space\n")

        def close(self) -> None:
            pass

    from imageio import v2

    monkeypatch.setattr(v2, "get_writer", lambda *given, **how: Full())
    picture = np.zeros((8, 8, 3), np.uint8)
    with (
        pytest.raises(NbspError, match=r"ffmpeg could not write .*x\.mp4 \(no space\): make room, or .* --to$"),
        filming._Writer(tmp_path / "x.mp4", 10.0) as writer,
    ):
        writer.add(lambda: picture, "caption")
