"""The replay buffer: one packed float32 row per transition, one gather per batch.

A row is observation | action | next observation | reward | terminated, so that (s, a), the input of a critic, is one
slice of it. At Meta-World's sizes a row has 84 floats, and 10^6 of them 0.34 GB, of which the operating system hands
out only what was written.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nbsp_ray.benchmarks import Action, Discrete, Frames, Observation, Spaces, Step, Vector
from nbsp_ray.layout import row_width
from nbsp_ray.learning.frames import FrameBatch, FrameReplay


@dataclass(frozen=True)
class Batch:
    """B transitions for each of L lanes, as views of packed rows (L, B, width)."""

    rows: Tensor
    spaces: Spaces

    @property
    def _size(self) -> int:
        """O."""
        assert isinstance(self.spaces.observation, Vector)
        return self.spaces.observation.size

    @property
    def observations(self) -> Tensor:
        """s, (L, B, O)."""
        return self.rows[..., : self._size]

    @property
    def actions(self) -> Tensor:
        """a, (L, B, A); numbers of discrete actions, int64 (L, B)."""
        if isinstance(self.spaces.action, Discrete):
            return self.rows[..., self._size].long()
        return self.rows[..., self._size : self._size + self.spaces.action.width]

    @property
    def critic_inputs(self) -> tuple[Tensor, ...]:
        """(s, a) of a critic that reads both, as the one slice (L, B, O + A) that they are."""
        return (self.rows[..., : self._size + self.spaces.action.width],)

    @property
    def next_observations(self) -> Tensor:
        """s', (L, B, O)."""
        start = self._size + self.spaces.action.width
        return self.rows[..., start : start + self._size]

    @property
    def rewards(self) -> Tensor:
        """r, (L, B)."""
        return self.rows[..., -2]

    @property
    def terminated(self) -> Tensor:
        """1 where the episode ended in the task's own sense (not by the time limit), (L, B)."""
        return self.rows[..., -1]


class Replay:
    """A ring of the last `capacity` transitions."""

    def __init__(self, spaces: Spaces, capacity: int, device: torch.device | None = None) -> None:
        self.spaces = spaces
        self.capacity = capacity
        self.device = device or torch.device("cpu")
        self.added = 0
        self._rows = torch.empty((capacity, row_width(spaces)), dtype=torch.float32, device=self.device)

    @classmethod
    def of(cls, spaces: Spaces, rows: npt.NDArray[np.float32], device: torch.device | None = None) -> "Replay":
        """A full buffer that holds `rows` (n, width), without a copy where the device is the CPU."""
        if rows.ndim != 2 or rows.shape[1] != row_width(spaces) or not len(rows):
            raise ValueError(f"rows of shape {rows.shape}, where (n > 0, {row_width(spaces)}) is needed")
        self = cls.__new__(cls)
        self.spaces, self.capacity, self.added = spaces, len(rows), len(rows)
        self.device = device or torch.device("cpu")
        self._rows = torch.from_numpy(rows).to(self.device)
        return self

    def __len__(self) -> int:
        return min(self.added, self.capacity)

    @cached_property
    def _host_rows(self) -> npt.NDArray[np.float32]:
        return self._rows.numpy()

    def add(self, observation: Observation, action: Action, step: Step, *, last: bool) -> None:
        """Store one transition; the oldest gives way when the buffer is full. `last` of an episode makes no odds."""
        place = self.added % self.capacity
        on_host = self.device.type == "cpu"
        row = self._host_rows[place] if on_host else np.empty(self._rows.shape[1], np.float32)
        seen = len(observation)
        row[:seen], row[seen : -seen - 2], row[-seen - 2 : -2] = observation, action, step.observation
        row[-2], row[-1] = step.reward, step.terminated
        if not on_host:
            self._rows[place].copy_(torch.from_numpy(row), non_blocking=True)  # Else it would wait for all updates.
        self.added += 1

    def draw(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """Places in the ring of `batch_size` transitions, uniformly and with replacement."""
        return torch.randint(len(self), (batch_size,), generator=generator, device=generator.device)

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        """`batch_size` transitions, uniformly and with replacement, as one lane."""
        return self.take(self.draw(batch_size, generator))

    def take(self, chosen: Tensor) -> Batch:
        """Transitions by their places, as one lane."""
        return Batch(self._rows.index_select(0, chosen.to(self.device, non_blocking=True)).unsqueeze(0), self.spaces)

    def move(self, rows: Tensor) -> None:
        """Keep all transitions in the first of `rows` (n >= capacity, width) from now on: a part of a larger store."""
        rows[: len(self)] = self._rows[: len(self)]
        self._rows = rows[: self.capacity]
        self.__dict__.pop("_host_rows", None)

    def all(self) -> Batch:
        """Every transition, as one lane."""
        return Batch(self._rows[: len(self)].unsqueeze(0), self.spaces)

    def rows(self, start: int, end: int) -> npt.NDArray[np.float32]:
        """Rows number `start` to `end` of all ever added, (end - start, width); they must still be in the ring."""
        if not max(0, self.added - self.capacity) <= start <= end <= self.added:
            raise IndexError(f"rows {start} to {end} are not among the last {len(self)} of {self.added}")
        chosen = torch.arange(start, end, device=self.device) % self.capacity
        return self._rows.index_select(0, chosen).cpu().numpy()

    def pieces(self) -> list[npt.NDArray[np.float32]]:
        """All rows, oldest first, in arrays that share the buffer's memory on a CPU."""
        turn = self.added % self.capacity
        parts = [self._rows[turn:], self._rows[:turn]] if self.added > self.capacity else [self._rows[: self.added]]
        return [part.cpu().numpy() for part in parts]

    @property
    def slots(self) -> int:
        """Rows that the ring has room for."""
        return self.capacity

    def restore(self, start: int, rows: npt.NDArray[np.float32]) -> None:
        """Put back `rows` that were number `start`, start + 1, ... of all ever added."""
        chosen = torch.arange(start, start + len(rows), device=self.device) % self.capacity
        self._rows[chosen] = torch.from_numpy(rows).to(self.device)
        self.added = start + len(rows)

    def subset(self, count: int, generator: np.random.Generator) -> npt.NDArray[np.float32]:
        """`count` distinct transitions (or all, if there are fewer), in random order."""
        chosen = generator.permutation(len(self))[:count]
        return self._rows.index_select(0, torch.from_numpy(chosen).to(self.device)).cpu().numpy()


AnyBatch = Batch | FrameBatch
AnyReplay = Replay | FrameReplay


class Choice(NamedTuple):
    """Transitions that were drawn of a buffer, and are not read yet."""

    buffer: AnyReplay
    numbers: Tensor
    """Which (B,), as its `draw` gave them."""

    def batch(self) -> AnyBatch:
        """Read them, as one lane."""
        return self.buffer.take(self.numbers)


@dataclass(frozen=True)
class MixedChoice:
    """Transitions drawn of several buffers: as many of each, of which one is meant at each place."""

    choices: tuple[Choice, ...]
    task: Tensor
    """The number (B,) of the buffer that is meant."""

    def batch(self) -> AnyBatch:
        """Read them, as one lane."""
        batches = [one.batch() for one in self.choices]
        rows = torch.stack([batch.rows for batch in batches])
        chosen = rows[self.task.to(rows.device, non_blocking=True), :, torch.arange(len(self.task), device=rows.device)]
        return replace(batches[0], rows=chosen.transpose(0, 1))


AnyChoice = Choice | MixedChoice


def new_replay(spaces: Spaces, capacity: int, device: torch.device | None = None) -> AnyReplay:
    """An empty buffer for such observations."""
    if isinstance(spaces.observation, Frames):
        return FrameReplay(spaces, capacity, device)
    return Replay(spaces, capacity, device)


def replay_of(spaces: Spaces, rows: npt.NDArray[Any], device: torch.device | None = None) -> AnyReplay:
    """A full buffer of rows that such a buffer once gave."""
    if isinstance(spaces.observation, Frames):
        return FrameReplay.of(spaces, rows, device)
    return Replay.of(spaces, rows, device)


def blank_batch(spaces: Spaces, size: int, device: torch.device) -> AnyBatch:
    """A batch of nothing, as one lane: of the shape of any other."""
    if isinstance(spaces.observation, Frames):
        rows = torch.zeros((1, size, spaces.observation.stack + 1, row_width(spaces)), dtype=torch.uint8, device=device)
        return FrameBatch(rows, spaces)
    return Batch(torch.zeros((1, size, row_width(spaces)), device=device), spaces)


class Mixture:
    """D_pre after several tasks: an earlier task is drawn uniformly, then a transition of its buffer."""

    def __init__(self, buffers: Sequence[AnyReplay]) -> None:
        self.buffers = tuple(buffers)

    def choose(self, batch_size: int, generator: torch.Generator) -> AnyChoice:
        """`batch_size` transitions; after one task they are the very ones its buffer gives."""
        choices = [Choice(one, one.draw(batch_size, generator)) for one in self.buffers]
        if len(choices) == 1:
            return choices[0]
        task = torch.randint(len(choices), (batch_size,), generator=generator, device=generator.device)
        return MixedChoice(tuple(choices), task)

    def sample(self, batch_size: int, generator: torch.Generator) -> AnyBatch:
        """The same, as one lane."""
        return self.choose(batch_size, generator).batch()
