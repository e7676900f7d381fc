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


def test_rows_count_linearly_from_the_spread_of_most_of_them() -> None:
    """Huber's 1.345 standard deviations, which a fifth of rows off by far hardly move, and never finer than rows are printed."""
    errors = np.random.default_rng(1).normal(0.0, 0.05, 4000)
    assert fit.linear_from(errors, 0) == pytest.approx(1.345 * 0.05, rel=0.05)
    errors[::5] = 0.5
    assert fit.linear_from(errors, 0) < 1.4 * 1.345 * 0.05
    assert fit.linear_from(errors[:8], 4) > fit.linear_from(errors[:8], 0)
    assert fit.linear_from(0.0 * errors, 0) == fit.FINEST
    assert fit.linear_from(10.0 * errors, 0) == fit.GREATEST_SPREAD


def test_rows_of_another_software_hardly_bend_a_precise_source() -> None:
    rows = _rows(40)
    noise = np.random.default_rng(2).normal(0.0, 0.01, 40)
    slower = np.where(np.arange(40) % 5 == 0, 1.12, 1.0)
    times = list(np.array(_times(rows, kernels=1.3, communication=0.4)) * np.exp(noise) * slower)
    found = fit.fitted(times, fit.additive(rows, lambda row: row, NAMES), 2)
    assert found == pytest.approx([1.3, 0.4], rel=0.02)


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


def test_a_class_that_parts_rows_comes_second_where_it_counts() -> None:
    names = ("kernels", "elementwise", "network")
    rows = [{"kernels": 6.0, "elementwise": 3.0, "network": share} for share in (0.0, 0.0, 1.5, 1.5)]
    assert fit.widest(rows, names, 2) == ("kernels", "network")
    few = [{**row, "network": row["network"] / 10.0} for row in rows]  # 1.6 % of a step: no row can show it
    assert fit.widest(few, names, 2) == ("kernels", "elementwise")


def test_a_fingerprint_changes_with_rows_and_times_alone() -> None:
    one = fingerprint(["a", "b"], [1.0, 2.0])
    assert one == fingerprint(["b", "a"], [2.0, 1.0])
    assert one != fingerprint(["a", "b"], [1.0, 2.5])
