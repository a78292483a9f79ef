"""Steps of an evaluation: what is read back is what the policy saw and did, a block in memory at a time."""

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pixel_toy import BENCHMARK, SIZE, STACK, BallEnv

from nbsp_ray.benchmarks import (
    Action,
    Continuous,
    Discrete,
    Env,
    Observation,
    Score,
    Spaces,
    Step,
    Success,
    Vector,
)
from nbsp_ray.errors import DamagedPhaseError
from nbsp_ray.layout import row_width
from nbsp_ray.learning import rollouts as module
from nbsp_ray.learning.acting import CategoricalPolicy
from nbsp_ray.learning.evaluation import EpisodePlan, play
from nbsp_ray.learning.final import read_rollouts
from nbsp_ray.learning.rollouts import FrameRecorder, FrameRollouts, VectorRollouts, new_recorder
from nbsp_ray.store import PhaseFolder, Store

SPACES = BENCHMARK.spaces()["catch"]
RECORD = "catch.rollouts.60steps.train"


class Witness(CategoricalPolicy):
    """Acts at random and keeps what it saw and did."""

    def __init__(self) -> None:
        self._actions = 3
        self.seen: list[np.ndarray] = []
        self.did: list[int] = []

    def __call__(self, observation: Observation, noise: np.ndarray | None) -> np.integer:
        assert noise is not None
        self.seen.append(observation.copy())
        self.did.append(int(noise.argmax()))
        return noise.argmax()


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> PhaseFolder:
    return Store(tmp_path_factory.mktemp("results"), create=True).phase("0" * 20)


def played(
    folder: PhaseFolder, games: int = 6, *, with_criterion: bool = True
) -> tuple[Witness, list[float], list[int], int]:
    """Games played and stored as a final evaluation does; who saw them, their returns, their lengths, lives lost."""
    witness, recorder, env = Witness(), new_recorder(BENCHMARK, SPACES), BallEnv("catch")
    assert isinstance(recorder, FrameRecorder)
    returns, lengths, lost, steps, step_once = [], [], [], [], env.step

    def step(action: Action) -> Step:
        found = step_once(action)
        lost.append(found.resumes is not None)
        return found

    env.step = step  # type: ignore[method-assign]
    for number in range(games):
        plan = EpisodePlan(number % env.variations, np.random.default_rng(number))
        episode = play(witness, env, plan, recorder=recorder)
        rows = recorder.take_rows()
        assert rows.shape == (episode.env_steps + 1, row_width(SPACES))
        steps.append(folder.write_episode(RECORD, number, rows))
        assert episode.env_return is not None
        returns.append(episode.env_return)
        lengths.append(episode.env_steps)
    folder.write_evaluation(RECORD, {"env_return": returns}, recorder.arrays() if with_criterion else None, steps)
    return witness, returns, lengths, sum(lost)


def read(folder: PhaseFolder) -> FrameRollouts:
    found = read_rollouts(folder, RECORD, SPACES)
    assert isinstance(found, FrameRollouts)
    return found


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_stacks_read_back_are_those_the_policy_saw(folder: PhaseFolder, size: int) -> None:
    witness, returns, lengths, lost = played(folder)
    assert len(set(lengths)) > 1
    assert lost >= 3, "stacks must begin anew within games"
    rollouts = read(folder)
    blocks = list(rollouts.blocks(size))
    assert max(len(observations) for observations, _ in blocks) <= size
    np.testing.assert_array_equal(np.concatenate([observations for observations, _ in blocks]), witness.seen)
    np.testing.assert_array_equal(np.concatenate([actions for _, actions in blocks]), witness.did)
    assert rollouts.criterion.tolist() == [
        value for value, steps in zip(returns, lengths, strict=True) for _ in range(steps)
    ]


def test_the_criterion_is_the_raw_return_of_the_whole_game(folder: PhaseFolder) -> None:
    """Of all its lives, and not of clipped rewards: a round won scores 2."""
    _, returns, _, _ = played(folder)
    env, sums = BallEnv("catch"), []
    for number in range(6):
        rng, total, over = np.random.default_rng(number), 0.0, False
        policy = Witness()
        observation = env.reset(number % env.variations, rng)
        while not over:
            step = env.step(policy(observation, policy.noise(rng)))
            assert step.score in (0.0, 2.0)
            total += step.score or 0
            observation = step.observation if step.resumes is None else step.resumes
            over = step.ends
        sums.append(total)
    assert returns == sums
    assert len(set(read(folder).criterion)) > 1


def test_some_steps_are_taken_from_all_games(folder: PhaseFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STACKS", 4)
    witness, _, lengths, _ = played(folder)
    steps = np.random.default_rng(0).permutation(sum(lengths))[:40]
    blocks = list(read(folder).take(steps))
    assert max(len(actions) for _, actions in blocks) == 4
    np.testing.assert_array_equal(np.concatenate([seen for seen, _ in blocks]), np.array(witness.seen)[np.sort(steps)])
    np.testing.assert_array_equal(np.concatenate([did for _, did in blocks]), np.array(witness.did)[np.sort(steps)])
    first, last = (list(read(folder).take(np.array([step]))) for step in (0, sum(lengths) - 1))
    np.testing.assert_array_equal(first[0][0][0], witness.seen[0])
    np.testing.assert_array_equal(last[0][0][0], witness.seen[-1])


class Watched:
    """Rows of a game that say how many of them were looked at."""

    def __init__(self, rows: np.ndarray, looked_at: list[int]) -> None:
        self.rows, self.looked_at = rows, looked_at

    def __getitem__(self, part: slice) -> np.ndarray:
        found: np.ndarray = self.rows[part]
        self.looked_at.append(len(found))
        return found


def test_of_a_game_no_more_rows_are_touched_than_a_block_needs(folder: PhaseFolder) -> None:
    _, _, lengths, _ = played(folder)
    rollouts, looked_at = read(folder), list[int]()

    def watched(number: int) -> Any:
        return Watched(rollouts.open_episode(number), looked_at)

    again = FrameRollouts(rollouts.criterion, rollouts.ends, rollouts.spaces, watched)
    assert sum(len(actions) for _, actions in again.blocks(3)) == sum(lengths)
    # Three steps, the history of the first, and the frame after the last.
    assert max(looked_at) == 3 + (STACK - 1) + 1
    looked_at.clear()
    assert len(list(again.take(np.array([5])))) == 1
    assert looked_at == [1 + (STACK - 1) + 1]


def test_steps_of_some_games_are_read_as_they_stand_among_all(folder: PhaseFolder) -> None:
    witness, _, lengths, _ = played(folder)
    rollouts = read(folder)
    episode = rollouts.episode_of_steps()
    assert episode.tolist() == np.repeat(np.arange(len(lengths)), lengths).tolist()
    odd = np.flatnonzero(episode % 2)
    blocks = list(rollouts.blocks(7, odd))
    np.testing.assert_array_equal(np.concatenate([seen for seen, _ in blocks]), np.array(witness.seen)[odd])
    np.testing.assert_array_equal(np.concatenate([did for _, did in blocks]), np.array(witness.did)[odd])


def test_a_game_that_is_missing_is_seen(folder: PhaseFolder) -> None:
    assert read_rollouts(folder, RECORD, SPACES) is None
    played(folder)
    (game,) = folder.path.rglob("00003*.npy")
    game.unlink()
    with pytest.raises(DamagedPhaseError, match="00003"):
        read(folder)


def test_a_recorder_holds_single_frames(folder: PhaseFolder) -> None:
    """A game of 27,000 steps must not keep its stacks alive, which are four times as much."""
    recorder, env = FrameRecorder(SPACES, by_success=False), BallEnv("catch")
    stacks = [weakref.ref(stack) for stack in _steps(recorder, env)]
    gc.collect()
    assert sum(stack() is not None for stack in stacks) <= 1, "the environment's own"
    assert recorder.take_rows().nbytes == (len(stacks) + 1) * (SIZE * SIZE + 4)


def _steps(recorder: FrameRecorder, env: Env) -> Iterator[np.ndarray]:
    observation = env.reset(0, np.random.default_rng(0))
    for _ in range(8):
        step = env.step(np.int64(0))
        recorder.add(observation, np.int64(0), step)
        yield observation
        observation = step.observation


def test_vector_rollouts() -> None:
    observations, actions = np.arange(20.0).reshape(10, 2), np.arange(10.0)[:, None]
    rollouts = VectorRollouts(np.arange(10.0), np.array([4, 7, 10]), observations, actions)
    blocks = list(rollouts.blocks(4))
    assert [len(block) for block, _ in blocks] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate([block for block, _ in blocks]), observations)
    assert [block.tolist() for block, _ in rollouts.blocks(2, np.array([1, 4, 9]))] == [[[2, 3], [8, 9]], [[18, 19]]]
    assert rollouts.episode_of_steps().tolist() == [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]
    ((some, did),) = rollouts.take(np.array([7, 2]))
    assert some.tolist() == [[14, 15], [4, 5]]
    assert did.tolist() == [[7], [2]]


def test_the_shapes_of_stacks(folder: PhaseFolder) -> None:
    played(folder, games=1)
    observations, actions = next(read(folder).blocks(3))
    assert observations.shape == (3, STACK, SIZE, SIZE)
    assert observations.dtype == np.uint8
    assert actions.shape == (3,)


class FlagEnv(Env):
    """Episodes of three and of two steps, of which some succeed; every step scores 2, of which 1 is learnt from."""

    horizon, variations = 3, 2

    def reset(self, variation: int, rng: np.random.Generator) -> Observation:
        self.left = 3 - variation
        return np.zeros((STACK, SIZE, SIZE), np.uint8)

    def step(self, action: Action) -> Step:
        self.left -= 1
        seen = np.full((STACK, SIZE, SIZE), self.left, np.uint8)
        return Step(seen, 1.0, False, self.left == 0, success=self.left == 1, score=2.0)


@pytest.mark.parametrize("observation", ["vector", "frames"])
@pytest.mark.parametrize(
    ("judged_by", "criterion"), [(Success(), [0, 1, 0, 1, 0]), (Score(), [6, 6, 6, 4, 4])], ids=["success", "score"]
)
def test_the_criterion_follows_what_is_judged_whatever_is_observed(
    observation: str, judged_by: Success | Score, criterion: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(BENCHMARK), "judged_by", judged_by)
    spaces = SPACES if observation == "frames" else Spaces(Vector(4), Discrete(3))
    recorder, env = new_recorder(BENCHMARK, spaces), FlagEnv()
    for number in range(2):
        play(Witness(), env, EpisodePlan(number, np.random.default_rng(number)), recorder=recorder)
    arrays = recorder.arrays()
    assert arrays["criterion"].tolist() == criterion
    assert arrays["criterion"].dtype == np.float64
    assert arrays["ends"].tolist() == [3, 5]


def test_rollouts_that_were_stored_without_their_criterion_are_read_as_before(
    folder: PhaseFolder, tmp_path: Path
) -> None:
    played(folder)
    now, older = read(folder), Store(tmp_path / "older", create=True).phase("0" * 20)
    _, _, lengths, _ = played(older, with_criterion=False)
    before = read(older)
    np.testing.assert_array_equal(before.criterion, now.criterion)
    np.testing.assert_array_equal(before.ends, np.cumsum(lengths))
    steps = {"observations": np.zeros((6, 2), np.float32), "actions": np.zeros((6, 1), np.float32)}
    flags = np.array([0, 1, 1, 0, 0, 0], np.bool_)
    folder.write_evaluation("reach.rollouts.2.train", {"env_return": [0, 0]}, steps | {"success": flags})
    found = read_rollouts(folder, "reach.rollouts.2.train", Spaces(Vector(2), Continuous(1)))
    assert found is not None
    assert (found.criterion.tolist(), found.ends.tolist()) == ([0, 1, 1, 0, 0, 0], [3, 6])
