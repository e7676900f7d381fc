"""Which answers are tied with the first one, and whose error a metric has."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toykit import workload

from simcost import metrics
from simcost.cost.cost import Cost
from simcost.estimate import step, ties
from simcost.num import Z90


@given(st.lists(st.floats(0.8, 1.25), min_size=1, max_size=8), st.floats(0.0, 0.2))
def test_a_rate_is_tied_as_its_time_is(ratios: list[float], sigma: float) -> None:
    """Independent errors of every point's own kernels against the first one's."""
    seconds = np.array([1.0, *ratios])
    cost = Cost(memory_s=seconds, spread={"gemm fitted": sigma * seconds})
    cost = cost.each(lambda value: np.broadcast_to(value, seconds.shape))
    apart = math.sqrt(2 * 0.7) * sigma * Z90
    clear = np.abs(np.abs(np.log(seconds)) - apart) > 1e-6
    want = np.abs(np.log(seconds)) <= apart + 1e-9
    for metric, values in (("tpot_s", seconds), ("output_tokens_per_s_per_gpu", 8.0 / seconds)):
        found = ties.with_first(cost, metric, values)
        assert found[0]
        assert found[clear].tolist() == want[clear].tolist()


def test_an_exact_metric_is_tied_with_its_equal_alone() -> None:
    cost = Cost(memory_s=np.ones(4), spread={"gemm fitted": np.ones(4)})
    for metric in ("max_batch", "memory_used_bytes_per_gpu"):
        assert metrics.error(metric) == ""
        assert ties.with_first(cost, metric, np.array([4.0, 5.0, 4.0, 4.0001])).tolist() == [True, False, True, False]


@pytest.mark.parametrize(("decode", "metric", "slowest"), [
    (True, "tpot_s", False), (True, "output_tokens_per_s", False), (False, "ttft_s", False), (False, "input_tokens_per_s", True),
    (False, "usd_per_million_input_tokens", True),
])  # fmt: skip
def test_a_stream_of_prompts_owes_its_error_to_the_slowest_stage(
    tmp_path: Path, decode: bool, metric: str, slowest: bool
) -> None:
    one = step.run(workload(tmp_path, decode, {"plan.pp": 2}))
    assert ties.behind(one, decode, metric) is (one.slowest if slowest else one.cost)
