"""One collective at one size: built, checked, timed between barriers; what its row says.

Bytes are counted as `simcost/ops/collective.py` does: the reduced tensor, the gathered one, the one to be scattered, what a
rank sends to others. The time of a call is that of the slowest rank. Most likely to be wrong: gloo on one machine measures
its scheduler below 64 kB. Source: torch.distributed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from simcost.errors import SimcostError
from simcost.measure.points.point import Kind, Point, kind_of
from simcost.measure.timing.cpu import Timing, summary
from simcost.units import parse

_BLOCK = parse("2 ms", "seconds")
_SAMPLES = 9


def kind(what: str, backend: str) -> Kind:
    """The kind of a collective by a backend ("nccl", "gloo"). "p2p" has a family of its own: it is no collective of a group."""
    return kind_of("p2p", backend=backend) if what == "p2p" else kind_of("collective", what=what, backend=backend)


def elements(size: float, group: int) -> int:
    """fp32 numbers of a tensor of `size` bytes: a multiple of the group, at least one for each rank."""
    return max(int(size) // (4 * group), 1) * group


def point(what: str, size: float, group: int, backend: str) -> Point:
    """The point that is measured at about `size` bytes; its bytes are those of the tensor as it is built."""
    whole = 4.0 * elements(size, group)
    numbers: tuple[float, ...] = (whole, float(group))
    if what == "p2p":
        numbers = (whole,)
    if what == "all_to_all":
        numbers = (whole * (group - 1) / group, float(group))
    return Point(kind(what, backend), numbers)


class Exchange:
    """One collective at one size. size: bytes of the tensor that the op counts."""

    def __init__(self, torch: Any, what: str, size: float, group: int, rank: int, device: Any) -> None:
        self.torch, self.what, self.group, self.rank, self.device = torch, what, group, rank, device
        self.count = elements(size, group)
        self.tensor = torch.zeros(self.count, device=device)
        self.other = torch.zeros(self.count, device=device)
        self.part = torch.zeros(self.count // group, device=device)
        self.call = self._calls()[what]

    def _calls(self) -> dict[str, Callable[[], object]]:
        d, tensor, other, part = self.torch.distributed, self.tensor, self.other, self.part
        scatter = getattr(d, "reduce_scatter_single", None) or d.reduce_scatter_tensor
        gather = getattr(d, "all_gather_single", None) or d.all_gather_into_tensor
        return {
            "all_reduce": lambda: d.all_reduce(tensor, d.ReduceOp.MAX),  # a sum would grow without end
            "all_gather": lambda: gather(tensor, part),
            "reduce_scatter": lambda: scatter(part, other, op=d.ReduceOp.MAX),
            "all_to_all": lambda: d.all_to_all_single(other, tensor),
            "p2p": self._pair,
        }

    def _pair(self) -> None:
        """Rank 0 sends to rank 1; the others wait at the barrier."""
        d = self.torch.distributed
        if self.rank == 0:
            d.send(self.tensor, 1)
        elif self.rank == 1:
            d.recv(self.tensor, 0)

    def timed(self) -> Timing:
        """Time of a call: nine samples of a block of calls, each the slowest rank's. Raises SimcostError for a wrong first
        result. All ranks must call it together."""
        self._check()
        once = self._slowest(self._block(3))
        block = max(1, min(int(_BLOCK / max(once, 1e-7)), 200))
        samples = [self._slowest(self._block(block)) for _ in range(_SAMPLES)]
        return summary(samples, [False] * len(samples))

    def _block(self, calls: int) -> float:
        d = self.torch.distributed
        d.barrier()
        self._finish()
        start = time.perf_counter()
        for _ in range(calls):
            self.call()
        self._finish()
        return (time.perf_counter() - start) / calls

    def _finish(self) -> None:
        if self.device.type == "cuda":
            self.torch.cuda.synchronize(self.device)

    def _slowest(self, seconds: float) -> float:
        """The largest over all ranks, so that all take the same decisions."""
        value = self.torch.tensor([seconds], dtype=self.torch.float64, device=self.device)
        self.torch.distributed.all_reduce(value, self.torch.distributed.ReduceOp.MAX)
        return float(value)

    def _check(self) -> None:
        """Every rank puts its number in, the result must hold the right ones; then random data."""
        mine = self.rank + 1.0
        for tensor in (self.tensor, self.other, self.part):
            tensor.fill_(mine)
        self.call()
        self._finish()
        each = self.torch.arange(1, self.group + 1, device=self.device, dtype=self.torch.float32)
        spread = each.repeat_interleave(self.count // self.group)
        want = {
            "all_reduce": (self.tensor, spread * 0.0 + self.group),
            "all_gather": (self.tensor, spread),
            "reduce_scatter": (self.part, self.part * 0.0 + self.group),
            "all_to_all": (self.other, spread),
            "p2p": (self.tensor, spread * 0.0 + (1.0 if self.rank < 2 else mine)),
        }[self.what]
        if not self.torch.equal(*want):
            raise SimcostError(f"{self.what}: rank {self.rank} holds a wrong result")
        for tensor in (self.tensor, self.other, self.part):
            tensor.normal_(std=0.1)
