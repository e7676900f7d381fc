"""Attention, links and the small families as rows: layouts, features, what their terms count, who stands in."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simcost.calibration.families import attention_backward as backward
from simcost.calibration.families import attention_decode as decode
from simcost.calibration.families import attention_prefill as prefill
from simcost.calibration.families import collective, exchange, gather, permute, router, stream
from simcost.errors import SpecError
from simcost.hardware import load as hardware
from simcost.ops.fused import Fused
from simcost.ops.stream import Stream

EXAMPLES = settings(max_examples=60, deadline=None, derandomize=True)
H200 = hardware.load("h200")
GQA = {
    "batch": 2.0,
    "q_len": 64.0,
    "past": 32.0,
    "heads": 8.0,
    "kv_heads": 2.0,
    "d_qk": 128.0,
    "d_v": 128.0,
    "window": 0.0,
}
LATENT = {**GQA, "kv_heads": 1.0, "d_qk": 576.0, "d_v": 512.0}


def labels(layout: str = "gqa", scope: str = "core", kv: str = "bf16", x: str = "bf16") -> dict[str, str]:
    return {"x": x, "kv": kv, "compute": x, "layout": layout, "scope": scope}


def test_terms_of_a_prompt_by_hand() -> None:
    """Queries behind 32 tokens see 33 to 96 keys; all 96 are read once for two K/V heads."""
    found = prefill.terms(prefill.op(GQA, labels()), H200)
    pairs = sum(range(33, 97))
    assert found.compute_s == pytest.approx(2 * 8 * pairs * 2 * 256 / float(H200.peaks["bf16"]))
    assert found.bytes == 2 * (2 * 2 * 64 * 8 * 128 + 2 * 96 * 2 * 256)
    assert found.sizes == (pairs / 64, 2 * 8 * 64, 128.0)
    assert found.serial_s == 0.0


@pytest.mark.parametrize(("layout", "row", "elements"), [
    ("gqa", GQA, 2 * 64 * 2 * 256 * 2), ("latent", LATENT, 2 * 64 * (8 * 64 * 2 + 576 * 2)),
    ("mla", {**GQA, "kv_heads": 8.0, "d_qk": 192.0}, 2 * 64 * 8 * 64 * 2),
])  # fmt: skip
def test_what_runs_before_the_core_is_hidden_by_nothing(layout: str, row: dict[str, float], elements: int) -> None:
    """The write of K and V; of MLA the rope of the queries' rotary part, absorbed with the write of latents."""
    op = prefill.op(row, labels(layout, "write"))
    assert isinstance(op, Fused)
    assert prefill.terms(op, H200).serial_s == pytest.approx(2 * elements / float(H200.bandwidth))
    assert prefill.terms(op, H200).bytes == prefill.terms(prefill.op(row, labels(layout)), H200).bytes


def test_a_scope_that_nobody_knows_is_an_error() -> None:
    with pytest.raises(SpecError, match="scope = 'all' must be one of core, write"):
        prefill.op(GQA, labels(scope="all"))


@EXAMPLES
@given(st.integers(2, 500), st.integers(0, 500), st.integers(1, 300))
def test_a_window_leaves_its_share_of_the_square(q: int, past: int, window: int) -> None:
    row = {**GQA, "q_len": float(q), "past": float(past), "window": float(min(window, past + q))}
    seen = sum(min(at + 1, int(row["window"])) for at in range(past, past + q))
    share = prefill.features(prefill.op(row, labels("window")))[3]
    assert float(share) == pytest.approx(math.log(seen / (q * (past + q + 1))))


@pytest.mark.parametrize(("row", "layout", "core", "few"), [
    (GQA, "gqa", True, False), ({**GQA, "q_len": 1.0}, "gqa", False, True), ({**GQA, "q_len": 2.0}, "gqa", True, False),
    (LATENT, "latent", False, True), ({**LATENT, "q_len": 65.0}, "latent", True, False),
    ({**LATENT, "q_len": 1.0}, "latent", False, True),
])  # fmt: skip
def test_one_query_is_decode_and_over_a_latent_so_are_few(
    row: dict[str, float], layout: str, core: bool, few: bool
) -> None:
    op = prefill.op(row, labels(layout))
    assert (bool(prefill.covers(op)), bool(decode.covers(op))) == (core, few)


def test_a_decode_step_by_hand() -> None:
    row = {**GQA, "q_len": 1.0, "past": 999.0}
    found = decode.terms(decode.op(row, labels()), H200)
    assert found.sizes == (2 * 2, 1000.0)
    assert found.compute_s == pytest.approx(2 * 8 * 1000 * 2 * 256 / float(H200.peaks["bf16"]))
    assert np.exp(np.array(decode.features(decode.op(row, labels()))[:4], float)) == pytest.approx([4, 1000, 4, 128])


@EXAMPLES
@given(st.integers(1, 60), st.integers(0, 3000), st.integers(1, 8))
def test_queries_over_a_latent_are_as_many_heads(q: int, past: int, batch: int) -> None:
    """However they are folded, all of them attend: the arithmetic is that of every (head, query, key)."""
    row = {**LATENT, "batch": float(batch), "q_len": float(q), "past": float(past)}
    seen = sum(at + 1 for at in range(past, past + q))
    found = decode.terms(decode.op(row, labels("latent")), H200)
    assert found.compute_s == pytest.approx(batch * 8 * seen * 2 * (576 + 512) / float(H200.peaks["bf16"]))


def test_a_folded_step_is_no_layer_of_single_queries() -> None:
    one, two = (decode.site(decode.op({**LATENT, "q_len": q, "past": 99.0}, labels("latent"))) for q in (1.0, 2.0))
    assert float(one[1]) == int(one[1])
    assert float(two[1]) != int(two[1])


def test_a_backward_pass_is_asked_for_without_a_scope() -> None:
    op = backward.op(GQA, {name: word for name, word in labels().items() if name != "scope"})
    assert op.gradient == "input"
    assert backward.labels(prefill.op(GQA, labels())) is None
    assert backward.terms(op, H200).compute_s == pytest.approx(
        2.5 * prefill.terms(prefill.op(GQA, labels()), H200).compute_s
    )


@pytest.mark.parametrize(
    ("layout", "nearest"), [("gqa", set()), ("window", {"gqa"}), ("mla", {"gqa"}), ("latent", set())]
)
def test_which_layouts_stand_in_for_a_prompt(layout: str, nearest: set[str]) -> None:
    """Over a latent decode's rows do, not another layout's."""
    others = {one["layout"] for one in prefill.relatives(labels(layout))} - {layout}
    assert others == nearest
    decoded = {one["layout"] for one in decode.relatives(labels(layout))} - {layout}
    assert decoded == ({"mla", "gqa"} if layout == "latent" else nearest)


def test_the_core_alone_never_stands_for_both() -> None:
    assert {one["scope"] for one in prefill.relatives(labels("window", "write"))} == {"write"}
    assert prefill.relatives(labels("gqa", "core"))[0]["scope"] == "write"


# ---- links ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("what", "sent", "hops"), [
    ("all_reduce", 2 * 7 / 8, 0), ("all_gather", 7 / 8, 7), ("reduce_scatter", 7 / 8, 7), ("all_to_all", 1, 0), ("p2p", 1, 0),
])  # fmt: skip
def test_a_rank_of_a_ring_sends_its_share(what: str, sent: float, hops: int) -> None:
    op = collective.op({"bytes": 8e6, "group": 8.0}, {"what": what, "backend": "nccl"})
    found = collective.terms(op, H200)
    assert found.bytes == pytest.approx(8e6 * sent)
    assert H200.scaleup is not None
    assert found.memory_s == pytest.approx(8e6 * sent / float(H200.scaleup.bandwidth))
    assert found.serial_s == pytest.approx(hops * collective._HOP)
    assert found.compute_s == 0.0


@pytest.mark.parametrize("what", ["all_reduce", "all_gather", "p2p"])
@pytest.mark.parametrize("backend", ["custom", "nccl", "gloo"])
def test_another_library_s_rows_stand_in_for_a_collective(what: str, backend: str) -> None:
    found = collective.relatives({"what": what, "backend": backend})
    assert {"what": what, "backend": backend} not in found
    assert {one["what"] for one in found} == {"all_to_all" if what == "p2p" else what}
    assert all(one["backend"] in ("nccl", "gloo") for one in found)


def traffic(mode: str = "normal", **more: float) -> Any:
    row = {"tokens": 100.0, "width": 7168.0, "near": 3.0, "far": 0.5, "group": 16.0, "nodes": 2.0, "sms": 20.0, **more}
    return exchange.op(row, {"mode": mode, "direction": "dispatch", "reach": "nodes"})


def test_the_slower_of_two_tiers_carries_an_exchange() -> None:
    device = replace(H200, scaleout=5e10, sm_count=132.0)
    assert device.scaleup is not None
    near, far = 100 * 7168 * 3.0 / float(device.scaleup.bandwidth), 100 * 7168 * 0.5 / 5e10
    found = exchange.terms(traffic(), device)
    assert found.memory_s == pytest.approx(max(near, far))
    assert found.bytes == 100 * 7168 * 3.5
    assert found.compute_s == pytest.approx(100 * 7168 * 3.5 * 132 / 20 / float(device.bandwidth))
    assert exchange.terms(traffic("low_latency"), device).compute_s == 0.0
    assert exchange.terms(traffic(near=30.0), device).memory_s == pytest.approx(max(10 * near, far))


def test_nothing_inside_a_node_speaks_for_the_network() -> None:
    for reach in ("node", "nodes"):
        (other,) = exchange.relatives({"mode": "normal", "direction": "dispatch", "reach": reach})
        assert other == {"mode": "normal", "direction": "combine", "reach": reach}


# ---- what moves memory ---------------------------------------------------------------------------------------------------


def test_passes_of_a_router_follow_one_another() -> None:
    row = {"tokens": 100.0, "experts": 64.0, "top_k": 4.0, "groups": 1.0, "topk_groups": 1.0}
    found = router.terms(router.op(row, {"scoring": "softmax"}), H200)
    assert found.serial_s == pytest.approx(4 * 100 * 64 / float(H200.bandwidth))
    assert router.relatives({"scoring": "softmax"}) == [{"scoring": "sigmoid"}]


@pytest.mark.parametrize("what", ["cache_write", "norm_backward", "adamw_fused"])
def test_words_of_a_stream_s_name_are_joined_in_its_file(what: str) -> None:
    row = {"elements": 64.0, "reads": 1.0, "writes": 1.0, "flops": 0.0}
    op = stream.op(row, {"what": what, "x": "bf16", "out": "bf16"})
    assert isinstance(op, Stream)
    assert op.what == what.replace("_", " ")


@pytest.mark.parametrize(("x", "out", "wanted"), [
    ("bf16", "bf16", ["fp16 fp16"]), ("bf16", "fp8", ["fp16 fp8", "bf16 fp8_block"]), ("fp32", "fp32", []),
    ("bf16", "fp8_block", ["fp16 fp8_block", "bf16 fp8"]),
])  # fmt: skip
def test_who_stands_in_for_a_stream(x: str, out: str, wanted: list[str]) -> None:
    found = stream.relatives({"what": "norm", "x": x, "out": out})
    assert [f"{one['x']} {one['out']}" for one in found] == wanted
    assert {one["what"] for one in found} <= {"norm"}


def test_who_stands_in_for_look_ups_and_permutations() -> None:
    assert gather.relatives({"w": "bf16", "out": "bf16"}) == [{"w": "fp16", "out": "fp16"}]
    assert gather.relatives({"w": "fp8", "out": "bf16"}) == []
    assert permute.relatives({"what": "permute", "x": "fp8_block"}) == [{"what": "permute", "x": "fp8"}]
    assert permute.relatives({"what": "permute", "x": "fp32"}) == []
