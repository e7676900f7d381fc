"""Grouped products: rows in expert order times each expert's weights; fp8 with DeepSeek's block scales, or plain bf16.

A flat list of row tiles covers all experts; each program finds its expert by counting tiles on the device, so nothing waits
for the host and a CUDA graph can hold it. fp8: one fp32 scale for 128 numbers of a row, one for a 128x128 block of weights,
applied to every partial sum over 128. Most likely to be wrong: the tiles; engines tune them a shape. Sources: DeepSeek-V3
(arXiv 2412.19437 §3.3) for the scales; MegaBlocks (arXiv 2211.15841) for rows without padding. Type hints of Triton's
language are not Python's: no type check in this file.
"""

# mypy: ignore-errors

from __future__ import annotations

import torch
import triton
import triton.language as tl

from simcost.measure.triton_kernels import grids

BLOCK = 128
_LARGE_SHARED = 160 * 1024  # bytes a block may take: A100 and later datacentre parts


# Counts of experts and of scales vary from point to point and align nothing: specialised on, each would compile anew.
@triton.jit(do_not_specialize=["experts", "w_rows", "w_columns"])
def _tiles(
    x, x_scale, w, w_scale, ends, out, n, k, experts, w_rows, w_columns,
    SCALED: tl.constexpr, WIDEN: tl.constexpr, EXPERTS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
):  # fmt: skip
    tile = tl.program_id(1)
    e = tl.arange(0, EXPERTS)
    held = e < experts
    end = tl.load(ends + e, mask=held, other=0)
    start = tl.load(ends + e - 1, mask=held & (e > 0), other=0)
    tiles = tl.where(held, (end - start + ROWS - 1) // ROWS, 0)
    upto = tl.cumsum(tiles, 0)
    mine = tl.sum(tl.where(upto <= tile, 1, 0), 0)  # experts whose tiles all lie before this one
    if mine < EXPERTS:
        here = e == mine
        first = tl.sum(tl.where(here, start + (tile - upto + tiles) * ROWS, 0), 0)
        last = tl.sum(tl.where(here, end, 0), 0)
        r = first + tl.arange(0, ROWS)
        c = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
        live, wide = r < last, c < n
        rows = r.to(tl.int64)
        weights = w + mine.to(tl.int64) * n * k
        acc = tl.zeros([ROWS, COLUMNS], tl.float32)
        for block in range(tl.cdiv(k, DEPTH)):
            d = block * DEPTH + tl.arange(0, DEPTH)
            deep = d < k
            a = tl.load(x + rows[:, None] * k + d[None, :], mask=live[:, None] & deep[None, :], other=0.0)
            b = tl.load(weights + c[:, None] * k + d[None, :], mask=wide[:, None] & deep[None, :], other=0.0)
            if WIDEN:
                a = a.to(tl.float32)
                b = b.to(tl.float32)
            if SCALED:
                s = tl.load(x_scale + rows * w_columns + block, mask=live, other=0.0)
                # COLUMNS divides 128, so a tile lies inside one block of weights.
                t = tl.load(w_scale + (mine * w_rows + tl.program_id(0) * COLUMNS // 128) * w_columns + block)
                acc += tl.dot(a, tl.trans(b), input_precision="ieee") * (s[:, None] * t)
            else:
                acc = tl.dot(a, tl.trans(b), acc, input_precision="ieee")
        tl.store(out + rows[:, None] * n + c[None, :], acc.to(out.dtype.element_ty), mask=live[:, None] & wide[None, :])


def shape(rows: int, experts: int) -> tuple[int, int, int, int]:
    """(rows and columns of a tile, warps, stages) for the mean rows of an expert; known without asking the device."""
    mean = rows / max(experts, 1)
    if mean <= 24:
        return 16, 128, 4, 4
    return (64, 128, 4, 4) if mean <= 256 else (128, 128, 8, 3)


def deepest(device: torch.device) -> int:
    """Stages of the pipeline that the device's shared memory holds: parts with less than Hopper's have some 100 KB."""
    if device.type != "cuda":
        return 4
    properties = torch.cuda.get_device_properties(device)
    return 4 if getattr(properties, "shared_memory_per_block_optin", 0) >= _LARGE_SHARED else 2


def _run(x, x_scale, w, w_scale, ends, out_type):
    experts, n, k = w.shape
    rows = x.shape[0]
    out = torch.empty(rows, n, dtype=out_type, device=x.device)
    height, width, warps, stages = shape(rows, experts)
    grid = grids.tiles(rows, height, experts, n, width)
    scaled = w_scale is not None
    narrow = x.element_size() == 1
    native = x.is_cuda and torch.cuda.get_device_capability(x.device) >= (8, 9)
    _tiles[grid](
        x, x_scale if scaled else x, w, w_scale if scaled else w, ends, out, n, k, experts,
        w_scale.shape[1] if scaled else 0, w_scale.shape[2] if scaled else 0,
        SCALED=scaled, WIDEN=narrow and not native, EXPERTS=triton.next_power_of_2(experts), ROWS=height, COLUMNS=width,
        DEPTH=BLOCK if scaled else 64, num_warps=warps, num_stages=min(stages, deepest(x.device)),
    )  # fmt: skip
    return out


def multiply(w: torch.Tensor, w_scale: torch.Tensor, x: tuple[torch.Tensor, torch.Tensor], ends: torch.Tensor):
    """x = (fp8 [r, k], scales [r, k/128]) in expert order, w fp8 [E, n, k] with scales [E, ceil(n/128), k/128], ends int32 [E]
    -> bf16 [r, n]. k must be a multiple of 128."""
    rows, scale = x
    return _run(rows, scale.contiguous(), w, w_scale, ends, torch.bfloat16)


def multiply_plain(w: torch.Tensor, x: torch.Tensor, ends: torch.Tensor):
    """x [r, k] in expert order, w [E, n, k] -> [r, n], all in one format: for devices where torch falls to a loop."""
    return _run(x, None, w, None, ends, x.dtype)
