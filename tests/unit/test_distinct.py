"""Points asked once: what comes back is what every point would have been told, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest

from simcost.calibration.curves.residual import _column_sums
from simcost.calibration.distinct import distinct
from simcost.num import where, within


@pytest.mark.parametrize("shape", [((40, 1), (1, 50)), ((2000,), ())])
def test_kinds_come_back_as_the_points_they_stand_for(shape: tuple[tuple[int, ...], ...]) -> None:
    rng = np.random.default_rng(0)
    columns = [rng.integers(0, 4, each).astype(float) for each in shape]
    grid = distinct([*columns, 7.0])
    assert grid.one is not None
    asked = [grid.each(column) for column in columns]
    assert len(asked[0]) <= 16
    assert np.array_equal(grid.back(asked[0] + 10.0 * asked[1]), columns[0] + 10.0 * columns[1])


def test_few_points_and_points_that_all_differ_are_asked_as_they_are() -> None:
    for values in (np.zeros(10), np.arange(1000.0)):
        grid = distinct([values])
        assert grid.one is None
        assert np.array_equal(grid.back(grid.each(values)), values)


@pytest.mark.parametrize("columns", [5, 32, 33, 200])
@pytest.mark.parametrize("count", [1, 7, 8, 63, 128, 129, 160])
def test_columns_add_up_in_the_order_of_rows(count: int, columns: int) -> None:
    values = np.random.default_rng(count).normal(size=(count, columns)).astype(np.float32)
    rows = np.ascontiguousarray(values.T)
    assert np.array_equal(_column_sums(values), rows.sum(axis=1))
    assert np.array_equal(_column_sums(values[:, :1].copy()), rows[:1].sum(axis=1))


def test_what_takes_long_is_asked_only_of_the_points_of_a_mask() -> None:
    asked = []

    def act(x, y):
        asked.append(np.size(x))
        return x + y

    x, y = np.arange(6.0)[:, None], np.arange(4.0)
    assert np.array_equal(within(x < 2.0, act, (x, y), 0.5), where(x < 2.0, x + y, 0.5))
    assert asked == [8]
    assert within(True, act, (1.0, 2.0), 0.5) == 3.0
