"""The first lines of an answer, its terms, and its metrics by group."""

from __future__ import annotations

from typing import Any

import pytest

import simcost
from simcost import metrics
from simcost.metrics import groups
from simcost.report.text import as_console
from simcost.result import Result

STEP: dict[str, Any] = {
    "tpot_s": 8e-3, "tpot_low_s": 4e-3, "tpot_high_s": 16e-3, "speed_of_light_s": 1e-3, "output_tokens_per_s": 125.0, "usd_per_million_output_tokens": 2.0, "mfu": 0.25,
    "gpus": 8, "weight_bytes_per_gpu": 2**30, "kv_bytes_per_gpu": 2**20, "memory_used_bytes_per_gpu": 2**30, "output_tokens_per_s_per_user": 125.0, "memory_short_bytes_per_gpu": 0, "max_batch": 4, "max_context": 9,
    "share_compute": 0.0, "share_memory": 0.75, "share_wire": 0.0, "share_overhead": 0.25, "share_measured": 0.5, "share_fitted": 0.25, "share_transferred": 0.0,
    "share_datasheet": 0.0, "share_assumed": 0.25, "fits": True, "mla_form": "absorbed",
}  # fmt: skip
TERMS = tuple(
    {"term": f"op {i}", "step_s": 1e-3 / i, "step_low_s": 5e-4 / i, "step_high_s": 2e-3 / i, "share": 0.1 / i, "bound": "memory", "basis": "fitted"}
    for i in range(1, 8)
)  # fmt: skip


def page(details: bool = False, **more: Any) -> list[str]:
    result = Result("decode", {"model": "toy", "hw": "h200"}, {**STEP, **more}, verdict="fits", terms=TERMS)
    return as_console(result, 80, details).splitlines()


def test_the_number_comes_first_then_what_it_rests_on_then_what_limits_it_then_the_terms() -> None:
    lines = [" ".join(line.split()) for line in page()]
    where = [lines.index(line) for line in (
        "simcost decode: TPOT 8 ms (90 %: 4–16 ms), speed of light 1 ms", "fits", "rests on measured shapes 50.0 %, fitted curves 25.0 %, assumptions 25.0 %",
        "bound by memory 75.0 %, overhead 25.0 %", "largest terms", "op 1 1 ms 0.5–2 ms 10.0 % memory", "op 5 200 us 100–400 us 2.0 % memory",
        "throughput", "output tokens/s 125", "memory", "weight per GPU 1 GiB", "max batch 4", "price and energy", "compute", "MFU 25.0 %", "choices",
    )]  # fmt: skip
    assert where == sorted(where)
    assert max(map(len, page())) <= 80


def test_what_the_first_lines_say_is_not_said_again_and_details_say_all() -> None:
    short, whole = "\n".join(page()), "\n".join(page(details=True))
    for words in (
        "bound by compute",
        "memory short",
        "speed of light   ",
        "op 6",
        "GPUs  ",
        "fitted curves  ",
        "fits   ",
    ):
        assert words not in short, words
    for words in ("bound by compute", "rests on fitted curves", "memory short per GPU", "op 7", "GPUs", "fits"):
        assert words in whole, words
    assert "memory short per GPU" in "\n".join(page(memory_short_bytes_per_gpu=2**30))


def test_two_partitions_share_no_word() -> None:
    assert not set(groups.BOUNDS.values()) & set(groups.BASES.values())
    assert set(groups.BOUNDS) == {"compute", "memory", "wire", "overhead"}
    assert {metrics.find(f"share_{name}") for name in (*groups.BOUNDS, *groups.BASES)}.isdisjoint({None})


@pytest.mark.parametrize(("name", "group"), [
    ("tpot_s", groups.TIME), ("tpot_low_s", groups.TIME), ("run_s", groups.TIME), ("output_tokens_per_s_per_gpu", groups.RATE), ("usd_per_million_output_tokens", groups.MONEY),
    ("run_usd_low", groups.MONEY), ("joules_per_output_token_assumed", groups.MONEY), ("kv_pool_tokens", groups.MEMORY), ("max_context", groups.MEMORY),
    ("share_memory", groups.BOUND), ("share_measured", groups.BASIS), ("mfu", groups.WORK), ("params_total", groups.PARAMETERS), ("micro_batches", groups.SIZES),
    ("mla_form", groups.CHOICES),
])  # fmt: skip
def test_a_metric_has_a_group(name: str, group: str) -> None:
    assert groups.group(name, metrics.unit(name)) == group


def test_every_metric_stands_in_one_group_and_none_is_lost() -> None:
    found = groups.grouped(STEP, metrics.unit)
    assert [name for values in found.values() for name in values if name not in STEP] == []
    assert sum(map(len, found.values())) == len(STEP)
    assert list(found) == [name for name in groups.ORDER if name in found]


def test_terms_of_a_step_add_up_to_it_and_stay_out_of_csv() -> None:
    asked: dict[str, Any] = {"batch": 64, "context": 4096, "set": {"plan.tp": 8}}
    result = simcost.decode("deepseek-v3", "h200", **asked)
    rows = result.terms
    assert sum(row["share"] for row in rows) == pytest.approx(1.0)
    assert sum(row["step_s"] for row in rows) == pytest.approx(result.metrics["tpot_s"])  # nothing hides anything here
    assert [row["step_s"] for row in rows] == sorted((row["step_s"] for row in rows), reverse=True)
    ops = simcost.explain("deepseek-v3", "h200", **asked).tables["ops"]
    for row in rows:
        mine = [op for op in ops if op["op"] == row["term"]]
        assert sum(op["step_s"] for op in mine) == pytest.approx(row["step_s"])
        assert row["basis"] == max(mine, key=lambda op: op["step_s"])["basis"]
    assert result.to_dict()["terms"] == list(rows)
    assert result.rows == []


def test_a_prefill_in_chunks_has_no_terms_and_a_pipeline_has_its_wait() -> None:
    chunks = simcost.prefill("llama-3.1-8b", "h200", isl=4096, set={"chunk": 1024})
    assert chunks.terms == ()
    staged = simcost.decode("llama-3.1-8b", "h200", batch=8, set={"plan.pp": 3})
    assert sum(row["share"] for row in staged.terms) == pytest.approx(1.0)
    assert any(row["term"] == "waiting for the slowest stage" for row in staged.terms)
