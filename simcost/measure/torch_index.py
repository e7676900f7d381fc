"""How an indexer picks keys, and attention to what it picked, in plain torch; a piece of keys or of queries at a time, so that no temporary is much larger than what it is made of.

Sources: DeepSeek-V3.2 (arXiv 2512.02556 §2.1); Hugging Face `modeling_minimax_m3_vl.py` (a block's score is the best of its keys).
"""

from __future__ import annotations

import torch

Tensor = torch.Tensor
_PIECE, _PRODUCTS = (
    4096,
    1 << 27,
)  # keys at once, and products: those of all heads and keys would not fit beside the scores
_GATHERED = 1 << 24  # elements of picked keys at once
_NEVER = float("-inf")


def scores(q: Tensor, k: Tensor, weight: Tensor) -> Tensor:
    """Weighted sum over the heads of the rectified products of q [B, T, heads, d] with k [B, S, d], in the format of `weight` [B, T, heads]: [B, T, S]."""
    found = []
    for part in torch.split(k, _piece(q), 1):
        products = torch.einsum("bqhd,bkd->bqhk", q, part.to(q.dtype)).relu()
        found.append(torch.einsum("bqhk,bqh->bqk", products.to(weight.dtype), weight))
    return torch.cat(found, -1)


def _piece(q: Tensor) -> int:
    """Keys at once."""
    return max(min(_PIECE, _PRODUCTS // q[..., 0].numel()), 1)


def block_scores(q: Tensor, k: Tensor, size: int, past: int) -> Tensor:
    """The largest product of q [B, T, heads, d] with the keys of each block of `size` of k [B, S, d] that the query sees, in fp32: [B, heads, T, blocks]; the least number of the format for
    a block behind the query."""
    never = torch.finfo(q.dtype).min
    step, found = max(_piece(q) // size, 1) * size, []
    for start in range(0, k.shape[1], step):
        part = k[:, start : start + step].to(q.dtype)
        products = torch.einsum("bqhd,bkd->bhqk", q, part)
        products = hidden(products, past - start, never)
        products = torch.nn.functional.pad(products, (0, -part.shape[1] % size), value=never)
        found.append(torch.unflatten(products, -1, (-1, size)).amax(-1))
    return torch.cat(found, -1).float()


def hidden(x: Tensor, past: int, never: float = _NEVER) -> Tensor:
    """Scores [..., T, S] with `never` where key s comes after query t, which stands at `past` + t; one query sees all."""
    queries, keys = x.shape[-2:]
    if past + 1 >= keys:
        return x
    row = torch.arange(past, past + queries, device=x.device).unsqueeze(1)
    return x.masked_fill(torch.arange(keys, device=x.device) > row, never)


def best_blocks(x: Tensor, count: int, size: int, past: int) -> Tensor:
    """The `count` best blocks of each query by their scores [B, heads, T, blocks], the block of the query always among them: [B, heads, T, count]."""
    return x.scatter(-1, own_block(x, size, past), float("inf")).topk(min(count, x.shape[-1]), -1, sorted=False).indices


def own_block(x: Tensor, size: int, past: int) -> Tensor:
    """The block in which each query of scores [B, heads, T, blocks] stands: [B, heads, T, 1]."""
    own = torch.arange(past, past + x.shape[2], device=x.device).div(size, rounding_mode="floor")
    return own.view(1, 1, -1, 1).expand(*x.shape[:3], 1)


def keys_of(blocks: Tensor, size: int) -> Tensor:
    """Keys of picked blocks [..., n] -> [..., n x size]; the last ones may lie beyond the context."""
    return (blocks.unsqueeze(-1) * size + torch.arange(size, device=blocks.device)).flatten(-2)


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor | None,
    picks: Tensor,
    past: int,
    rank: int,
    scale: float,
    sinks: Tensor | None = None,
) -> Tensor:
    """q [B, heads, T, d] over the keys `picks` [B, kv, T, n] of k [B, kv, S, d] and v [B, kv, S, d_v], those that come after the query, and picks of -1, left out; without v the first `rank` elements of a
    key are its value. `sinks` [heads]: a logit of each head that no value stands behind. [B, heads, T, d_v]"""
    b, kv, t, n = picks.shape
    q = torch.unflatten(q, 1, (kv, -1)).transpose(2, 3)  # [B, kv, T, group, d]
    step, found = max(_GATHERED // (b * kv * n * k.shape[-1]), 1), []
    rows = torch.arange(past, past + t, device=q.device).unsqueeze(1)
    for start in range(0, t, step):
        chosen = picks[:, :, start : start + step]
        keys = _gathered(k, chosen)
        weights = (q[:, :, start : start + step] @ keys.transpose(-1, -2)).float() * scale
        unseen = ((chosen > rows[start : start + step]) | (chosen < 0)).unsqueeze(-2)
        weights = weights.masked_fill(unseen, _NEVER)
        if sinks is not None:
            beside = sinks.float().view(1, kv, 1, -1, 1).expand(*weights.shape[:-1], 1)
            weights = torch.cat((weights, beside), -1)
        weights = torch.softmax(weights, -1)[..., :n].to(q.dtype)
        found.append(weights @ (keys[..., :rank] if v is None else _gathered(v, chosen)))
    return torch.cat(found, 2).transpose(2, 3).flatten(1, 2)


def _gathered(x: Tensor, picks: Tensor) -> Tensor:
    """Rows of x [B, kv, S, d] by `picks` [B, kv, T, n], the first or the last row where they lie beyond it: [B, kv, T, n, d]."""
    flat = picks.flatten(2).clamp(0, x.shape[2] - 1).unsqueeze(-1).expand(-1, -1, -1, x.shape[-1])
    return torch.unflatten(x.gather(2, flat), 2, picks.shape[2:])
