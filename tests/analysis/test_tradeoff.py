import numpy as np
import pytest

from analysis.tradeoff import knee, live_place, pareto_front


def points(*values):
    return np.array(values, dtype=float)


def test_the_front_is_what_nothing_else_beats():
    found = points((0.2, 0.9), (0.5, 0.8), (0.4, 0.7), (0.9, 0.1), (0.9, 0.05), (np.nan, 1.0))
    assert pareto_front(found) == [0, 1, 3]


def test_equal_points_are_all_on_the_front():
    assert pareto_front(points((0.5, 0.5), (0.5, 0.5))) == [0, 1]


def test_no_points_have_no_front():
    assert pareto_front(points((np.nan, np.nan))) == []
    assert knee(points((np.nan, np.nan)), []) is None


def test_the_knee_is_farthest_beyond_the_line_between_the_ends():
    # The line from (0, 1) to (1, 0); (0.8, 0.7) is 0.5 / sqrt(2) beyond it, (0.5, 0.9) 0.4 / sqrt(2).
    found = points((0, 1), (0.5, 0.9), (0.8, 0.7), (1, 0))
    assert knee(found, pareto_front(found)) == 2


@pytest.mark.parametrize(
    "found",
    [points((0, 1), (1, 0)), points((0, 1), (0.5, 0.5), (1, 0)), points((0, 1), (0.4, 0.4), (1, 0))],
    ids=["two points", "on the line", "within it"],
)
def test_without_a_bend_there_is_no_knee(found):
    assert knee(found, pareto_front(found)) is None


def test_the_place_where_live_neurons_end_lies_between_two_counts():
    # 220 on average: halfway between 205 and 235.
    assert live_place([51, 102, 205, 235], {"actor": 260, "q1": 200, "q2": 200}) == pytest.approx(2.5)
    assert live_place([51, 102], {"actor": 51}) == 0


@pytest.mark.parametrize(
    ("counts", "live"), [([51, 102], {"q1": 102}), ([51, 102], {"q1": 20}), ([51], {"q1": 51}), ([51, 102], {})]
)
def test_live_neurons_that_end_elsewhere_have_no_place(counts, live):
    assert live_place(counts, live) is None
