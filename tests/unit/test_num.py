"""Numbers that are floats or arrays: scalars stay Python floats, arrays stay arrays, and both give the same bits."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simcost import num
from simcost.num import Num

REAL = st.floats(-1e6, 1e6, allow_nan=False)
UNARY: list[tuple[Callable[[Num], Num], Callable[[float], float], float]] = [
    (num.ceil, math.ceil, 2.1), (num.floor, math.floor, -2.1), (num.sqrt, math.sqrt, 2.0), (num.exp, math.exp, 0.7),
    (num.log1p, math.log1p, 1e-12),
]  # fmt: skip


@pytest.mark.parametrize(("act", "by_hand", "value"), UNARY, ids=lambda v: getattr(v, "__name__", ""))
def test_a_function_of_one_number_is_that_of_the_standard_library(act: Any, by_hand: Any, value: float) -> None:
    found = act(value)
    assert type(found) is float
    assert found == pytest.approx(by_hand(value), rel=1e-15)
    many = act(np.array([value, value]))
    assert isinstance(many, np.ndarray)
    assert many.tolist() == [found, found]


@given(REAL, REAL)
def test_extremes_and_choices_of_two_scalars_are_python_floats(a: float, b: float) -> None:
    for found, want in (
        (num.minimum(a, b), min(a, b)),
        (num.maximum(a, b), max(a, b)),
        (num.where(a < b, a, b), a if a < b else b),
    ):
        assert type(found) is float
        assert found == want


ODD = [0.0, -0.0, 0.5, -0.5, 1.0 - 2.0**-53, 2.0**52 - 0.5, 0.5 - 2.0**52, 5e-324, 1e300, -1e300, math.inf, -math.inf, math.nan]  # fmt: skip
ANY = st.sampled_from(ODD) | st.floats()


@given(ANY, ANY, st.booleans())
def test_scalars_have_the_bits_of_arrays(a: float, b: float, mask: bool) -> None:
    """And of what NumPy itself says of two scalars; of two zeros as well."""
    one, other = np.array([a]), np.array([b])
    for act, numpys, scalars, arrays in (
        (num.minimum, np.minimum, (a, b), (one, other)),
        (num.maximum, np.maximum, (a, b), (one, other)),
        (num.ceil, np.ceil, (a,), (one,)),
        (num.floor, np.floor, (a,), (one,)),
        (num.where, np.where, (mask, a, b), (np.array([mask]), one, other)),
        (num.where, np.where, (np.bool_(mask), a, b), (np.array([mask]), one, other)),
    ):
        found: Any = act(*scalars)  # type: ignore[operator]
        assert type(found) is float
        bits = np.float64(found).tobytes()
        assert bits == np.float64(numpys(*scalars)).tobytes()  # type: ignore[operator]
        assert bits == np.asarray(act(*arrays)).tobytes()  # type: ignore[operator]


def test_extremes_and_choices_broadcast_point_by_point() -> None:
    column, row = np.array([[1.0], [5.0]]), np.array([2.0, 4.0, 6.0])
    assert num.minimum(column, row).tolist() == [[1, 1, 1], [2, 4, 5]]
    assert num.maximum(column, row).tolist() == [[2, 4, 6], [5, 5, 6]]
    assert num.where(column < row, 0.0, 1.0).tolist() == [[0, 0, 0], [1, 1, 0]]


def test_what_numpy_boxes_is_unboxed_inside_containers_too() -> None:
    found = num.unboxed(
        {
            np.str_("a"): [np.int64(1), (np.float64(0.5), np.bool_(True))],
            "b": np.array([1, 2]),
            "c": np.array(3),
            "d": None,
        }
    )
    assert found == {"a": [1, (0.5, True)], "b": [1, 2], "c": 3, "d": None}
    assert [type(each) for each in (found["a"][0], found["a"][1][0], found["a"][1][1], found["c"])] == [
        int,
        float,
        bool,
        int,
    ]
    odd = object()
    assert num.unboxed(odd) is odd


@pytest.mark.parametrize("value", [3, np.float32(3.0), np.int64(3), np.array(3), np.array(3.0)])
def test_every_scalar_becomes_a_python_float(value: Any) -> None:
    assert type(num.num(value)) is float
    assert num.num(value) == 3.0


def test_counts_of_an_array_become_doubles() -> None:
    found = num.num(np.array([1, 2**40], np.int64))
    assert isinstance(found, np.ndarray)
    assert found.dtype == np.float64
    assert found.tolist() == [1.0, float(2**40)]


@pytest.mark.parametrize(("value", "scalar"), [
    (1.0, True), (1, True), (np.float64(1.0), True), (np.array(1.0), True), (np.array([1.0]), False),
    (np.zeros((1, 1)), False), (None, True),
])  # fmt: skip
def test_what_has_a_dimension_is_no_scalar(value: Any, scalar: bool) -> None:
    assert num.is_scalar(value) is scalar


def test_a_slow_function_is_asked_only_at_the_points_of_the_mask() -> None:
    asked: list[float] = []

    def slow(a: Num, b: Num) -> Num:
        asked.extend(np.ravel(a).tolist())
        return a + b

    values = np.array([1.0, 2.0, 3.0, 4.0])
    found = num.within(values > 2.0, slow, (values, 10.0), -1.0)
    assert asked == [3.0, 4.0]
    assert np.asarray(found).tolist() == [-1.0, -1.0, 13.0, 14.0]


def test_a_slow_function_of_several_shapes_fills_the_broadcast_grid() -> None:
    rows, columns = np.array([[1.0], [2.0]]), np.array([10.0, 20.0, 30.0])
    mask = rows * columns > 25.0
    elsewhere = rows - columns
    found = np.asarray(num.within(mask, lambda a, b: a * b, (rows, columns), elsewhere))
    for i, a in enumerate((1.0, 2.0)):
        for j, b in enumerate((10.0, 20.0, 30.0)):
            assert found[i, j] == (a * b if a * b > 25.0 else a - b)
    assert elsewhere[0, 2] == -29.0  # the caller's array stays as it was


@pytest.mark.parametrize(("mask", "want"), [(True, 8.0), (False, -1.0)])
def test_a_slow_function_of_scalars_gives_a_float(mask: bool, want: float) -> None:
    found = num.within(mask, lambda a: a * 2.0, (4.0,), -1.0)
    assert type(found) is float
    assert found == want


@pytest.mark.parametrize(("mask", "holds"), [
    (True, True), (False, False), (np.array([True, True]), True), (np.array([True, False]), False),
    (np.array([], bool), True),
])  # fmt: skip
def test_a_mask_holds_everywhere_or_not(mask: Any, holds: bool) -> None:
    assert num.every(mask) is holds


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=20))
def test_occurring_numbers_are_each_once_and_in_order(values: list[int]) -> None:
    assert num.occurring(np.array(values, float)) == sorted({float(v) for v in values})


def test_occurring_numbers_of_a_scalar_and_of_a_grid() -> None:
    assert num.occurring(4.0) == [4.0]
    assert num.occurring(np.array([[2.0, 1.0], [1.0, 8.0]])) == [1.0, 2.0, 8.0]
