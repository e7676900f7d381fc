"""Where a kernel's tensors come from: one pool of random values a format, cut into slices that no two calls share.

Random data, never zeros: arithmetic on zeros is faster (13-17 % for a GEMM) and denormals are far slower. Values have the
standard deviation `SPREAD`, so that products of products stay finite in fp16. Most likely to be wrong: the pool repeats a
block of random numbers, which no cache or multiplier notices.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress

import torch

from simcost.measure.machine.target import Target

SPREAD = 0.1
_BLOCK = 4_000_037  # elements drawn; a prime, so that rows of a matrix do not line up with the repetition
_ALIGN = 256  # bytes between slices, as torch's own allocators align
_SLACK = 1024  # slices of a point whose last bytes are lost to that

TYPES = {
    "fp32": torch.float32,
    "tf32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "fp8": torch.float8_e4m3fn,
    "fp8_block": torch.float8_e4m3fn,
}
TOLERANCE = {"fp32": 1e-4, "tf32": 5e-3, "bf16": 2e-2, "fp16": 5e-3}  # relative, of the output's own rounding


def tolerance(name: str) -> float:
    """Relative error that a correct kernel with outputs in this format stays under; narrow inputs are exact here."""
    return TOLERANCE.get(name, TOLERANCE["bf16"])


class Bench:
    """Tensors on one target. `device` in torch's words."""

    def __init__(self, target: Target, seed: int) -> None:
        self.target = target
        self.device = torch.device(target.name)
        self.generator = torch.Generator(self.device)
        self.generator.manual_seed(seed)
        self._pools: dict[str, torch.Tensor] = {}
        self._cursor: dict[str, int] = {}
        self._need = 0.0

    @property
    def cuda(self) -> bool:
        """Whether tensors lie on a CUDA device."""
        return self.target.cuda

    def begin(self, need_bytes: float) -> None:
        """A new point, for which the slices of the one before are free again. `need_bytes`: of all its copies; a point
        that takes more gets a second pool, never a slice twice."""
        self._need = max(need_bytes, self.target.rotate)
        self._cursor.clear()

    def take(self, shape: Sequence[int], name: str) -> torch.Tensor:
        """A slice of random values in a format; no two of a point share a byte."""
        count = math.prod(shape)
        step = _ALIGN // TYPES[name].itemsize
        start = self._cursor.get(name, 0)
        pool = self._pools.get(name)
        wanted = max(count, int(self._need / TYPES[name].itemsize)) + _SLACK * step
        if pool is None or start + count > pool.numel() or (start == 0 and pool.numel() < wanted):
            del pool
            self._pools.pop(name, None)  # slices that were taken from it keep its memory
            pool, start = self._drawn(wanted, name), 0
            self._pools[name] = pool
        self._cursor[name] = start + math.ceil(count / step) * step
        return pool[start : start + count].view(*shape)

    def _drawn(self, count: int, name: str) -> torch.Tensor:
        block = torch.randn(min(count, _BLOCK), generator=self.generator, device=self.device) * SPREAD
        block = block.to(TYPES[name])
        pool = torch.empty(count, dtype=TYPES[name], device=self.device)  # filled to the last element below
        for start in range(0, count, len(block)):
            part = pool[start : start + len(block)]
            part.copy_(block[: len(part)])
        return pool

    def integers(self, high: int, shape: Sequence[int]) -> torch.Tensor:
        """Uniform over 0 .. high-1."""
        return torch.randint(high, tuple(shape), generator=self.generator, device=self.device)

    def uniform(self, shape: Sequence[int]) -> torch.Tensor:
        """fp32 over [0.5, 1.5): scales and gates."""
        return torch.rand(tuple(shape), generator=self.generator, device=self.device) + 0.5

    def shuffled(self, count: int) -> torch.Tensor:
        """A random order of 0 .. count-1."""
        return torch.randperm(count, generator=self.generator, device=self.device)

    def release(self) -> None:
        """Give the pools back, to the device too: torch keeps what was freed, and the device's own count of free memory
        would not see it."""
        self._pools.clear()
        self._cursor.clear()
        if self.cuda:
            with suppress(RuntimeError):  # an allocator that a failed capture has left waiting
                torch.cuda.empty_cache()


def rows_of(x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Rows of x by index. Bytes are moved as bytes: torch has no CUDA kernel that selects fp8 numbers
    (pytorch/pytorch 133605), and the copy is the same."""
    if x.dtype.itemsize > 1:
        return x.index_select(0, index)
    return x.view(torch.uint8).index_select(0, index).view(x.dtype)


def some(count: int, most: int, device: torch.device) -> torch.Tensor:
    """At most `most` indices of 0 .. count-1, both ends among them: what a check looks at."""
    return torch.linspace(0, count - 1, min(count, most), device=device).round().long()


def error(got: torch.Tensor, want: torch.Tensor) -> float:
    """Norm of the difference over the norm of the reference; inf when anything is not finite."""
    got, want = got.double(), want.double()
    if got.shape != want.shape or not bool(torch.isfinite(got).all()):
        return math.inf
    return float((got - want).norm() / want.norm().clamp_min(1e-30))
