"""What was timed of a block: the whole, and its sections inside it. Without torch.

Most likely to be wrong: sections are added up as if nothing overlapped, which holds on a CPU and on one CUDA stream.
Source: this file; samples are summed up as `simcost/measure/timing/cpu.py` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from simcost.estimate.layer import BlockSpec
from simcost.frozen import frozen
from simcost.measure.timing.cpu import Timing, summary
from simcost.ops.work import Op

Sample = tuple[float, bool]  # seconds, dirty


def timing(samples: Sequence[Sample]) -> Timing:
    """The median of clean samples."""
    return summary([seconds for seconds, _ in samples], [dirty for _, dirty in samples])


def total(parts: Iterable[Timing]) -> Timing:
    """The time of parts that ran one after the other; fewest samples and largest share of dirty ones of any part."""
    every = list(parts)
    return Timing(
        sum(t.seconds for t in every), sum(t.p20_s for t in every), sum(t.p80_s for t in every),
        min(t.samples for t in every), max(t.dirty for t in every),
    )  # fmt: skip


@frozen
class OpTime:
    """One section inside the running block. `variant`: "" forward, else "input" or "weight" gradient, or "both" when one
    time covers `also`. `op` as it ran: its experts are those that this run's tokens touched."""

    name: str
    op: Op
    time: Timing
    variant: str = ""
    also: Op | None = None
    isolated_s: float | None = None


@frozen
class BlockTime:
    """One direction of one block. `whole`: without stamps inside; `graph_s`: replayed as a CUDA graph;
    `refused`: sections without a time, because theirs was impossible; `backend`: what ran the attention core."""

    spec: BlockSpec
    direction: str
    whole: Timing
    ops: tuple[OpTime, ...] = ()
    fused: tuple[OpTime, ...] = ()
    graph_s: float | None = None
    refused: tuple[str, ...] = ()
    backend: str = ""

    @property
    def seconds(self) -> float:
        """Time that a prediction is compared with: of the graph where there is one, else of the eager run."""
        return self.whole.seconds if self.graph_s is None else self.graph_s

    @property
    def in_situ_s(self) -> float | None:
        """Sum of the sections' times inside the block; None without sections, or where one was refused."""
        return sum(op.time.seconds for op in self.ops) if self.ops and not self.refused else None

    @property
    def isolated_s(self) -> float | None:
        """Sum of the sections' times when each is run over and over alone, weights rotated."""
        parts = [op.isolated_s for op in self.ops]
        known = [part for part in parts if part is not None]
        return sum(known) if known and len(known) == len(parts) else None
