"""What the sections of a first GPU run share: the device, where files go, the clock, how a line is said."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from simcost.measure.kernels.kernel import Kernel
from simcost.measure.machine.target import Target, one_line
from simcost.measure.points.design import footprint
from simcost.measure.points.point import Kind, Point, kind_of
from simcost.measure.sampling.probe import time_kernel
from simcost.measure.sampling.visit import build
from simcost.measure.timing.buffers import Bench
from simcost.measure.timing.cpu import Timing
from simcost.measure.timing.deadline import Deadline
from simcost.units import parse, show

T = TypeVar("T")
VISIT = parse("20 ms", "seconds")


@dataclass
class Lab:
    """`dry`: small shapes, so that the whole runs on a CPU in seconds. `ends`: when the run must be over; `until`: the
    same of the section that is at work; `cut`: how far that one came when its time was spent, "" when it was not."""

    target: Target
    out: Path
    dry: bool
    ends: Deadline
    until: Deadline = field(init=False)
    cut: str = field(init=False, default="")
    bench: Bench = field(init=False)

    def __post_init__(self) -> None:
        self.bench, self.until = Bench(self.target, 0), self.ends

    def begin(self, share: float) -> None:
        """A section that may take this share of what is left."""
        self.until, self.cut = self.ends.part(share * self.ends.left_s), ""

    def each(self, steps: Sequence[T]) -> Iterator[T]:
        """The steps of a section, as far as its time allows."""
        for done, step in enumerate(steps):
            if self.until.over:
                self.cut = f"{done} of {len(steps)}"
                return
            yield step

    def time(self, kernel: Kernel, kind: Kind) -> tuple[Timing, str]:
        """(time, "loop", "graph" or "eager")."""
        return time_kernel(kernel, self.bench, VISIT, kind)

    def point(self, point: Point, copies: int = 4, graph: bool = True) -> tuple[Kernel, Timing, str]:
        """Build, check, time. Raises RuntimeError when the result is wrong."""
        self.bench.begin(footprint(point.op) * copies)
        kernel = build(point, self.bench, copies)
        kernel = replace(kernel, graph=kernel.graph and graph)
        with kernel.context():
            error = kernel.error()
        if not error <= kernel.tolerance:
            raise RuntimeError(f"wrong result: relative error {error:.2g}")
        timing, how = self.time(kernel, point.kind)
        return kernel, timing, how


def tried(act: Callable[[], str]) -> str:
    """What an attempt says, or why it failed: one attempt never ends a section."""
    try:
        return act()
    except Exception as error:  # a section reports what a device cannot do
        return f"no: {one_line(error)}"


def gemm(name: str, m: int, n: int, k: int) -> Point:
    """A product in one of the formats that label themselves."""
    if name == "fp8_row":
        kind = kind_of("gemm_variant", what="row", x="fp8", w="fp8", compute="fp8")
    elif name == "int4":
        kind = kind_of("gemm", x="bf16", w="int4", compute="bf16")
    else:
        kind = kind_of("gemm", x=name, w=name, compute=name)
    return Point(kind, (1.0, float(m), float(n), float(k)))


def core(layout: str, name: str, batch: int, q: int, past: int, heads: int, kv: int, d: int, dv: int) -> Point:
    """An attention core without window."""
    family = "attention_decode" if q == 1 else "attention_prefill"
    kind: Kind = kind_of(family, x=name, kv=name, compute=name, layout=layout, scope="core")
    return Point(kind, tuple(float(v) for v in (batch, q, past, heads, kv, d, dv, 0)))


def rate(point: Point, seconds: float) -> str:
    """Time, FLOP/s and bytes/s in words."""
    work = point.op.work()
    speed = show(float(work.flops) / seconds, "flops_per_s", 3)
    return f"{show(seconds, 'seconds', 3)}, {speed}, {show(float(work.bytes) / seconds, 'bytes_per_s', 3)}"


Section = Callable[[Lab], Iterator[str]]
