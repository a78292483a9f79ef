"""A small agent and what it may know of its past, for the tests of one ingredient at a time."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from nbsp_ray.benchmarks import Continuous, Spaces, Vector
from nbsp_ray.config.schema import Sac
from nbsp_ray.learning.agent import Agent
from nbsp_ray.learning.hooks import Past
from nbsp_ray.learning.replay import Batch, Replay, row_width
from nbsp_ray.learning.seeding import Stream, generator

SPACES = Spaces(Vector(3), Continuous(2))
SAC = Sac(hidden=(5, 4), batch_size=8, policy_frequency=1, actor_lr=1e-2, critic_lr=1e-2)


def new_agent(seed: int = 0, **changes: Any) -> Agent:
    return Agent(SAC.model_copy(update=changes), SPACES, torch.device("cpu"), generator(seed, 0, Stream.NETWORKS))


def replay(seed: int = 0, rows: int = 50) -> Replay:
    data = np.random.default_rng(seed).standard_normal((rows, row_width(SPACES))).astype(np.float32)
    data[:, -1] = 0
    return Replay.of(SPACES, data)


def batch(seed: int = 0) -> Batch:
    return replay(seed).sample(SAC.batch_size, torch.Generator().manual_seed(seed))


def past_of(agent: Agent, carried: dict[str, npt.NDArray[Any]] | None = None) -> Past:
    return Past(agent, replay(), None, {}, generator(0, 1, Stream.METHOD), carried or {})
