"""Films of saved agents: what an agent does with a task now, as an mp4 that anyone can play.

An episode of a film is the episode of that number in the agent's final evaluation, so that a film shows what a table
counts. Which films there are is said here without torch; making one loads it.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nbsp_ray.agents import load_agent
from nbsp_ray.benchmarks import Action, Env, Observation, Picture, Step, get_benchmark
from nbsp_ray.errors import NbspError, PhaseError
from nbsp_ray.specs import PhaseSpec, Plan, Trial
from nbsp_ray.store import Store

if TYPE_CHECKING:
    from nbsp_ray.learning.agent import Agent

HEIGHT = 400
"""Pixels that a picture is enlarged to, about, by a whole factor."""
CAPTION = 28
"""Pixels of the line under it."""
MOST_PACE = 40.0
"""Pictures per second at most: of a faster task only some env steps are shown, and time stays real."""


@dataclass(frozen=True)
class Film:
    """One film: what a phase's agent does with a task."""

    key: str
    """The phase whose agent it is."""
    task: str
    after: tuple[str, ...]
    """Tasks that the agent has learnt, in their order."""
    number: int
    """Its place in the folder."""

    @property
    def words(self) -> str:
        """For people: `Pong after Pong > Bowling`."""
        return f"{self.task} after {' > '.join(self.after)}"

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"{self.number}-{self.task}-after-{'-'.join(self.after)}.mp4"


@dataclass(frozen=True)
class FilmOptions:
    """Wishes for each film."""

    episodes: int = 1
    deterministic: bool = False
    most_env_steps: int = 5_000
    """Env steps of an episode at most: some last half an hour."""


def shots_of_phase(store: Store, key: str) -> list[Film]:
    """Every task that the phase's agent has learnt so far, the first one first.

    Raises:
        PhaseError: the phase has not learnt to its end.
    """
    data = store.phase(key).spec()
    if data is None or not store.phase(key).done():
        raise PhaseError(f"the phase {key} is not done, so it has no agent to film yet; `nbsp-ray run` goes on")
    spec = PhaseSpec.model_validate(data)
    learnt = (*spec.earlier_tasks, spec.task)
    return [Film(key, task, learnt, number) for number, task in enumerate(dict.fromkeys(learnt), start=1)]


def shots_of_trial(store: Store, trial: Trial) -> list[Film]:
    """The agents of all phases of a trial, each with every task so far: first the first task after the first phase."""
    shots = [shot for key in trial.phases for shot in shots_of_phase(store, key)]
    return [Film(shot.key, shot.task, shot.after, number) for number, shot in enumerate(shots, start=1)]


def finished_trial(plan: Plan, store: Store) -> Trial | None:
    """The first trial of which every phase has learnt to its end."""
    return next((trial for trial in plan.trials if all(store.phase(key).done() for key in trial.phases)), None)


def film(
    store: Store, shots: list[Film], folder: Path, wish: FilmOptions, say: Callable[[str], None]
) -> Iterator[Path]:
    """Make each film in `folder`, and give its file when it is there.

    Raises:
        NbspError: this machine cannot draw, or has no ffmpeg, or drew nothing.
        PhaseError: an agent is missing.
    """
    for shot in shots:
        spec = PhaseSpec.model_validate(store.phase(shot.key).spec())
        get_benchmark(spec.benchmark).prepare_pictures()
        _check_ffmpeg()
        path = folder / shot.name
        say(f"{shot.words}: filming")
        scores = _film(load_agent(store, shot.key, task=shot.task), spec, shot, path, wish)
        say(f"{shot.words}: {', '.join(scores)}")
        yield path


def _film(agent: "Agent", spec: PhaseSpec, shot: Film, path: Path, wish: FilmOptions) -> list[str]:
    """Play the episodes and write what is seen; how each went."""
    from nbsp_ray.learning.evaluation import EpisodePlan, play
    from nbsp_ray.learning.seeding import Stream, generator

    benchmark = get_benchmark(spec.benchmark)
    env = benchmark.make_env(shot.task, spec.seed)
    env.horizon = min(env.horizon, wish.most_env_steps)
    found: list[str] = []
    path.parent.mkdir(parents=True, exist_ok=True)
    with _Writer(path, benchmark.pace) as writer:
        filmed = _Filmed(env, shot, writer)
        try:
            for number in range(wish.episodes):
                plan = EpisodePlan(number % env.variations, generator(spec.seed, spec.index, Stream.FINAL, number))
                filmed.episode = number + 1
                play(agent.policy(), filmed, plan, deterministic=wish.deterministic)
                found.append(filmed.result)
        finally:
            env.close()
    return found


class _Filmed(Env):
    """An environment whose every step is shown."""

    episode = 0

    def __init__(self, env: Env, shot: Film, writer: "_Writer") -> None:
        self._env, self._shot, self._writer = env, shot, writer
        self._points, self._env_steps = 0.0, 0
        self._success: bool | None = None
        self.variations, self.horizon = env.variations, env.horizon

    def reset(self, variation: int, rng: np.random.Generator) -> Observation:
        """Reset the environment, and show where it begins."""
        self._points, self._env_steps, self._success = 0.0, 0, None
        observation = self._env.reset(variation, rng)
        self._show()
        return observation

    def step(self, action: Action) -> Step:
        """Step the environment, and show what it came to."""
        step = self._env.step(action)
        self._points += step.points
        self._env_steps += 1
        if step.success is not None:
            self._success = bool(self._success or step.success)
        self._show()
        return step

    @property
    def result(self) -> str:
        """The state of the episode in words."""
        if self._success is None:
            return f"score {self._points:g}"
        return f"{'success' if self._success else 'no success'}, return {self._points:.1f}"

    def _show(self) -> None:
        self._writer.add(
            lambda: self._env.picture(),
            f"{self._shot.words}   episode {self.episode}, step {self._env_steps}   {self.result}",
        )


class _Writer:
    """An mp4 under way: written beside its place, and there only when it is whole and shows something."""

    def __init__(self, path: Path, pace: float) -> None:
        self._path, self._half = path, path.with_name(f".{path.name}")
        self._every = max(1, round(pace / MOST_PACE))
        self._pace, self._seen, self._blank = pace / self._every, 0, True
        self._width = 0
        self._file: Any = None

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._written():
            if self._file is not None:
                self._file.close()
        if kind is None and not self._blank:
            self._half.replace(self._path)
            return
        self._half.unlink(missing_ok=True)
        if kind is None:
            raise NbspError(
                f"every picture of {self._path.name} is of one colour: the renderer draws nothing; try MUJOCO_GL=osmesa"
            )

    def add(self, picture: Callable[[], Picture], caption: str) -> None:
        """One env step; the picture is drawn if it is one of those shown."""
        self._seen += 1
        if (self._seen - 1) % self._every:
            return
        drawn = picture()
        self._blank = self._blank and bool(drawn.min() == drawn.max())
        if self._file is None:
            from imageio import v2

            self._half.unlink(missing_ok=True)
            how: dict[str, Any] = {"fps": self._pace, "macro_block_size": 2, "ffmpeg_log_level": "error"}
            self._file = v2.get_writer(self._half, format="FFMPEG", **how)
            self._width = framed(drawn, f"{caption} and a few digits more").shape[1]
        with self._written():
            self._file.append_data(framed(drawn, caption, self._width))

    @contextlib.contextmanager
    def _written(self) -> Iterator[None]:
        """What ffmpeg says of a failure is long; what fails is nearly always the disk."""
        try:
            yield
        except OSError as error:
            said = [line.strip() for line in str(error).splitlines() if line.strip()]
            raise NbspError(
                f"ffmpeg could not write {self._path} ({said[-1] if said else error}): make room, or write elsewhere "
                "with --to"
            ) from error


def framed(picture: Picture, caption: str, width: int = 0) -> Picture:
    """The picture, enlarged by a whole factor, with a line of text under it; height and width are even.

    A long caption makes a wider frame, not a cut one, unless the `width` is given.
    """
    from PIL import Image, ImageDraw, ImageFont

    factor = max(1, round(HEIGHT / picture.shape[0]))
    large = picture.repeat(factor, axis=0).repeat(factor, axis=1)
    font: Any = ImageFont.load_default(size=13)
    height, wide = large.shape[0], max(large.shape[1], int(font.getlength(caption)) + 16)
    frame = Image.new("RGB", (width or wide + wide % 2, height + height % 2 + CAPTION), "black")
    frame.paste(Image.fromarray(large), ((frame.width - large.shape[1]) // 2, 0))
    ImageDraw.Draw(frame).text((8, height + 6), caption, fill="white", font=font)
    return np.asarray(frame)


def _check_ffmpeg() -> None:
    import imageio_ffmpeg

    given = os.environ.get("IMAGEIO_FFMPEG_EXE")
    try:
        found = shutil.which(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError:
        found = None
    if found is None:
        where = f"there is none at {given}" if given else "imageio-ffmpeg finds none here"
        raise NbspError(
            f"a film needs ffmpeg, and {where}: install the wheel of imageio-ffmpeg for this system again, or name an "
            "ffmpeg in IMAGEIO_FFMPEG_EXE"
        )
