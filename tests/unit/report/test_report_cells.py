"""A number as people read it: by the unit of its metric, with thousands, without digits that say nothing."""

from __future__ import annotations

from typing import Any

import pytest

from simcost.report.cells import cell, title, with_bounds


@pytest.mark.parametrize(("name", "value", "shown"), [
    ("tpot_s", 0.0123456, "12.35 ms"), ("tpot_s", 2e-6, "2 us"), ("tpot_s", None, "-"), ("fits", True, "yes"), ("fits", False, "no"),
    ("gpus", 1024, "1,024"), ("gpus", 8.0, "8"), ("mfu", 0.125, "12.5 %"), ("flops_per_token", 1.5e10, "15 GFLOP"),
    ("memory_capacity_bytes_per_gpu", 80 * 2**30, "80 GiB"), ("bytes", 1.5e6, "1.5 MB"), ("params_total", 671.03e9, "671.03 B"),
    ("usd_per_million_output_tokens", 0.5, "$0.50"), ("usd_per_million_output_tokens", 123.4, "$123"),
    ("memory_bytes_per_s", 3.35e12, "3.35 TB/s"), ("op", "gemm", "gemm"), ("op", "", ""), ("numbers", (1, 2), "1, 2"),
    ("a.name.that.is.no.metric", 12345.678, "1.235e+04"), ("plan.tp", 16, "16"), ("plan.tp", 0.25, "0.25"),
    ("value", 1979e12, "1.979e+15"), ("value", 8.0, "8"),
])  # fmt: skip
def test_a_value_is_shown_in_the_unit_of_its_name(name: str, value: Any, shown: str) -> None:
    assert cell(name, value) == shown


@pytest.mark.parametrize(("value", "shown"), [(99.4, "99.4"), (100.0, "100"), (12345.6, "12,346"), (0.01234, "0.0123")])
def test_a_rate_loses_its_fraction_from_a_hundred_on(value: float, shown: str) -> None:
    assert cell("output_tokens_per_s", value) == shown


@pytest.mark.parametrize(("name", "words"), [
    ("tpot_s", "tpot"), ("tpot_low_s", "tpot low (90 %)"), ("ttft_high_s", "ttft high (90 %)"),
    ("weight_bytes_per_gpu", "weight per gpu"), ("memory_bytes_per_s", "memory"), ("bf16_flops_per_s", "bf16"),
    ("output_tokens_per_s", "output tokens per s"), ("output_tokens_per_s_per_gpu", "output tokens per s per gpu"),
    ("half_width", "±90 %"), ("tdp_w", "tdp"), ("bytes", "bytes"), ("best_or_tied", "best or tied"),
    ("sent_bytes", "busiest rank's bytes"), ("plan.tp", "plan.tp"),
])  # fmt: skip
def test_a_title_drops_the_units_that_a_cell_shows(name: str, words: str) -> None:
    assert title(name) == words


@pytest.mark.parametrize(("time", "low", "half", "shown"), [
    (1.0, 0.25, 3.0, "+300/-75 %"), (2.0, 0.4, 4.01, "+401/-80 %"),
])  # fmt: skip
def test_a_half_width_beyond_the_whole_shows_both_sides(time: float, low: float, half: float, shown: str) -> None:
    row = {"op": "x", "time_s": time, "low_s": low, "half_width": half}
    assert with_bounds(row) == {**row, "half_width": shown}
    assert row["half_width"] == half


@pytest.mark.parametrize("row", [
    {"time_s": 1.0, "low_s": 0.5, "half_width": 1.0}, {"time_s": 1.0, "low_s": 0.5}, {"time_s": 1.0, "half_width": 2.0},
    {"time_s": 0.0, "low_s": 0.0, "half_width": 2.0}, {"time_s": 1.0, "low_s": 0.5, "half_width": "n/a"}, {},
])  # fmt: skip
def test_other_rows_stay_as_they_are(row: dict[str, Any]) -> None:
    assert with_bounds(row) == row
