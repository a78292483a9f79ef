"""RL skill neurons: how well a neuron's activation tells good steps from others (Eq. 1-4), and which are chosen.

Pure NumPy on streams of activations: two passes (means, then counts), O(neurons) memory. What freezes neurons and what
silences them both measure and rank here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from nbsp_ray.learning.agent import Agent
    from nbsp_ray.learning.rollouts import Rollouts

Kind = Literal["paper", "balanced", "dormant", "importance"]
"""Scores that rank neurons: Eq. 4, its balanced form, how little they are active, or Taylor importance."""
BLOCK = 4096
"""Scoring steps per forward pass."""
Floats = npt.NDArray[np.floating]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Stream = Callable[[], Iterable[Floats]]
"""Gives the activations anew at each call: blocks (B, N) that are (T, N) together, in the order of the T steps."""


ONE_SIDED = 0.99
"""Share of the steps from which on a neuron that keeps to one side of its mean counts as nearly constant."""


@dataclass(frozen=True)
class NeuronStatistics:
    """Statistics of N neurons over T scoring steps."""

    mean: Floats
    """a_bar (N,): Eq. 1."""
    constant: Bools
    """Neurons whose activation is exactly the same at all steps (N,); dead ones among them."""
    accuracy: Floats
    """Acc (N,): Eq. 3."""
    balanced: Floats
    """Mean of the hit rates on good and on other steps (N,)."""
    active_share: Floats
    """Share of the steps with a(t) > a_bar (N,)."""
    positive_share: float
    """p, the share of steps with q(t) > q_bar; 0 or 1 if q is constant, and then the scores mean nothing."""

    @property
    def defined(self) -> bool:
        """Whether q varied at all."""
        return 0 < self.positive_share < 1

    @property
    def below_constant(self) -> Bools:
        """Neurons whose score by Eq. 4 is below max(p, 1 - p), that of a neuron which never changes (N,)."""
        of_constant = max(self.positive_share, 1 - self.positive_share)
        return score(self.accuracy).round(12) < round(of_constant, 12)

    @property
    def near_constant(self) -> Bools:
        """Neurons that are on one side of their mean on at least 99 % of the steps, constant ones among them (N,)."""
        return np.maximum(self.active_share, 1 - self.active_share).round(12) >= ONE_SIDED


def measure(stream: Stream, q: npt.NDArray[np.generic]) -> NeuronStatistics:
    """Compare activations with the evaluation criterion q (T,), both against their means (Eq. 1-3)."""
    criterion = q.astype(np.float64)
    good = criterion > criterion.mean()
    total, low, high, steps = np.zeros(1), np.array([np.inf]), np.array([-np.inf]), 0
    for block in stream():
        total = total + block.sum(axis=0, dtype=np.float64)
        low, high = np.minimum(low, block.min(axis=0)), np.maximum(high, block.max(axis=0))
        steps += len(block)
    if steps != len(good):
        raise ValueError(f"{steps} steps of activations, but {len(good)} of the criterion")
    mean = total / steps
    hits_good, hits_other, start = np.zeros_like(mean), np.zeros_like(mean), 0
    for block in stream():
        active = block > mean
        now = good[start : start + len(block)]
        hits_good += active[now].sum(axis=0)
        hits_other += (~active[~now]).sum(axis=0)
        start += len(block)
    return NeuronStatistics(
        mean=mean,
        constant=low == high,
        accuracy=(hits_good + hits_other) / steps,
        balanced=(hits_good / max(1, good.sum()) + hits_other / max(1, (~good).sum())) / 2,
        # Active on other steps is what is no hit there.
        active_share=(hits_good + (~good).sum() - hits_other) / steps,
        positive_share=float(good.mean()),
    )


def measure_network(agent: Agent, network: str, rollouts: Rollouts, steps: Ints | None = None) -> NeuronStatistics:
    """Compare the neurons of `actor`, `q1` or `q2` with q on all steps, or on `steps` by their ascending numbers."""

    def stream() -> Iterable[Floats]:
        return (agent.neuron_activations(network, *block) for block in rollouts.blocks(BLOCK, steps))

    return measure(stream, rollouts.criterion if steps is None else rollouts.criterion[steps])


def values(kind: Kind, agreement: NeuronStatistics, layer: Ints, importance: Floats | None = None) -> Floats:
    """The score of each neuron (N,): the higher, the sooner selected. `layer` (N,) is the hidden layer of each."""
    if kind == "importance":
        assert importance is not None
        return importance
    if kind == "dormant":
        return -_dormancy(agreement.mean, layer)
    return score(agreement.balanced if kind == "balanced" else agreement.accuracy)


def rank(kind: Kind, agreement: NeuronStatistics, layer: Ints, importance: Floats | None = None) -> Ints | None:
    """All neurons, in the order in which they are selected; None if the score is undefined, as q is constant."""
    if kind == "dormant":
        return rank_by_dormancy(agreement.mean, agreement.constant, layer)
    if kind != "importance" and not agreement.defined:
        return None
    return rank_by_score(values(kind, agreement, layer, importance), agreement.constant)


def score(accuracy: Floats) -> Floats:
    """max(Acc, 1 - Acc): a neuron that is silent on good steps knows as much as one that fires (Eq. 4)."""
    return np.maximum(accuracy, 1 - accuracy)


def rank_by_score(scores: Floats, constant: Bools) -> Ints:
    """All neurons, best first; ties in (layer, index) order; constant neurons behind all others, in that order.

    A dead neuron's Acc is 1 - p, which would put it ahead of informative ones wherever p is far from 1/2.
    """
    # Rounded, as k/T and 1 - (T - k)/T are one score but not always one float.
    return np.lexsort((np.where(constant, 0, -scores.round(12)), constant))


def rank_by_dormancy(mean_activation: Floats, constant: Bools, layer: Ints) -> Ints:
    """All neurons, the least active first: constant ones, then by mean activation over that of their layer."""
    return np.lexsort((_dormancy(mean_activation, layer), ~constant))


def _dormancy(mean_activation: Floats, layer: Ints) -> Floats:
    layer_mean = (np.bincount(layer, mean_activation) / np.bincount(layer))[layer]
    return np.asarray(mean_activation / np.where(layer_mean > 0, layer_mean, 1))


def rank_at_random(constant: Bools, among: str, generator: np.random.Generator) -> Ints:
    """All neurons in random order; unless `among` is `all`, constant ones behind all others."""
    return np.lexsort((generator.permutation(len(constant)), constant & (among != "all")))


def first_of_each_layer(ranking: Ints, layer: Ints, counts: Ints) -> Ints:
    """The first `counts[l]` neurons of each layer l in a ranking of all; `layer` (N,) is each neuron's layer."""
    return np.concatenate([ranking[layer[ranking] == number][:count] for number, count in enumerate(counts)])
