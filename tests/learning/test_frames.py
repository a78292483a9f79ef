"""The ring of single frames against a plain list of stacked transitions."""

from dataclasses import dataclass, field

import numpy as np
import pytest
import scipy  # Its parts load when they are asked for.
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pixel_toy import pixel_spaces

from nbsp_ray.benchmarks import Spaces, Step
from nbsp_ray.layout import row_width
from nbsp_ray.learning.frames import FrameBatch, FrameReplay
from nbsp_ray.learning.replay import Mixture, new_replay, replay_of
from nbsp_ray.store import Attempt, Files, PhaseFolder, Store

FRAME = (2, 3)


def spaces_of(stack: int) -> Spaces:
    return pixel_spaces(actions=250, frame=FRAME, stack=stack, convolutions=((2, 2, 1),))


def frame(number: int) -> np.ndarray:
    """Frame `number` of all that are ever seen: no two alike."""
    return np.array([number % 256, number // 256, 1, 2, 3, number % 256], np.uint8).reshape(FRAME)


def number_of(frames: np.ndarray) -> np.ndarray:
    """The numbers of frames (..., height, width)."""
    assert (frames[..., 0, 0] == frames[..., 1, 2]).all()
    numbers: np.ndarray = frames[..., 0, 0].astype(int) + 256 * frames[..., 0, 1].astype(int)
    return numbers


@dataclass
class Plain:
    """What a buffer of stacked pairs would hold: frames by their numbers, one entry for each row of the ring."""

    capacity: int
    rows: list[tuple[list[int], int, int, list[int], bool] | None] = field(default_factory=list)
    """s, a, r, s', terminated; None for the frame that a time limit cut off."""

    def kept(self) -> list[tuple[list[int], int, int, list[int], bool]]:
        return [row for row in self.rows[-self.capacity :] if row is not None]


class Player:
    """Plays games as an environment and the loop do, and tells a ring and a plain list alike of every step.

    Events: `g`o on, `l`ose a life, game `o`ver, `c`ut by a time limit, cut and a `L`ife lost in the same step.
    """

    def __init__(self, stack: int, capacity: int) -> None:
        self.ring, self.plain, self.stack = FrameReplay(spaces_of(stack), capacity), Plain(max(2, capacity)), stack
        self.ring._rows.fill_(99)  # what was never written must never be read
        self.seen = self.actions = 0
        self.state = self._new_stack()

    def _new_frame(self) -> int:
        self.seen += 1
        return self.seen

    def _new_stack(self) -> list[int]:
        return [self._new_frame()] * self.stack

    def play(self, event: str, reward: float = 0.0) -> None:
        self.actions = (self.actions + 1) % 250
        following = [*self.state[1:], self._new_frame()]
        resumes = self._new_stack() if event in "lL" else None
        terminated, last = event in "loL", event in "ocL"
        step = Step(
            np.stack([frame(n) for n in following]), reward, terminated, truncated=event in "cL", success=None,
            score=7 * reward, resumes=None if resumes is None else np.stack([frame(n) for n in resumes]),
        )  # fmt: skip
        observation = np.stack([frame(n) for n in self.state])
        self.ring.add(observation, np.int64(self.actions), step, last=last)
        self.plain.rows.append((self.state, self.actions, int(np.sign(reward)), following, terminated))
        if last and not terminated:
            self.plain.rows.append(None)
        self.state = self._new_stack() if last else resumes or following


def content(batch: FrameBatch) -> list[tuple[list[int], int, float, list[int] | None, bool]]:
    """All of a batch by frame numbers; s' only where it counts."""
    now, after = (number_of(frames[0].numpy()) for frames in (batch.observations, batch.next_observations))
    columns = (batch.actions[0].tolist(), batch.rewards[0].tolist(), batch.terminated[0].tolist())
    return [
        (s.tolist(), a, r, None if over else following.tolist(), bool(over))
        for s, following, a, r, over in zip(now, after, *columns, strict=True)
    ]


def expected(plain: Plain) -> list[tuple[list[int], int, float, list[int] | None, bool]]:
    return [(s, a, float(r), None if over else following, over) for s, a, r, following, over in plain.kept()]


EVENTS = st.lists(
    st.tuples(st.sampled_from("gggggglocL"), st.sampled_from([-2.5, -1.0, 0.0, 0.5, 1.0])), min_size=1, max_size=60
)


@given(stack=st.integers(1, 4), capacity=st.integers(1, 12), events=EVENTS)
@settings(deadline=None, max_examples=150)
def test_it_holds_what_a_buffer_of_stacked_pairs_would(
    stack: int, capacity: int, events: list[tuple[str, float]]
) -> None:
    player = Player(stack, capacity)
    for event, reward in events:
        player.play(event, reward)
        assert len(player.ring) == len(player.plain.kept()) > 0
        assert content(player.ring.all()) == expected(player.plain)


@given(stack=st.integers(1, 4), capacity=st.integers(1, 12), events=EVENTS)
@settings(deadline=None)
def test_samples_and_subsets_are_transitions_that_are_still_there(
    stack: int, capacity: int, events: list[tuple[str, float]]
) -> None:
    player = Player(stack, capacity)
    for event, reward in events:
        player.play(event, reward)
    kept = expected(player.plain)
    batch = player.ring.sample(40, torch.Generator().manual_seed(0))
    assert batch.rows.shape == (1, 40, stack + 1, 10)
    assert all(one in kept for one in content(batch))
    for count in (1, 3, 100):
        rows = player.ring.subset(count, np.random.default_rng(count))
        again = FrameReplay.of(spaces_of(stack), rows)
        assert len(again) == min(count, len(kept))
        found = content(again.all())
        assert all(one in kept for one in found)
        assert len({action for _, action, *_ in found}) == len(found)
        # A sample of a sample, as for the Fisher information of a third task.
        smaller = content(FrameReplay.of(spaces_of(stack), again.subset(2, np.random.default_rng(0))).all())
        assert all(one in found for one in smaller)
    numbers = np.arange(len(kept))[::-1].copy()
    assert content(player.ring.take(torch.from_numpy(numbers))) == kept[::-1]


@given(
    stack=st.integers(1, 4),
    capacity=st.integers(1, 12),
    games=st.lists(EVENTS, min_size=2, max_size=6),
    endings=st.lists(st.sampled_from("ocL"), min_size=6, max_size=6),
    saves=st.lists(st.booleans(), min_size=6, max_size=6),
)
@settings(deadline=None)
def test_restored_from_a_checkpoints_pieces_it_goes_on_as_if_nothing_had_been(
    stack: int,
    capacity: int,
    games: list[list[tuple[str, float]]],
    endings: list[str],
    saves: list[bool],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    files = Files(tmp_path_factory.mktemp("store"))
    folder, attempt, player = PhaseFolder(files, "0" * 20), Attempt(files, "phases/" + "0" * 20 + "/attempts/a"), None
    player = Player(stack, capacity)
    for number, (game, ending) in enumerate(zip(games, endings, strict=False)):
        for event, reward in game:
            player.play(event, reward)
        player.play(ending)
        if saves[number]:
            attempt.save(
                env_steps=number, counters={}, curve=[], tensors={}, added=player.ring.added,
                capacity=player.ring.slots, rows=player.ring.rows,
            )  # fmt: skip
            restored = FrameReplay(player.ring.spaces, capacity)
            restored._rows.fill_(123)
            for start, rows in next(folder.checkpoints()).read().rows:
                restored.restore(start, rows)
            assert restored.added == player.ring.added
            assert content(restored.all()) == expected(player.plain)
            draws = [ring.sample(20, torch.Generator().manual_seed(1)) for ring in (player.ring, restored)]
            assert content(draws[0]) == content(draws[1])
            player.ring = restored
    for event in "ggcglgog":
        player.play(event, 1.0)
        assert content(player.ring.all()) == expected(player.plain)


@given(stack=st.integers(1, 4), capacity=st.integers(1, 12), events=EVENTS, ending=st.sampled_from("ocL"))
@settings(deadline=None)
def test_as_a_later_phase_finds_it(stack: int, capacity: int, events: list[tuple[str, float]], ending: str) -> None:
    """All but the history of the oldest row, with which a stack then begins."""
    player = Player(stack, capacity)
    for event, reward in events:
        player.play(event, reward)
    player.play(ending)
    rows = np.concatenate(player.ring.pieces())
    assert rows.shape == (min(player.ring.added, player.ring.capacity), 10)
    oldest = int(number_of(rows[:1, :6].reshape(1, *FRAME))[0])
    later = replay_of(spaces_of(stack), rows.copy())
    assert isinstance(later, FrameReplay)
    clipped = [
        ([max(n, oldest) for n in s], a, r, None if after is None else [max(n, oldest) for n in after], over)
        for s, a, r, after, over in expected(player.plain)
    ]
    assert content(later.all()) == clipped
    assert len(later) == len(clipped)


# By hand


def test_stacks_by_hand() -> None:
    player = Player(stack=4, capacity=100)
    for event in "gglgcggo":
        player.play(event)
    # 1 2 3 (4: the life is lost) | 5 6 7 (cut) | 8 9 10 11 (over) | 12
    assert [(s, after, over) for s, _, _, after, over in content(player.ring.all())] == [
        ([1, 1, 1, 1], [1, 1, 1, 2], False),
        ([1, 1, 1, 2], [1, 1, 2, 3], False),
        ([1, 1, 2, 3], None, True),
        ([5, 5, 5, 5], [5, 5, 5, 6], False),
        ([5, 5, 5, 6], [5, 5, 6, 7], False),
        ([8, 8, 8, 8], [8, 8, 8, 9], False),
        ([8, 8, 8, 9], [8, 8, 9, 10], False),
        ([8, 8, 9, 10], None, True),
    ]
    assert player.ring.added == 9, "the frame that the limit cut off is kept"


def test_rewards_are_signs() -> None:
    player = Player(stack=2, capacity=10)
    for reward in (-7.0, -0.1, 0.0, 0.1, 300.0):
        player.play("g", reward)
    assert player.ring.all().rewards.tolist() == [[-1, -1, 0, 1, 1]]
    assert player.ring.all().rewards.dtype == torch.float32


@pytest.mark.parametrize("event", ["g", "c"])
def test_the_smallest_buffer_still_gives_a_transition(event: str) -> None:
    player = Player(stack=4, capacity=1)
    for _ in range(3):
        player.play(event)
        drawn = content(player.ring.sample(9, torch.Generator()))
        assert all(one in expected(player.plain) for one in drawn)
        assert len(player.ring) == (2 if event == "g" and player.actions > 1 else 1)


@pytest.mark.parametrize("events", ["g" * 19 + "c", "gggc" * 7, "gl" * 9, "gggo" * 20])
def test_samples_are_uniform(events: str) -> None:
    player = Player(stack=3, capacity=20)
    for event in events:
        player.play(event)
    kept = [action for _, action, *_ in expected(player.plain)]
    drawn = player.ring.sample(20_000, torch.Generator().manual_seed(1)).actions[0].numpy()
    numbers = np.bincount(drawn, minlength=max(kept) + 1)
    assert numbers.sum() == numbers[kept].sum()
    assert scipy.stats.chisquare(numbers[kept]).pvalue > 0.001


def test_rows_that_are_gone_or_not_yet_there_are_refused() -> None:
    player = Player(stack=4, capacity=5)
    for event in "gggggggggo":
        player.play(event)
    assert player.ring.rows(2, 10).shape == (8, 10)
    for outside in ((1, 10), (2, 11), (5, 4)):
        with pytest.raises(IndexError, match="are not among the last 8 of 10"):
            player.ring.rows(*outside)


@pytest.mark.parametrize(
    "rows",
    [np.zeros((0, 10), np.uint8), np.zeros((3, 9), np.uint8), np.zeros(10, np.uint8), np.zeros((3, 10), np.float32)],
)
def test_a_buffer_of_no_or_other_rows_is_refused(rows: np.ndarray) -> None:
    with pytest.raises(ValueError, match="rows of shape"):
        FrameReplay.of(spaces_of(2), rows)


def test_several_earlier_buffers_give_whole_transitions() -> None:
    players = [Player(stack=3, capacity=30) for _ in range(2)]
    players[1].seen, players[1].actions = 300, 100
    players[1].state = players[1]._new_stack()
    for player in players:
        for event in "gglggogggc":
            player.play(event, 1.0)
    kept = [expected(player.plain) for player in players]
    batch = Mixture([player.ring for player in players]).sample(400, torch.Generator().manual_seed(0))
    assert isinstance(batch, FrameBatch)
    of_second = [one in kept[1] for one in content(batch)]
    assert all(one in kept[second] for one, second in zip(content(batch), of_second, strict=True))
    assert 150 < sum(of_second) < 250
    assert torch.equal(
        Mixture([players[0].ring]).sample(9, torch.Generator().manual_seed(3)).rows,
        players[0].ring.sample(9, torch.Generator().manual_seed(3)).rows,
    )


# Memory


def test_the_promise_of_memory() -> None:
    """Single frames and 4 bytes: 2 x 10^5 transitions take 1.41 GB, nothing of which is touched before it is used."""
    atari = pixel_spaces(actions=6)
    assert row_width(atari) == 84 * 84 + 4
    ring = new_replay(atari, 200_000)
    assert isinstance(ring, FrameReplay)
    held = [value for value in vars(ring).values() if isinstance(value, torch.Tensor | np.ndarray)]
    total = sum(value.nbytes for value in held)
    assert total == (200_000 + 4) * 7_060
    assert total <= 1.5e9


def test_stored_rows_are_mapped_not_copied(tmp_path_factory: pytest.TempPathFactory) -> None:
    player = Player(stack=2, capacity=7)
    for event in "ggggo" * 4:
        player.play(event)
    for piece in player.ring.pieces():
        assert not len(piece) or np.shares_memory(piece, player.ring._rows.numpy())
    folder = Store(tmp_path_factory.mktemp("results"), create=True).phase("0" * 20)
    pieces = player.ring.pieces()
    assert all(map(len, pieces)), "the ring must run over its end for this"
    folder.commit(result={}, manifest={}, curve=[], agent={}, prepared={}, replay=pieces, sample=None)
    rows = folder.replay()
    assert rows is not None
    np.testing.assert_array_equal(rows, np.concatenate(pieces))
    later = FrameReplay.of(player.ring.spaces, rows)
    assert np.shares_memory(later._rows.numpy(), rows)
    again = folder.replay()
    assert again is not None
    np.testing.assert_array_equal(again, np.concatenate(pieces), err_msg="the flag of the oldest row is in the file")
