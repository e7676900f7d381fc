"""Laws of the two forms of MLA: time over the queries of a sequence has no cliff, decode is absorbed, and what nobody measured is wide."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from simcost import query
from simcost.calibration.family import families
from simcost.cost import calibrated
from simcost.dtypes import dtype
from simcost.estimate import answer, step
from simcost.hardware import load as hardware
from simcost.num import Z90, Array
from simcost.ops.attention_core import AttentionCore, Mask
from simcost.ops.fused import Fused
from simcost.plan import Phase

BF16 = dtype("bf16")
QUERIES = [
    1,
    2,
    3,
    4,
    6,
    8,
    12,
    16,
    24,
    32,
    48,
    63,
    64,
    65,
    66,
    80,
    100,
    127,
    128,
    129,
    160,
    192,
    256,
    257,
    384,
    512,
    700,
    1024,
    2048,
    4096,
]
PASTS = (0, 128, 1024, 8192, 32768, 131072)


def prefill(model: str, hw: str, sets: dict[str, Any], past: int, queries: list[int]) -> tuple[Array, Array]:
    """(seconds, sigma of their log) by queries."""
    made = query.make(model, hw, False, {"past": past}, sets, {"isl": queries}, None)
    _, (point,) = query.sweep(made)
    assert point.workload is not None
    cost = step.run(point.workload).cost
    one = np.ones(len(queries))
    return np.ravel(cost.seconds) * one, np.ravel(cost.deviation / cost.seconds) * one


@pytest.mark.parametrize("model", ["deepseek-v3", "kimi-k2"])
@pytest.mark.parametrize("hw", ["h200", "h100", "b200"])
def test_time_over_new_tokens_has_no_cliff_and_falls_by_no_more_than_noise(model: str, hw: str) -> None:
    for tp in (1, 2, 4, 8):
        for past in PASTS:
            seconds, sigma = prefill(model, hw, {"plan.tp": tp}, past, QUERIES)
            logs, width = np.log(seconds), Z90 * sigma
            fall = np.maximum.accumulate(logs) - logs
            assert np.all(fall <= np.minimum(width, 0.05)), (tp, past)
            # More tokens never take more than in proportion, but for what a tile or a bucket of another kernel adds.
            rise = np.diff(logs) - np.diff(np.log(QUERIES))
            assert np.all(rise <= np.minimum(width[1:] + width[:-1], 0.06)), (tp, past)


def test_sixty_four_and_sixty_five_tokens_behind_a_long_cache_take_as_long() -> None:
    for sets in ({"plan.tp": 8}, {"plan.tp": 1}, {"plan.tp": 8, "plan.kv_dtype": "fp8"}):
        seconds, _ = prefill("deepseek-v3", "h200", sets, 131072, [64, 65])
        assert 1.0 < seconds[1] / seconds[0] < 1.04  # a tile of 64 in its products


@pytest.mark.parametrize("hw", ["h200", "mi300x", "gaudi2"])
@pytest.mark.parametrize("past", [0, 1024, 131072])
def test_the_forms_meet_where_one_takes_over_from_the_other(hw: str, past: int) -> None:
    sets = {"plan.tp": 8, "plan.weight_dtype": "bf16"}
    auto, expanded, absorbed = (
        prefill("deepseek-v3", hw, {**sets, "plan.mla_form": form}, past, QUERIES)[0]
        for form in ("auto", "expanded", "absorbed")
    )
    np.testing.assert_allclose(auto[1:], np.minimum(expanded, absorbed)[1:], rtol=1e-12)
    assert auto[0] == absorbed[0]  # one query is no choice


@pytest.mark.parametrize("model", ["deepseek-v3", "kimi-k2", "deepseek-v2-lite"])
@pytest.mark.parametrize("hw", ["h200", "h100", "b200", "gaudi2"])
@pytest.mark.parametrize("batch", [1, 64])
def test_decode_is_absorbed_at_every_context(model: str, hw: str, batch: int) -> None:
    bf16 = {"plan.weight_dtype": "bf16"}
    for context in (2, 128, 256, 512, 1024, 4096, 32768, 131072):
        auto, absorbed = (
            step.run(query.workload(query.make(model, hw, True, {"batch": batch, "context": context}, sets, {}, None)))
            for sets in (bf16, {**bf16, "plan.mla_form": "absorbed"})
        )
        assert answer.forms(auto)["MLA form"] == "absorbed"
        assert (auto.cost.seconds, auto.cost.light_s) == (absorbed.cost.seconds, absorbed.cost.light_s)


def test_a_user_may_still_expand_in_decode() -> None:
    phase = {"batch": 64, "context": 4096}
    expanded, auto = (
        step.run(query.workload(query.make("deepseek-v3", "h200", True, phase, sets, {}, None))).cost.seconds
        for sets in ({"plan.mla_form": "expanded"}, {})
    )
    assert expanded > auto


def test_one_query_among_many_is_absorbed_as_it_is_alone() -> None:
    several, _ = prefill("deepseek-v3", "h200", {"plan.tp": 8}, 0, [1, 2, 100])
    alone = [prefill("deepseek-v3", "h200", {"plan.tp": 8}, 0, [q])[0][0] for q in (1, 2, 100)]
    assert list(several) == alone


def core(q_len: Any, past: Any, heads: float = 16.0, batch: float = 1.0) -> Fused:
    """An absorbed core with what engines run before it."""
    one = AttentionCore(batch, q_len, past, heads, 1.0, 576.0, 512.0, Mask(), BF16, BF16, BF16, True)
    return Fused("attention", (one,))


@pytest.mark.parametrize("hw", ["h200", "h100", "b200", "a100"])
@pytest.mark.parametrize("heads", [16.0, 64.0, 128.0])
def test_an_absorbed_core_does_all_the_arithmetic_of_its_queries(hw: str, heads: float) -> None:
    device = hardware.load(hw)
    queries = np.asarray(QUERIES, float)
    for past in PASTS:
        cost = calibrated.model(device)(core(queries, float(past), heads))
        flops = core(queries, float(past), heads).work().flops
        assert np.all(np.asarray(cost.seconds) >= flops / device.peak("bf16") * (1 - 1e-12))


def test_folding_queries_leaves_a_single_query_and_the_arithmetic_alone() -> None:
    decode, device = families()["attention_decode"], hardware.load("h200")
    for heads, q_len in ((16.0, 3.0), (128.0, 100.0), (64.0, 2.0)):
        whole, folded = core(q_len, 5000.0, heads), decode.terms(core(q_len, 5000.0, heads), device)
        assert folded.compute_s == pytest.approx(whole.work().flops / device.peak("bf16"), rel=1e-12)
    one = decode.features(core(1.0, 4095.0))
    assert one == pytest.approx((0.0, np.log(4096.0), np.log(16.0), np.log(576.0), 0.0), abs=1e-15)


# Absorbed prefills of aiconfigurator-core 0.12.0, h200_sxm and h100_sxm `mla/sglang/0.5.14/context_mla_perf`, bf16, no past
# (FlashAttention 3; this project imports TensorRT-LLM's tables, whose prefill is expanded): heads, batch, queries, seconds.
ABSORBED = {
    "h200": ((16, 1, 1024, 46.2e-6), (16, 1, 4096, 482e-6), (16, 1, 16384, 7.757e-3), (16, 8, 512, 116.1e-6), (16, 8, 4096, 4.113e-3),
             (128, 1, 1024, 342.3e-6), (128, 1, 4096, 3.918e-3), (128, 1, 16384, 62.75e-3), (128, 8, 4096, 34.29e-3)),
    "h100": ((16, 1, 1024, 48.7e-6), (16, 1, 4096, 540e-6), (16, 1, 16384, 7.668e-3), (16, 8, 512, 122.2e-6), (16, 8, 4096, 4.028e-3),
             (128, 1, 1024, 346.8e-6), (128, 1, 4096, 4.026e-3), (128, 1, 16384, 61.63e-3), (128, 8, 4096, 33.30e-3)),
}  # fmt: skip


@pytest.mark.parametrize("hw", list(ABSORBED))
def test_a_folded_decode_kernel_takes_as_long_as_an_absorbed_prefill_of_another_engine(hw: str) -> None:
    heads, batch, queries, seconds = np.asarray(ABSORBED[hw]).T
    cost = calibrated.model(hardware.load(hw))(core(queries, 0.0, heads, batch))
    miss = np.abs(np.log(np.asarray(cost.seconds) / seconds))
    sigma = np.asarray(cost.deviation) / np.asarray(cost.seconds)
    assert np.median(miss) < 0.2
    assert np.mean(miss <= Z90 * sigma) > 0.75  # of all 808 rows 91 and 88 %


def test_the_interval_widens_with_folded_queries_and_with_a_prefix_that_is_expanded() -> None:
    model = calibrated.model(hardware.load("h200"))
    folded = model(core(np.asarray([1.0, 2.0, 8.0, 64.0]), 32767.0))
    assert np.all(np.diff(np.asarray(folded.deviation) / np.asarray(folded.seconds)) > 0)
    past = np.asarray([0.0, 4096.0, 32768.0, 131072.0])
    wide = AttentionCore(1.0, 512.0, past, 16.0, 16.0, 192.0, 128.0, Mask(), BF16, BF16, BF16)
    expanded = model(Fused("attention", (wide,)))
    sigma = np.asarray(expanded.deviation) / np.asarray(expanded.seconds)
    assert np.all(np.diff(sigma) > 0)
    assert sigma[-1] > 0.25


def test_rows_of_an_absorbed_prefill_would_speak_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a device has rows of many queries over a latent they answer; elsewhere the decode kernel does, and no other layout."""
    model = calibrated.model(hardware.load("h200"))
    assert isinstance(model, calibrated.Calibrated)
    many = core(4096.0, 0.0)
    ((name, _, found),) = model._claimed_by(many)
    assert (name, found is not None) == ("attention_decode", True)
    monkeypatch.setattr(model._store, "find", lambda name, labels, engine: name)
    ((name, _, _),) = model._claimed_by(many)
    assert name == "attention_prefill"


def test_a_phase_of_one_query_is_settled_elementwise() -> None:
    made = query.workload(query.make("deepseek-v3", "h200", False, {"isl": 8}, {}, {}, None))
    block = next(b for _, b in made.model.blocks() if hasattr(b, "kv_lora_rank"))
    view = made.view
    program = block.program(type(view)(view.plan, Phase(1.0, np.asarray([1.0, 2.0]), 0.0), view.activation, view.kv, view.storage,
                                       view.compute))  # fmt: skip
    choice = next(part for part in program.parts if hasattr(part, "settled"))  # type: ignore[union-attr]
    assert list(np.asarray(choice.settled)) == [True, False]
