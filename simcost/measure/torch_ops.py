"""The torch operations of a decoder layer, one function a kernel of simcost's program; plain eager torch.

For `build.py` and for anyone who times the same kernels alone. Most likely to be wrong: engines fuse what stands here as
two or three operators (rope, gated activation), which a device's own rows then show. Sources: the torch operators' manual
pages; rotary embedding arXiv 2104.09864; SwiGLU arXiv 2002.05202; V padded to the width of Q and K as in flash kernels that
take one width only.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional as F

Tensor = torch.Tensor
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_EPSILON = 1e-5
_ALIGN = 16  # bytes: grouped_mm takes no rows that start elsewhere


def norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: bool) -> Tensor:
    """RMSNorm, or LayerNorm where the mean is taken off, along the last dimension."""
    shape = (x.shape[-1],)
    if mean:
        return F.layer_norm(x, shape, weight, bias, _EPSILON)
    return F.rms_norm(x, shape, weight, _EPSILON)


def rope_tables(length: int, width: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """(cos, sin) [length, 1, width]; the first half of sin carries the sign of the rotation."""
    step = torch.arange(0, width, 2, dtype=torch.float64) / max(width, 1)
    angle = torch.outer(torch.arange(length, dtype=torch.float64), 10000.0**-step)
    cos, sin = angle.cos(), angle.sin()
    both = torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1)
    return both[0].unsqueeze(1).to(device, dtype), both[1].unsqueeze(1).to(device, dtype)


def rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x [rows, heads, d]; the first `cos.shape[-1]` of d are turned, halves against each other."""
    width = cos.shape[-1]
    part = x[..., :width]
    half = width // 2
    turned = torch.addcmul(part * cos, torch.cat((part[..., half:], part[..., :half]), -1), sin)
    return turned if width == x.shape[-1] else torch.cat((turned, x[..., width:]), -1)


def activation(x: Tensor, gated: bool) -> Tensor:
    """silu(gate) * up of [gate | up], or the activation alone."""
    if not gated:
        return F.silu(x)
    half = x.shape[-1] // 2
    return F.silu(x[..., :half]) * x[..., half:]


def attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool, scale: float, sinks: Tensor | None = None
) -> Tensor:
    """q [b, h, t, d], k [b, h_kv, s, d], v [b, h_kv, s, d_v] -> [b, h, t, d_v] by torch's own choice of backend. On a CPU a
    narrower V is padded: its flash kernel knows one width, and without it torch falls back to plain products. `sinks` [h]: a logit of
    each head that no value stands behind."""
    if sinks is not None and not takes_sinks(q):
        return _products(q, k, v, mask, causal, scale, sinks)
    width = v.shape[-1]
    if not q.is_cuda and width != q.shape[-1]:
        v = F.pad(v, (0, q.shape[-1] - width))
    if sinks is not None:
        return _with_sinks(q, k, v, mask, causal, scale, sinks)[..., :width]
    grouped = q.shape[1] != k.shape[1]
    out = F.scaled_dot_product_attention(q, k, v, mask, 0.0, causal, scale=scale, enable_gqa=grouped)
    return out[..., :width]


def takes_sinks(q: Tensor) -> bool:
    """Whether torch's own kernel serves attention with sinks: on a CPU, where it gives the logarithm of the softmax's denominator, which has no gradient."""
    return not q.is_cuda and not q.requires_grad


def takes_latent_sinks(q: Tensor) -> bool:
    """The same of latents, but for one query a sequence: its heads read the same keys, which two products do at once and the kernel head by head (20 to 200 times as long in bf16)."""
    return takes_sinks(q) and q.shape[2] > 1


def _with_sinks(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool, scale: float, sinks: Tensor
) -> Tensor:
    """As engines do: the output without sinks, times the share of the denominator that is the keys'."""
    flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    out, total = flash(q, k, v, 0.0, causal, attn_mask=mask, scale=scale)
    kept = torch.sigmoid(total - sinks.float().view(1, -1, 1))
    return torch.mul(out, kept.unsqueeze(-1).to(out.dtype))


def _products(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool, scale: float, sinks: Tensor
) -> Tensor:
    """Two products and a softmax over the keys' scores and the sink's."""
    (b, h, t, d), kv = q.shape, k.shape[1]
    scores = (q.reshape(b, kv, -1, d) @ k.transpose(-2, -1)).view(b, h, t, -1).float() * scale
    if causal and mask is None:
        mask = lower_right(t, k.shape[2], q.device, torch.float32)
    if mask is not None:
        scores = scores + mask
    both = torch.cat((scores, sinks.float().view(1, h, 1, 1).expand(b, h, t, 1)), -1)
    weights = torch.softmax(both, -1)[..., :-1].to(v.dtype)
    return (weights.reshape(b, kv, -1, k.shape[2]) @ v).view(b, h, t, -1)


def latent_attention(
    q: Tensor, latent: Tensor, rank: int, mask: Tensor | None, causal: bool, scale: float, sinks: Tensor | None = None
) -> Tensor:
    """All heads of q [b, h, t, d] on one latent [b, s, d] whose first `rank` elements are the value -> [b, h, t, rank].

    On a CPU the flash kernel takes the latent as K and as V; on a device it is two products and a softmax, for where
    no kernel of its own serves. `sinks`: as of `attention`."""
    if sinks is not None:
        keys = latent.unsqueeze(1)
        serves = takes_latent_sinks(q)
        out = (_with_sinks if serves else _products)(
            q, keys, keys if serves else keys[..., :rank], mask, causal, scale, sinks
        )
        return out[..., :rank]
    if not q.is_cuda:
        keys = latent.unsqueeze(1)
        out = F.scaled_dot_product_attention(q, keys, keys, mask, 0.0, causal, scale=scale, enable_gqa=True)
        return out[..., :rank]
    b, h, t, d = q.shape
    scores = torch.bmm(q.reshape(b, h * t, d), latent.transpose(1, 2)).view(b, h, t, -1).float() * scale
    if causal and mask is None:
        mask = lower_right(t, latent.shape[1], q.device, torch.float32)
    if mask is not None:
        scores = scores + mask
    weights = torch.softmax(scores, -1).to(q.dtype).view(b, h * t, -1)
    return torch.bmm(weights, latent[..., :rank]).view(b, h, t, rank)


def lower_right(
    queries: int, keys: int, device: torch.device, dtype: torch.dtype, window: int = 0, chunk: int = 0
) -> Tensor:
    """Additive mask [queries, keys]: 0 where a query, the last of them the last key, may look, else -inf."""
    row = torch.arange(keys - queries, keys, device=device).unsqueeze(1)
    column = torch.arange(keys, device=device).unsqueeze(0)
    seen = column <= row
    if window:
        seen = seen & (column > row - window)
    if chunk:
        seen = seen & (column // chunk == row // chunk)
    return torch.zeros(queries, keys, device=device, dtype=dtype).masked_fill(~seen, float("-inf"))


def route(
    logits: Tensor, top_k: int, scoring: str, groups: int, limit: int, bias: Tensor | None
) -> tuple[Tensor, Tensor]:
    """(weights [t, k] that add up to one, experts [t, k]) of logits [t, E]; no host synchronisation."""
    scores = torch.softmax(logits.float(), -1) if scoring == "softmax" else torch.sigmoid(logits.float())
    choice = scores if bias is None else scores + bias.float()
    if groups > 1 and limit < groups:
        by_group = choice.view(len(choice), groups, -1)
        best = by_group.topk(min(2, by_group.shape[-1]), -1).values.sum(-1).topk(limit, -1).indices
        open_groups = torch.zeros_like(by_group[..., 0]).scatter(1, best, 1.0).bool()
        choice = by_group.masked_fill(~open_groups.unsqueeze(-1), float("-inf")).flatten(1)
    experts = choice.topk(top_k, -1).indices
    weights = scores.gather(1, experts)
    return weights / weights.sum(-1, keepdim=True), experts


def expert_order(experts: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """(copy indices in expert order, their inverse, ends of the experts' rows as int32) of experts [t, k]."""
    flat = experts.flatten()
    order = torch.argsort(flat, stable=True)
    back = torch.argsort(order)
    each = (flat.unsqueeze(1) == torch.arange(count, device=flat.device)).sum(0)
    return order, back, torch.cumsum(each, 0).to(torch.int32)


def unpermute(y: Tensor, back: Tensor, weights: Tensor) -> Tensor:
    """Copies [t*k, d] back in token order, weighted [t, k] and summed -> [t, d]."""
    t, k = weights.shape
    return (y.index_select(0, back).view(t, k, -1) * weights.to(y.dtype).unsqueeze(-1)).sum(1)


def takes_groups(x: Tensor, w: Tensor) -> bool:
    """Whether torch's grouped product takes these sizes: it wants rows that start at multiples of 16 bytes."""
    size = x.element_size()
    return hasattr(F, "grouped_mm") and x.shape[1] * size % _ALIGN == 0 and w.shape[1] * size % _ALIGN == 0


def grouped(x: Tensor, w: Tensor, ends: Tensor) -> Tensor:
    """Rows [r, k] of every expert times its w [E, n, k] -> [r, n]; a loop where torch's grouped product will not."""
    return F.grouped_mm(x, w.transpose(-2, -1), offs=ends) if takes_groups(x, w) else _loop(x, w, ends)


def _loop(x: Tensor, w: Tensor, ends: Tensor) -> Tensor:
    stops = [int(end) for end in ends]
    starts = [0, *stops[:-1]]
    return torch.cat([F.linear(x[a:b], w[e]) for e, (a, b) in enumerate(zip(starts, stops, strict=True))])


Stamp = Callable[[], None]


class SplitLinear(torch.autograd.Function):
    """F.linear whose backward calls `stamp` between the gradient of the input and that of the weight."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, w: Tensor, stamp: Stamp) -> Tensor:
        """x [r, k] times w [n, k]ᵀ -> [r, n]; keeps both for the backward pass."""
        ctx.save_for_backward(x, w)
        ctx.stamp = stamp  # type: ignore[attr-defined]
        return F.linear(x, w)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        """(gradient of x, gradient of w, None); calls `stamp` after the first."""
        (dy,), (x, w) = grads, ctx.saved_tensors  # type: ignore[attr-defined]
        dx = dy @ w
        ctx.stamp()  # type: ignore[attr-defined]
        return dx, dy.t() @ x, None


class SplitGrouped(torch.autograd.Function):
    """`grouped` by torch's grouped product, whose backward calls `stamp` between the gradient of the input and that of the
    weight."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, w: Tensor, ends: Tensor, stamp: Stamp) -> Tensor:
        """Rows x [r, k] times w [E, n, k] -> [r, n]; keeps x, w and ends for the backward pass."""
        ctx.save_for_backward(x, w, ends)
        ctx.stamp = stamp  # type: ignore[attr-defined]
        return grouped(x, w, ends)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        """(gradient of x [r, k], gradient of w [E, n, k], None, None); calls `stamp` after the first."""
        (dy,), (x, w, ends) = grads, ctx.saved_tensors  # type: ignore[attr-defined]
        dx = F.grouped_mm(dy, w, offs=ends)
        ctx.stamp()  # type: ignore[attr-defined]
        return dx, F.grouped_mm(dy.t(), x, offs=ends), None, None
