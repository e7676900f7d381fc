"""What a thousand tokens buy, and when training pays: by hand."""

from __future__ import annotations

import numpy as np
import pytest

from simcost.thinking.worth import break_even, steps


def test_a_dollar_of_thinking_against_one_of_the_larger_model() -> None:
    found = steps(
        np.array([1000.0, 3000.0, 7000.0]), np.array([0.01, 0.03, 0.07]), np.array([0.5, 0.7, 0.74]), np.array([0.05, 0.10]), np.array([0.8, 0.9])
    )  # fmt: skip
    assert found.gain == pytest.approx([0.1, 0.01])
    assert found.usd == pytest.approx([0.01, 0.01])
    assert found.per_usd == pytest.approx([10.0, 1.0])
    assert found.larger_per_usd == pytest.approx([0.3 / 0.04, 0.1 / 0.02])  # 7.5 below 10, 5 above 1
    assert found.larger.tolist() == [0, 0]
    assert found.beyond == 1


def test_a_larger_model_that_is_no_better_is_never_taken() -> None:
    found = steps(np.array([1.0, 2.0]), np.array([1.0, 2.0]), np.array([0.5, 0.5]), np.array([0.1]), np.array([0.5]))
    assert found.beyond is None
    assert found.larger.tolist() == [-1]


def test_one_that_is_better_and_cheaper_is_taken_at_once() -> None:
    found = steps(np.array([1.0, 2.0]), np.array([1.0, 2.0]), np.array([0.5, 0.6]), np.array([0.1]), np.array([0.7]))
    assert found.beyond == 0


def test_unknown_accuracies_decide_nothing() -> None:
    nan = float("nan")
    found = steps(
        np.array([1.0, 2.0, 3.0]),
        np.array([1.0, 2.0, 3.0]),
        np.array([nan, 0.5, 0.6]),
        np.array([1.0]),
        np.array([nan]),
    )
    assert np.isnan(found.per_usd[0])
    assert found.beyond is None


def test_queries_that_pay_a_training() -> None:
    usd, accuracy = np.array([0.01, 0.02, 0.04]), np.array([0.5, 0.7, 0.8])
    found = break_even(1000.0, usd, accuracy, usd, np.array([0.6, 0.8, 0.9]))
    assert found.usd == pytest.approx([0.01, 0.015, 0.02])  # half of the way from 0.6 to 0.8
    assert found.saved == pytest.approx([0.0, 0.005, 0.02])
    assert np.isnan(found.queries[0])
    assert found.queries[1:] == pytest.approx([200_000.0, 50_000.0])
