"""Rows of a thinking question: caps, published levels, spreads that are assumed; and lists of prices."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from simcost.errors import SpecError
from simcost.provenance import Kind
from simcost.scenarios.think import prices
from simcost.scenarios.think.lengths import BUDGET, LEVEL, WHOLE, Said, answers
from simcost.thinking.published import usual_sigma


def test_caps_are_rows_in_ascending_order() -> None:
    """Answers of 1,000 tokens: a cap of 512 cuts all of them, one of 2,048 none; 50 tokens follow a cut thought."""
    found = answers(Said(osl=1000, budgets="2k,512", after=50), "any")
    assert (found.key, found.labels) == (BUDGET, (512, 2048))
    assert [cut.mean for cut in found.lengths] == [562.0, 1000.0]
    assert [cut.share for cut in found.lengths] == [1.0, 0.0]
    listed = answers(Said(osl=1000, budgets=[2048, 512], after="50"), "any")
    assert (listed.labels, [cut.mean for cut in listed.lengths]) == ((512, 2048), [562.0, 1000.0])


def test_one_distribution_is_one_row_with_its_cap() -> None:
    whole = answers(Said(osl="lognormal:2000:0.6"), "any")
    assert (whole.key, whole.labels, whole.ends, whole.rows) == (WHOLE, ("lognormal:2000:0.6",), None, ())
    assert whole.lengths[0].mean == pytest.approx(2000.0, rel=1e-6)
    assert whole.lengths[0].share == 0.0
    capped = answers(Said(osl="lognormal:2000:0.6", most="2k"), "any").lengths[0]
    assert capped.mean < 2000.0
    assert 0.0 < capped.share < 0.5  # the median of a log-normal lies below its mean
    answered = answers(Said(osl="lognormal:2000:0.6", most="2k", after=100), "any").lengths[0]
    assert answered.mean == pytest.approx(capped.mean + 100.0 * capped.share)


def test_published_levels_are_log_normal_with_the_spread_of_the_rows() -> None:
    """gpt-oss-120b, AIME 2025, high: a mean of 21,070 tokens and no median: the usual spread stands in, with its range."""
    found = answers(Said(levels="high", benchmark="AIME 2025"), "gpt-oss-120b")
    usual, low, high, number = usual_sigma()
    assert (found.key, found.labels) == (LEVEL, ("high",))
    (cut,) = found.lengths
    assert cut.mean == pytest.approx(21070.0, rel=1e-6)
    assert cut.second_moment / cut.mean**2 == pytest.approx(math.exp(usual**2), rel=1e-3)
    assert found.ends is not None
    for (end,), sigma in zip(found.ends, (low, high), strict=True):
        assert end.mean == pytest.approx(21070.0, rel=1e-6)
        assert end.second_moment / end.mean**2 == pytest.approx(math.exp(sigma**2), rel=1e-2)
    assert f"sigma {usual:.2f} of the log of lengths is assumed" in str(found.notes[-1])
    assert f"of {number} published rows" in str(found.notes[-1])
    assert [note.kind for note in found.notes] == [Kind.ORIGIN, Kind.ASSUMED]


def test_a_spread_that_is_stated_or_published_is_not_assumed() -> None:
    stated = answers(Said(levels="high", benchmark="AIME 2025", sigma=0.5), "gpt-oss-120b")
    assert stated.ends is None
    (cut,) = stated.lengths
    assert cut.second_moment / cut.mean**2 == pytest.approx(math.exp(0.25), rel=1e-3)
    assert len(stated.notes) == 1
    own = answers(Said(levels="thinking", of="deepseek-r1-0528", benchmark="LRMTokenEconomy math"), "another")
    assert own.ends is None
    sigma = math.log(14322.0 / 7108.0) / 1.6448536  # P95 over the median
    assert own.lengths[0].second_moment / own.lengths[0].mean ** 2 == pytest.approx(math.exp(sigma**2), rel=1e-3)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (Said(), "state how long answers are"),
        (Said(osl=10, levels="high"), "with either --osl"),
        (Said(levels="high,high"), "a level is given twice"),
        (Said(osl=10, of="gpt-oss-120b"), "--lengths-of applies to published lengths"),
        (Said(osl=10, benchmark="x"), "--benchmark applies to published lengths"),
        (Said(levels="high,low", budgets="1k"), "--budget needs one level"),
        (Said(levels="high", benchmark="AIME 2025", sigma=5.1), "--sigma = 5.1 must be"),
        (Said(levels="high", benchmark="AIME 2025", sigma=True), "--sigma = True must be"),
        (Said(osl=10, budgets="1k,2k,1024"), "--budget names 1,024 twice"),
        (Said(osl=10, budgets=[]), "--budget names 0 budgets"),
        (Said(osl=10, budgets=[1.5]), "--budget = 1.5 must be whole tokens"),
        (Said(osl=10, budgets=[True]), "must be whole tokens"),
        (Said(osl=10, most=10**8 + 1), "must be whole tokens from 1 to 100,000,000"),
        (Said(osl=10, after=5), "--answer is the answer after thinking was cut"),
        (Said(osl=10, budgets="1k", most="2k"), "leave out --max-osl"),
    ],
)
def test_lengths_that_are_none_are_one_line(said: Said, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        answers(said, "gpt-oss-120b")


# ---- prices ----------------------------------------------------------------------------------------------------------------


def test_a_query_by_a_price_list_by_hand() -> None:
    """1,000 tokens of prompt, 40 % of them cached, at 2 and 0.5 USD a million: 1,400 millionths; of three more answers the
    whole prompt from the cache, 500 each; a token of an answer 8."""
    found = prices.read("--usd-per-million", "2:8:0.5")
    assert found is not None
    assert (found.prompt, found.answer, found.cached, found.said) == (2.0, 8.0, 0.5, "2:8:0.5")
    one, four = (found.spent(1000.0, 0.4, width, 2) for width in (1, 4))
    assert one.fixed == pytest.approx([1400e-6] * 2)
    assert four.fixed == pytest.approx([2900e-6] * 2)
    assert one.each == pytest.approx([8e-6] * 2)
    assert np.shape(four.each) == (2,)


def test_without_a_price_of_the_cache_it_is_that_of_prompts() -> None:
    for said in ("2:8", (2, 8), [2.0, 8.0]):
        found = prices.read("--usd-per-million", said)
        assert found is not None
        assert (found.cached, found.said) == (2.0, "2:8")
        assert found.spent(1000.0, 0.4, 1, 1).fixed == pytest.approx([2000e-6])
    assert prices.read("--usd-per-million", None) is None
    free = prices.read("--usd-per-million", "0:8:0")
    assert free is not None
    assert free.spent(1000.0, 0.4, 3, 1).fixed.tolist() == [0.0]


@pytest.mark.parametrize(
    "said", ["2", "2:8:1:1", "2:0", "2:-1", "-1:2", "a:b", "nan:2", "1:inf", "1:1e6", (None, 2), ""]
)
def test_what_is_no_price_list_is_refused(said: Any) -> None:
    with pytest.raises(SpecError, match=r"write USD per million tokens .* as in 0\.28:0\.42"):
        prices.read("--usd-per-million", said)
