"""Rates of a device, roughly, before a run; and the sentinel that is timed again and again while it lasts.

The sentinel is a product and a copy of fixed size. When it drifts, so did everything between. Most likely to be wrong: a
machine that is slow from the first second to the last; only the roofline would notice.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from simcost.measure.kernels.kernel import Kernel, builder
from simcost.measure.points.design import Rates
from simcost.measure.points.point import Kind, Point, kind_of
from simcost.measure.timing.buffers import Bench
from simcost.measure.timing.cpu import Timing, moved, timed
from simcost.units import parse

EVERY = 50  # visits between two looks at the sentinel
TIMED = ("fp32", "bf16", "fp16", "tf32")  # formats whose rate is probed; the others' is a guess for planning
_VISIT = parse("20 ms", "seconds")


def time_kernel(kernel: Kernel, bench: Bench, target_s: float, kind: Kind | None = None) -> tuple[Timing, str]:
    """(time, how: "loop" on a CPU, "graph" or "eager" on CUDA). `kind`: whose first failed capture by a backend is also
    its last."""
    with kernel.context():
        if not bench.cuda:
            return timed(kernel.calls, target_s), "loop"
        from simcost.measure.timing import cuda

        what = "" if kind is None else f"{kind}, {kernel.backend}"
        return cuda.timed(kernel.calls, target_s, bench.target.name, kernel.graph, what)


def rates(bench: Bench) -> Rates:
    """Rates measured now: FLOP/s of a square product in each wide format, bytes/s of a copy. fp8 and fp4 stand at the fastest of
    these."""
    side = 4096.0 if bench.cuda else 512.0
    found: dict[str, float] = {}
    for name in bench.target.formats:
        if name not in TIMED:
            continue
        x = "fp32" if name == "tf32" else name
        point = Point(kind_of("gemm", x=x, w=x, compute=name), (1.0, side, side, side))
        found[name] = float(point.op.work().flops) / _seconds(point, bench)
    copy = _copy(bench)
    bytes_per_s = float(copy.op.work().bytes) / _seconds(copy, bench)
    fastest = max(found.values(), default=bytes_per_s)  # an operation a byte at least
    narrow = {"fp8": fastest, "fp4": fastest}  # at least; a guess errs on the slow side
    return Rates({**narrow, **found}, bytes_per_s)


def _copy(bench: Bench) -> Point:
    name = bench.target.main if bench.target.main in ("bf16", "fp32", "fp16") else "bf16"
    return Point(kind_of("stream", what="copy", x=name, out=name), (bench.target.rotate / 4.0, 1.0, 1.0, 0.0))


def _seconds(point: Point, bench: Bench) -> float:
    bench.begin(float(point.op.work().bytes) * 2.0)
    kernel = builder(point.kind.family).build(point.op, bench, 1)
    return time_kernel(kernel, bench, _VISIT, point.kind)[0].seconds


@dataclass
class Sentinel:
    """Times of the fixed product and the fixed copy, first to last. [s]"""

    bench: Bench
    product: list[float] = field(default_factory=list)
    copy: list[float] = field(default_factory=list)

    def look(self) -> str:
        """Times product and copy once more; "" when it worked, else why not. A run that has filled the memory gives it back
        first."""
        for _ in range(2):
            try:
                self._look()
                return ""
            except torch.OutOfMemoryError:
                pass
            self.bench.release()  # outside of the handler, which keeps the tensors of the failed try alive
        return "no memory for the sentinel"

    def _look(self) -> None:
        side = 8192.0 if self.bench.cuda else 384.0
        name = self.bench.target.main if self.bench.target.main in ("bf16", "fp32", "fp16") else "bf16"
        kind: Kind = kind_of("gemm", x=name, w=name, compute=name)
        product = _seconds(Point(kind, (1.0, side, side, side)), self.bench)
        copy = _seconds(_copy(self.bench), self.bench)
        self.product.append(product)
        self.copy.append(copy)

    def moved(self, share: float) -> float:
        """The largest deviation from the median, relative, of the product or the copy, within which `share` of the looks lie;
        1.0: the worst look."""
        return max(moved(self.product, share), moved(self.copy, share))

    @property
    def drift(self) -> float:
        """Relative deviation from the median within which four looks of five lie; one burst of a neighbour is no drift."""
        return self.moved(0.8)
