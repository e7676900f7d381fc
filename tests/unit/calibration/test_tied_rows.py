"""Rows of few shapes, or of equal sizes, are judged as far as they go, or said to be too few."""

from __future__ import annotations

import numpy as np
import pytest

from simcost.calibration.family import families
from simcost.calibration.held_out import is_thin, judged
from simcost.calibration.rows import Rows
from simcost.calibration.split import largest
from simcost.calibration.store import fitted
from simcost.errors import SpecError
from simcost.hardware import load as hardware

GEMM = families()["gemm"]
LABELS = {"x": "bf16", "w": "bf16", "compute": "bf16"}


def rows(sizes: list[int], repeats: int) -> Rows:
    m = np.repeat(np.array(sizes, float), repeats)
    again = np.tile(np.arange(repeats), len(sizes))
    numbers = {"batch": np.ones_like(m), "m": m, "n": np.full_like(m, 4096.0), "k": np.full_like(m, 4096.0)}
    return Rows(numbers, 1e-5 + 6e-8 * m * (1.0 + 0.01 * again))


@pytest.mark.parametrize(("size", "large"), [
    ([1, 2, 3, 4, 5, 6], [6]), ([1, 1, 2, 2, 3, 3], [3, 3]), ([1, 2, 2, 2, 2, 2], [2] * 5), ([5, 5, 5], []), ([5], []), (range(12), [10, 11]),
])  # fmt: skip
def test_the_largest_sixth_is_there_unless_all_are_alike(size: list[int], large: list[int]) -> None:
    values = np.array(size, float)
    assert values[largest(values)].tolist() == large


@pytest.mark.parametrize(
    ("sizes", "repeats"),
    [([1024, 2048, 4096, 8192], 10), ([1024, 2048, 4096, 8192, 16384], 15), ([512 * i for i in range(1, 41)], 2)],
)
def test_repeats_of_few_shapes_are_judged(sizes: list[int], repeats: int) -> None:
    found = judged(GEMM, rows(sizes, repeats), LABELS, hardware.load("h200"))
    assert found.beyond is not None
    assert set(found.beyond.measured) <= set(
        rows(sizes, repeats).seconds[rows(sizes, repeats).numbers["m"] > np.median(sizes)]
    )
    assert np.isfinite(
        [found.score.median, found.score.p90, found.score.width, found.beyond.p90, found.curve.outer]
    ).all()


@pytest.mark.parametrize(
    ("sizes", "repeats", "thin"),
    [([1024], 60, True), ([1024, 2048, 4096, 8192], 4, True), ([1024, 2048, 4096, 8192], 10, False)],
)
def test_rows_of_one_shape_judge_nothing(sizes: list[int], repeats: int, thin: bool) -> None:
    assert is_thin(rows(sizes, repeats)) is thin


@pytest.mark.parametrize("sizes", [[1024], [1024, 2048]])
def test_a_curve_through_a_point_or_two_is_refused_in_a_line(sizes: list[int]) -> None:
    with pytest.raises(SpecError, match="no curve fits these rows: their shapes are too few"):
        fitted(GEMM, rows(sizes, 30), LABELS, hardware.load("h200"))


@pytest.mark.filterwarnings("error")
def test_sizes_out_of_all_proportion_are_refused_in_a_line() -> None:
    every = rows([64 * i for i in range(1, 41)], 1)
    with pytest.raises(SpecError, match="far too large or small"):
        fitted(
            GEMM, Rows({**every.numbers, "m": every.numbers["m"] * 1e300}, every.seconds), LABELS, hardware.load("h200")
        )
