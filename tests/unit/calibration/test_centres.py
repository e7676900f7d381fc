"""Centres of a curve: each the farthest from those before it, by distances that are added in one order whatever the path."""

from __future__ import annotations

import numpy as np
import pytest

from simcost.calibration.curves import residual
from simcost.calibration.curves.weights import column_sums


@pytest.mark.parametrize("dimensions", [1, 3, 7, 8, 9])
@pytest.mark.parametrize("rows", [1, 5, 33, 300])
def test_centres_are_the_farthest_in_turn(dimensions: int, rows: int) -> None:
    points = np.random.default_rng(rows * dimensions).normal(size=(rows, dimensions)).round(1)  # with ties

    def squared(point: np.ndarray) -> np.ndarray:
        return np.asarray(column_sums(np.square(points.T.copy() - point[:, None])))

    wanted = [int(np.argmin(squared(points.mean(axis=0))))]
    while len(wanted) < min(40, rows):
        wanted.append(int(np.argmax(np.min([squared(points[one]) for one in wanted], axis=0))))
    assert residual.farthest(points, 40).tolist() == wanted


def test_no_step_of_the_search_for_lengths_is_judged_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[bytes, float]] = []
    judge = residual._evidence

    def told(kernels: residual._Kernels, target: np.ndarray, lengths: np.ndarray, ratio: float, *more: object) -> float:
        asked.append((lengths.tobytes(), ratio))
        return judge(kernels, target, lengths, ratio, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(residual, "_evidence", told)
    x = np.random.default_rng(1).uniform(0.0, 5.0, (60, 3))
    residual.lengths_of(x, np.sin(x[:, 0]) + 0.1 * x[:, 1])
    assert len(asked) > 10
    assert len(set(asked)) == len(asked)
