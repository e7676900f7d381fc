"""Lengths of prompts and answers: moments against sums over every length, draws, caps, and what people may write."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest

from simcost.errors import SpecError
from simcost.serving import lengths
from simcost.serving.lengths import Lengths
from simcost.serving.lengths_text import FORMS, parse

SHARES = np.linspace(0.0005, 0.9995, 1000)
TEXTS = [
    "1024",
    "921.6",
    "lognormal:1024:0.8",
    "lognormal:6:1.5",
    "uniform:128:2048",
    "exponential:512",
    "exponential:1.5",
]


def geometric_sums(mean: float, most: float) -> tuple[float, float]:
    """Mean and second moment, length by length."""
    r = 1.0 - 1.0 / mean
    n = np.arange(1, 20_000, dtype=np.float64)
    share = (1.0 - r) * r ** (n - 1.0)
    cut = np.minimum(n, most)
    return float(np.sum(share * cut)), float(np.sum(share * cut**2))


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("cap", [math.inf, 700.0, 3.0])
def test_moments_are_those_of_the_quantiles(text: str, cap: float) -> None:
    """The area under the quantiles and under their squares, at 200,000 points."""
    one = parse(text, "--isl").cap(cap)
    at = one.quantile((np.arange(200_000) + 0.5) / 200_000)
    assert float(np.mean(at)) == pytest.approx(one.mean, rel=2e-3)
    assert float(np.mean(at**2)) == pytest.approx(one.second_moment, rel=0.04)  # of a heavy tail
    assert np.all(np.diff(at) >= 0.0)
    assert at[0] >= 1.0
    assert at[-1] <= min(cap, one.longest)


@pytest.mark.parametrize("text", TEXTS)
def test_draws_are_whole_and_have_the_right_mean(text: str) -> None:
    one = parse(text, "--isl")
    drawn = one.samples(np.random.default_rng(1), 2000)
    assert drawn.dtype == np.int64
    assert drawn.min() >= 1
    # One draw in each of 2,000 equal parts: closer than half the standard error of as many independent ones.
    error = math.sqrt((one.second_moment - one.mean**2) / 2000)
    assert abs(float(drawn.mean()) - one.mean) <= 0.5 * error + 0.02  # tokens; rounding has an error of its own
    assert drawn.tobytes() == one.samples(np.random.default_rng(1), 2000).tobytes()
    assert not np.all(np.diff(drawn) >= 0) or one.quantile(SHARES)[0] == one.quantile(SHARES)[-1]
    capped = one.cap(5)
    assert capped.samples(np.random.default_rng(2), 2000).max() <= 5
    assert float(capped.samples(np.random.default_rng(2), 2000).mean()) == pytest.approx(capped.mean, rel=4e-3)


def test_one_length() -> None:
    one = parse("1024", "--isl")
    assert (one.mean, one.second_moment, one.longest) == (1024.0, 1024.0**2, 1024.0)
    assert set(one.samples(np.random.default_rng(0), 5).tolist()) == {1024}
    between = parse("921.6", "--isl")
    assert between.mean == pytest.approx(921.6, rel=1e-12)
    assert set(between.samples(np.random.default_rng(0), 50).tolist()) == {921, 922}


@pytest.mark.parametrize("cap", [math.inf, 100.0, 1.0])
def test_exponential_lengths_are_geometric(cap: float) -> None:
    one = lengths.exponential(300.0).cap(cap)
    assert (one.mean, one.second_moment) == pytest.approx(geometric_sums(300.0, cap), rel=1e-9)
    # P(length <= n) = 1 - (1 - 1/mean)^n
    at = one.quantile(np.array([0.5]))[0]
    assert at == min(math.ceil(math.log(0.5) / math.log1p(-1.0 / 300.0)), cap)


def test_uniform_lengths() -> None:
    one = parse("uniform:3:7", "--isl")
    assert (one.mean, one.second_moment) == (5.0, pytest.approx((9 + 16 + 25 + 36 + 49) / 5))
    assert one.quantile(np.array([0.0, 0.2, 0.21, 1.0])).tolist() == [3.0, 3.0, 4.0, 7.0]
    cut = one.cap(5)
    assert cut.mean == pytest.approx((3 + 4 + 5 + 5 + 5) / 5)
    assert one.cap(2).mean == 2.0
    assert one.cap(9) == one


def test_lognormal_states_the_mean_of_tokens() -> None:
    one = lengths.lognormal(1024.0, 0.8)
    assert one.mean == pytest.approx(1024.0, rel=1e-12)
    assert one.second_moment == pytest.approx(1024.0**2 * math.exp(0.8**2), rel=1e-9)
    median = 1024.0 * math.exp(-(0.8**2) / 2.0)
    want = [median * math.exp(0.8 * NormalDist().inv_cdf(u)) for u in (0.5, 0.99)]
    assert one.quantile(np.array([0.5, 0.99])).tolist() == pytest.approx(want, rel=1e-12)
    # A fifth of these would be below one token; the mean stands all the same.
    short = lengths.lognormal(6.0, 1.5)
    assert short.mean == pytest.approx(6.0, rel=1e-9)
    assert short.quantile(np.array([0.1])).tolist() == [1.0]
    assert lengths.lognormal(50.0, 0.0) == lengths.constant(50.0)


def written(path: Path, text: str) -> Lengths:
    path.write_text(text, encoding="utf-8")
    return parse(f"file:{path}", "--osl")


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "lengths.csv"
    plain = written(path, "10\n20\n\n30\n20\n")
    assert (plain.mean, plain.second_moment) == (20.0, pytest.approx(450.0))
    assert written(path, "tokens\n10\n20\n30\n20\n") == plain
    assert written(path, "\ufeffisl,osl\n5,10\n5,20\n5,30\n5,20\n") == plain
    assert written(path, "tokens, weight\n10,1\n20,2\n30,1\n99,0\n") == plain
    drawn = plain.samples(np.random.default_rng(0), 400)
    assert {int(n): int(np.sum(drawn == n)) for n in np.unique(drawn)} == {10: 100, 20: 200, 30: 100}
    assert plain.cap(25).mean == pytest.approx((10 + 20 + 25 + 20) / 4)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lognorml:1024:0.8", f"--isl lognorml:1024:0.8: unknown length ({FORMS}); did you mean 'lognormal'?"),
        ("", "--isl : unknown length"),
        ("1024:2", "unknown length"),
        ("0", "--isl 0: length = 0 is out of range (1 to 100,000,000)"),
        ("-5", "length = -5 is out of range"),
        ("1_024", "unknown length"),
        ("nan", "unknown length"),
        ("lognormal:1024", "--isl lognormal:1024: write lognormal:MEAN:SIGMA with plain numbers"),
        ("lognormal:1k:0.8", "write lognormal:MEAN:SIGMA with plain numbers"),
        ("lognormal:1024:6", "SIGMA = 6 is out of range (0 to 5)"),
        ("lognormal:0.5:1", "MEAN = 0.5 is out of range (1 to 100,000,000)"),
        ("uniform:9:3", "--isl uniform:9:3: LEAST = 9 is above MOST = 3"),
        ("uniform:1.5:3", "LEAST = 1.5 must be a whole number"),
        ("exponential:inf", "write exponential:MEAN with plain numbers"),
        ("file:nowhere.csv", "--isl file:nowhere.csv: nowhere.csv: No such file or directory"),
    ],
)
def test_what_cannot_be_read_is_one_line(text: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(text, "--isl")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no lengths"),
        ("tokens\n", "no lengths"),
        ("prompt\n3\n", "no column 'osl' or 'tokens' (columns: prompt)"),
        ("isl\n3\n", "no column 'osl' or 'tokens' (columns: isl)"),
        ("osl,osl\n3,4\n", "column 'osl' appears twice"),
        ("osl,weight\n3\n", "row 2: 1 cells, not 2"),
        ("osl\n3\n4.5\n", "row 3: '4.5' is not a whole number from 1 to 100,000,000"),
        ("3\n0\n", "row 2: '0' is not a whole number"),
        ("osl,weight\n3,-1\n", "row 2: weight -1 is below 0"),
        ("osl,weight\n3,x\n", "row 2: 'x' is not a weight"),
        ("osl,weight\n3,0\n", "all weights are 0"),
    ],
)
def test_what_a_file_cannot_hold_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        written(tmp_path / "lengths.csv", text)
    assert str(caught.value).startswith(f"--osl file:{tmp_path / 'lengths.csv'}: ")
    assert said in str(caught.value)


def test_a_cap_below_one_token_is_refused() -> None:
    with pytest.raises(SpecError, match="maximum length = 0 is out of range"):
        lengths.constant(5.0).cap(0)
