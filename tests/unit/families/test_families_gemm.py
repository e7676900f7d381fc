"""Products and experts as rows: padding, tiling, stand-ins, and what their terms count."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simcost.calibration.families import batched_gemm, experts, gemm, gemm_variant, grouped_gemm, grouped_weight_grad
from simcost.hardware import load as hardware
from simcost.ops.fused import Fused
from simcost.ops.gemm import Gemm
from simcost.ops.stream import Stream

EXAMPLES = settings(max_examples=80, deadline=None, derandomize=True)
H200 = hardware.load("h200")
BF16 = {"x": "bf16", "w": "bf16", "compute": "bf16"}
ROW = {"batch": 1.0, "m": 48.0, "n": 256.0, "k": 512.0}


@EXAMPLES
@given(st.integers(1, 100_000))
def test_padding_is_what_the_next_power_of_two_adds(rows: int) -> None:
    bucket = 1
    while bucket < rows:
        bucket *= 2
    assert float(gemm.padding(float(rows))) == pytest.approx(math.log(bucket / rows))


@EXAMPLES
@given(st.integers(1, 100_000))
def test_tiling_is_what_the_last_tile_lacks(rows: int) -> None:
    """Cubed it is the log of what tiles of 256 rows add; the first tile is no waste, and a new tile costs most."""
    tiles = len(range(0, rows, 256))
    wanted = 0.0 if tiles == 1 else math.log(tiles * 256 / rows)
    assert float(gemm.tiling(float(rows))) ** 3 == pytest.approx(wanted, abs=1e-12)
    assert float(gemm.tiling(256.0 * tiles)) == 0.0
    assert float(gemm.tiling(256.0 * tiles + 1.0)) > float(gemm.tiling(256.0 * tiles + 2.0)) > 0.0


@EXAMPLES
@given(st.integers(1, 4000), st.integers(1, 4000), st.integers(1, 4000), st.integers(1, 64))
def test_features_of_a_product_are_logs_of_its_sides(m: int, n: int, k: int, batch: int) -> None:
    row = {"batch": float(batch), "m": float(m), "n": float(n), "k": float(k)}
    found = gemm.features(gemm.op(row, BF16))
    assert np.exp(np.array(found[:5], float)) == pytest.approx([batch, m, n, k, m * n])


@pytest.mark.parametrize(("labels", "bits"), [
    (BF16, (2, 2, 2)), ({"x": "fp32", "w": "fp32", "compute": "tf32"}, (4, 4, 4)),
    ({"x": "fp8", "w": "fp8", "compute": "fp8"}, (1, 1, 2)),
])  # fmt: skip
def test_terms_of_a_product_by_hand(labels: dict[str, str], bits: tuple[int, int, int]) -> None:
    x, w, out = bits
    found = gemm.terms(gemm.op(ROW, labels), H200)
    moved = x * 48 * 512 + w * 256 * 512 + out * 48 * 256
    assert found.bytes == moved
    assert found.memory_s == pytest.approx(moved / float(H200.bandwidth))
    assert found.compute_s == pytest.approx(2 * 48 * 256 * 512 / float(H200.peaks[labels["compute"]]))
    assert found.serial_s == 0.0
    assert found.sizes == (48.0, 256.0, 512.0)


def test_a_narrow_product_of_wide_rows_quantises_them_first() -> None:
    op = gemm.op(ROW, {"x": "bf16", "w": "fp8", "compute": "fp8"})
    assert isinstance(op, Fused)
    cast, product = op.parts
    assert isinstance(cast, Stream)
    assert isinstance(product, Gemm)
    assert (cast.what, cast.elements, cast.x.name, cast.out.name) == ("quantise", 48 * 512, "bf16", "fp8")
    assert (product.x.name, product.out.name) == ("fp8", "bf16")
    found = gemm.terms(op, H200)
    assert found.serial_s == pytest.approx(48 * 512 * (2 + 1) / float(H200.bandwidth))
    assert found.bytes == 48 * 512 + 256 * 512 + 2 * 48 * 256


def test_packed_weights_that_are_unpacked_first_are_no_row_of_ours() -> None:
    op = Gemm(*(16.0, 32.0, 64.0), *(gemm.dtype(n) for n in ("bf16", "int4", "bf16", "bf16")), unpacked=True)
    assert gemm.labels(op) is batched_gemm.labels(op) is gemm_variant.labels(op) is None
    assert not gemm.covers(op)


@pytest.mark.parametrize(("x", "w", "compute", "nearest"), [
    ("fp8", "fp8", "fp8", "bf16 fp8 fp8"), ("bf16", "fp8_block", "fp8_block", "bf16 fp8 fp8"),
    ("bf16", "int4", "bf16", "fp16 int4 fp16"), ("bf16", "int4", "bf16", "bf16 bf16 bf16"),
    ("fp16", "fp16", "fp16", "bf16 bf16 bf16"),
])  # fmt: skip
def test_who_stands_in_for_a_product(x: str, w: str, compute: str, nearest: str) -> None:
    found = gemm.relatives({"x": x, "w": w, "compute": compute})
    assert dict(zip(BF16, nearest.split(), strict=True)) in [dict(one) for one in found]


@pytest.mark.parametrize("what", ["input", "weight"])
def test_stand_ins_of_a_gradient_are_gradients_of_the_same_kind(what: str) -> None:
    labels = {"what": what, "x": "bf16", "w": "int4", "compute": "bf16"}
    others = gemm_variant.relatives(labels)
    assert {one["what"] for one in others} == {what}
    assert [{k: v for k, v in one.items() if k != "what"} for one in others] == gemm.relatives(
        {k: v for k, v in labels.items() if k != "what"}
    )


def test_a_product_scaled_by_rows_is_forward_and_asked_for_by_name() -> None:
    op = gemm_variant.op(ROW, {"what": "row", "x": "fp8", "w": "fp8", "compute": "fp8"})
    assert op == gemm.op(ROW, {"x": "fp8", "w": "fp8", "compute": "fp8"})
    assert gemm_variant.labels(op) is None


# ---- experts -------------------------------------------------------------------------------------------------------------

LAYER = {"tokens": 64.0, "copies": 128.0, "touched": 8.0, "experts": 16.0, "hidden": 512.0, "width": 256.0, "load": 2.5}


def layer(gate: str = "gated", x: str = "bf16", w: str = "bf16", compute: str = "bf16", **more: float) -> Any:
    return experts.op({**LAYER, **more}, {"x": x, "w": w, "compute": compute, "gated": gate})


@pytest.mark.parametrize(("gate", "gates"), [("gated", 2), ("plain", 1)])
def test_a_layer_of_experts_by_hand(gate: str, gates: int) -> None:
    """64 tokens, two experts each, eight of sixteen touched: two products, and the passes around them that nothing hides."""
    found = experts.terms(layer(gate), H200)
    up, down = 256 * gates, 256
    products = 2 * (128 * 512 + 8 * up * 512 + 128 * up) + 2 * (128 * down + 8 * 512 * down + 128 * 512)
    order = 2 * ((64 + 128) * 512 * 2 + 8 * 128)  # there and back
    act = 128 * 256 * 2 * (gates + 1)
    assert found.bytes == products
    assert found.serial_s == pytest.approx((order + act) / float(H200.bandwidth))
    assert found.compute_s == pytest.approx(2 * 128 * 512 * (up + down) / float(H200.peaks["bf16"]))
    assert found.sizes == (16.0, 512.0, 256.0)


def test_narrow_experts_cast_tokens_once_and_rows_once_more() -> None:
    casts = [part for part in layer(w="fp8_block", compute="fp8_block").parts
             if isinstance(part, Stream) and part.what == "quantise"]  # fmt: skip
    assert [part.elements for part in casts] == [64 * 512, 128 * 256]
    assert not [part for part in layer().parts if isinstance(part, Stream) and part.what == "quantise"]


@pytest.mark.parametrize(("change", "same"), [
    ({"tokens": 128.0, "copies": 256.0}, True), ({"load": 5.0}, True), ({"touched": 4.0}, True), ({"hidden": 1024.0}, False),
    ({"experts": 32.0}, False), ({"copies": 192.0}, False),
])  # fmt: skip
def test_rows_of_one_model_are_one_part(change: dict[str, float], same: bool) -> None:
    columns = {name: np.array([value, change.get(name, value)]) for name, value in LAYER.items()}
    one, other = experts.part(columns)
    assert bool(one == other) is same


def test_a_skew_is_a_feature_and_no_work() -> None:
    even, skewed = (experts.features(layer(load=load)) for load in (1.0, 4.0))
    assert [b - a for a, b in zip(even, skewed, strict=True)] == pytest.approx([0, 0, 0, 0, math.log(4.0), 0])
    assert layer(load=1.0).work() == layer(load=4.0).work()


@pytest.mark.parametrize(("labels", "wanted"), [
    ("bf16 bf16 bf16 plain", "bf16 bf16 bf16 gated"), ("bf16 mxfp4 bf16 gated", "bf16 bf16 bf16 gated"),
    ("bf16 fp8_block fp8_block gated", "bf16 fp8 fp8 gated"), ("bf16 fp8 fp8 gated", "bf16 fp8_block fp8_block gated"),
])  # fmt: skip
def test_who_stands_in_for_experts(labels: str, wanted: str) -> None:
    found = experts.relatives(dict(zip(experts.LABELS, labels.split(), strict=True)))
    assert dict(zip(experts.LABELS, wanted.split(), strict=True)) in [dict(one) for one in found]


def test_experts_that_nobody_counted_are_those_that_are_touched() -> None:
    op = grouped_gemm.op({"rows": 64.0, "touched": 8.0, "experts": 0.0, "n": 32.0, "k": 16.0, "load": 1.0}, BF16)
    assert grouped_gemm.numbers(op)["experts"] == 8.0


@pytest.mark.parametrize(("labels", "count"), [("bf16 bf16 bf16", 0), ("fp8 bf16 fp8", 1)])
def test_training_in_fp8_has_bf16_for_its_weight_gradients(labels: str, count: int) -> None:
    found = grouped_weight_grad.relatives(dict(zip(grouped_weight_grad.LABELS, labels.split(), strict=True)))
    assert [set(one.values()) for one in found] == [{"bf16"}] * count
