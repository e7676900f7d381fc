"""Training longer instead of a larger model: tokens of equal loss by the closed form of a law, and whose dollar buys more."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from simcost.scaling_laws import counts, load
from simcost.scenarios.think import tradeoff
from simcost.thinking.worth import Steps

LAW = load.load("besiroglu-2024")  # E + A / N^alpha + B / D^beta
SMALL, BIG = counts.dense(8e9), counts.dense(14e9)


def by_hand(small: float, big: float, tokens: float) -> float:
    """D with A/n^a + B/D^b = A/N^a + B/T^b."""
    v = LAW.values
    a, alpha, b, beta = (v[name] for name in ("A", "alpha", "B", "beta"))
    return float((a / big**alpha + b / tokens**beta - a / small**alpha) / b) ** (-1.0 / beta)


@pytest.mark.parametrize("tokens", [80e9, 150e9, 300e9])
def test_tokens_of_equal_loss_are_those_of_the_closed_form(tokens: float) -> None:
    more, why = tradeoff.longer(LAW, (SMALL, tokens), (BIG, tokens), "published")
    assert why == ""
    assert more == pytest.approx(by_hand(8e9, 14e9, tokens), rel=1e-5)
    assert more > tokens


def test_why_a_law_gives_no_tokens() -> None:
    nothing, why = tradeoff.longer(load.load("deepseek-llm-2024"), (SMALL, 1e11), (BIG, 1e11), "published")
    assert (nothing, why) == (None, "gives no loss")
    nothing, why = tradeoff.longer(load.load("kaplan-2020"), (SMALL, 1e11), (BIG, 1e11), "published")
    assert nothing is None
    assert why.startswith("its tokens are not training tokens: ")
    nothing, why = tradeoff.longer(LAW, (SMALL, 1e12), (BIG, 1e11), "published")
    assert (nothing, why) == (None, "by this law the model is already as good as the larger one")
    nothing, why = tradeoff.longer(LAW, (SMALL, 1e11), (counts.dense(1e13), 1e11), "published")
    assert nothing is None
    assert why.startswith("the larger model: ")
    nothing, why = tradeoff.longer(LAW, (SMALL, 1e8), (BIG, 1e11), "published")
    assert why.startswith("the model: ")


def test_a_small_model_never_comes_to_a_much_larger_one() -> None:
    """At infinite tokens 1 B parameters keep A/N^alpha, which is more than the whole of 500 B at 10 T tokens has above E."""
    nothing, why = tradeoff.longer(LAW, (counts.dense(1e9), 1e12), (counts.dense(5e11), 1e13), "published")
    assert nothing is None
    assert why.startswith("the model does not come to ")
    assert "nats by " in why


def told(per_usd: list[float], larger: list[float], at: list[int]) -> Steps:
    one = np.ones(len(per_usd))
    return Steps(one, one, np.array(per_usd), np.array(larger), np.array(at))


def test_whose_dollar_buys_more() -> None:
    nan = float("nan")
    steps = told([nan, 2.0, 0.0, 2.0, 2.0, 2.0], [1.0, nan, nan, 2.0, 3.0, 1.0], [0, -1, -1, 0, 0, 1])
    assert [tradeoff._buys(steps, i) for i in range(6)] == [
        "no accuracy", "thinking", "neither", "larger model", "larger model", "thinking",
    ]  # fmt: skip


def test_rows_stand_in_the_order_of_their_tokens() -> None:
    """Levels as a user names them, high before low: the row of low goes to high."""
    own: Any = SimpleNamespace(
        tokens=SimpleNamespace(mean=np.array([9000.0, 1000.0])), labels=("high", "low"),
        question=SimpleNamespace(answers=SimpleNamespace(key="level")),
    )  # fmt: skip
    larger: Any = SimpleNamespace(labels=("small", "large"))
    (row,) = tradeoff.step_rows(own, larger, told([2.0], [3.0], [1]))
    assert (row["level"], row["next_row"], row["larger_at"], row["buys_more"]) == (
        "low",
        "high",
        "large",
        "larger model",
    )


def test_without_money_or_accuracy_nothing_is_compared() -> None:
    def side(usd: Any, accuracy: Any, rows: int = 2) -> Any:
        spread = SimpleNamespace(mean=np.arange(1.0, rows + 1.0))
        return SimpleNamespace(
            usd=usd and spread,
            accuracy=accuracy and np.array([0.5, 0.6][:rows]),
            labels=("a", "b")[:rows],
            tokens=spread,
        )

    assert tradeoff.steps(side(True, True), side(True, True)) is not None
    for own, larger in (
        (side(None, True), side(True, True)),
        (side(True, None), side(True, True)),
        (side(True, True), side(None, True)),
        (side(True, True), side(True, None)),
        (side(True, True, 1), side(True, True)),
    ):
        assert tradeoff.steps(own, larger) is None
