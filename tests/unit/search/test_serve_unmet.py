"""Why no fleet serves: which limit fails, by how little more it would hold, and what too few GPUs take."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from simcost.search import serve_unmet
from simcost.search.serve_load import Limits


def line(ttft: list[float], tpot: list[float], label: str = "h100") -> Any:
    """Plans of tensor parallelism 1, 2, 4 ..., whose times without load are these."""
    least = SimpleNamespace(ttft_s=np.array(ttft)[:, None], tpot_s=np.array(tpot)[:, None])
    space = SimpleNamespace(label=label, good=np.arange(len(ttft)), sizes=lambda i: {"tp": 2**i})
    return SimpleNamespace(found=SimpleNamespace(most=np.zeros(len(ttft)), least=least), space=space)


def said(lines: list[Any], **limits: float) -> str:
    return serve_unmet.nearest(lines, [each.space for each in lines], Limits(**limits))


def test_a_limit_that_nothing_meets_is_told_with_the_nearest_that_holds() -> None:
    """0.42 s is nearest, of tp=4: 5 % more, in tenths of a millisecond, is a value that holds."""
    text = said([line([0.9, 0.6, 0.42], [0.02, 0.01, 0.01])], ttft_s=0.2)
    assert text.startswith(
        "--ttft 200 ms: no plan on h100 meets this limit on TTFT even without load; the nearest is 420 ms (h100, tp=4)"
    )
    assert text.endswith("ask for --ttft 441ms or more")
    text = said([line([0.1], [0.04]), line([0.1], [0.03], "b200")], tpot_s=0.02)
    assert "no plan on h100, b200 meets this limit on TPOT" in text
    assert "the nearest is 30 ms (b200" in text


def test_limits_that_exclude_each_other_are_told_together() -> None:
    """The one plan with tokens within 20 ms needs 0.9 s, the others are slow."""
    text = said([line([0.9, 0.3], [0.015, 0.05])], ttft_s=0.5, tpot_s=0.02)
    assert text == (
        "no plan on h100 meets both --ttft 500 ms and --tpot 20 ms: with this TPOT the nearest TTFT is 900 ms (h100, 1 GPU), without load"
    )
    both = said([line([0.3], [0.015])], ttft_s=0.5, tpot_s=0.02)
    assert both == "no plan on h100 meets TTFT 500 ms, TPOT 20 ms at any load"


def test_where_no_plan_can_run_the_largest_says_why() -> None:
    space: Any = SimpleNamespace(
        label="l4", table=np.array([[1, 1, 1, 1, 1, 64, 1], [8, 1, 1, 1, 2, 1, 8]]), why=["no memory: 90 GB short", "no memory: 3 GB short"],
        sizes=lambda i: {"tp": (1, 8)[i]},
    )  # fmt: skip
    assert (
        serve_unmet.nearest([], [space], Limits())
        == "no plan of an instance on l4 can serve: tp=8: no memory: 3 GB short"
    )


@pytest.mark.parametrize(
    ("seconds", "asked"),
    [(0.42, "441ms"), (0.01, "10.5ms"), (0.9999, "1049.9ms"), (1.0, "1.1s"), (2.0, "2.1s"), (10.0, "10.5s")],
)
def test_a_value_that_is_asked_for_holds(seconds: float, asked: str) -> None:
    found = serve_unmet._rounded(seconds)
    assert found == asked
    value = float(found.removesuffix("ms")) / 1e3 if found.endswith("ms") else float(found.removesuffix("s"))
    assert seconds < value <= 1.11 * seconds


def test_too_few_gpus_take_a_part_and_the_rest_waits() -> None:
    fleets: Any = [
        SimpleNamespace(label="h100", most=(12.5, "tp=2")),
        SimpleNamespace(label="b200", most=(30.0, "tp=1")),
    ]
    text = serve_unmet.beyond(100.0, fleets, {"h100": (8,), "b200": (2, 4)}, Limits(ttft_s=2.0))
    assert text == (
        "beyond capacity: 100 requests/s arrive, 4 x b200 take at most 30 within TTFT 2 s (tp=1); 70 requests/s would wait"
    )
    assert "at most 30 (tp=1)" in serve_unmet.beyond(100.0, fleets, {"h100": (8,), "b200": None}, Limits())
