"""The Pareto front and the hypervolume: their laws."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish.compress.search.front import dominates, front, gain, hypervolume

POINTS = st.lists(st.tuples(st.floats(-1, 2), st.floats(0.1, 1e4)), max_size=30)


@given(POINTS)
def test_nothing_on_the_front_is_dominated_and_everything_else_is(points):
    best = front(points)
    for index in best:
        assert not any(dominates(other, points[index]) for other in points)
    for index, point in enumerate(points):
        if index not in best:
            assert any(dominates(points[i], point) or points[i] == point for i in best)


@given(POINTS)
def test_the_front_goes_from_cheap_to_dear_and_from_worse_to_better(points):
    best = [points[index] for index in front(points)]
    assert best == sorted(best)
    assert sorted(cost for _, cost in best) == [cost for _, cost in best]


@given(POINTS, st.tuples(st.floats(-1, 2), st.floats(0.1, 1e4)), st.floats(0, 1), st.floats(1, 1e5))
def test_another_point_never_shrinks_the_hypervolume_and_a_dominated_one_adds_nothing(points, point, floor, ceiling):
    added = gain(points, point, floor, ceiling)
    assert added >= -1e-9
    if any(dominates(other, point) for other in points):
        assert added == pytest.approx(0, abs=1e-9)


@given(POINTS, st.floats(0, 1), st.floats(1, 1e5))
def test_the_hypervolume_is_that_of_the_front_in_any_order(points, floor, ceiling):
    whole = hypervolume(points, floor, ceiling)
    assert whole == pytest.approx(hypervolume([points[index] for index in front(points)], floor, ceiling))
    assert whole == pytest.approx(hypervolume(points[::-1], floor, ceiling))


def test_a_hypervolume_by_hand():
    # All of the return at a tenth of the cost, and half of it at a hundredth: 1 x 1 + 0.5 x 1 more decade.
    assert hypervolume([(1.0, 10.0), (0.5, 1.0)], 0.0, 100.0) == pytest.approx(1.5)
    assert hypervolume([(1.0, 10.0)], 0.9, 100.0) == pytest.approx(0.1)
    assert hypervolume([(1.0, 200.0), (0.0, 1.0)], 0.0, 100.0) == 0
    assert math.isclose(gain([(1.0, 10.0)], (1.0, 1.0), 0.0, 100.0), 1.0)
