"""The ring of transitions against a plain list."""

import numpy as np
import pytest
import scipy  # Its parts load when they are asked for.
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nbsp_ray.benchmarks import Continuous, Spaces, Step, Vector
from nbsp_ray.learning.replay import Batch, Mixture, Replay, row_width

SPACES = Spaces(Vector(2), Continuous(1))


def transition(number: int) -> np.ndarray:
    """Row `number` of all ever added: no two alike, every column different."""
    return np.array([number, number + 0.25, -number, number + 1, number + 1.25, number / 8, number % 2], np.float32)


def add(replay: Replay, number: int) -> None:
    row = transition(number)
    step = Step(row[3:5], float(row[5]), bool(row[6]), truncated=False, success=None)
    replay.add(row[:2], row[2:3], step, last=number % 3 == 0)


def filled(capacity: int, count: int) -> Replay:
    replay = Replay(SPACES, capacity)
    replay._rows.fill_(torch.nan)  # what was never written must never be read
    for number in range(count):
        add(replay, number)
    return replay


def expected(start: int, end: int) -> np.ndarray:
    return np.array([transition(number) for number in range(start, end)], np.float32).reshape(-1, 7)


@given(capacity=st.integers(1, 12), count=st.integers(0, 40), data=st.data())
@settings(deadline=None)
def test_rows_are_the_last_of_all_ever_added(capacity: int, count: int, data: st.DataObject) -> None:
    replay = filled(capacity, count)
    kept = max(0, count - capacity)
    assert len(replay) == count - kept
    start = data.draw(st.integers(kept, count))
    end = data.draw(st.integers(start, count))
    np.testing.assert_array_equal(replay.rows(start, end), expected(start, end))
    for outside in ((kept - 1, count), (kept, count + 1), (end, start - 1)):
        with pytest.raises(IndexError, match="are not among the last"):
            replay.rows(*outside)


@given(capacity=st.integers(1, 12), count=st.integers(1, 40), more=st.integers(0, 20), data=st.data())
@settings(deadline=None)
def test_restored_pieces_give_the_very_same_ring(capacity: int, count: int, more: int, data: st.DataObject) -> None:
    """Pieces as checkpoints write them: each of what was added since the last, the first of them partly outdated."""
    original, cuts = filled(capacity, 0), [*sorted(data.draw(st.sets(st.integers(1, count)))), count]
    pieces: list[tuple[int, np.ndarray]] = []
    for cut in cuts:
        for number in range(original.added, cut):
            add(original, number)
        start = max(pieces[-1][0] + len(pieces[-1][1]) if pieces else 0, original.added - capacity)
        if start < original.added:
            pieces.append((start, original.rows(start, original.added)))
        pieces = [piece for piece in pieces if piece[0] + len(piece[1]) > original.added - capacity]
    restored = filled(capacity, 0)
    for start, rows in pieces:
        restored.restore(start, rows)
    for number in range(count, count + more):
        add(original, number)
        add(restored, number)
    assert restored.added == original.added
    assert torch.equal(restored._rows[: len(restored)], original._rows[: len(original)])
    first, second = (replay.sample(64, torch.Generator().manual_seed(0)) for replay in (original, restored))
    assert torch.equal(first.rows, second.rows)


@given(capacity=st.integers(1, 12), count=st.integers(1, 40))
@settings(deadline=None)
def test_samples_are_transitions_that_are_still_there(capacity: int, count: int) -> None:
    batch = filled(capacity, count).sample(50, torch.Generator().manual_seed(count))
    assert batch.rows.shape == (1, 50, 7)
    kept = {tuple(row) for row in expected(max(0, count - capacity), count)}
    assert {tuple(row) for row in batch.rows[0].numpy()} <= kept


@pytest.mark.parametrize("count", [20, 31, 7])
def test_samples_are_uniform(count: int) -> None:
    replay = filled(20, count)
    drawn = replay.sample(20_000, torch.Generator().manual_seed(1)).rows[0, :, 0].numpy().astype(int)
    numbers = np.bincount(drawn, minlength=count)[max(0, count - 20) :]
    assert len(numbers) == len(replay)
    assert scipy.stats.chisquare(numbers).pvalue > 0.001
    later = replay.sample(20_000, torch.Generator().manual_seed(2)).rows[0, :, 0].numpy().astype(int)
    assert not np.array_equal(drawn, later)


@given(capacity=st.integers(1, 12), count=st.integers(1, 40), wanted=st.integers(0, 15))
@settings(deadline=None)
def test_a_subset_is_distinct(capacity: int, count: int, wanted: int) -> None:
    replay = filled(capacity, count)
    rows = replay.subset(wanted, np.random.default_rng(0))
    assert rows.shape == (min(wanted, len(replay)), 7)
    found = {tuple(row) for row in rows}
    assert len(found) == len(rows)
    assert found <= {tuple(row) for row in expected(max(0, count - capacity), count)}


def test_a_subset_is_drawn_from_everywhere() -> None:
    seen = {row[0] for seed in range(60) for row in filled(20, 20).subset(3, np.random.default_rng(seed))}
    assert len(seen) == 20


def test_batch_slices() -> None:
    batch = Batch(torch.from_numpy(expected(3, 5))[None], SPACES)
    assert batch.observations.tolist() == [[[3, 3.25], [4, 4.25]]]
    assert batch.critic_inputs[0].tolist() == [[[3, 3.25, -3], [4, 4.25, -4]]]
    assert batch.next_observations.tolist() == [[[4, 4.25], [5, 5.25]]]
    assert batch.rewards.tolist() == [[0.375, 0.5]]
    assert batch.terminated.tolist() == [[1, 0]]
    assert row_width(SPACES) == 7
    assert row_width(Spaces(Vector(39), Continuous(4))) == 84


def test_a_buffer_of_stored_rows_shares_their_memory() -> None:
    rows = expected(0, 6)
    replay = Replay.of(SPACES, rows)
    assert len(replay) == replay.capacity == 6
    np.testing.assert_array_equal(replay.rows(0, 6), rows)
    assert np.shares_memory(replay._rows.numpy(), rows)


@pytest.mark.parametrize("shape", [(0, 7), (3, 6), (7,)])
def test_a_buffer_of_no_or_other_rows_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="rows of shape"):
        Replay.of(SPACES, np.zeros(shape, np.float32))


# D_pre


def test_one_earlier_buffer_gives_its_very_own_batches() -> None:
    replay = filled(20, 31)
    own, mixed = (place.sample(50, torch.Generator().manual_seed(3)) for place in (replay, Mixture([replay])))
    assert torch.equal(own.rows, mixed.rows)


def test_of_several_earlier_buffers_each_gives_as_much_whatever_its_size() -> None:
    buffers = []
    for task, size in enumerate((1, 5, 40)):
        rows = expected(0, size)
        rows[:, 5] = task
        buffers.append(Replay.of(SPACES, rows))
    batch = Mixture(buffers).sample(9_000, torch.Generator().manual_seed(0))
    assert batch.rows.shape == (1, 9_000, 7)
    task, number = batch.rewards[0].int().numpy(), batch.rows[0, :, 0].int().numpy()
    assert scipy.stats.chisquare(np.bincount(task, minlength=3)).pvalue > 0.001
    for chosen, size in enumerate((1, 5, 40)):
        numbers = np.bincount(number[task == chosen], minlength=size)
        assert len(numbers) == size
        assert scipy.stats.chisquare(numbers).pvalue > 0.001 or size == 1
    rows = batch.rows[0].numpy()
    np.testing.assert_array_equal(rows[:, 1:5], rows[:, :1] + [0.25, 0, 1, 1.25] - [[0, 2 * n, 0, 0] for n in number])
