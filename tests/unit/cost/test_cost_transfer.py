"""What a time becomes on another device or in another format, and what is left of one that was timed with others."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from toykit import device

from simcost.calibration.form import Terms
from simcost.calibration.store import Found, Voice
from simcost.cost.combine import Heard
from simcost.cost.transfer import carried, without_rest
from simcost.provenance import Basis


def spoken(seconds: list[float], sigma: float) -> Heard:
    n = len(seconds)
    return Heard(np.array(seconds), np.zeros(n), np.full(n, sigma), np.zeros(n), np.ones(n, bool), np.zeros(n))


def test_half_of_what_the_form_takes_off_may_be_wrong() -> None:
    part = without_rest(spoken([1.0, 2.0], 0.3), spoken([2.0, 2.0], 0.1))
    assert part.sigma.tolist() == pytest.approx([math.hypot(0.3, math.log(2.0) / 2), 0.3])
    assert part.seconds.tolist() == [1.0, 2.0]
    assert not part.measured.any()


class Form:
    """Seconds of the form: a share of the terms' arithmetic and a share of their bytes."""

    def seconds(self, terms: Terms) -> Any:
        return np.asarray(terms.compute_s) + np.asarray(terms.memory_s)


@pytest.mark.parametrize(("mine", "theirs", "start", "like", "factor"), [
    # light doubles, the form doubles: twice; a start of all the time moves nothing
    ((2.0, 0.0), (1.0, 0.0), 0.0, False, 2.0), ((2.0, 0.0), (1.0, 0.0), 0.5, False, 1.5),
    ((2.0, 2.0), (1.0, 1.0), 0.0, False, 2.0), ((2.0, 2.0), (1.0, 2.0), 0.0, False, 1.0),
    # the light says 2, the form 5/4: what changes less
    ((4.0, 1.0), (2.0, 2.0), 0.0, False, 1.25),
    # they disagree which way: none; of another format the light alone counts
    ((4.0, 1.0), (3.0, 3.0), 0.0, False, 1.0), ((4.0, 1.0), (3.0, 3.0), 0.0, True, 4 / 3),
])  # fmt: skip
def test_a_time_is_carried_by_the_reason_that_changes_it_less(
    mine: tuple[float, float], theirs: tuple[float, float], start: float, like: bool, factor: float
) -> None:
    def terms(one: tuple[float, float]) -> Terms:
        return Terms(np.array([one[0]]), np.array([one[1]]), np.array([0.0]), np.array([1.0]), ())

    curve: Any = type("Shaped", (), {"form": Form()})()
    found = Found((Voice(curve, "a table"),), Basis.FITTED, "gemm", device(), like=("bf16",) if like else None)
    by = carried(found, terms(mine), terms(theirs), "gemm", np.array([start]))
    assert by.tolist() == pytest.approx([factor])


def test_several_forms_speak_with_their_mean_in_logs() -> None:
    """One says four times, one the same time: twice; the light says eight times."""
    forms = [type("Shaped", (), {"form": type("Form", (), {"seconds": staticmethod(seconds)})}) for seconds in (
        lambda terms: terms.bytes, lambda terms: 1.0 + 0.0 * terms.bytes,
    )]  # fmt: skip
    curves: list[Any] = [shaped() for shaped in forms]
    found = Found(tuple(Voice(curve, "a table") for curve in curves), Basis.FITTED, "gemm", device())
    one, other = (
        Terms(np.array([t]), np.array([0.0]), np.array([0.0]), np.array([b]), ()) for t, b in ((8.0, 4.0), (1.0, 1.0))
    )
    assert carried(found, one, other, "gemm", np.array([0.0])).tolist() == pytest.approx([2.0])
