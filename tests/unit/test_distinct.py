"""Points asked once: what comes back is what every point would have been told, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest

from simcost.calibration.curves.weights import column_sums
from simcost.calibration.distinct import distinct
from simcost.dtypes import dtype
from simcost.num import over_arrays, where, within
from simcost.ops.fused import Fused
from simcost.ops.gemm import Gemm


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
    assert np.array_equal(column_sums(values), rows.sum(axis=1))
    assert np.array_equal(column_sums(values[:, :1].copy()), rows[:1].sum(axis=1))


def test_what_takes_long_is_asked_only_of_the_points_of_a_mask() -> None:
    asked = []

    def act(x, y):
        asked.append(np.size(x))
        return x + y

    x, y = np.arange(6.0)[:, None], np.arange(4.0)
    assert np.array_equal(within(x < 2.0, act, (x, y), 0.5), where(x < 2.0, x + y, 0.5))
    assert asked == [8]
    assert within(True, act, (1.0, 2.0), 0.5) == 3.0


def test_a_grid_holds_points_that_it_does_not_take_for_one_kind() -> None:
    tokens = np.repeat(np.arange(200.0), 5)
    grid = distinct([tokens])
    assert grid.holds([tokens, 2.0 * tokens + 1.0])
    assert not grid.holds([tokens, np.arange(1000.0)])
    assert not grid.holds([np.float64(3.0)])


def test_arrays_anywhere_in_a_value_are_changed_and_the_rest_stays() -> None:
    op = Gemm(np.arange(4.0), 8.0, 16.0, *(dtype("bf16"),) * 4)
    value = (op, {"a": (np.ones(4), "x")}, Fused("linear", (op, Gemm(2.0, 8.0, 16.0, *(dtype("bf16"),) * 4))))
    changed = over_arrays(value, lambda array: float(array[1]))
    one = Gemm(1.0, 8.0, 16.0, *(dtype("bf16"),) * 4)
    assert changed == (one, {"a": (1.0, "x")}, Fused("linear", (one, value[2].parts[1])))
    assert over_arrays(one, float) is one
