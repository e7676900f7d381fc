"""A number as people read it: by the unit of its metric, with thousands, without digits that say nothing."""

from __future__ import annotations

from typing import Any

import pytest

from simcost.report.cells import cell, changed, span, title, with_intervals


@pytest.mark.parametrize(("name", "value", "shown"), [
    ("tpot_s", 0.0123456, "12.35 ms"), ("tpot_s", 2e-6, "2 us"), ("tpot_s", None, "-"), ("fits", True, "yes"), ("fits", False, "no"),
    ("gpus", 1024, "1,024"), ("gpus", 8.0, "8"), ("mfu", 0.125, "12.5 %"), ("flops_per_token", 1.5e10, "15 GFLOP"),
    ("memory_capacity_bytes_per_gpu", 80 * 2**30, "80 GiB"), ("bytes", 1.5e6, "1.5 MB"), ("params_total", 671.03e9, "671.03 B"),
    ("usd_per_million_output_tokens", 0.5, "$0.50"), ("usd_per_query", 0.00095, "$0.00095"), ("usd_per_query", 9.94e-05, "$0.000099"), ("usd_per_million_output_tokens", 123.4, "$123"),
    ("memory_bytes_per_s", 3.35e12, "3.35 TB/s"), ("op", "gemm", "gemm"), ("op", "", ""), ("numbers", (1, 2), "1, 2"),
    ("a.name.that.is.no.metric", 12345.678, "12,346"), ("plan.tp", 16, "16"), ("plan.tp", 0.25, "0.25"),
    ("value", 1979e12, "1.979e+15"), ("value", 8.0, "8"),
])  # fmt: skip
def test_a_value_is_shown_in_the_unit_of_its_name(name: str, value: Any, shown: str) -> None:
    assert cell(name, value) == shown


@pytest.mark.parametrize(("value", "shown"), [(99.4, "99.4"), (100.0, "100"), (12345.6, "12,346"), (0.01234, "0.0123")])
def test_a_rate_loses_its_fraction_from_a_hundred_on(value: float, shown: str) -> None:
    assert cell("output_tokens_per_s", value) == shown


@pytest.mark.parametrize(("name", "words"), [
    ("tpot_s", "TPOT"), ("ttft_p99_s", "TTFT p99"), ("mla_s", "mla"), ("bound", "bound by"), ("basis", "rests on"), ("share_memory", "bound by memory"), ("share_fitted", "rests on fitted curves"), ("tpot_low_s", "TPOT low–high (90 %)"), ("low_s", "low–high (90 %)"),
    ("weight_bytes_per_gpu", "weight per GPU"), ("memory_bytes_per_s", "memory"), ("bf16_flops_per_s", "bf16"),
    ("output_tokens_per_s", "output tokens/s"), ("output_tokens_per_s_per_gpu", "output tokens/s per GPU"),
    ("half_width", "half width"), ("tdp_w", "tdp"), ("bytes", "bytes"), ("best_or_tied", "best or tied"),
    ("sent_bytes", "busiest rank's bytes"), ("plan.tp", "plan.tp"),
])  # fmt: skip
def test_a_title_drops_the_units_that_a_cell_shows(name: str, words: str) -> None:
    assert title(name) == words


@pytest.mark.parametrize(("low", "high", "shown"), [
    (0.0283, 0.04327, "28.3–43.3 ms"), (577e-6, 1.551e-3, "0.577–1.55 ms"), (1e-6, 2.28e-6, "1–2.28 us"), (3e-10, 9e-10, "0.3–0.9 ns"),
    (0.9, 1.5, "0.9–1.5 s"), (1200.0, 1500.0, "1200–1500 s"), (None, 1.0, "-"), (1.0, None, "-"),
])  # fmt: skip
def test_both_ends_of_an_interval_stand_in_the_unit_of_the_later(
    low: float | None, high: float | None, shown: str
) -> None:
    assert span(low, high) == shown


def test_an_interval_is_one_cell_in_the_place_of_its_lower_end() -> None:
    """A time of 1 ms with the factor 2.28 either way, which was said as "±127.6 %"."""
    row = {
        "op": "x",
        "time_s": 1e-3,
        "low_s": 1e-3 / 2.28,
        "half_width": 1.276,
        "high_s": 2.28e-3,
        "tpot_low_s": 1.0,
        "tpot_high_s": 2.0,
    }
    assert with_intervals(row) == {"op": "x", "time_s": 1e-3, "low_s": "0.439–2.28 ms", "tpot_low_s": "1–2 s"}
    assert list(with_intervals(row)) == ["op", "time_s", "low_s", "tpot_low_s"]
    assert row["half_width"] == 1.276


@pytest.mark.parametrize("row", [
    {"time_s": 1.0, "low_s": 0.5, "half_width": 1.0}, {"time_s": 1.0, "high_s": 2.0}, {"time_s": 1.0, "half_width": 2.0}, {},
])  # fmt: skip
def test_rows_without_both_ends_stay_as_they_are(row: dict[str, Any]) -> None:
    assert with_intervals(row) == row


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (["a"] * 60, "60 x a"),
        (["a", "a", "a", "b"] * 15, "15 x (3 x a, b)"),
        (["a", "b", "b"], "a, 2 x b"),
        ([1, 2, 3], "1, 2, 3"),
    ],
)
def test_a_list_is_said_by_the_pattern_that_it_repeats(values: list[Any], said: str) -> None:
    assert changed({"key": "layer_types", "before": None, "after": values}) == {
        "key": "layer_types",
        "before": "-",
        "after": said,
    }


def test_ends_of_millions_are_said_in_millions() -> None:
    """Intervals of two designs have to stand beside each other on 80 columns; the number itself stays whole."""
    row = {
        "run_usd": 3942738.0, "run_usd_low": 824781.4, "run_usd_high": 5503146.0, "run_gpu_hours_low": 828382.0, "run_gpu_hours_high": 1234567890.0,
        "usd_low": 99.0, "usd_high": 999999.0,
    }  # fmt: skip
    assert with_intervals(row) == {"run_usd": 3942738.0, "run_usd_low": "$0.825–5.5 M", "run_gpu_hours_low": "0.828–1,235 M h", "usd_low": "$99.00–$999,999"}  # fmt: skip
