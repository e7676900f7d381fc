"""What stands in the picture of a pipeline's timeline: bars of ranks, and memory over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from simcost.scenarios.schedule import Drawn

GRADIENTS, OPTIMIZER, GATHERS = "G", "O", "A"  # kinds of bars that are no passes: once a step


class Bar(NamedTuple):
    """A pass as it is drawn. [s] `half`: 0 for the whole height of a rank, 1 and 2 for the upper and the lower half of a pair; `wires`: (kind of communication, seconds of the bar that it takes and nothing hides); `said`: more of it, under the pointer."""

    rank: int
    kind: str
    microbatch: int
    stage: int
    start: float
    end: float
    half: int = 0
    wires: tuple[tuple[str, float], ...] = ()
    said: str = ""


class Levels(NamedTuple):
    """Memory of one rank over time. [B], [s] `state`: weights, gradients and optimizer; `other`: what passes make for a while, buffers, slack and runtime, at the most; `activations`: (time, bytes from then on)."""

    state: float
    other: float
    activations: Sequence[tuple[float, float]]

    @property
    def peak(self) -> float:
        """The most of all together. [B]"""
        return self.state + self.other + max((level for _, level in self.activations), default=0.0)


class Chart(NamedTuple):
    """One schedule: its bars, how many ranks it has, and a line over it; of a training step also the memory of each rank, what each holds, and the capacity. [B] `kinds`: colour and words of each kind of bar, `rows`: a name of each row, and `beside`: words to the right of each, where they are no passes of a pipeline."""

    name: str
    title: str
    bars: Sequence[Bar]
    ranks: int
    memory: Sequence[Levels] = ()
    holds: Sequence[str] = ()
    capacity: float = 0.0
    kinds: Mapping[str, tuple[str, str]] = MappingProxyType({})
    rows: Sequence[str] = ()
    beside: Sequence[str] = ()


def chart(drawn: Drawn) -> Chart:
    """Bars of a schedule that ran; a forward beside a backward is two bars of half the height."""
    bars = []
    for rank, op, start, end, _, _ in drawn.timeline.runs:
        half = 0 if op.beside is None else 1
        bars.append(Bar(rank, op.kind, op.microbatch, op.stage, start, end, half))
        if op.beside is not None:
            bars.append(Bar(rank, "BW", *op.beside, start, end, 2))
    title = f"{drawn.name}: {drawn.bubble:.1%} idle, {drawn.makespan_s:.4g} s, {drawn.makespan_s / max(drawn.timeline.busy_s()):.3f} x the busiest rank's work"  # fmt: skip
    return Chart(drawn.name, title, bars, drawn.timeline.ranks)
