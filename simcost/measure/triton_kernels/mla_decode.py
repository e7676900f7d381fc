"""Attention of all heads over one latent a token, split over the keys (absorbed MLA: 512 + 64 wide in DeepSeek-V3).

The latent is K, its first `rank` numbers are also V. Program (block of rows, sequence, part of the keys) keeps a running
softmax and leaves a weighted sum with its log-sum-exp; a second kernel joins the parts. Rows are (query, head) pairs, so
several new tokens per sequence work too, causal from the lower right corner. Most likely to be wrong: the tile that is best on a
device nobody has tried. Sources: FlashAttention (arXiv 2205.14135) for the running softmax; split keys as in Flash-Decoding;
DeepSeek-V2 (arXiv 2405.04434) for the form. Type hints of Triton's language are not Python's: no type check in this file.
"""

# mypy: ignore-errors

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from simcost.measure.triton_kernels import grids

LOG2_E = 1.4426950408889634


@dataclass(frozen=True)
class Tile:
    """rows and keys of a block, warps, stages of the pipeline, parts of the keys (0: as many as fill the device)."""

    rows: int = 16
    keys: int = 32
    warps: int = 4
    stages: int = 2
    splits: int = 0


# Register and shared-memory use of these three was read from the compiled code for sm_90: no spills.
SMALL, MIDDLE, LARGE = Tile(16, 32, 4, 2), Tile(16, 64, 8, 2), Tile(64, 64, 8, 2)


# Counts that vary from point to point are not specialised on: each kind of value would be compiled anew.
@triton.jit(do_not_specialize=["keys", "queries", "heads", "splits"])
def _part(
    q, kv, sums, ends, scale, keys, queries, heads, splits, q_b, q_h, q_t, kv_b, kv_s,
    RANK: tl.constexpr, ROPE: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(1).to(tl.int64)
    part = tl.program_id(2)
    rows = queries * heads
    r = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    live = r < rows
    query = r // heads
    seen = keys - queries + query + 1
    mine = q + b * q_b + (r % heads) * q_h + query.to(tl.int64) * q_t
    c = tl.arange(0, RANK)
    e = RANK + tl.arange(0, ROPE)
    q_c = tl.load(mine[:, None] + c[None, :], mask=live[:, None], other=0.0)
    q_e = tl.load(mine[:, None] + e[None, :], mask=live[:, None], other=0.0)
    each = tl.cdiv(tl.cdiv(keys, splits), KEYS) * KEYS
    low = part * each
    high = tl.minimum(low + each, keys)
    top = tl.full([ROWS], float("-inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    acc = tl.zeros([ROWS, RANK], tl.float32)
    for start in range(low, high, KEYS):
        n = start + tl.arange(0, KEYS)
        inside = n < high
        token = kv + b * kv_b + n.to(tl.int64) * kv_s
        k_c = tl.load(token[:, None] + c[None, :], mask=inside[:, None], other=0.0)
        k_e = tl.load(token[:, None] + e[None, :], mask=inside[:, None], other=0.0)
        s = tl.dot(q_c, tl.trans(k_c), input_precision="ieee")
        s = tl.dot(q_e, tl.trans(k_e), s, input_precision="ieee") * scale
        s = tl.where(inside[None, :] & (n[None, :] < seen[:, None]), s, float("-inf"))
        new = tl.maximum(top, tl.max(s, 1))
        base = tl.where(new == float("-inf"), 0.0, new)  # a row that has seen no key yet
        p = tl.exp2(s - base[:, None])
        fade = tl.exp2(top - base)
        total = total * fade + tl.sum(p, 1)
        acc = tl.dot(p.to(k_c.dtype), k_c, acc * fade[:, None], input_precision="ieee")
        top = new
    full = tl.where(total > 0.0, total, 1.0)
    at = (b * splits + part) * rows + r
    tl.store(ends + at, tl.where(total > 0.0, top + tl.log2(full), float("-inf")), mask=live)
    tl.store(sums + at[:, None] * RANK + c[None, :], acc / full[:, None], mask=live[:, None])


@triton.jit(do_not_specialize=["rows", "heads", "splits"])
def _join(sums, ends, out, rows, heads, splits, o_b, o_h, o_t, RANK: tl.constexpr, SPLITS: tl.constexpr):
    b = tl.program_id(1).to(tl.int64)
    r = tl.program_id(0).to(tl.int64)
    part = tl.arange(0, SPLITS)
    c = tl.arange(0, RANK)
    at = (b * splits + part) * rows + r
    end = tl.load(ends + at, mask=part < splits, other=float("-inf"))
    weight = tl.exp2(end - tl.max(end, 0))
    weight = weight / tl.sum(weight, 0)
    acc = tl.zeros([RANK], tl.float32)
    for i in range(splits):
        row = tl.load(sums + ((b * splits + i) * rows + r) * RANK + c)
        acc += row * tl.sum(tl.where(part == i, weight, 0.0), 0)
    tl.store(out + b * o_b + (r % heads) * o_h + (r // heads) * o_t + c, acc.to(out.dtype.element_ty))


def tile(rows: int, device: torch.device) -> Tile:
    """The large tile needs Hopper's shared memory and enough rows to fill it. Compiled for sm_100 it takes 345 KB, which
    no part has."""
    if device.type == "cuda" and rows >= 64 and torch.cuda.get_device_capability(device)[0] == 9:
        return LARGE
    return SMALL


def parts(batch: int, blocks: int, keys: int, block: int, device: torch.device) -> int:
    """Parts of the keys: two waves over the device, none shorter than four blocks of keys."""
    if device.type != "cuda":
        return min(4, max(keys // (2 * block), 1))
    waves = 2 * torch.cuda.get_device_properties(device).multi_processor_count
    return max(min(-(-waves // (batch * blocks)), keys // (4 * block), 64), 1)


def attend(q: torch.Tensor, latent: torch.Tensor, rank: int, scale: float, given: Tile | None = None) -> torch.Tensor:
    """q [b, h, t, d] over latent [b, s, d] -> [b, h, t, rank]. rank and d - rank must be powers of two, the last dimensions
    contiguous."""
    b, h, t, d = q.shape
    keys = latent.shape[1]
    use = given or tile(h * t, q.device)
    blocks = triton.cdiv(h * t, use.rows)
    splits = use.splits or parts(b, blocks, keys, use.keys, q.device)
    sums = torch.empty(b, splits, h * t, rank, dtype=torch.float32, device=q.device)
    ends = torch.empty(b, splits, h * t, dtype=torch.float32, device=q.device)
    out = torch.empty(b, t, h, rank, dtype=q.dtype, device=q.device).transpose(1, 2)
    _part[grids.parts(h * t, use.rows, b, splits)](
        q, latent, sums, ends, scale * LOG2_E, keys, t, h, splits, q.stride(0), q.stride(1), q.stride(2),
        latent.stride(0), latent.stride(1), RANK=rank, ROPE=d - rank, ROWS=use.rows, KEYS=use.keys,
        num_warps=use.warps, num_stages=use.stages,
    )  # fmt: skip
    _join[grids.join(h * t, b)](
        sums, ends, out, h * t, h, splits, out.stride(0), out.stride(1), out.stride(2), RANK=rank,
        SPLITS=triton.next_power_of_2(splits), num_warps=4,
    )  # fmt: skip
    return out
