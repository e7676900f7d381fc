"""A cast of weights by hand: what it reads, writes and computes."""

from __future__ import annotations

import pytest

from simcost.dtypes import dtype
from simcost.ops.stream import Stream
from simcost.training.casts import cast


@pytest.mark.parametrize(
    ("x", "out", "what", "flops"),
    [
        ("bf16", "fp8", "quantise", 3.0),  # the largest value, the scale, the product
        ("fp32", "fp8", "quantise", 3.0),
        ("fp32", "bf16", "copy", 0.0),  # wide formats have no scale
        ("fp8", "fp8", "copy", 0.0),  # the same, which lies otherwise
    ],
)
def test_a_cast_finds_scales_where_its_format_has_any(x: str, out: str, what: str, flops: float) -> None:
    call = cast(1000.0, dtype(x), dtype(out), 2.0, "weights", 3.0)
    assert isinstance(call.op, Stream)
    work = call.op.work()
    assert (call.op.what, work.flops) == (what, 1000.0 * flops)
    assert work.bytes_read == 3.0 * dtype(x).tensor_bytes(1000.0)
    assert work.bytes_written == 2.0 * dtype(out).tensor_bytes(1000.0)
    assert call.tag == ("cast weights" if what == "quantise" else "copy weights")
