"""The attention core with many queries a sequence, causal or sliding; expanded MLA has its own kernels (layout "mla")."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from simcost.calibration.family import Labels, Numbers, kernel_terms
from simcost.calibration.form import Terms
from simcost.dtypes import dtype
from simcost.hardware.profile import Device
from simcost.num import Mask as Where
from simcost.num import Num, every
from simcost.ops.attention_core import AttentionCore, Mask
from simcost.ops.work import Op

NUMBERS = ("batch", "q_len", "past", "heads", "kv_heads", "d_qk", "d_v", "window")
LABELS = ("x", "kv", "compute", "layout")
LENGTHS = None


def op(numbers: Numbers, labels: Labels) -> Op:
    """The core of a row; window 0 means none."""
    x, kv, compute = (dtype(labels[name], name) for name in LABELS[:3])
    batch, q_len, past, heads, kv_heads, d_qk, d_v, window = (numbers[name] for name in NUMBERS)
    limit = np.where(np.asarray(window) > 0, window, np.asarray(past) + q_len)
    mask = Mask(window=None if every(np.asarray(window) <= 0) else limit)
    return AttentionCore(
        batch, q_len, past, heads, kv_heads, d_qk, d_v, mask, x, kv, compute, shared_kv=labels["layout"] == "latent"
    )


def layout(core: AttentionCore) -> str:
    """ "latent" (absorbed MLA: V is a slice of K), "window", "mla" (expanded: K wider than V) or "gqa"."""
    if core.shared_kv:
        return "latent"
    if core.mask.window is not None:
        return "window"
    return "gqa" if every(core.d_qk == core.d_v) else "mla"


def labels(op: Op) -> Labels | None:
    if not isinstance(op, AttentionCore) or op.backward:
        return None
    return {"x": op.x.name, "kv": op.kv.name, "compute": op.compute.name, "layout": layout(op)}


def covers(op: Op) -> Where:
    return isinstance(op, AttentionCore) and op.q_len != 1.0


def relatives(labels: Labels) -> list[Labels]:
    """The nearest layout; a cache, or arithmetic, in another format; fp16 for bf16."""
    found: list[Labels] = [{**labels, "layout": near} for near in _NEAR[labels["layout"]]]
    if labels["compute"] != labels["x"]:
        found.append({**labels, "compute": labels["x"]})
    if labels["kv"] != labels["x"]:
        found.append({**labels, "kv": labels["x"], "compute": labels["x"]})
    if labels["x"] == "fp16":
        found.append({name: "bf16" if value == "fp16" else value for name, value in labels.items()})
    return found


_NEAR = {"gqa": (), "window": ("gqa",), "mla": ("gqa",), "latent": ("mla", "gqa")}


def numbers(op: Op) -> Mapping[str, Num]:
    assert isinstance(op, AttentionCore)
    window = 0.0 if op.mask.window is None else op.mask.window
    return {
        "batch": op.batch, "q_len": op.q_len, "past": op.past, "heads": op.heads, "kv_heads": op.kv_heads,
        "d_qk": op.d_qk, "d_v": op.d_v, "window": window,
    }  # fmt: skip


def terms(op: Op, device: Device) -> Terms:
    assert isinstance(op, AttentionCore)
    return kernel_terms(op, device, op.work(), 0.0, (op.q_len, op.batch * op.heads * op.q_len, op.d_qk))


def features(op: Op) -> tuple[Num, ...]:
    """Heads of all sequences, queries, heads, share of the square that the mask leaves, grouping, width."""
    assert isinstance(op, AttentionCore)
    square = op.q_len * (op.past + op.q_len + 1.0)
    left = op.mask.pairs(op.q_len, op.past) / square
    return (
        np.log(op.batch * op.heads), np.log(op.q_len), np.log(op.heads), np.log(left), np.log(op.heads / op.kv_heads),
        np.log(op.d_qk),
    )  # fmt: skip


def site(op: Op) -> tuple[Num, ...]:
    """Heads, mask and width of a batch, and its queries."""
    assert isinstance(op, AttentionCore)
    window = 0.0 if op.mask.window is None else op.mask.window
    return (op.batch, op.heads, op.kv_heads, op.d_qk, op.past, window, np.log(op.q_len))
