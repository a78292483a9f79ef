"""All chance of a phase: one tree of seeds, with a named stream for each use.

Nothing here draws from a global generator, and no generator's state needs to be saved: a stream is
a function of the trial's seed, the phase's place in the sequence, its use, and the number of the
episode. Methods share every stream, so that they are compared seed by seed.
"""

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """Uses of chance. The numbers are part of every result: add to them, never change them."""

    NETWORKS = 0
    TRAINING = 1
    """Goal, initial state and action noise of a training episode."""
    UPDATES = 2
    """Replay indices and noise of the updates made during a training episode."""
    EVALUATION = 3
    """An evaluation's episode, by the env steps at which it is held and its number."""
    FINAL = 4
    """A final evaluation's episode, by its number."""
    METHOD = 5
    SAMPLE = 6
    """Transitions that a second phase keeps of its buffer."""
    DRIFT = 7
    """First-task states on which the drift of activations is measured."""
    PROBE_NEURONS = 8
    """Neurons that a probe silences at random, by network and draw."""
    PROBE_EPISODES = 9
    """A probe's episode, by its number: not those on which the neurons were scored."""
    PROBE_TRANSITIONS = 10
    """Transitions on which a probe compares values, and the noise of their targets."""
    CONFIRMATION = 11
    """An episode that confirms a stop, by the env steps at which it is played and its number."""


def seed_sequence(seed: int, phase: int, stream: Stream, *numbers: int) -> np.random.SeedSequence:
    """The leaf of the tree for one use: trial `seed`, `phase` 0 or 1, and e.g. an episode's number."""
    return np.random.SeedSequence(entropy=seed, spawn_key=(phase, int(stream), *numbers))


def generator(seed: int, phase: int, stream: Stream, *numbers: int) -> np.random.Generator:
    """NumPy's generator on that leaf."""
    return np.random.Generator(np.random.PCG64(seed_sequence(seed, phase, stream, *numbers)))


def torch_seed(seed: int, phase: int, stream: Stream, *numbers: int) -> int:
    """A 63-bit seed for a `torch.Generator` on that leaf."""
    return int(seed_sequence(seed, phase, stream, *numbers).generate_state(1, np.uint64)[0] >> 1)
