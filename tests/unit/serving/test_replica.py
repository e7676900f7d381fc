"""Parts of the event loop one by one: how many steps last as long as a wait, when a step ended, what rows of steps hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simcost.num import Array
from simcost.serving.replica import _at_step, _steps_in
from simcost.serving.trace import Steps


def lasting(first: float, slope: float, count: int) -> float:
    """Seconds of so many steps, the first of `first`, each `slope` longer than the one before: added up one by one."""
    return math.fsum(first + slope * i for i in range(count))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.integers(1, 200), st.floats(1e-3, 1e-1), st.floats(0.0, 1e-3), st.floats(0.0, 1.2))
def test_the_fewest_steps_that_last_as_long_as_a_wait(most: int, first: float, slope: float, part: float) -> None:
    """By trying one after the other; within rounding of a step's end both of its neighbours are right."""
    wait = part * lasting(first, slope, most)
    found = _steps_in(wait, first, slope, most)
    assert 1 <= found <= most
    wanted = next((n for n in range(1, most) if lasting(first, slope, n) >= wait), most)
    assert found == wanted or min(abs(lasting(first, slope, n) - wait) for n in (found, wanted)) < 1e-9 * max(
        wait, 1e-9
    )


def test_waits_that_end_with_a_step_and_waits_of_nothing() -> None:
    """Steps of 1, 2, 3, 4 s end after 1, 3, 6, 10 s."""
    assert [_steps_in(wait, 1.0, 1.0, 10) for wait in (0.0, 1.0, 3.0, 3.5, 6.0, 6.0001, 10.0)] == [1, 1, 2, 3, 3, 4, 4]
    assert [_steps_in(wait, 2.0, 0.0, 10) for wait in (2.0, 2.1, 19.9, 21.0)] == [1, 2, 10, 10]
    # Steps that become shorter, of 4, 3, 2 and 1 s, end after 4, 7, 9 and 10 s.
    assert [_steps_in(wait, 4.0, -1.0, 4) for wait in (4.0, 4.5, 7.5, 9.5)] == [1, 2, 3, 4]


def steps(counts: list[int], made: list[float], first: list[float], slope: list[float], **more: list[float]) -> Steps:
    """Rows one after the other from 0 s on."""
    n, a, b = (np.array(each, np.float64) for each in (counts, first, slope))
    zero = np.zeros(len(counts))
    named: dict[str, Array] = {name: np.array(more[name]) if name in more else zero for name in Steps.__annotations__}
    seconds = n * (a + b * (n - 1.0) / 2.0)
    return Steps(**{**named, "end": np.cumsum(seconds), "count": n, "made": np.array(made), "first": a, "slope": b})


def test_when_a_decode_step_ended() -> None:
    """Three steps of 1, 2 and 3 s; a prompt of 10 s in which nobody decodes; two steps of 5 s; one of 4."""
    found = steps([3, 1, 2, 1], [3.0, 0.0, 2.0, 1.0], [1.0, 10.0, 5.0, 4.0], [1.0, 0.0, 0.0, 0.0])
    numbers = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    assert _at_step(found, numbers).tolist() == [1.0, 3.0, 6.0, 21.0, 26.0, 30.0]
    assert _at_step(found, np.array([6.0, 1.0])).tolist() == [30.0, 1.0]  # in any order


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(1, 6), st.floats(0.1, 2.0), st.floats(0.0, 0.5)), min_size=1, max_size=6))
def test_rows_of_steps_are_their_steps(rows: list[tuple[int, float, float]]) -> None:
    counts, first, slope = (list(column) for column in zip(*rows, strict=True))
    found = steps(counts, [float(n) for n in counts], first, slope)
    each = [a + b * i for n, a, b in rows for i in range(n)]
    assert _at_step(found, np.arange(1.0, len(each) + 1.0)) == pytest.approx(np.cumsum(each))
    assert found.seconds == pytest.approx([lasting(a, b, n) for n, a, b in rows])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 8), st.floats(0.1, 2.0), st.floats(0.0, 0.5), st.floats(0.0, 100.0), st.floats(0.0, 9.0))
def test_kv_tokens_over_a_row_are_those_of_its_steps(
    count: int, first: float, slope: float, used: float, growth: float
) -> None:
    """In the j-th step, counted from 1, `used` + j growth tokens are taken."""
    found = steps([count], [float(count)], [first], [slope], used=[used], growth=[growth])
    wanted = sum((first + slope * i) * (used + growth * (i + 1)) for i in range(count))
    assert found.used_seconds[0] == pytest.approx(wanted)
