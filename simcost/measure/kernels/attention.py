"""The attention core through torch's scaled_dot_product_attention, with the backend pinned, and what checks it.

On a CPU there is one fast path, flash, and V is padded to the width of K where they differ. On CUDA the first of cuDNN, flash
and memory-efficient that accepts the shapes is pinned for all calls; a window or a continued prefill goes through torch's
variable-length kernel where this build has it. Keys and values lie token by token, as caches hold them. Most likely to be
wrong: which backend an engine would take instead; the row's kind names the one that ran. Source: torch.nn.attention.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from simcost.frozen import frozen
from simcost.measure import torch_ops as ops
from simcost.measure.kernels.kernel import Kernel, Unsupported, no_context
from simcost.measure.machine.target import Target
from simcost.measure.points.kernel_class import Numbers, Unit, Wanted, of_a_step
from simcost.measure.points.point import Kind
from simcost.measure.points.rounding import whole
from simcost.measure.points.sobol import log_between, one_of
from simcost.measure.timing.buffers import SPREAD, Bench, error, some, tolerance
from simcost.measure.timing.cpu import Call
from simcost.ops.attention_core import AttentionCore

Tensor = torch.Tensor
ORDER = (SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH)
_HEADS, _QUERIES = 2, 16  # what a check looks at


@frozen
class Shape:
    """An attention core in whole numbers; window 0: none; `scale` gives scores a variance of one."""

    batch: int
    q_len: int
    past: int
    heads: int
    kv_heads: int
    d_qk: int
    d_v: int
    window: int
    name: str

    @property
    def keys(self) -> int:
        """Keys of one sequence: cached and new ones."""
        return self.past + self.q_len

    @property
    def scale(self) -> float:
        """Factor on the scores: 1/(SPREAD²·√d_qk), as random values have the standard deviation SPREAD."""
        return 1.0 / (SPREAD * SPREAD * math.sqrt(self.d_qk))

    @property
    def masked(self) -> bool:
        """Whether "causal from the first key on" does not say which keys are seen."""
        return self.q_len > 1 and (self.past > 0 or self.window > 0)


def shape(op: AttentionCore) -> Shape:
    """The sizes of an op as integers; a window that hides no key becomes 0. Raises Unsupported for a chunked or a full mask."""
    if op.mask.chunk is not None or not op.mask.causal:
        raise Unsupported("chunked and full masks have no kernel here")
    sizes = (op.batch, op.q_len, op.past, op.heads, op.kv_heads, op.d_qk, op.d_v)
    batch, q_len, past, heads, kv_heads, d_qk, d_v = (int(float(size)) for size in sizes)
    window = 0 if op.mask.window is None else int(float(op.mask.window))
    if window >= past + q_len:
        window = 0
    return Shape(batch, q_len, past, heads, kv_heads, d_qk, d_v, window, op.x.name)


def tensors(s: Shape, bench: Bench) -> tuple[Tensor, Tensor, Tensor]:
    """Random q [b, h, q, d], k [b, h_kv, s, d] and v [b, h_kv, s, d_v]; in memory heads lie inside tokens."""
    sizes = ((s.q_len, s.heads, s.d_qk), (s.keys, s.kv_heads, s.d_qk), (s.keys, s.kv_heads, s.d_v))
    q, k, v = (bench.take((s.batch, *size), s.name).transpose(1, 2) for size in sizes)
    return q, k, v


def build(op: AttentionCore, bench: Bench, copies: int) -> Kernel:
    """A core with separate K and V: grouped queries, or expanded MLA. Raises Unsupported for a mask that no kernel here has."""
    s = shape(op)
    mask = ops.lower_right(s.q_len, s.keys, bench.device, _type(s), s.window) if s.masked and not bench.cuda else None
    sets = [tensors(s, bench) for _ in range(copies)]
    causal = s.q_len > 1 and mask is None
    if bench.cuda and s.masked:
        return _varlen(s, sets)
    calls = [partial(ops.attention, q, k, v, mask, causal, s.scale) for q, k, v in sets]
    backend, context = pinned(calls[0], bench)
    return Kernel(calls, lambda: wrong(s, calls[0](), *sets[0]), tolerance(s.name), backend, context)


def pinned(call: Call, bench: Bench) -> tuple[str, Callable[[], AbstractContextManager[Any]]]:
    """(name, context) of the first backend that runs the call. Raises RuntimeError when none does."""
    if not bench.cuda:
        return "sdpa flash (CPU)", no_context
    said = ""
    for backend in ORDER:
        context = partial(sdpa_kernel, [backend])
        try:
            with context():
                call()
            torch.cuda.synchronize()
        except torch.OutOfMemoryError:
            raise  # of the shape, not of the backend
        except RuntimeError as problem:
            said = str(problem).splitlines()[0]
            continue
        return f"sdpa {backend.name.removesuffix('_ATTENTION').lower()}", context
    raise RuntimeError(f"no attention backend takes this shape: {said}")


def _varlen(s: Shape, sets: list[tuple[Tensor, Tensor, Tensor]]) -> Kernel:
    """Causal from the lower right corner, with or without a window, by torch's variable-length flash kernel. Raises
    Unsupported where it has one width only (expanded MLA: 192 and 128), or this build's takes no scale and window."""
    if s.d_qk != s.d_v:
        raise Unsupported(f"a continued prefill has no kernel here with widths {s.d_qk} and {s.d_v}")
    varlen_attn = _varlen_attn(s.heads != s.kv_heads)
    device = sets[0][0].device
    q_ends, k_ends = (torch.arange(0, s.batch + 1, device=device, dtype=torch.int32) * n for n in (s.q_len, s.keys))
    left = s.window - 1 if s.window else -1

    def packed(x: Tensor) -> Tensor:
        return x.transpose(1, 2).flatten(0, 1)

    calls = [
        partial(
            varlen_attn, packed(q), packed(k), packed(v), q_ends, k_ends, s.q_len, s.keys, scale=s.scale,
            window_size=(left, 0),
        )
        for q, k, v in sets
    ]  # fmt: skip

    def unpacked() -> Any:
        out: Any = calls[0]()
        return out.view(s.batch, s.q_len, s.heads, s.d_v).transpose(1, 2)

    return Kernel(calls, lambda: wrong(s, unpacked(), *sets[0]), tolerance(s.name), "varlen_attn")


def _varlen_attn(grouped: bool) -> Callable[..., Any]:
    """torch's function, with its leave to share keys where it asks for that: up to torch 2.11 it shares them unasked
    and has no such argument. `scale` and `window_size` came with 2.11."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        raise Unsupported("this torch has no varlen_attn") from None
    found: Callable[..., Any] = varlen_attn
    known = inspect.signature(found).parameters
    if not {"scale", "window_size"} <= set(known):
        raise Unsupported("this torch's varlen_attn takes no scale and no window")
    return partial(found, enable_gqa=True) if grouped and "enable_gqa" in known else found


def wrong(s: Shape, out: Tensor, q: Tensor, k: Tensor, v: Tensor) -> float:
    """Relative error of a sample of heads and queries of the first and last sequence."""
    b, h = some(s.batch, 2, out.device), some(s.heads, _HEADS, out.device)
    r = some(s.q_len, _QUERIES, out.device)
    kv = h // (s.heads // s.kv_heads)
    scores = q[b][:, h][:, :, r].double() @ k[b][:, kv].double().transpose(-2, -1) * s.scale
    seen = ops.lower_right(s.q_len, s.keys, out.device, torch.float64, s.window)[r] if s.q_len > 1 else 0.0
    want = torch.softmax(scores + seen, -1) @ v[b][:, kv].double()
    return error(out[b][:, h][:, :, r], want)


def _type(s: Shape) -> torch.dtype:
    from simcost.measure.timing.buffers import TYPES

    return TYPES[s.name]


_WIDTHS = (64, 128, 128, 256)  # of a head


def cores(layouts: Mapping[str, float], format_: str, target: Target, **more: str) -> list[Wanted]:
    """Kinds of cores in the formats of a step: layout -> share; `more`: further labels."""
    x = of_a_step(format_, target)
    if x is None:
        return []
    return [({"x": x, "kv": x, "compute": x, "layout": name, **more}, share) for name, share in layouts.items()]


def heads_and_widths(kind: Kind, u: Unit) -> dict[str, float]:
    """Heads and widths: grouped queries, or the two forms of MLA with DeepSeek's widths."""
    layout = kind.table["layout"]
    if layout in ("gqa", "window"):
        kv, width = log_between(u[0], 1.0, 16.0), float(one_of(u[2], _WIDTHS))
        kv = float(round(kv))
        return {"kv_heads": kv, "heads": kv * round(log_between(u[1], 1.0, 12.0)), "d_qk": width, "d_v": width}
    heads = float(round(log_between(u[0], 8.0, 128.0)))
    if layout == "latent":
        return {"kv_heads": 1.0, "heads": heads, "d_qk": 576.0, "d_v": 512.0}
    return {"kv_heads": heads, "heads": heads, "d_qk": 192.0, "d_v": 128.0}


def rounded(kind: Kind, x: Numbers) -> tuple[int, ...] | None:
    """Whole heads of whole groups. A window that hides nothing is none; None where that makes it the kernel of another kind."""
    heads, kv = whole(x["heads"]), whole(x["kv_heads"])
    q, past, window = whole(x["q_len"]), round(x["past"]), round(x["window"])
    if window >= past + q:
        window = 0  # nothing is hidden
    if window and q == 1:
        past, window = window - 1, 0  # one query sees only the window: the same kernel over fewer keys
    if kind.table["layout"] == "window" and not window:
        return None  # it is the kernel of another kind
    return whole(x["batch"]), q, past, math.ceil(heads / kv) * kv, kv, whole(x["d_qk"], 8), whole(x["d_v"], 8), window
