"""What grouped products share: which rows belong to which expert, the product itself in the formats that have one.

bf16 goes through torch's `grouped_mm` (weights [E, n, k], K-major, as the MoE forward pass has them), whose CUDA fast path is
checked by the name of the kernel that ran. fp8 with block scales has no grouped product in torch: our own Triton kernel.
Most likely to be wrong: fp32 and fp16 on CUDA fall to a loop with a host synchronisation; they are not measured there.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.nn import functional as F

from simcost.frozen import frozen
from simcost.measure.points.rounding import loaded
from simcost.measure.timing.buffers import Bench, error, some

Tensor = torch.Tensor
BLOCK = 128
# The fast path starts with a small kernel, prepare_grouped_gemm_data (ATen/native/cuda/GroupMMCommon.cuh); the slow path
# runs plain products in a loop.
FAST = "grouped_gemm"
grouped_mm: Callable[..., Tensor] = getattr(F, "grouped_mm", None) or torch._grouped_mm


def counts_of(rows: int, touched: int, held: int, load: float, most: int, bench: Bench, step: int = 1) -> Tensor:
    """Rows of each of the held experts [held], the busiest with `load` times their mean; which of them are touched, and
    which is busiest, is drawn."""
    each = torch.zeros(held, dtype=torch.long)
    each[bench.shuffled(held)[:touched].cpu()] = torch.tensor(loaded(rows // step, touched, held, load, most)) * step
    return each.to(bench.device)


def fast(device: torch.device, name: str) -> bool:
    """Whether torch runs a grouped kernel for this format on this device: bf16 from compute capability 9.0 on. Elsewhere it asks
    the host where each expert's rows end."""
    return device.type == "cuda" and name == "bf16" and torch.cuda.get_device_capability(device) >= (9, 0)


def capturable(device: torch.device, name: str) -> bool:
    """Whether a graph may be tried. It may not where the host is asked: a capture that fails harms what comes after it."""
    return name == "fp8_block" or fast(device, name)


def ends_of(counts: Tensor) -> Tensor:
    """Index after each expert's last row, int32 [held], as `grouped_mm` takes it."""
    return torch.cumsum(counts, 0).to(torch.int32)


@frozen
class Weights:
    """Weights of all held experts [E, n, k]: how rows meet them, and one expert's matrix in fp64."""

    apply: Callable[[Any, Tensor], Tensor]
    expert: Callable[[int], Tensor]
    backend: str


def weights(name: str, bench: Bench, held: int, n: int, k: int) -> Weights:
    """Random weights of `held` experts in a format; `apply(x, ends)`: rows in expert order -> [rows, n]. Raises KeyError for a
    format without a torch type, ImportError for fp8_block without Triton."""
    if name == "fp8_block":
        return _blocks(bench, held, n, k)
    w = bench.take((held, n, k), name)
    turned = w.transpose(-2, -1)
    return Weights(lambda x, ends: grouped_mm(x, turned, offs=ends), lambda e: w[e].double(), "grouped_mm")


def _blocks(bench: Bench, held: int, n: int, k: int) -> Weights:
    """fp8 with DeepSeek's scales; rows in bf16 are cast in groups of 128, rows that are a pair (fp8, scales) are taken so."""
    from simcost.measure.triton_kernels import grouped_fp8

    w = bench.take((held, n, k), "fp8_block")
    scale = bench.uniform((held, -(-n // BLOCK), k // BLOCK))

    def expert(e: int) -> Tensor:
        wide = scale[e].repeat_interleave(BLOCK, 0)[:n].repeat_interleave(BLOCK, 1)
        return w[e].double() * wide.double()

    return Weights(partial(grouped_fp8.multiply, w, scale), expert, "triton fp8 blocks (simcost)")


def wrong(out: Tensor, x: Tensor, w: Weights, counts: Tensor) -> float:
    """Relative error of a sample of rows of the first, the busiest and the last touched expert."""
    ends = counts.cumsum(0)
    touched = torch.nonzero(counts).flatten().tolist()
    worst = 0.0
    for e in {touched[0], int(counts.argmax()), touched[-1]}:
        start, count = int(ends[e] - counts[e]), int(counts[e])
        r = start + some(count, 16, out.device)
        worst = max(worst, error(out[r], x[r].double() @ w.expert(e).t()))
    return worst
