"""Games as the paper's wrappers make them, bit by bit; and what we take for granted of ale-py 0.12.1.

`python tests/benchmarks/test_atari.py` compares the actions of all games with ale-py: 20 s, after a change of version.
"""

import importlib.metadata
import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ale_py
import gymnasium
import numpy as np
import pytest
import torch
from ale_py import roms
from ale_py.registration import rom_id_to_name
from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation
from pixel_toy import pixel_spaces

from nbsp_ray.benchmarks import Step, atari
from nbsp_ray.benchmarks.atari import BENCHMARK, GAMES, AtariEnv, _load
from nbsp_ray.config.schema import Sweep
from nbsp_ray.errors import ConfigError
from nbsp_ray.learning.frames import FrameReplay
from nbsp_ray.plan.build import make_plan

PAPER = ["Alien", "BankHeist", "Bowling", "Carnival", "DemonAttack", "Pong"]
FOR_TWO = ["combat", "joust", "maze_craze", "warlords"]
gymnasium.register_envs(ale_py)
ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def plays(env: AtariEnv, steps: int, seed: int = 0) -> list[Step]:
    """Steps of random play, over the ends of games."""
    generator, found = rng(seed), list[Step]()
    for _ in range(steps):
        found.append(env.step(generator.integers(len(env._actions))))
        if found[-1].ends:
            env.reset(0, generator)
    return found


def content(step: Step) -> list[object]:
    return [part.tobytes() if isinstance(part, np.ndarray) else part for part in step]


# The table


def test_the_revision_names_the_version_installed() -> None:
    assert BENCHMARK.revision.startswith(f"ale-py {importlib.metadata.version('ale-py')}, ")


def test_the_games_are_those_of_ale_py_for_one_player() -> None:
    known = {rom_id_to_name(rom) for rom in roms.get_all_rom_ids() if rom not in FOR_TWO}
    assert set(BENCHMARK.spaces()) == known
    assert len(known) == sum(len(names.split()) for names in GAMES.values()) == 104


def counts_differ(games: list[str]) -> list[str]:
    return [game for game in games if len(_load(game).getMinimalActionSet()) != BENCHMARK.spaces()[game].action.size]


def test_their_actions_are_those_of_the_emulator() -> None:
    """One game of each size, and the paper's."""
    assert counts_differ(sorted({*(names.split()[-1] for names in GAMES.values()), *PAPER})) == []


def test_the_pairs_are_those_of_the_paper() -> None:
    assert sorted({game for pair in BENCHMARK.pairs for game in pair}) == PAPER
    assert {BENCHMARK.spaces()[game].action.size for game in ("Bowling", "Pong", "DemonAttack", "Carnival")} == {6}
    assert {BENCHMARK.spaces()[game].action.size for game in ("BankHeist", "Alien")} == {18}


def test_the_defaults_are_the_atari_column_of_table_2() -> None:
    sweep = Sweep.model_validate(
        {"benchmark": "atari", "pairs": BENCHMARK.pairs, "methods": ["base"]} | BENCHMARK.defaults
    )
    sac = sweep.sac
    assert (sac.hidden, sac.batch_size, sac.buffer_size, sac.learning_starts) == ((512,), 64, 200_000, 20_000)
    assert {sac.actor_lr, sac.critic_lr, sac.alpha_lr, sac.adam_eps} == {1e-4}
    assert (sac.gamma, sac.tau, sac.target_entropy_scale, sac.autotune) == (0.99, 1.0, 0.89, True)
    assert sac.target_period == 8_000
    assert (1 / sac.updates_per_env_step, sac.policy_frequency) == (4, 1)
    assert (sweep.first, sweep.first.stop, sweep.evaluation.env_steps) == (sweep.second, "fixed", 100_000)
    assert BENCHMARK.layers(sac) == (32, 64, 64, 512)


def test_normalised_scores() -> None:
    assert BENCHMARK.normalised("Pong", -20.7) == 0
    assert BENCHMARK.normalised("Pong", 9.3) == 1
    assert BENCHMARK.normalised("Bowling", 30.0) == pytest.approx((30.0 - 23.1) / (154.8 - 23.1))
    assert BENCHMARK.normalised("Carnival", 1000.0) is None
    assert all(BENCHMARK.normalised(game, 0.0) is not None for game in PAPER if game != "Carnival")


# What is refused


def planned(**changes: Any) -> None:
    least: dict[str, Any] = {"benchmark": "atari", "pairs": (("Pong", "Bowling"),), "methods": ("base",)}
    make_plan("x", [Sweep.model_validate(least | dict(BENCHMARK.defaults) | changes)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pairs": (("Pong", "Bowlin"),)}, r"'Bowlin' is not a task of atari \(did you mean 'Bowling'\?\)"),
        (
            {"pairs": (("Pong", "Alien"),)},
            "one network cannot serve Pong > Alien: Pong has 4 frames of 84 x 84 and 6 discrete actions, Alien .* 18 ",
        ),
        ({"evaluation": {"goals": "heldout"}}, "atari has no held-out variations: set evaluation.goals to train"),
        ({"second": {"stop": "stable"}}, "atari has no success to stop at"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(changes: dict[str, Any], message: str) -> None:
    planned()
    with pytest.raises(ConfigError, match=message):
        planned(**changes)


# The paper's wrappers


class EpisodicLife(gymnasium.Wrapper):  # type: ignore[type-arg]
    """CleanRL's: a lost life ends an episode, and the next one goes on with a step without action."""

    over, lives, no_ops = True, 0, 0

    def step(self, action: int) -> Any:
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.over, lives = terminated or truncated, self.env.unwrapped.ale.lives()
        lost, self.lives = 0 < lives < self.lives, lives
        return observation, reward, terminated or lost, truncated, info

    def reset(self, **more: Any) -> Any:
        if self.over:
            observation, info = self.env.reset(**more)
            self.no_ops = self.env.unwrapped.ale.getEpisodeFrameNumber()
        else:
            observation, _, _, _, info = self.env.step(0)
        self.over, self.lives = False, self.env.unwrapped.ale.lives()
        return observation, info


class FireReset(gymnasium.Wrapper):  # type: ignore[type-arg]
    """CleanRL's: action 1 and action 2 after a reset."""

    def reset(self, **more: Any) -> Any:
        found = self.env.reset(**more)
        for action in (1, 2):
            observation, _, terminated, truncated, info = self.env.step(action)
            found = self.env.reset(**more) if terminated or truncated else (observation, info)
        return found


class Scored(gymnasium.Wrapper):  # type: ignore[type-arg]
    """Adds up all rewards, those of steps that no agent takes too."""

    score = 0.0

    def step(self, action: Any) -> Any:
        found = self.env.step(action)
        self.score += found[1]
        return found


@pytest.mark.parametrize("game", PAPER)
def test_a_thousand_steps_are_those_of_gymnasiums_wrappers(game: str) -> None:
    """Frames, rewards, ends and scores, through lost lives and ends of games."""
    scored = Scored(gymnasium.make(f"{game}NoFrameskip-v4").unwrapped)
    life = EpisodicLife(AtariPreprocessing(scored, noop_max=30, terminal_on_life_loss=False))
    theirs, ours = FrameStackObservation(FireReset(life), 4), AtariEnv(game)
    generator, seen, score, games = rng(), theirs.reset(seed=1)[0], 0.0, 0
    assert np.array_equal(ours.reset(life.no_ops - 1, generator), seen)
    for _ in range(1_000):
        action = int(generator.integers(theirs.action_space.n))
        step = ours.step(action)
        seen, reward, terminated, truncated, _ = theirs.step(action)
        assert np.array_equal(step.observation, seen)
        assert (step.reward, step.terminated, step.truncated) == (np.sign(reward), terminated, truncated)
        assert step.ends == life.over
        score += step.points
        if life.over:
            games += 1
            assert score == scored.score
        if terminated:
            seen, _ = theirs.reset()
            resumes = ours.reset(life.no_ops - 1, generator) if step.ends else step.resumes
            assert resumes is not None
            assert np.array_equal(resumes, seen)
    assert score == scored.score
    assert games or game in ("Bowling", "DemonAttack")  # whose games last longer


# What an episode is a function of


def test_a_reset_game_remembers_others_and_ours_does_not() -> None:
    """Ten games take something over through `reset_game`, Tennis for one."""
    ale = _load("Tennis")
    screens = []
    for _ in range(2):
        ale.reset_game()
        for frame in range(400):
            ale.act(ale.getMinimalActionSet()[frame % 7])
        screens.append(ale.getScreenGrayscale())
    assert not np.array_equal(*screens)


@pytest.mark.parametrize("game", ["Tennis", "Qbert"])
def test_an_episode_is_a_function_of_its_number_where_the_emulators_is_not(game: str) -> None:
    """Qbert takes something over through `restoreState`."""
    used, fresh = AtariEnv(game), AtariEnv(game)
    for seed in range(2):
        used.reset(9 * seed, rng())
        plays(used, 150, seed)
        assert np.array_equal(used.reset(4, rng()), fresh.reset(4, rng()))
        assert list(map(content, plays(used, 100))) == list(map(content, plays(fresh, 100)))


def test_the_variation_is_the_number_of_no_ops_and_nothing_else_is_by_chance() -> None:
    env = AtariEnv("Freeway")  # without a fire button
    assert env._start == []
    for variation in (0, 29):
        observation = env.reset(variation, rng(variation))
        assert env._ale.getEpisodeFrameNumber() == variation + 1
    assert np.array_equal(observation, env.reset(29, rng(7)))
    assert AtariEnv.variations == 30


# Lives


@pytest.fixture(scope="module")
def breakout() -> AtariEnv:
    return AtariEnv("Breakout")


def test_a_lost_life_ends_the_return_and_not_the_game(breakout: AtariEnv) -> None:
    breakout.reset(0, rng())
    steps = plays(breakout, 600, seed=1)
    first_end = next(number for number, step in enumerate(steps) if step.ends)
    lives = [step for step in steps[:first_end] if step.terminated]
    assert len(lives) == 4  # five balls, and the last one's loss is the end
    for step in lives:
        assert step.resumes is not None
        assert not step.truncated
        assert all(np.array_equal(frame, step.resumes[0]) for frame in step.resumes[1:])
        assert not np.array_equal(step.observation[-1], step.resumes[-1])
    last = steps[first_end]
    assert (last.terminated, last.truncated, last.resumes) == (True, False, None)
    assert all(step.terminated == (step.resumes is not None or step.ends) for step in steps)


def test_the_replay_buffer_gives_back_what_was_seen(breakout: AtariEnv) -> None:
    """Stacks through lost lives, ends of games and a cut: bit by bit those that the agent saw."""
    space = BENCHMARK.spaces()["Breakout"]
    replay, generator = FrameReplay(space, 1_000), rng(3)
    seen, steps = [breakout.reset(2, generator)], list[Step]()
    for number in range(500):
        action = generator.integers(space.action.size)
        step = breakout.step(action)
        cut = number in (199, 499)
        replay.add(seen[-1], action, step, last=step.ends or cut)
        steps.append(step)
        if step.ends or cut:
            seen.append(breakout.reset(2, generator))
        else:
            seen.append(step.observation if step.resumes is None else step.resumes)
    batch = replay.all()
    assert np.array_equal(batch.observations[0].numpy(), np.stack(seen[:500]))
    assert batch.terminated[0].tolist() == [step.terminated for step in steps]
    assert batch.rewards[0].tolist() == [step.reward for step in steps]
    followed = torch.tensor([not step.terminated for step in steps])
    expected = np.stack([step.observation for step in steps])[followed.numpy()]
    assert np.array_equal(batch.next_observations[0][followed].numpy(), expected)
    assert sum(step.terminated for step in steps) > 8


def test_the_score_is_raw_and_the_reward_its_sign() -> None:
    env = AtariEnv("Carnival")
    env.reset(0, rng())
    steps = plays(env, 300)
    assert {step.reward for step in steps} == {-1.0, 0.0, 1.0}
    assert max(step.points for step in steps) >= 10
    assert all(step.reward == np.sign(step.points) for step in steps)


def test_the_time_limit_cuts_a_game_off(monkeypatch: pytest.MonkeyPatch, breakout: AtariEnv) -> None:
    assert AtariEnv.horizon * 4 == 108_000
    monkeypatch.setattr(breakout, "horizon", 20)
    for _ in range(2):
        breakout.reset(0, rng())
        steps = [breakout.step(0) for _ in range(20)]
        assert [step.truncated for step in steps] == [False] * 19 + [True]
        assert steps[-1].ends
        assert not any(step.terminated for step in steps)


def test_the_picture_is_the_screen_in_colour(breakout: AtariEnv) -> None:
    breakout.reset(0, rng())
    picture = breakout.picture()
    assert (picture.shape, picture.dtype) == ((210, 160, 3), np.uint8)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 5


def test_games_that_one_network_serves_have_equal_spaces() -> None:
    assert BENCHMARK.spaces()["Pong"] == pixel_spaces(6)


def test_a_game_without_a_rom_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By `plan` too, which loads no emulator."""
    (tmp_path / "roms").mkdir()
    (tmp_path / "roms/demon_attack.bin").touch()
    known = importlib.util.find_spec
    here = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(atari, "find_spec", lambda name: here if name == "ale_py" else known(name))
    BENCHMARK.check_installed(["DemonAttack"])
    with pytest.raises(ConfigError, match=r"ale-py has no ROM of Bowling, Pong here: .* install it again"):
        BENCHMARK.check_installed(["Pong", "DemonAttack", "Bowling"])
    monkeypatch.setattr(atari, "find_spec", lambda name: None if name == "cv2" else known(name))
    with pytest.raises(ConfigError, match="atari needs opencv-python-headless, which is not here"):
        BENCHMARK.check_installed()


if __name__ == "__main__":
    assert counts_differ(list(BENCHMARK.spaces())) == []
