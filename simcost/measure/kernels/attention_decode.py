"""Attention with one query a sequence over a cache."""

from __future__ import annotations

from simcost.measure.kernels import attention, latent
from simcost.measure.kernels.kernel import Kernel
from simcost.measure.timing.buffers import Bench
from simcost.ops.attention_core import AttentionCore
from simcost.ops.work import Op


def build(op: Op, bench: Bench, copies: int) -> Kernel:
    """`latent.build` where K and V are one latent, else `attention.build`. Raises Unsupported as these do."""
    assert isinstance(op, AttentionCore)
    if op.shared_kv:
        return latent.build(op, bench, copies)
    return attention.build(op, bench, copies)
