"""The front of speed against throughput: by comparing every pair, and by hand."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from simcost.search.serve_pareto import front

POINTS = st.lists(st.tuples(st.floats(1.0, 100.0), st.floats(0.0, 100.0)), min_size=1, max_size=40)


def beaten(x: np.ndarray, y: np.ndarray, at: int) -> bool:
    """Whether some other point is as good in both and better in one."""
    return bool(np.any((x >= x[at]) & (y >= y[at]) & ((x > x[at]) | (y > y[at]))))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(POINTS)
def test_no_point_of_the_front_is_beaten_and_each_one_left_out_is_near_it_or_beaten(
    points: list[tuple[float, float]],
) -> None:
    x, y = (np.array(side) for side in zip(*points, strict=True))
    kept = front(x, y)
    for at in kept:
        assert not beaten(x, y, int(at))
        assert y[at] > 0.0  # what does nothing is no design
    assert np.all(np.diff(x[kept]) < 0.0)  # the fastest first
    assert np.all(np.diff(y[kept]) > 0.0)
    for at in range(len(x)):
        if y[at] > 0.0 and not beaten(x, y, at) and at not in kept:
            # Its place was taken by one nearly as fast that does more, or it has a twin.
            assert np.any((x[kept] >= 0.97**2 * x[at]) & (y[kept] >= y[at]))


def test_neighbours_nearer_than_three_percent_are_one_point() -> None:
    """Of 100 and 98 tokens a second the second, which does more; 95 is 3.06 % below 98 and stands alone."""
    x = np.array([100.0, 98.0, 95.0, 50.0])
    y = np.array([1.0, 2.0, 3.0, 4.0])
    assert front(x, y).tolist() == [1, 2, 3]


def test_equal_speeds_keep_the_one_that_does_most_and_nothing_is_no_front() -> None:
    assert front(np.array([10.0, 10.0, 10.0]), np.array([1.0, 3.0, 2.0])).tolist() == [1]
    assert front(np.array([10.0, 20.0]), np.array([5.0, 5.0])).tolist() == [1]  # faster at the same throughput
    assert front(np.array([10.0, 20.0]), np.zeros(2)).tolist() == []
    assert front(np.zeros(0), np.zeros(0)).tolist() == []
