"""What several curves say together: means of logs, joined errors, how far engines lie apart, and what is a sibling's or measured."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from toykit import device

from simcost.calibration.curves.curve import Prediction
from simcost.calibration.family import At
from simcost.calibration.form import Terms
from simcost.calibration.store import Found, Voice
from simcost.cost.combine import heard
from simcost.num import Array, Ints
from simcost.provenance import Basis

SMALL, BIG = 1e-6, 1e-3  # seconds of light: below and above where a kernel's start matters
TERMS = Terms(np.array([SMALL, BIG]), np.array([0.0, 0.0]), np.array([0.0, 0.0]), np.array([1.0, 1.0]), ())
POINTS = At(np.zeros((2, 1)), np.zeros((2, 1)))


class Curve:
    """A curve that answers what it is told."""

    def __init__(self, seconds: list[float], sigma: float, measured: bool = False, start: float = 0.0) -> None:
        self.said = Prediction(
            np.array(seconds),
            start,
            np.array(seconds),
            0.0,
            np.full(len(seconds), sigma),
            np.full(len(seconds), measured),
        )

    def predict(self, terms: Terms, points: At) -> Prediction:
        return self.said

    def table_of(self, part: Array) -> Ints:
        return np.asarray(part, np.int64)


def voice(seconds: list[float], sigma: float = 0.1, measured: bool = False, start: float = 0.0, **more: Any) -> Voice:
    return Voice(Curve(seconds, sigma, measured, start), "a table", **more)  # type: ignore[arg-type]


def found(*voices: Voice, **more: Any) -> Found:
    return Found(voices, Basis.FITTED, "gemm", device(), **{"between": (0.4, 0.2), **more})


def test_voices_agree_on_the_geometric_mean() -> None:
    said = heard(found(voice([1.0, 2.0]), voice([4.0, 2.0])), TERMS, POINTS)
    assert said.seconds.tolist() == pytest.approx([2.0, 2.0])


@pytest.mark.parametrize("count", [1, 2, 5])
def test_errors_of_voices_join_as_the_mean_of_correlated_ones(count: int) -> None:
    random = np.random.default_rng(2)
    shared = random.standard_normal(200_000)
    logs = [math.sqrt(0.35) * shared + math.sqrt(0.65) * random.standard_normal(200_000) for _ in range(count)]
    said = heard(found(*[voice([1.0, 1.0], 0.3)] * count), TERMS, POINTS)
    assert said.sigma[0] == pytest.approx(0.3 * np.std(np.mean(logs, axis=0)), rel=0.01)


def test_engines_differ_by_what_they_do_here_and_by_no_less_than_half_of_all() -> None:
    apart = heard(found(voice([1.0, 1.0]), voice([4.0, 1.0])), TERMS, POINTS).between
    assert apart.tolist() == pytest.approx([math.log(4.0) / 2, 0.5 * 0.2])


@pytest.mark.parametrize(("asked", "others", "between"), [
    (False, False, [0.4, 0.2]), (True, False, [0.0, 0.0]), (True, True, [0.4, 0.2]), (False, True, [0.4, 0.2]),
])  # fmt: skip
def test_one_voice_differs_from_engines_unless_it_is_the_one_asked_for(
    asked: bool, others: bool, between: list[float]
) -> None:
    said = heard(found(voice([1.0, 1.0], others=(others,)), asked=asked), TERMS, POINTS)
    assert said.between.tolist() == pytest.approx(between)


def test_a_row_is_measured_where_all_voices_have_it_and_none_is_lent() -> None:
    own, fitted = voice([1.0, 1.0], measured=True), voice([1.0, 1.0])
    lent = voice([1.0, 1.0], measured=True, lent=(True,))
    for voices, measured, share in (((own,), True, 0.0), ((own, fitted), False, 0.0), ((own, lent), False, 0.5)):
        said = heard(found(*voices), TERMS, POINTS)
        assert said.measured.tolist() == [measured, measured]
        assert said.lent.tolist() == [share, share]


def test_points_of_several_tables_know_which_of_them_is_lent() -> None:
    several = voice([1.0, 1.0], lent=(False, True), others=(False, False))
    assert heard(found(several), TERMS, POINTS, np.array([0, 1])).lent.tolist() == [0.0, 1.0]
    assert heard(found(several), TERMS, POINTS, np.array([1, 0])).lent.tolist() == [1.0, 0.0]
    assert heard(found(several), TERMS, POINTS).lent.tolist() == [0.0, 0.0]


def test_a_starts_share_is_of_start_and_work_together() -> None:
    said = heard(found(voice([1.0, 3.0], start=1.0), voice([1.0, 3.0], start=0.0)), TERMS, POINTS)
    assert said.start.tolist() == pytest.approx([0.5 / 2, 0.25 / 2])


@pytest.mark.parametrize(("compute", "memory", "serial", "large"), [
    (19e-6, 0.0, 0.0, False), (21e-6, 0.0, 0.0, True), (0.0, 15e-6, 6e-6, True), (0.0, 15e-6, 4e-6, False), (15e-6, 15e-6, 4e-6, False),
])  # fmt: skip
def test_a_kernel_is_large_by_its_arithmetic_or_by_all_its_bytes(
    compute: float, memory: float, serial: float, large: bool
) -> None:
    terms = Terms(np.array([compute]), np.array([memory]), np.array([serial]), np.array([1.0]), ())
    said = heard(found(voice([1.0])), terms, At(np.zeros((1, 1)), np.zeros((1, 1))))
    assert said.between.tolist() == [0.2 if large else 0.4]
