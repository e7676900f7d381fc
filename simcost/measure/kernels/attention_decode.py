"""Attention with one query a sequence over a cache."""

from __future__ import annotations

from collections.abc import Mapping

from simcost.measure.kernels import attention, latent
from simcost.measure.kernels.attention import cores, heads_and_widths
from simcost.measure.kernels.attention import rounded as rounded
from simcost.measure.kernels.kernel import Kernel
from simcost.measure.machine.target import Target
from simcost.measure.points.kernel_class import Unit, Wanted
from simcost.measure.points.point import Kind
from simcost.measure.points.sobol import log_between
from simcost.measure.timing.buffers import Bench
from simcost.ops.attention_core import AttentionCore
from simcost.ops.work import Op

STAGES = {"gqa": 0, "latent": 4}
_LONG = 131072.0  # tokens of context


def build(op: Op, bench: Bench, copies: int) -> Kernel:
    """`latent.build` where K and V are one latent, else `attention.build`. Raises Unsupported as these do."""
    assert isinstance(op, AttentionCore)
    if op.shared_kv:
        return latent.build(op, bench, copies)
    return attention.build(op, bench, copies)


def kinds(format_: str, target: Target) -> list[Wanted]:
    """Grouped queries and both forms of MLA."""
    return cores({"gqa": 1.0, "latent": 1.0, "mla": 0.4}, format_, target, scope="core")


def draw(kind: Kind, u: Unit, large: bool) -> Mapping[str, float]:
    """One query a sequence, contexts up to 131,072 tokens."""
    past = log_between(u[3], 64.0, _LONG if large else 16384.0)
    batch = log_between(u[4], 1.0, 512.0 if large else 64.0)
    return {**heads_and_widths(kind, u), "batch": batch, "q_len": 1.0, "past": past, "window": 0.0}
