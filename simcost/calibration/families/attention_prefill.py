"""The attention core with many queries per sequence, causal or sliding; expanded MLA has its own kernels (layout "mla").

Label `scope`: "core" is the kernel alone; "write" is what engines run as one: the write of new K and V to the cache, then
the core; for MLA rope too. Most likely to be wrong: engines differ in what else they run beside the core.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from simcost.calibration.columns import COMPUTE, Column, Word
from simcost.calibration.family import Labels, Numbers, kernel_terms
from simcost.calibration.form import Terms
from simcost.dtypes import dtype
from simcost.errors import SpecError
from simcost.hardware.profile import Device
from simcost.num import Mask as Where
from simcost.num import Num, every
from simcost.ops.attention_core import AttentionCore, Mask
from simcost.ops.fused import Fused
from simcost.ops.stream import Stream
from simcost.ops.work import Op

COLUMNS = {
    "batch": Column("sequences", "count"),
    "q_len": Column("queries per sequence", "tokens"),
    "past": Column("tokens of a sequence that the cache holds before the queries", "tokens", zero=True),
    "heads": Column("query heads", "count"),
    "kv_heads": Column("K/V heads", "count"),
    "d_qk": Column("width of a head of Q and K", "elements"),
    "d_v": Column("width of a head of V", "elements"),
    "window": Column("keys that a query sees, or picks, 0 for all", "tokens", zero=True),
}
WORDS = {
    "x": Word("format of the queries"),
    "kv": Word("format of the cache"),
    "compute": COMPUTE,
    "layout": Word("how keys and values lie", ("gqa", "window", "mla", "latent", "sparse", "blocks")),
    "scope": Word("the core alone, or with the write of K and V", ("core", "write")),
}
NUMBERS = tuple(COLUMNS)
LABELS = tuple(WORDS)
LADDERS = ("batch", "q_len")
SIZES = ("keys", "query_rows", "d_qk")
ACROSS = 0  # sequences
LENGTHS = None
STAND_IN = 0.30
EFFICIENCY = "attention_efficiency"  # of the profile, by which another device's rows are carried over


def op(numbers: Numbers, labels: Labels) -> Op:
    """The core of a row, and what stands around it; window 0 means none."""
    x, kv, compute = (dtype(labels[name], name) for name in LABELS[:3])
    batch, q_len, past, heads, kv_heads, d_qk, d_v, window = (numbers[name] for name in NUMBERS)
    limit = np.where(np.asarray(window) > 0, window, np.asarray(past) + q_len)
    bound = None if every(np.asarray(window) <= 0) else limit
    mask = Mask(picked=bound) if labels["layout"] in ("sparse", "blocks") else Mask(window=bound)
    shared = labels["layout"] in ("latent", "sparse")
    core = AttentionCore(batch, q_len, past, heads, kv_heads, d_qk, d_v, mask, x, kv, compute, shared_kv=shared)
    why = WORDS["scope"].fault(labels["scope"])
    if why:
        raise SpecError(f"scope = {labels['scope']!r} {why}")
    return core if labels["scope"] == "core" else Fused("attention", (*_around(core), core))


def _around(core: AttentionCore) -> tuple[Stream, ...]:
    """What an engine runs before the core. Of expanded MLA (K wider than V by the rotary part) only the rope of the
    queries: a token's latent is small beside its heads."""
    tokens, kind = core.batch * core.q_len, layout(core)
    rotary = core.d_qk - core.d_v
    rope = Stream("rope", tokens * core.heads * rotary, 1.0, 1.0, 3.0, core.x, core.x)
    if kind == "mla":
        return (rope,)
    width = core.d_qk if core.shared_kv else core.kv_heads * (core.d_qk + core.d_v)
    write = Stream("cache write", tokens * width, 1.0, 1.0, 0.0, core.x, core.kv)
    return (rope, write) if core.shared_kv else (write,)


def the_core(op: Op) -> AttentionCore | None:
    """The forward core of an op that this family or its sister prices."""
    if op.gradient:
        return None
    if isinstance(op, Fused) and op.kernel == "attention":
        return next(part for part in op.parts if isinstance(part, AttentionCore))
    return op if isinstance(op, AttentionCore) else None


def layout(core: AttentionCore) -> str:
    """ "latent" (absorbed MLA: V is a slice of K), "sparse" (the same over keys that each query picks), "blocks" (heads of K and V, over blocks of keys that it picks), "window", "mla" (expanded: K wider than V) or "gqa"."""
    if core.mask.picked is not None:
        return "sparse" if core.shared_kv else "blocks"
    if core.shared_kv:
        return "latent"
    if core.mask.window is not None:
        return "window"
    return "gqa" if every(core.d_qk == core.d_v) else "mla"


def labels(op: Op) -> Labels | None:
    """Formats and layout of the core, and whether the write of K and V runs with it; forward only."""
    core = the_core(op)
    if core is None:
        return None
    scope = "core" if core is op else "write"
    return {
        "x": core.x.name, "kv": core.kv.name, "compute": core.compute.name, "layout": layout(core), "scope": scope,
    }  # fmt: skip


def covers(op: Op) -> Where:
    """More than one query a sequence, and the first token of a prompt, which engines give to either kernel; over a latent more than FEW."""
    core = the_core(op)
    return core is not None and ~np.asarray(one_query(core)) & ~np.asarray(few_over_latent(core))


# Queries of a sequence up to which rows over a latent are a decode kernel's: a judgement. The kernel takes any number
# (deepseek-ai/FlashMLA folds them into its heads), and where nobody has timed more it answers for all (`OTHERWISE`).
FEW = 64.0
# Layouts that another family answers for where no row of this one does. Other layouts do not: behind 131,072 tokens a kernel over
# expanded heads, which does not split the keys, was eleven times as slow.
OTHERWISE = {"latent": "attention_decode"}


def one_query(core: AttentionCore) -> Where:
    """Where one query a sequence meets a cache, or latents."""
    return (core.q_len == 1.0) & ((core.past > 0.0) | (layout(core) == "latent"))


def few_over_latent(core: AttentionCore) -> Where:
    """Where a decode kernel takes several queries of a sequence at once."""
    return (core.q_len > 1.0) & (core.q_len <= FEW) & (layout(core) == "latent")


def relatives(labels: Labels) -> list[Labels]:
    """The same with the write, whose bytes the form then leaves out (the core alone never stands for both); the nearest
    layout; a cache, or arithmetic, in another format; fp16 for bf16."""
    return with_write(labels, alike(labels, () if labels["layout"] in OTHERWISE else None))


def with_write(labels: Labels, found: list[Labels]) -> list[Labels]:
    """Relatives of the same scope, and for the core alone those with the write."""
    if labels["scope"] == "core":
        return [{**labels, "scope": "write"}, *found, *({**other, "scope": "write"} for other in found)]
    return found


def alike(labels: Labels, layouts: tuple[str, ...] | None = None) -> list[Labels]:
    """Other layouts and formats of the same scope."""
    if labels["layout"] == "sparse":
        return _dense(labels)
    near = _NEAR[labels["layout"]] if layouts is None else layouts
    found: list[Labels] = [{**labels, "layout": name} for name in near]
    if labels["compute"] != labels["x"]:
        found.append({**labels, "compute": labels["x"]})
    if labels["kv"] != labels["x"]:
        found.append({**labels, "kv": labels["x"], "compute": labels["x"]})
    if labels["x"] == "fp16":
        found.append({name: "bf16" if value == "fp16" else value for name, value in labels.items()})
    return found


def _dense(labels: Labels) -> list[Labels]:
    """Of picked keys another format of the cache, then as many keys that stand side by side, as kernels for them compute."""
    kinds = dict.fromkeys(((labels["kv"], labels["compute"]), (labels["kv"], labels["kv"]), (labels["x"], labels["x"])))
    found = [
        {**labels, "kv": kv, "compute": compute, "layout": layout_}
        for layout_ in ("sparse", "latent")
        for kv, compute in kinds
    ]
    return [one for one in found if one != labels]


_NEAR = {"gqa": (), "window": ("gqa",), "mla": ("gqa",), "latent": ("mla", "gqa"), "blocks": ("window", "gqa")}


def numbers(op: Op) -> Mapping[str, Num]:
    """Of the core; window 0 where its mask has no window and picks none."""
    core = certain_core(op)
    limit = core.mask.picked if core.mask.window is None else core.mask.window
    window = 0.0 if limit is None else limit
    return {
        "batch": core.batch, "q_len": core.q_len, "past": core.past, "heads": core.heads, "kv_heads": core.kv_heads,
        "d_qk": core.d_qk, "d_v": core.d_v, "window": window,
    }  # fmt: skip


def certain_core(op: Op) -> AttentionCore:
    """The core, forward or backward."""
    found = op if isinstance(op, AttentionCore) else the_core(op)
    assert found is not None
    return found


def serial_bytes(op: Op) -> Num:
    """Bytes of what runs before the core, and nothing hides. [B]"""
    total: Num = 0.0
    if isinstance(op, Fused):
        for part in _around(certain_core(op)):
            total = total + part.work().bytes
    return total


def terms(op: Op, device: Device) -> Terms:
    """The core, with what runs before it as serial bytes. Sizes: keys a query sees on average, query heads times queries of all sequences, and
    width of a head."""
    core = certain_core(op)
    keys = core.mask.pairs(core.q_len, core.past) / core.q_len  # how long the kernel loops for a query, on average
    sizes = (keys, core.batch * core.heads * core.q_len, core.d_qk)
    return kernel_terms(core, device, core.work(), serial_bytes(op), sizes)


def features(op: Op) -> tuple[Num, ...]:
    """Heads of all sequences, queries, heads, share of the square that the mask leaves, grouping, width. Of expanded MLA the square
    is that of the queries alone, so that a prefix widens the interval with its length: no imported row and no published timing has
    one, and engines differ (one pass, or prefixes expanded chunk by chunk and merged; keys split over multiprocessors or not)."""
    core = certain_core(op)
    square = core.q_len * ((0.0 if layout(core) == "mla" else core.past) + core.q_len + 1.0)
    left = core.mask.pairs(core.q_len, core.past) / square
    return (
        np.log(core.batch * core.heads), np.log(core.q_len), np.log(core.heads), np.log(left),
        np.log(core.heads / core.kv_heads), np.log(core.d_qk),
    )  # fmt: skip


def site(op: Op) -> tuple[Num, ...]:
    """Heads, mask and width of a batch, and its queries."""
    core = certain_core(op)
    window = 0.0 if core.mask.window is None else core.mask.window
    return (core.batch, core.heads, core.kv_heads, core.d_qk, core.past, window, np.log(core.q_len))
