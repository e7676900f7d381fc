"""Steps that verify drafts: tokens of a step against every way in which drafts are taken, and answers counted in steps."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from simcost.serving.lengths import uniform
from simcost.serving.speculative import InSteps, emitted


@pytest.mark.parametrize("acceptance", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("drafts", [0, 1, 4])
def test_a_step_makes_the_drafts_before_the_first_refused_and_one_more(drafts: int, acceptance: float) -> None:
    total = 0.0
    for taken in itertools.product((True, False), repeat=drafts):
        chance = float(np.prod([acceptance if each else 1.0 - acceptance for each in taken]))
        before = next((at for at, each in enumerate(taken) if not each), drafts)
        total += chance * (before + 1)
    assert emitted(drafts, acceptance) == pytest.approx(total)


def test_acceptances_in_an_array_are_answered_one_by_one() -> None:
    assert np.asarray(emitted(2, np.array([0.0, 0.5, 1.0]))).tolist() == [1.0, 1.75, 3.0]


# 1 to 301 tokens, each as likely, in steps of 2.5 after the prompt's.
TOKENS = np.arange(1.0, 302.0)
STEPS = InSteps(uniform(1, 301), 2.5)
EACH = 1.0 + (TOKENS - 1.0) / 2.5


def test_moments_of_steps_are_those_of_every_length() -> None:
    assert STEPS.mean == pytest.approx(EACH.mean())
    assert STEPS.second_moment == pytest.approx(np.mean(EACH**2))
    assert STEPS.longest == EACH[-1] == 121.0
    at = (np.arange(301) + 0.5) / 301
    assert STEPS.quantile(at) == pytest.approx(EACH, abs=0.5 / 2.5)


@pytest.mark.parametrize("most", [1.0, 61.0, 121.0])
def test_a_cap_is_one_of_steps(most: float) -> None:
    capped = np.minimum(EACH, most)
    found = STEPS.cap(most)
    assert found.longest == most
    assert found.mean == pytest.approx(capped.mean())
    assert found.second_moment == pytest.approx(np.mean(capped**2))


def test_draws_are_whole_steps_and_one_at_least() -> None:
    drawn = STEPS.samples(np.random.default_rng(2), 4000)
    assert drawn.dtype == np.int64
    assert drawn.min() == 1
    assert drawn.max() == 121
    assert float(drawn.mean()) == pytest.approx(EACH.mean(), rel=2e-3)
