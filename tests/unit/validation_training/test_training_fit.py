"""The split by ids, and factors that a fit finds, keeps, or leaves alone."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from simcost.training.stack import MOST
from simcost.validation.training import fit
from simcost.validation.training.split import FEW, HASHED, LEFT_OUT, MOST_OF_FEW, fingerprint, is_fitted, split

NAMES = ("kernels", "communication")


def _rows(count: int) -> list[dict[str, float]]:
    """Steps whose classes do not go up and down together."""
    draw = np.random.default_rng(0)
    return [
        {"kernels": float(a), "communication": float(b), "optimizer": 0.05}
        for a, b in draw.uniform(0.2, 2.0, (count, 2))
    ]


def _times(rows: list[dict[str, float]], **factors: float) -> list[float]:
    return [sum(value * factors.get(name, 1.0) for name, value in row.items()) for row in rows]


def test_the_split_is_the_hash_of_the_id() -> None:
    ids = [f"row-{number}" for number in range(200)]
    assert [is_fitted(id) for id in ids] == [int(hashlib.sha256(id.encode()).hexdigest(), 16) % 10 >= 3 for id in ids]
    found = split(ids)
    assert (found.kind, found.most) == (HASHED, MOST)
    assert not set(found.fitted) & set(found.judged)
    assert set(found.fitted) | set(found.judged) == set(ids)
    assert 0.2 < len(found.judged) / len(ids) < 0.4


def test_few_rows_are_left_out_one_by_one() -> None:
    few = split([f"row-{number}" for number in range(FEW)])
    assert (few.kind, few.most, few.fitted) == (LEFT_OUT, MOST_OF_FEW, few.judged)


def test_a_fit_finds_the_factors_of_exact_steps() -> None:
    rows = _rows(40)
    found = fit.fitted(_times(rows, kernels=1.3, communication=0.4), fit.additive(rows, lambda row: row, NAMES), 2)
    assert found == pytest.approx([1.3, 0.4], rel=0.02)  # a weak pull to 1


def test_a_row_that_no_factor_explains_hardly_bends_the_others() -> None:
    rows = _rows(40)
    times = _times(rows, kernels=1.3, communication=0.4)
    times[0] *= 3.0
    found = fit.fitted(times, fit.additive(rows, lambda row: row, NAMES), 2)
    assert found == pytest.approx([1.3, 0.4], rel=0.04)


def test_a_class_that_no_row_has_keeps_its_factor() -> None:
    rows = [{"kernels": 1.0 + number, "communication": 0.0} for number in range(8)]
    found = fit.fitted(_times(rows, kernels=1.2), fit.additive(rows, lambda row: row, NAMES), 2)
    assert found == pytest.approx([1.2, 1.0], rel=1e-3)


def test_a_factor_is_never_negative() -> None:
    rows = _rows(30)
    times = [row["kernels"] * 0.5 for row in rows]  # all that is not a kernel took less than nothing
    found = fit.fitted(times, fit.additive(rows, lambda row: row, NAMES), 2)
    assert min(found) >= fit.LEAST


def test_slopes_find_what_terms_find() -> None:
    rows = _rows(20)

    def predict(row: dict[str, float], factors: dict[str, float]) -> float:
        return _times([row], **factors)[0]

    times = _times(rows, kernels=0.8, communication=1.9)
    one, other = (
        fit.fitted(times, steps, 2)
        for steps in (fit.additive(rows, lambda row: row, NAMES), fit.numeric(rows, predict, NAMES))
    )
    assert one == pytest.approx(other, rel=1e-3)


def test_slopes_fit_a_step_that_is_no_sum() -> None:
    """Communication hides behind kernels, and only what sticks out is seen."""
    rows = _rows(40)

    def predict(row: dict[str, float], factors: dict[str, float]) -> float:
        kernels, traffic = (row[name] * factors.get(name, 1.0) for name in NAMES)
        return max(kernels, traffic) + 0.05

    times = [predict(row, {"kernels": 1.4, "communication": 1.1}) for row in rows]
    assert fit.fitted(times, fit.numeric(rows, predict, NAMES), 2) == pytest.approx([1.4, 1.1], rel=0.01)


def test_the_widest_classes_are_chosen_without_measured_times() -> None:
    terms = [{"kernels": 5.0, "host": 0.1, "communication": 2.0, "elementwise": 1.0, "optimizer": 9.0}]
    names = ("kernels", "elementwise", "communication", "cross_entropy", "host")
    assert fit.widest(terms, names, 2) == ("kernels", "communication")
    assert fit.widest(terms, names, 5) == ("kernels", "elementwise", "communication", "host")


def test_a_fingerprint_changes_with_rows_and_times_alone() -> None:
    one = fingerprint(["a", "b"], [1.0, 2.0])
    assert one == fingerprint(["b", "a"], [2.0, 1.0])
    assert one != fingerprint(["a", "b"], [1.0, 2.5])
