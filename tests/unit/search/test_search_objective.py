"""What is wished for of a plan: limits in seconds, which metrics rank, the batches to try, and what is said of them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from toykit import model, profile

from simcost import metrics, query
from simcost.errors import SpecError, UnitError
from simcost.search import objective


@pytest.mark.parametrize(
    ("stated", "seconds"), [("200us", 2e-4), (1, 1.0), ("10", 10.0), ("1e-3", 1e-3), ("0.5 s", 0.5)]
)
def test_a_short_limit_needs_no_unit(stated: str | float, seconds: float) -> None:
    assert objective.limit("--ttft", stated) == pytest.approx(seconds)


@pytest.mark.parametrize("stated", [10.5, "10.5", "50", 50, "1e3"])
def test_a_bare_long_number_may_be_milliseconds_and_is_refused(stated: str | float) -> None:
    number = f"{float(stated):g}"
    with pytest.raises(SpecError, match=f"--tpot {number} has no unit: write {number}ms or {number}s"):
        objective.limit("--tpot", stated)


def test_a_long_limit_with_its_unit_is_taken() -> None:
    assert objective.limit("--tpot", "20s") == 20.0
    assert objective.limit("--tpot", "50MS") == pytest.approx(0.05)


@pytest.mark.parametrize(("bad", "kind"), [("-1", SpecError), ("inf", SpecError), ("5 GB", UnitError), ("", UnitError)])
def test_a_limit_that_is_no_time_names_its_option(bad: str, kind: type[SpecError]) -> None:
    with pytest.raises(kind, match="--ttft"):
        objective.limit("--ttft", bad)


def test_more_is_better_whichever_way_a_metric_points() -> None:
    values = np.array([3.0, 1.0, 2.0])
    for name in metrics.ranking():
        known = metrics.find(name)
        assert known is not None
        best = {"less": 1, "more": 0}[known.better]
        assert int(objective.worth(name, values).argmax()) == best, name


def test_a_metric_is_checked_by_name_phase_and_direction() -> None:
    known = ["tpot_s", "gpus", "mfu"]
    objective.check("tpot_s", known, "decode")
    with pytest.raises(SpecError, match=r"^--metric tpot: not a metric of decode; did you mean 'tpot_s'\?$"):
        objective.check("tpot", known, "decode")
    with pytest.raises(SpecError, match=r"^--metric zzz: not a metric of decode \(plans can be ranked by tpot_s, "):
        objective.check("zzz", ["tpot_s", "mfu", "gpus"], "decode")
    with pytest.raises(SpecError, match=r"^--metric ttft_s: not a metric of decode"):
        objective.check("ttft_s", known, "decode")
    with pytest.raises(SpecError, match=r"^--metric gpus: plans cannot be ranked by it.* tpot_s, mfu$"):
        objective.check("gpus", known, "decode")


@pytest.mark.parametrize(("context", "capacity", "gpus", "largest"), [
    # 2 heads of K and V of 128 elements in 4 layers of bf16: 4,096 B a token
    (8192, 100, 1, 2048), (8192, 100, 2, 4096), (8192, 100, 1024, 2048 * 1024), (8, 100, 1, 2**14), (8, 100, 4, 2**16),
    (8192, 4, 1, 64), (8192, 0.001, 1, 1),
])  # fmt: skip
def test_batches_are_powers_of_two_as_far_as_one_large_memory_would_go(
    tmp_path: Path, context: int, capacity: float, gpus: int, largest: int
) -> None:
    hw = profile(tmp_path / "toy", {"memory.capacity": f'{{ value = "{capacity} GB", source = "book" }}'})
    asked = query.make(str(model(tmp_path / "m")), str(hw), True, {"batch": 1, "context": context}, {}, {}, None)
    most = objective.most(query.workload(asked), gpus)
    assert largest <= most < 2 * largest
    assert objective.batches(most) == tuple(2.0**n for n in range(int(math.log2(largest)) + 1))


@pytest.mark.parametrize(("limits", "said"), [
    ({}, ""), ({"tpot_s": 0.05}, " within TPOT 50 ms"), ({"ttft_s": 2.0, "tpot_s": 1e-4}, " within TTFT 2 s, TPOT 100 us"),
])  # fmt: skip
def test_limits_are_said_in_words(limits: dict[str, float], said: str) -> None:
    assert objective.within(limits) == said


@pytest.mark.parametrize(("row", "said"), [
    ({"batch": 64, "max_batch": 1000}, "best batch is the largest that was tried, 64: memory allows 1,000 (--batch asks for others)"),
    ({"batch": 60, "max_batch": 1000}, ""), ({"batch": 64, "max_batch": 64}, ""), ({"batch": 64}, ""), ({}, ""),
    ({"batch": 64, "max_batch": None}, ""),
])  # fmt: skip
def test_a_best_batch_at_the_end_of_those_tried_is_a_note_where_more_would_fit(row: dict[str, int], said: str) -> None:
    assert objective.larger(row, 64.0) == said
