"""Neuron scores against loops written from the paper (Eq. 1-4), and against numbers worked out by hand."""

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nbsp_ray.learning.scores import (
    Stream,
    first_of_each_layer,
    measure,
    rank_at_random,
    rank_by_dormancy,
    rank_by_score,
    score,
)


def stream_of(activations: np.ndarray, block: int = 4) -> Stream:
    def stream() -> Iterator[np.ndarray]:
        for start in range(0, len(activations), block):
            yield activations[start : start + block]

    return stream


def accuracies(activations: np.ndarray, q: np.ndarray) -> list[Fraction]:
    """Eq. 1-3, one step and one neuron after another, in exact arithmetic."""
    steps = len(q)
    found = []
    q_bar = sum(Fraction(float(value)) for value in q) / steps
    for neuron in range(activations.shape[1]):
        a = [Fraction(float(value)) for value in activations[:, neuron]]
        a_bar = sum(a) / steps
        agreed = sum((a[t] > a_bar) == (Fraction(float(q[t])) > q_bar) for t in range(steps))
        found.append(Fraction(agreed, steps))
    return found


quarters = st.integers(0, 12).map(lambda n: n / 4)
problems = st.tuples(st.integers(1, 20), st.integers(1, 6)).flatmap(
    lambda shape: st.tuples(
        hnp.arrays(np.float32, shape, elements=st.one_of(st.just(0.0), quarters)),
        st.one_of(
            hnp.arrays(np.bool_, shape[0]), hnp.arrays(np.float64, shape[0], elements=st.integers(-3, 3).map(float))
        ),
    )
)


@given(problem=problems, block=st.integers(1, 21))
def test_accuracy_and_score_are_the_papers(problem: tuple[np.ndarray, np.ndarray], block: int) -> None:
    activations, q = problem
    found, expected = measure(stream_of(activations, block), q), accuracies(activations, q)
    np.testing.assert_allclose(found.accuracy, [float(acc) for acc in expected], rtol=1e-12)
    np.testing.assert_allclose(score(found.accuracy), [float(max(acc, 1 - acc)) for acc in expected], rtol=1e-12)
    np.testing.assert_allclose(found.mean, activations.mean(0, dtype=np.float64), rtol=1e-12)
    assert found.constant.tolist() == [len(set(column)) == 1 for column in activations.T.tolist()]
    assert found.active_share.tolist() == (activations > activations.mean(0, dtype=np.float64)).mean(0).tolist()
    assert (found.near_constant | ~found.constant).all()
    assert not (found.below_constant & found.constant).any() or not found.defined
    q_bar = sum(Fraction(float(value)) for value in q) / len(q)
    assert found.positive_share == pytest.approx(sum(Fraction(float(value)) > q_bar for value in q) / len(q))
    assert found.defined == (len(set(q.tolist())) > 1)


@given(problem=problems, data=st.data())
def test_the_block_size_means_nothing(problem: tuple[np.ndarray, np.ndarray], data: st.DataObject) -> None:
    activations, q = problem
    one, other = (measure(stream_of(activations, data.draw(st.integers(1, 21))), q) for _ in range(2))
    for name in ("mean", "constant", "accuracy", "balanced"):
        assert getattr(one, name).tolist() == getattr(other, name).tolist()


@given(problem=problems)
def test_the_ranking_is_by_score_then_by_place_and_constants_come_last(problem: tuple[np.ndarray, np.ndarray]) -> None:
    activations, q = problem
    found, expected = measure(stream_of(activations), q), accuracies(activations, q)
    constant = [len(set(column)) == 1 for column in activations.T.tolist()]
    order = sorted(
        range(len(expected)),
        key=lambda n: (constant[n], 0 if constant[n] else -max(expected[n], 1 - expected[n]), n),
    )
    assert rank_by_score(score(found.accuracy), found.constant).tolist() == order


def test_a_literal_example() -> None:
    #            q:       good   bad    good   bad    bad     a_bar
    activations = np.array(
        [
            [4.0, 0.0, 0.5, 2.0, 1.0],
            [0.0, 0.0, 0.5, 2.0, 0.0],
            [3.0, 0.0, 0.5, 0.0, 0.0],
            [0.0, 0.0, 0.5, 2.0, 0.0],
            [2.0, 0.0, 0.5, 2.0, 0.0],
        ],
        np.float32,
    )
    q = np.array([True, False, True, False, False])
    found = measure(stream_of(activations, 2), q)
    assert found.mean.tolist() == pytest.approx([1.8, 0.0, 0.5, 1.6, 0.2])
    # Neuron 0 is active at 1, 3, 5: right but at 5. Dead and constant ones are right at the three bad steps.
    # Neuron 3 is active at 1, 2, 4, 5: right at 1 only. Neuron 4 is active at 1: wrong at 3 only.
    assert found.accuracy.tolist() == pytest.approx([0.8, 0.6, 0.6, 0.2, 0.8])
    assert score(found.accuracy).tolist() == pytest.approx([0.8, 0.6, 0.6, 0.8, 0.8])
    # Good 2/2, other 2/3; 0 and 1; 0 and 1; 1/2 and 0; 1/2 and 1.
    assert found.balanced.tolist() == pytest.approx([5 / 6, 0.5, 0.5, 0.25, 0.75])
    assert score(found.balanced).tolist() == pytest.approx([5 / 6, 0.5, 0.5, 0.75, 0.75])
    assert found.constant.tolist() == [False, True, True, False, False]
    assert found.positive_share == pytest.approx(0.4)
    assert rank_by_score(score(found.accuracy), found.constant).tolist() == [0, 3, 4, 1, 2]


def test_a_dead_neuron_scores_well_and_is_ranked_last() -> None:
    """The flaw of the score: at p = 0.9 silence agrees with 10 % of the steps, which counts as 90 %."""
    q = np.array([True] * 9 + [False])
    activations = np.stack([np.zeros(10), np.r_[np.ones(7), np.zeros(3)]], axis=1).astype(np.float32)
    found = measure(stream_of(activations), q)
    assert score(found.accuracy).tolist() == pytest.approx([0.9, 0.8])
    assert rank_by_score(score(found.accuracy), found.constant).tolist() == [1, 0]


def test_a_neuron_that_fires_once_passes_for_one_that_varies_and_is_counted() -> None:
    """At p = .9010 of 10,000 steps: nearly constant .9009, constant .9010, informative (.75 on either side) .7509."""
    q = np.arange(10_000) < 9_010
    once, late, dead, informative = np.zeros((4, 10_000), np.float32)
    once[5] = 1  # on a good step
    late[9_999] = 1  # on another
    informative[:6_766] = 1  # of 9,010, and it is silent on 743 of the 990 others
    informative[9_010 + 743 :] = 1
    found = measure(stream_of(np.stack([once, late, dead, informative], axis=1), 4096), q)
    assert found.positive_share == 0.901
    assert score(found.accuracy).tolist() == pytest.approx([0.9009, 0.9011, 0.9010, 0.7509])
    assert score(found.balanced)[[0, 2, 3]].tolist() == pytest.approx(
        [0.5 + 0.5 / 9_010, 0.5, (6_766 / 9_010 + 743 / 990) / 2]
    )
    assert found.constant.tolist() == [False, False, True, False]
    assert rank_by_score(score(found.accuracy), found.constant).tolist() == [1, 0, 3, 2]
    assert found.below_constant.tolist() == [True, False, False, True]
    assert found.active_share.tolist() == [0.0001, 0.0001, 0.0, (6_766 + 247) / 10_000]
    assert found.near_constant.tolist() == [True, True, True, False]


@pytest.mark.parametrize(("active", "near"), [(0, True), (1, True), (2, False), (98, False), (99, True), (100, True)])
def test_nearly_constant_is_one_side_of_the_mean_on_99_of_100_steps(active: int, near: bool) -> None:
    values = np.where(np.arange(100) < active, 1.0, 0.25).astype(np.float32)
    found = measure(stream_of(values[:, None], 7), np.arange(100) < 30)
    assert found.near_constant.tolist() == [near]
    assert found.constant.tolist() == [active in (0, 100)]


def test_the_first_of_each_layer_by_hand() -> None:
    layer = np.array([0, 0, 0, 1, 1, 2])
    ranking = np.array([4, 2, 5, 0, 3, 1])
    assert sorted(first_of_each_layer(ranking, layer, np.array([2, 1, 0]))) == [0, 2, 4]
    assert sorted(first_of_each_layer(ranking, layer, np.array([0, 0, 1]))) == [5]
    assert sorted(first_of_each_layer(ranking, layer, np.array([3, 2, 1]))) == [0, 1, 2, 3, 4, 5]


def test_silence_on_good_steps_is_as_good_as_activity() -> None:
    q = np.array([True, True, False, False, False])
    active = np.array([1, 1, 0, 0, 1], np.float32)
    found = measure(stream_of(np.stack([active, 1 - active], axis=1)), q)
    assert found.accuracy.tolist() == pytest.approx([0.8, 0.2])
    assert score(found.accuracy)[0] == score(found.accuracy)[1]


@pytest.mark.parametrize("steps", [25, 100, 175, 1_000])
def test_mirrored_neurons_tie_whatever_the_rounding(steps: int) -> None:
    """Acc = k/T and (T - k)/T have one score, also where the floats k/T and 1 - (T - k)/T differ in the last bit."""
    nothing_constant = np.zeros(2, np.bool_)
    for hits in range(steps + 1):
        pair = np.array([hits / steps, (steps - hits) / steps])
        assert rank_by_score(score(pair), nothing_constant).tolist() == [0, 1]
        assert rank_by_score(score(pair[::-1]), nothing_constant).tolist() == [0, 1]


def test_constant_neurons_follow_in_their_order_whatever_their_scores() -> None:
    scores, constant = np.array([0.5, 0.9, 0.6, 1.0, 0.7]), np.array([True, True, False, True, False])
    assert rank_by_score(scores, constant).tolist() == [4, 2, 0, 1, 3]


@pytest.mark.parametrize(("q", "share"), [([True] * 6, 0.0), ([False] * 6, 0.0), ([0.1] * 6, 0.0)])
def test_a_constant_criterion_defines_nothing(q: list[float], share: float) -> None:
    activations = np.random.default_rng(0).random((6, 3)).astype(np.float32)
    found = measure(stream_of(activations), np.array(q))
    assert not found.defined
    assert found.positive_share in (share, 1 - share)


def test_a_real_criterion_is_compared_with_its_mean() -> None:
    q = np.array([10.0, 0.0, 0.0, 2.0])  # q_bar = 3
    activations = np.array([[1], [0], [0], [0]], np.float32)
    found = measure(stream_of(activations), q)
    assert found.positive_share == 0.25
    assert found.accuracy.tolist() == [1.0]


def test_too_few_or_too_many_activations_are_an_error() -> None:
    for steps in (3, 5):
        with pytest.raises(ValueError, match="4 of the criterion"):
            measure(stream_of(np.zeros((steps, 2), np.float32)), np.zeros(4))


def test_dormancy_by_hand() -> None:
    # Layer 0 has mean 2, layer 1 mean 0.5: shares 1.5, 0.5, 1, and 2, 0, 1.
    mean = np.array([3.0, 1.0, 2.0, 1.0, 0.0, 0.5])
    layer = np.array([0, 0, 0, 1, 1, 1])
    constant = np.array([False, False, False, False, True, False])
    assert rank_by_dormancy(mean, constant, layer).tolist() == [4, 1, 2, 5, 0, 3]
    constant[3] = True  # constant, and yet the most active: still ahead of all that vary
    assert rank_by_dormancy(mean, constant, layer).tolist() == [4, 3, 1, 2, 5, 0]


def test_dormancy_of_a_dead_layer() -> None:
    found = rank_by_dormancy(np.array([0.0, 0.0, 1.0]), np.array([True, True, False]), np.array([0, 0, 1]))
    assert found.tolist() == [0, 1, 2]


@given(constant=hnp.arrays(np.bool_, st.integers(1, 30)), seed=st.integers(0, 5))
def test_random_ranking_is_a_permutation_with_constants_last(constant: np.ndarray, seed: int) -> None:
    found = rank_at_random(constant, "active", np.random.default_rng(seed))
    assert sorted(found.tolist()) == list(range(len(constant)))
    assert not np.diff(constant[found].astype(int)).min(initial=0) < 0
    assert found.tolist() == rank_at_random(constant, "active", np.random.default_rng(seed)).tolist()


def test_random_ranking_is_uniform_over_active_or_over_all() -> None:
    constant = np.array([True, True, False, False, False])
    generator = np.random.default_rng(0)
    first = [rank_at_random(constant, "active", generator)[0] for _ in range(600)]
    assert np.bincount(first, minlength=5)[:2].tolist() == [0, 0]
    assert np.bincount(first, minlength=5)[2:].min() > 150
    anyone = [rank_at_random(constant, "all", generator)[0] for _ in range(600)]
    assert np.bincount(anyone, minlength=5).min() > 80
