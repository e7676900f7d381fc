"""Attention with many queries per sequence."""

from __future__ import annotations

from collections.abc import Mapping

from simcost.calibration.families.attention_prefill import FEW
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

STAGES = {"gqa": 0, "mla": 4}
_NARROW = 64.0  # keys of the narrowest window drawn: models have 128 and more


def build(op: Op, bench: Bench, copies: int) -> Kernel:
    """`latent.build` where K and V are one latent, else `attention.build`. Raises Unsupported as these do."""
    assert isinstance(op, AttentionCore)
    if op.shared_kv:
        return latent.build(op, bench, copies)
    return attention.build(op, bench, copies)


def kinds(format_: str, target: Target) -> list[Wanted]:
    """All layouts."""
    return cores({"gqa": 1.0, "window": 0.25, "mla": 0.4, "latent": 0.4}, format_, target, scope="core")


def draw(kind: Kind, u: Unit, large: bool) -> Mapping[str, float]:
    """Prompts, a quarter of them after cached tokens."""
    # Narrower windows hide nothing; fewer queries over a latent are the decode kernel's.
    least = {"window": 2.0 * _NARROW, "latent": FEW + 1.0}.get(kind.table["layout"], 2.0)
    q = log_between(u[3], least, 16384.0 if large else 4096.0)
    past = log_between((u[4] - 0.75) * 4.0, 64.0, 16384.0 if large else 4096.0) if u[4] > 0.75 else 0.0
    batch = log_between(u[5], 1.0, 32.0 if large else 8.0)
    window = log_between(u[6], _NARROW, max(q + past, _NARROW)) if kind.table["layout"] == "window" else 0.0
    return {**heads_and_widths(kind, u), "batch": batch, "q_len": q, "past": past, "window": window}
