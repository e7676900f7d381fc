"""Matrix products in every format that torch has: what is multiplied, by which call, and its exact reference.

Weights are [n, k] (K-major), as `torch.nn.functional.linear` takes them. fp8 with one scale a tensor or a row goes through
`torch._scaled_mm`, block scales (1x128 by 128x128) through `scaled_mm`, whose scale layouts are cuBLASLt's: A [m, k/128] with
m running fastest, m padded to a multiple of 4; B [k/128 padded to 4, n/128] with k running fastest. The 4-bit formats take
constant block scales, so that the result does not depend on the swizzle of the scales; the time does not either. Most likely
to be wrong: everything below 16 bits until a GPU has run it; the check before timing drops what is. Sources: PyTorch's own
tests (`test/test_scaled_matmul_cuda.py`) for the layouts; cuBLAS manual, "Block scaling".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import torch
from torch.nn import functional as F

from simcost.frozen import frozen
from simcost.measure.kernels.kernel import no_context
from simcost.measure.machine.target import Target
from simcost.measure.timing.buffers import TYPES, Bench, error, rows_of, some
from simcost.measure.timing.buffers import tolerance as rounding
from simcost.measure.timing.cpu import Call

Tensor = torch.Tensor
Pick = Callable[[Tensor], Tensor]  # indices of rows -> those rows in fp64
BLOCK = 128
_FAST, _FAST_K = 0.02, 4096.0  # relative error, over so many numbers
_FAST_MOST = 0.2  # beyond it a check would tell nothing
_FP4 = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])  # OCP e2m1: sign apart, low bits first


@frozen
class Product:
    """One call; how to read rows of x and of w at full precision; what does the work."""

    call: Call
    x: Pick
    w: Pick
    backend: str

    def error(self, rows: int, columns: int) -> float:
        """Relative error of one call in a sample of at most 48 rows and 96 columns, against fp64."""
        out = self.call()
        r, c = some(rows, 48, out.device), some(columns, 96, out.device)
        return error(out[r][:, c], self.x(r) @ self.w(c).t())


def tolerance(name: str, k: int) -> float:
    """Relative error that a correct product over k numbers stays under. With fast accumulation Hopper's fp8 tensor cores
    keep some 14 bits of a sum; what they cut off has one direction, so the error grows as k does. DeepSeek-V3 saw nearly
    2 % of the worst output at k = 4096 (arXiv 2412.19437 §3.3.2); the norm of all outputs, which is judged here, errs
    less. A wrong layout of scales errs by a third."""
    if name not in ("fp8", "fp8_row"):
        return rounding(name)
    return min(max(rounding(name), _FAST * k / _FAST_K), _FAST_MOST)


def product(name: str, bench: Bench, m: int, n: int, k: int) -> Product:
    """[m, k] x [n, k]ᵀ in the format `name`; "fp8_row" and "int4" stand for fp8 by rows and for int4 weights under bf16."""
    return _MAKERS.get(name, _plain)(name, bench, m, n, k)


def _plain(name: str, bench: Bench, m: int, n: int, k: int) -> Product:
    x, w = bench.take((m, k), name), bench.take((n, k), name)
    return Product(partial(F.linear, x, w), lambda r: x[r].double(), lambda c: w[c].double(), "linear")


def _scaled(name: str, bench: Bench, m: int, n: int, k: int) -> Product:
    """fp8 with fp32 scales: one a tensor, or one a row of x and a row of w; accumulated fast, as inference engines do."""
    x, w = bench.take((m, k), "fp8"), bench.take((n, k), "fp8")
    by_row = name == "fp8_row"
    a = bench.uniform((m, 1) if by_row else (1, 1))
    b = bench.uniform((1, n) if by_row else (1, 1))
    if not by_row:
        a, b = a.reshape(()), b.reshape(())
    call = partial(
        torch._scaled_mm, x, w.t(), scale_a=a, scale_b=b, out_dtype=torch.bfloat16, use_fast_accum=True
    )  # fmt: skip

    def rows(r: Tensor) -> Tensor:
        return rows_of(x, r).double() * (a[r] if by_row else a).double()

    def columns(c: Tensor) -> Tensor:
        return rows_of(w, c).double() * (b[0, c, None] if by_row else b).double()

    return Product(call, rows, columns, "_scaled_mm by row" if by_row else "_scaled_mm by tensor")


def _blocks(name: str, bench: Bench, m: int, n: int, k: int) -> Product:
    """fp8 with DeepSeek's scales: 1x128 of x, 128x128 of w."""
    padded, parts = 4 * math.ceil(m / 4), k // BLOCK
    x, w = bench.take((padded, k), "fp8"), bench.take((n, k), "fp8")
    a = bench.uniform((parts, padded)).t()
    b = bench.uniform((math.ceil(n / BLOCK), 4 * math.ceil(parts / 4))).t()
    kinds = F.ScalingType
    call = partial(
        F.scaled_mm, x, w.t(), a, kinds.BlockWise1x128, b, kinds.BlockWise128x128, output_dtype=torch.bfloat16
    )  # fmt: skip

    def rows(r: Tensor) -> Tensor:
        return rows_of(x, r).double() * a[r].repeat_interleave(BLOCK, 1).double()

    def columns(c: Tensor) -> Tensor:
        return rows_of(w, c).double() * b[:parts].t()[c // BLOCK].repeat_interleave(BLOCK, 1).double()

    return Product(call, rows, columns, "scaled_mm 1x128 by 128x128")


def _fp4(name: str, bench: Bench, m: int, n: int, k: int) -> Product:
    """Two e2m1 numbers a byte, low nibble first; block scales all one."""
    group = 16 if name == "nvfp4" else 32
    scale = torch.float8_e4m3fn if name == "nvfp4" else torch.float8_e8m0fnu
    kind = F.ScalingType.BlockWise1x16 if name == "nvfp4" else F.ScalingType.BlockWise1x32
    x, w = (bench.integers(256, (rows, k // 2)).to(torch.uint8) for rows in (m, n))

    def ones(rows: int) -> Tensor:
        size = BLOCK * math.ceil(rows / BLOCK) * 4 * math.ceil(k / group / 4)
        return torch.ones(size, device=bench.device).to(scale)

    packed = torch.float4_e2m1fn_x2
    swizzle = F.SwizzleType.SWIZZLE_32_4_4
    call = partial(
        F.scaled_mm, x.view(packed), w.view(packed).t(), ones(m), kind, ones(n), kind, swizzle, swizzle,
        output_dtype=torch.bfloat16,
    )  # fmt: skip
    return Product(call, lambda r: _unpacked(x[r]), lambda c: _unpacked(w[c]), f"scaled_mm 1x{group}")


def _unpacked(packed: Tensor) -> Tensor:
    """e2m1 pairs of bytes [r, k/2] -> fp64 [r, k]."""
    nibbles = torch.stack((packed & 15, packed >> 4), -1).flatten(1).long()
    return (_FP4.to(packed.device)[nibbles & 7] * torch.where(nibbles >= 8, -1.0, 1.0)).double()


def _int4(name: str, bench: Bench, m: int, n: int, k: int) -> Product:
    """int4 weights with a bf16 scale and zero a group of 128, under bf16 rows; torch's own packed product."""
    x = bench.take((m, k), "bf16")
    q = bench.integers(16, (n, k)).to(torch.int32)
    scales = (torch.stack((bench.uniform((k // BLOCK, n)), bench.uniform((k // BLOCK, n)) - 1.0), -1) * 0.01).bfloat16()
    ops = torch.ops.aten
    if bench.cuda:
        w = ops._convert_weight_to_int4pack((q[:, ::2] << 4 | q[:, 1::2]).to(torch.uint8), 8)
        call = partial(ops._weight_int4pack_mm, x, w, BLOCK, scales)
    else:
        w = ops._convert_weight_to_int4pack_for_cpu(q, 8)
        call = partial(ops._weight_int4pack_mm_for_cpu, x, w, BLOCK, scales)

    def columns(c: Tensor) -> Tensor:
        scale, zero = (scales[:, c, i].t().repeat_interleave(BLOCK, 1).double() for i in (0, 1))
        return (q[c].double() - 8.0) * scale + zero

    return Product(call, lambda r: x[r].double(), columns, "_weight_int4pack_mm")


_MAKERS: dict[str, Callable[[str, Bench, int, int, int], Product]] = {
    "fp8": _scaled,
    "fp8_row": _scaled,
    "fp8_block": _blocks,
    "nvfp4": _fp4,
    "mxfp4": _fp4,
    "int4": _int4,
}


@contextmanager
def _precision(word: str) -> Any:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(word)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def context(name: str) -> Callable[[], AbstractContextManager[Any]]:
    """What makes the context that products in a format run in: fp32 and tf32 set torch's precision of fp32 products, others
    nothing."""
    if name in ("fp32", "tf32"):  # fp32 too: whoever imports this may have allowed tf32
        return partial(_precision, "high" if name == "tf32" else "highest")
    return no_context


def probe(name: str, device: str) -> None:
    """Runs and checks a small product in a format. Raises RuntimeError for a wrong result, and whatever torch raises where it has
    none."""
    bench = Bench(Target(device, 1, 0.0, 0.0, (), {}), 0)
    with context(name)():
        wrong = product(name if name in TYPES or name in _MAKERS else "bf16", bench, 256, 256, 256).error(256, 256)
    if not wrong < 0.05:
        raise RuntimeError(f"the result is wrong (relative error {wrong:.2g})")
