"""Atari games (ale-py, without sticky actions): discrete actions on stacked grey frames, judged by their score.

An agent step is four frames of `{Game}NoFrameskip-v4`, as CleanRL's wrappers make it, on the emulator itself: 1.3 times
as fast as gymnasium's AtariPreprocessing, and equal to it bit by bit. Traps of ale-py 0.12.1, each with a test:

* `reset_game` forgets nothing of ten games (Tennis, Solaris, ...), and `restoreState` not all of two (Qbert, Tetris):
  only both together make an episode a function of its number.
* Without sticky actions chance is in the no-ops alone: a game has 30 beginnings, which are the task's variations.
* `lives` is 0 in games that have none, and in some for a moment before the game is over.
"""

from collections.abc import Collection, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nbsp_ray.benchmarks import Action, Benchmark, Discrete, Env, Frames, Observation, Picture, Score, Spaces, Step
from nbsp_ray.errors import ConfigError

SKIP = 4
"""Emulator frames of one agent step; what is seen is the maximum of the last two."""
NO_OPS = 30
"""The most frames without action before an episode (Table 2, "no-op max")."""
FRAME = (84, 84)
STACK = 4

GAMES: Mapping[int, str] = {
    3: "Backgammon Freeway Skiing",
    4: "Atlantis Atlantis2 Blackjack Breakout Casino Kaboom",
    5: "Frogger Pacman Surround Tetris VideoCheckers",
    6: (
        "AirRaid BasicMath Bowling Carnival DemonAttack Galaxian KingKong NameThisGame Pong Pooyan Qbert SirLancelot "
        "SpaceInvaders UpNDown"
    ),
    7: "Assault",
    8: "Gopher Phoenix Tutankham",
    9: "Asterix BeamRider CrazyClimber Enduro Koolaid LostLuggage MsPacman VideoPinball",
    10: "Amidar MrDo Othello TicTacToe3D TimePilot VideoChess WizardOfWor",
    12: "Turmoil",
    14: "Asteroids KeystoneKapers KungFuMaster",
    16: "JourneyEscape",
    18: (
        "Adventure Alien BankHeist BattleZone Berzerk Boxing Centipede ChopperCommand Crossbow Darkchambers Defender "
        "DonkeyKong DoubleDunk Earthworld ElevatorAction Entombed Et FishingDerby FlagCapture Frostbite Gravitar "
        "Hangman HauntedHouse Hero HumanCannonball IceHockey Jamesbond Kangaroo Klax Krull LaserGates MarioBros "
        "MiniatureGolf MontezumaRevenge Pitfall Pitfall2 PrivateEye Riverraid RoadRunner Robotank Seaquest Solaris "
        "SpaceWar StarGunner Superman Tennis Trondead Venture VideoCube WordZapper YarsRevenge Zaxxon"
    ),
}
"""All games for one player, by the size of their minimal action set: named here so that a typing error, or a pair that
one head cannot serve, is found without the emulator."""

RANDOM_AND_HUMAN: Mapping[str, tuple[float, float]] = {
    "Alien": (227.8, 6875.4),
    "BankHeist": (14.2, 734.4),
    "Bowling": (23.1, 154.8),
    "DemonAttack": (152.1, 3401.3),
    "Pong": (-20.7, 9.3),
}
"""Scores of random play and of a human (Table 3; Alien: Mnih et al. 2015). Carnival is not among their 49 games."""


def _game(rom: str) -> str:
    """The name of the game in a ROM's file: `DemonAttack` of `demon_attack`."""
    return rom.title().replace("_", "")


def _load(game: str) -> Any:
    """An emulator with the game in it."""
    from ale_py import ALEInterface, LoggerMode, roms
    from ale_py.registration import rom_id_to_name

    ALEInterface.setLoggerMode(LoggerMode.Error)
    ale: Any = ALEInterface()
    ale.setFloat("repeat_action_probability", 0.0)
    (rom,) = (rom for rom in roms.get_all_rom_ids() if rom_id_to_name(rom) == game)
    ale.loadROM(str(roms.get_rom_path(rom)))
    return ale


class AtariEnv(Env):
    """One game; an episode is a whole game, or 27,000 agent steps of it (108,000 frames) after its beginning.

    Args:
        game: A name of `GAMES`.
    """

    horizon = 27_000
    variations = NO_OPS

    def __init__(self, game: str) -> None:
        import cv2
        from ale_py import Action as Button

        cv2.setNumThreads(0)  # A frame is too small to share, and a trial has one thread.
        self._resize = cv2.resize
        self._area: int = cv2.INTER_AREA
        self._ale = _load(game)
        self._loaded = self._ale.cloneState(include_rng=True)
        self._actions = self._ale.getMinimalActionSet()
        self._no_op = Button.NOOP
        # As CleanRL's FireResetEnv: wherever there is a fire button, and the third action after it.
        self._start = [Button.FIRE, self._actions[2]] if Button.FIRE in self._actions else []
        self._screens = [np.empty(self._ale.getScreenDims(), np.uint8) for _ in range(2)]
        self._stack = np.zeros((STACK, *FRAME), np.uint8)
        self._lives = self._env_steps = 0

    def reset(self, variation: int, rng: np.random.Generator) -> Observation:
        """Start a game after `variation` + 1 frames without action, and fire where there is a button for it.

        The emulator has no chance of its own, so `rng` is not asked.
        """
        self._ale.restoreState(self._loaded)
        self._ale.reset_game()
        for _ in range(variation + 1):
            self._ale.act(self._no_op)
        for screen in self._screens:
            self._ale.getScreenGrayscale(screen)
        self._env_steps = 0
        self._play(self._start)
        self._lives = self._ale.lives()
        return self._begin_stack()

    def step(self, action: Action) -> Step:
        """One agent step: action number `action` for four frames.

        `reward` is the sign of their score. A life lost ends the return, not the game: what follows before the agent
        acts again (a step without action, and fire, as in CleanRL's EpisodicLifeEnv) happens here, and counts in the
        score alone.
        """
        ale = self._ale
        score = won = self._play([self._actions[int(action)]])
        self._env_steps += 1
        self._stack = np.concatenate([self._stack[1:], self._frame()])
        observation, resumes, lives = self._stack, None, ale.lives()
        lost = 0 < lives < self._lives
        if lost and not ale.game_over():
            score += self._play([self._no_op, *self._start])
            lives = ale.lives()
            resumes = None if ale.game_over() else self._begin_stack()
        self._lives = lives
        return Step(
            observation=observation,
            reward=float(np.sign(won)),
            terminated=lost or ale.game_over(),
            truncated=self._env_steps >= self.horizon,
            success=None,
            score=float(score),
            resumes=resumes,
        )

    def picture(self) -> Picture:
        """The emulator's screen."""
        return np.asarray(self._ale.getScreenRGB(), np.uint8)

    def _play(self, actions: list[Any]) -> int:
        """Each action for four frames, to the end of the game at most; the score."""
        ale, score = self._ale, 0
        for action in actions:
            for frame in range(SKIP):
                score += int(ale.act(action))
                if ale.game_over():
                    return score
                if frame >= SKIP - 2:
                    ale.getScreenGrayscale(self._screens[frame - SKIP])
        return score

    def _frame(self) -> npt.NDArray[np.uint8]:
        """The luminance of the last two frames' maximum, by area at the size (1, 84, 84)."""
        older, newer = self._screens
        # Into the newer one, so that where a game ends between two frames the last whole ones are seen, as upstream.
        np.maximum(older, newer, out=newer)
        return np.asarray(self._resize(newer, FRAME[::-1], interpolation=self._area), np.uint8)[None]

    def _begin_stack(self) -> Observation:
        self._stack = np.repeat(self._frame(), STACK, axis=0)
        return self._stack


class Atari(Benchmark):
    """The benchmark of Figures 7, 10 and 14: two pairs of games that share little, two that share much."""

    name = "atari"
    pairs = (("Bowling", "Pong"), ("Pong", "Bowling"), ("DemonAttack", "Carnival"), ("BankHeist", "Alien"))
    defaults: Mapping[str, Any] = {
        "sac": {
            "hidden": (512,),
            "buffer_size": 200_000,
            "learning_starts": 20_000,
            "batch_size": 64,
            # Table 2's "replay ratio 4" is CleanRL's update_frequency: one update of everything every 4 env steps.
            "updates_per_env_step": 0.25,
            "policy_frequency": 1,
            "actor_lr": 1e-4,
            "critic_lr": 1e-4,
            "alpha_lr": 1e-4,
            "adam_eps": 1e-4,
            "tau": 1.0,
            "target_period": 8_000,
            "target_entropy_scale": 0.89,
        },
        "first": {"env_steps": 1_500_000, "stop": "fixed", "eval_every": 100_000, "eval_episodes": 3},
        "second": {"env_steps": 1_500_000, "stop": "fixed", "eval_every": 100_000, "eval_episodes": 3},
        "evaluation": {"env_steps": 100_000},
    }
    horizon = AtariEnv.horizon
    variations = AtariEnv.variations
    revision = "ale-py 0.12.1, no sticky actions, minimal actions, 4 frames, area 84 x 84"
    judged_by = Score(RANDOM_AND_HUMAN)
    noun = "game"
    packages = ("ale-py", "opencv-python-headless")
    pace = 60 / SKIP
    heldout = False

    @cache  # noqa: B019 - one instance lives as long as the process
    def spaces(self) -> Mapping[str, Spaces]:
        """Games with equally many actions can be paired."""
        by_game = {game: actions for actions, names in GAMES.items() for game in names.split()}
        seen = Frames(FRAME, STACK)
        return {game: Spaces(seen, Discrete(by_game[game]), clipped_rewards=True) for game in sorted(by_game)}

    def check_installed(self, tasks: Collection[str] = ()) -> None:
        """The emulator is here, with the games' ROMs, and what makes frames smaller.

        Raises:
            ConfigError: something is not.
        """
        super().check_installed(tasks)
        if find_spec("cv2") is None:
            raise self._needs(self.packages[1])
        emulator = find_spec("ale_py")
        folders = emulator.submodule_search_locations if emulator else None
        files = [path for folder in folders or () for path in Path(folder, "roms").glob("*.bin")]
        lacking = set(tasks) - {_game(path.stem) for path in files}
        if lacking:
            raise ConfigError(
                f"ale-py has no ROM of {', '.join(sorted(lacking))} here: they are in its wheel, install it again"
            )

    def check(self, task: str) -> None:
        """The game can be played here.

        Raises:
            ConfigError: it cannot.
        """
        self.check_installed([task])
        super().check(task)

    def make_env(self, task: str, seed: int, *, heldout: bool = False) -> Env:
        """An environment that is equal for every seed: its beginnings are the no-ops, all of which training sees."""
        return AtariEnv(task)


BENCHMARK = Atari()
