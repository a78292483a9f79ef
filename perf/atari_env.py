"""How fast an agent step of an Atari game is, in three ways to make the same frames, on one core.

    .venv/bin/python perf/atari_env.py [--seconds 0.5] [--rounds 7] [--games Pong,Alien]

The ways take short turns in one process, so that a busy machine slows all alike; a cell is the median of the rounds,
and a ratio is taken within each round. All play the same random actions; acting and learning are not in it.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import ale_py
import gymnasium
import numpy as np
from ale_py import roms
from ale_py.registration import rom_id_to_name
from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation

from nbsp_ray.benchmarks.atari import BENCHMARK, SKIP, AtariEnv, _load

Step = Callable[[int], object]


def wrappers(game: str) -> Step:
    env = FrameStackObservation(AtariPreprocessing(gymnasium.make(f"{game}NoFrameskip-v4")), 4)
    env.reset(seed=0)

    def step(action: int) -> None:
        *_, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            env.reset()

    return step


def vector(game: str) -> Step:
    (rom,) = (rom for rom in roms.get_all_rom_ids() if rom_id_to_name(rom) == game)
    env = ale_py.AtariVectorEnv(rom, 1, num_threads=1)
    env.reset(seed=0)
    actions = np.zeros(1, dtype=np.int64)

    def step(action: int) -> None:
        actions[0] = action
        env.step(actions)

    return step


def ours(game: str) -> Step:
    env, rng = AtariEnv(game), np.random.default_rng(0)
    env.reset(0, rng)

    def step(action: int) -> None:
        if env.step(action).ends:
            env.reset(int(rng.integers(env.variations)), rng)

    return step


def emulator(game: str) -> Step:
    """The floor: the frames alone, of which none is looked at."""
    ale = _load(game)
    actions = ale.getMinimalActionSet()

    def step(action: int) -> None:
        for _ in range(SKIP):
            ale.act(actions[action])
        if ale.game_over():
            ale.reset_game()

    return step


PEER = "gymnasium's wrappers"
WAYS = {PEER: wrappers, "ale-py's vector env": vector, "ours": ours, "emulator alone": emulator}


def rate(step: Step, actions: list[int], seconds: float) -> float:
    """Agent steps per second."""
    begin, done = time.perf_counter(), 0
    while time.perf_counter() < begin + seconds:
        step(actions[done % len(actions)])
        done += 1
    return done / (time.perf_counter() - begin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.5, help="of a turn")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--games", default=",".join(sorted({game for pair in BENCHMARK.pairs for game in pair})))
    given = parser.parse_args()
    gymnasium.register_envs(ale_py)
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    print(f"ale-py {ale_py.__version__}, gymnasium {gymnasium.__version__}, load {os.getloadavg()[0]:.1f}")
    print("| game | " + " | ".join(f"{way}, steps/s (ratio)" for way in WAYS) + " |\n" + "| --- " * 5 + "|")
    for game in given.games.split(","):
        rng = np.random.default_rng(0)
        actions = rng.integers(BENCHMARK.task_spaces(game).actions, size=1_000).tolist()
        steps = {way: make(game) for way, make in WAYS.items()}
        rounds = [{way: rate(step, actions, given.seconds) for way, step in steps.items()} for _ in range(given.rounds)]
        cells = [
            f"{statistics.median(one[way] for one in rounds):.0f} "
            f"({statistics.median(one[way] / one[PEER] for one in rounds):.2f})"
            for way in WAYS
        ]
        print(f"| {game} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
