"""Several answers at a time: sums and longest against draws, closed forms where lengths are equal."""

from __future__ import annotations

import numpy as np
import pytest

from simcost.errors import SpecError
from simcost.serving.lengths import Lengths, constant, exponential, lognormal, uniform
from simcost.thinking.budget import Cut, cut
from simcost.thinking.parallel import ONE, longest, made, parse, sum_quantiles


def drawn(each: Cut, how: str, runs: int = 40_000) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """(tokens, tokens one after the other) of so many queries."""
    p = parse(how)
    u = np.random.default_rng(7).random((runs, p.levels, p.width))
    tokens = each.quantile(u) / p.levels
    return tokens.sum(axis=(1, 2)), tokens.max(axis=2).sum(axis=1)


@pytest.mark.parametrize("whole", [lognormal(4000.0, 0.8), exponential(300.0), uniform(10, 900)])
@pytest.mark.parametrize("how", ["single", "best:2", "majority:16", "tree:8:2:4"])
def test_sums_and_longest_are_those_of_draws(whole: Lengths, how: str) -> None:
    each = cut(whole, 6000.0, 100.0)
    sums, last = drawn(each, how)
    for found, want in ((made([each], parse(how)), sums), (longest([each], parse(how)), last)):
        assert found.mean[0] == pytest.approx(np.mean(want), rel=0.01)
        assert found.p50[0] == pytest.approx(np.quantile(want, 0.5), rel=0.015)
        assert found.p95[0] == pytest.approx(np.quantile(want, 0.95), rel=0.015)


@pytest.mark.parametrize("how", ["best:8", "tree:16:4:8"])
def test_equal_lengths_have_a_closed_form(how: str) -> None:
    answers, p = [cut(constant(500.0), 1e4), cut(constant(2e4), 1e4)], parse(how)
    for found, times in ((made(answers, p), p.width), (longest(answers, p), 1)):
        for value in (found.mean, found.p50, found.p95):
            assert value == pytest.approx([500.0 * times, 1e4 * times])


def test_the_longest_of_many_exponential_answers_is_a_harmonic_sum() -> None:
    answers = [cut(exponential(10_000.0), np.inf)]
    want = 10_000.0 * sum(1.0 / k for k in range(1, 9))
    assert longest(answers, parse("best:8")).mean[0] == pytest.approx(want, rel=5e-3)


@pytest.mark.parametrize("width", [2, 5])
def test_the_longest_of_several_uniform_answers_has_its_exact_mean(width: int) -> None:
    """Of lengths 1 to n, each as likely: the sum of x·(xʷ - (x - 1)ʷ)/nʷ."""
    x = np.arange(1.0, 5001.0)
    want = float(np.sum(x * (x**width - (x - 1.0) ** width)) / 5000.0**width)
    found = longest([cut(uniform(1, 5000), np.inf)], parse(f"best:{width}")).mean[0]
    assert found == pytest.approx(want, rel=1e-4)


@pytest.mark.parametrize("text", ["single", "best:8", "majority:16", "tree:8:2:4"])
def test_a_way_to_answer_is_said_as_it_is_written(text: str) -> None:
    assert parse(text).said == text


def test_one_answer_is_the_distribution_itself() -> None:
    each = cut(lognormal(900.0, 0.5), np.inf)
    for found in (made([each], ONE), longest([each], ONE)):
        assert found.mean[0] == each.mean
        assert [found.p50[0], found.p95[0]] == each.quantile(np.array([0.5, 0.95])).tolist()


def test_a_sum_of_two_dice() -> None:
    dice = np.arange(1.0, 7.0)[None, :]
    found = sum_quantiles(dice, 2, np.array([1 / 36, 0.5, 35 / 36]))[0]
    assert found == pytest.approx([2.0, 7.0, 11.0], abs=0.01)


@pytest.mark.parametrize(
    ("text", "words"),
    [("bets:4", "did you mean 'best'"), ("best", "best:N"), ("best:0", "whole numbers"), ("tree:8:3:2", "not a whole number of 3"), ("best:5000", "at most 1,024")],
)  # fmt: skip
def test_what_is_no_way_to_answer(text: str, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        parse(text)
