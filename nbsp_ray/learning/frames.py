"""The replay buffer of frames: single ones in packed byte rows, stacked when a batch is drawn.

A row is one frame | action | reward | terminated | flags, of a moment that the agent acted in: 7,060 bytes in Atari, so
that 2 x 10^5 transitions take 1.41 GB, where stacked pairs of states would take 11.3. The next row has the next frame.
A stack never crosses a border: it is filled up with the first frame after a reset or a lost life.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nbsp_ray.benchmarks import Action, Discrete, Frames, Observation, Spaces, Step
from nbsp_ray.layout import frame_fields, row_width

FIRST, NO_TRANSITION = 1, 2
"""Flags of a row: a stack begins here; this frame is only the end of a transition, as of an episode that was cut."""


def frame_row(
    spaces: Spaces,
    frame: npt.NDArray[np.uint8],
    flags: int,
    action: Action | None = None,
    reward: float = 0.0,
    terminated: bool = False,
) -> npt.NDArray[np.uint8]:
    """The row (width,) of a frame (height, width) and the bytes behind it."""
    row = np.zeros(row_width(spaces), dtype=np.uint8)
    row[: frame.size] = frame.reshape(-1)
    if action is not None:
        size, reward_size, _, _ = frame_fields(spaces)
        number = np.asarray(np.sign(reward), np.int8) if spaces.clipped_rewards else np.asarray(reward, np.float32)
        row[frame.size : frame.size + size] = _bytes(spaces.action.kept(action))
        row[frame.size + size : frame.size + size + reward_size] = _bytes(number)
    row[-2:] = terminated, flags
    return row


def _bytes(numbers: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(numbers).reshape(-1).view(np.uint8)


def frames_of(spaces: Spaces) -> Frames:
    """The observations of spaces that have frames."""
    assert isinstance(spaces.observation, Frames)
    return spaces.observation


@dataclass(frozen=True)
class FrameBatch:
    """B transitions for each of L lanes: rows (L, B, stack + 1, width), the frames of s and then the last of s'."""

    rows: Tensor
    spaces: Spaces

    def _frames(self) -> Tensor:
        frames: Tensor = self.rows[..., : -sum(frame_fields(self.spaces))].unflatten(-1, frames_of(self.spaces).frame)
        return frames

    def _field(self, number: int, dtype: torch.dtype) -> Tensor:
        """Numbers of one of the `frame_fields` (L, B, ...), at the frame that was acted on."""
        sizes = frame_fields(self.spaces)
        start = -sum(sizes[number:])
        if dtype.itemsize == 1:
            return self.rows[..., -2, start].view(dtype)
        # A copy, because numbers of several bytes must lie where their size divides the place.
        found = self.rows[..., -2, start : start + sizes[number]].clone(memory_format=torch.contiguous_format)
        return found.view(dtype)

    @property
    def observations(self) -> Tensor:
        """s, bytes (L, B, stack, height, width)."""
        return self._frames()[:, :, :-1]

    @property
    def next_observations(self) -> Tensor:
        """s', bytes (L, B, stack, height, width)."""
        return self._frames()[:, :, 1:]

    @property
    def actions(self) -> Tensor:
        """a, (L, B, A); numbers of discrete actions, int64 (L, B)."""
        if not isinstance(self.spaces.action, Discrete):
            return self._field(0, torch.float32)
        if self.spaces.action.nbytes == 1:
            return self._field(0, torch.uint8).long()
        return self._field(0, torch.int32).squeeze(-1).long()

    @property
    def critic_inputs(self) -> tuple[Tensor, ...]:
        """(s, a) of a critic that reads both."""
        return self.observations, self.actions

    @property
    def rewards(self) -> Tensor:
        """r, float32 (L, B)."""
        if self.spaces.clipped_rewards:
            return self._field(1, torch.int8).float()
        return self._field(1, torch.float32).squeeze(-1)

    @property
    def terminated(self) -> Tensor:
        """1 where the return ended (the task's own end, or a life lost), float32 (L, B)."""
        return self._field(2, torch.uint8).float()


class FrameReplay:
    """A ring of the last `capacity` frames, almost all of them acted on.

    It has a few rows more: the history of the oldest stack, and the frame after the newest. A frame that is only the
    end of a transition (a *tail*: where a time limit or the budget cut an episode off) takes a row of the capacity.
    """

    def __init__(self, spaces: Spaces, capacity: int, device: torch.device | None = None) -> None:
        # In a ring of one row, a tail would drive out the only transition.
        self.spaces, self.capacity = spaces, max(2, capacity)
        self.device = device or torch.device("cpu")
        self.added = 0
        shape = self.slots + 1, row_width(spaces)
        self._rows = torch.empty(shape, dtype=torch.uint8, device=self.device)
        self._tails = np.empty(0, dtype=np.int64)
        self._begins = True

    @classmethod
    def of(cls, spaces: Spaces, rows: npt.NDArray[np.uint8], device: torch.device | None = None) -> "FrameReplay":
        """A full buffer that holds `rows` (n, width), without a copy where the device is the CPU.

        What came before the oldest row is not there, so that a stack is made to begin with it.

        Raises:
            ValueError: these are no such rows.
        """
        width = row_width(spaces)
        if rows.ndim != 2 or rows.shape[1] != width or not len(rows) or rows.dtype != np.uint8:
            raise ValueError(f"{rows.dtype} rows of shape {rows.shape}, where uint8 (n > 0, {width}) is needed")
        self = cls.__new__(cls)
        self.spaces, self.capacity, self.added = spaces, len(rows), len(rows)
        self.device = device or torch.device("cpu")
        self._tails = np.flatnonzero(rows[:, -1] & NO_TRANSITION)
        self._begins = True
        self._rows = torch.from_numpy(rows).to(self.device)
        self._rows[0, -1] |= FIRST
        return self

    @property
    def slots(self) -> int:
        """Rows that are kept, and that a checkpoint must hold: the history of the oldest stack among them."""
        return self.capacity + frames_of(self.spaces).stack - 1

    @property
    def oldest(self) -> int:
        """Number of the oldest row that may be drawn."""
        return max(0, self.added - self.capacity)

    def _kept_tails(self) -> npt.NDArray[np.int64]:
        """Rows without a transition, counted from the oldest."""
        return self._tails[np.searchsorted(self._tails, self.oldest) :] - self.oldest

    def __len__(self) -> int:
        """Transitions that may be drawn."""
        return min(self.added, self.capacity) - len(self._kept_tails())

    def add(self, observation: Observation, action: Action, step: Step, *, last: bool) -> None:
        """Store one transition; the oldest gives way when the buffer is full.

        `last` says that the episode ends here; the frame that a time limit or the budget cut off is kept then.
        """
        begins = FIRST * self._begins
        self._put(self.added, frame_row(self.spaces, observation[-1], begins, action, step.reward, step.terminated))
        self.added += 1
        self._put(self.added, frame_row(self.spaces, step.observation[-1], NO_TRANSITION))
        if last and not step.terminated:
            self._tails = np.append(self._tails[np.searchsorted(self._tails, self.oldest) :], self.added)
            self.added += 1
        self._begins = last or step.resumes is not None

    def _put(self, number: int, row: npt.NDArray[np.uint8]) -> None:
        self._rows[number % len(self._rows)].copy_(torch.from_numpy(row), non_blocking=True)

    def draw(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """Numbers of `batch_size` transitions, uniformly and with replacement."""
        return torch.randint(len(self), (batch_size,), generator=generator, device=generator.device)

    def sample(self, batch_size: int, generator: torch.Generator) -> FrameBatch:
        """`batch_size` transitions, uniformly and with replacement, as one lane."""
        return self.take(self.draw(batch_size, generator))

    def all(self) -> FrameBatch:
        """Every transition, as one lane."""
        return self.take(torch.arange(len(self)))

    def take(self, chosen: Tensor) -> FrameBatch:
        """Transitions by their numbers among those that may be drawn, 0 being the oldest, as one lane."""
        tails = self._kept_tails()
        if len(tails):
            # Before the j-th tail there are tails[j] - j transitions.
            before = torch.from_numpy(tails - np.arange(len(tails))).to(chosen.device)
            chosen = chosen + torch.searchsorted(before, chosen, right=True)
        now = (chosen + self.oldest).to(self.device, non_blocking=True)  # Else it would wait for all updates.
        stack = [now, now + 1]
        for _ in range(frames_of(self.spaces).stack - 1):
            begins = self._rows[stack[0] % len(self._rows), -1] & FIRST
            stack.insert(0, stack[0] - 1 + begins)
        # One row after another: indexing by a matrix takes six times as long on a CPU.
        places = torch.stack(stack, dim=1) % len(self._rows)
        rows = self._rows.index_select(0, places.flatten()).unflatten(0, places.shape)
        return FrameBatch(rows.unsqueeze(0), self.spaces)

    def rows(self, start: int, end: int) -> npt.NDArray[np.uint8]:
        """A copy of rows number `start` to `end` of all ever added, (end - start, width); they must still be kept."""
        if not max(0, self.added - self.slots) <= start <= end <= self.added:
            raise IndexError(f"rows {start} to {end} are not among the last {self.slots} of {self.added}")
        return torch.cat(self._runs(start, end)).cpu().numpy()

    def pieces(self) -> list[npt.NDArray[np.uint8]]:
        """All rows that may be drawn, oldest first, as one array or two that share the buffer's memory on a CPU."""
        return [run.cpu().numpy() for run in self._runs(self.oldest, self.added)]

    def _runs(self, start: int, end: int) -> list[Tensor]:
        first, count = start % len(self._rows), end - start
        return [self._rows[first : first + count], self._rows[: max(0, first + count - len(self._rows))]]

    def restore(self, start: int, rows: npt.NDArray[np.uint8]) -> None:
        """Put back `rows` that were number `start`, start + 1, ... of all ever added; the older ones first.

        The next transition is the first of an episode.
        """
        chosen = torch.arange(start, start + len(rows), device=self.device) % len(self._rows)
        self._rows[chosen] = torch.from_numpy(rows).to(self.device)
        self._tails = np.append(self._tails, start + np.flatnonzero(rows[:, -1] & NO_TRANSITION))
        self.added = start + len(rows)

    def subset(self, count: int, generator: np.random.Generator) -> npt.NDArray[np.uint8]:
        """`count` distinct transitions (or all, if there are fewer), in random order, as rows that `of` reads.

        Each brings the frames of its own stack, of which the last alone is acted on, and the one after.
        """
        chosen = generator.permutation(len(self))[:count]
        rows = self.take(torch.from_numpy(chosen)).rows[0].cpu().numpy()
        rows[:, :, -1] = NO_TRANSITION
        rows[:, -2, -1] = 0
        return rows.reshape(-1, rows.shape[-1])
