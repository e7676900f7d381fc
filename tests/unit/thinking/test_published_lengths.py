"""Published lengths: rows say what they are, and the assumed spread is that of the rows that state one."""

from __future__ import annotations

import math

import pytest

from simcost.errors import SpecError
from simcost.thinking.published import ANSWER, find, rows, usual_sigma


def test_no_row_is_the_total_of_a_suite() -> None:
    assert len(rows()) == 118
    assert all(100.0 > row.tokens / 1000.0 > 0.05 for row in rows())
    assert not any("suite" in f"{row.benchmark}{row.note}".lower() for row in rows())


def test_easy_prompts_are_said_to_be_easy() -> None:
    easy = [row for row in rows() if "LRMTokenEconomy" in row.benchmark]
    assert len(easy) == 54
    assert all("easy prompts" in row.said for row in easy)


def test_what_is_read_from_a_figure_says_so() -> None:
    low, middle, high = (find("gpt-oss-20b", level, "AIME 2025") for level in ("low", "medium", "high"))
    assert [row.tokens for row in (low, middle, high)] == [1000.0, 7000.0, 20000.0]
    assert all(row.certainty == "unsure" for row in (low, middle, high))
    assert "the middle is taken" in middle.said
    assert "a lower end" in high.said


def test_published_rows_by_hand() -> None:
    row = find("GPT-OSS-120B", "high", "aime 2025")  # names in any case
    assert (row.mean, row.accuracy, row.certainty, row.sigma) == (21070.0, 0.9417, "published", None)
    math_row = find("deepseek-r1-0528", "thinking", "LRMTokenEconomy math")
    assert math_row.sigma == pytest.approx(math.log(14322 / 7108) / 1.645, rel=1e-3)


def test_the_assumed_spread_is_the_middle_of_the_rows_that_state_one() -> None:
    middle, low, high, number = usual_sigma()
    known = sorted(row.sigma for row in rows() if row.kind == ANSWER and row.sigma is not None)
    assert number == len(known) == 52
    assert middle == (known[25] + known[26]) / 2.0
    assert known[4] <= low <= known[6]
    assert known[-7] <= high <= known[-5]
    # A log-normal distribution through median and P95 has the published mean: within 5 % in the middle of the rows.
    ratios = sorted(row.median * math.exp(row.sigma**2 / 2) / row.mean for row in rows() if row.sigma and row.median and row.mean)  # fmt: skip
    assert abs(ratios[len(ratios) // 2] - 1.0) < 0.05


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (("gpt-oss-12b", "high", None), "did you mean 'gpt-oss-120b'"), (("gpt-oss-120b", "hihg", None), "did you mean 'high'"),
        (("gpt-oss-120b", "high", None), "several benchmarks: choose one with --benchmark \\(AIME 2024"), (("gpt-oss-120b", "high", "AIME"), "state them with --osl"),
    ],
)  # fmt: skip
def test_lengths_that_nobody_published(asked: tuple[str, str, str | None], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        find(*asked)
