"""Ladders: what is nearest to given times and does not fall, and curves that are fitted to such times."""

from __future__ import annotations

import numpy as np
import pytest

from simcost.calibration import ladders, store
from simcost.calibration.curves import curve
from simcost.calibration.family import families
from simcost.calibration.rows import Rows
from simcost.hardware import load as hardware


def test_what_rises_stays_and_what_falls_is_pooled() -> None:
    found = ladders.risen(np.array([[1.0, 2.0, 3.0, 4.0], [3.0, 1.0, 2.0, 5.0], [4.0, 3.0, 2.0, 1.0]]))
    assert np.allclose(found, [[1, 2, 3, 4], [2, 2, 2, 5], [2.5, 2.5, 2.5, 2.5]])


@pytest.mark.parametrize("seed", range(5))
def test_the_nearest_rising_values_keep_the_mean_and_are_their_own_nearest(seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=(7, 19))
    found = ladders.risen(values)
    assert np.all(np.diff(found, axis=1) >= -1e-12)
    assert np.allclose(found.mean(axis=1), values.mean(axis=1))
    assert np.allclose(ladders.risen(found), found)


def test_ladders_are_of_the_layers_that_rows_hold() -> None:
    gemm = families()["gemm"]
    numbers = {
        "batch": np.ones(6),
        "m": np.array([1.0, 2, 4, 8, 16, 32]),
        "n": np.full(6, 512.0),
        "k": np.full(6, 256.0),
    }
    ((kernels, count),) = ladders.ladders(gemm, Rows(numbers, np.ones(6)))
    assert count == len(kernels) == 6
    assert np.all(np.diff(kernels.numbers["m"]) > 0)


def test_a_curve_through_rows_that_start_slowly_hardly_falls() -> None:
    """Products of one to three rows that take a third longer than of four, in every layer, on a clock that is wrong by 5 %."""
    gemm, h200 = families()["gemm"], hardware.load("h200")
    labels = {"x": "bf16", "w": "bf16", "compute": "bf16"}
    random = np.random.default_rng(3)
    m = np.floor(np.exp(random.uniform(0.0, 7.0, 400)))
    n, k = np.floor(
        np.exp(random.uniform(7.0, 9.5, (2, 400)))
    )  # no layer twice: none is a site, whose rows are kept as they are
    numbers = {"batch": np.ones(400), "m": m, "n": n, "k": k}
    noise = np.exp(random.normal(0.0, 0.05, 400))
    seconds = (4e-6 + 2.0 * n * k / 4e12 + 2.0 * m * n * k / 6e14) * np.where(m < 4, 1.35, 1.0) * noise
    terms, points = store.row_terms(gemm, Rows(numbers, seconds), labels, h200)
    levelled, free = store.fitted(gemm, Rows(numbers, seconds), labels, h200), curve.fit(terms, points, seconds)
    along = np.array([1.0, 2, 3, 4, 6, 8, 16, 32, 64, 128])
    asked = {"batch": np.ones(10), "m": along, "n": np.full(10, 4096.0), "k": np.full(10, 6144.0)}
    falls = []
    for one in (levelled, free):
        found = one.predict(*store.row_terms(gemm, Rows(asked, np.ones(10)), labels, h200)).seconds
        falls.append(float(np.max(np.maximum.accumulate(found) / found)) - 1.0)
    assert falls[0] < 0.1 < 0.25 < falls[1], falls
