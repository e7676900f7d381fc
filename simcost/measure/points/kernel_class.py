"""What a file of `measure/kernels` says of the points of its family: which kinds to measure, how to draw one, what is really run.

Most likely to be wrong: a share of points that is too small for a kernel with many regimes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Protocol, cast

from simcost.calibration.family import Labels
from simcost.measure.machine.target import Target
from simcost.measure.machine.torch import need_torch
from simcost.measure.points.point import Kind
from simcost.registry import discover

Unit = Sequence[float]
Numbers = Mapping[str, float]
Wanted = tuple[Labels, float]  # labels of a kind, and its share of the points of a main kind
_PLAIN = ("fp32", "tf32", "bf16", "fp16")


class KernelClass(Protocol):
    """A module. Optional: TRAINING, True where a quick run leaves it out; LIGHT, True where one size makes its time, so that layers of models
    say nothing new; STAGES, label -> when a quick run takes it ("" for all labels), 0 first."""

    def kinds(self, format_: str, target: Target) -> list[Wanted]:
        """Kinds to measure in a format of a target."""
        ...

    def draw(self, kind: Kind, u: Unit, large: bool) -> Mapping[str, float]:
        """Numbers of an off-grid point from u in [0, 1]; `large`: in ranges of a datacentre device, else of a CPU."""
        ...

    def rounded(self, kind: Kind, x: Numbers) -> tuple[float, ...] | None:
        """The nearest numbers that run, in the order of the family's columns; None where no kernel runs such a point."""
        ...


@cache
def kernel_classes() -> Mapping[str, KernelClass]:
    """By family. Raises SimcostError without torch."""
    need_torch()
    found = discover("simcost.measure.kernels")
    return {name: cast(KernelClass, module) for name, module in found.items() if hasattr(module, "draw")}


def said(family: str, name: str, otherwise: Any) -> Any:
    """An optional attribute of a kernel class."""
    return getattr(kernel_classes()[family], name, otherwise)


def plain(format_: str) -> bool:
    """Whether a format is of 16 bits and more."""
    return format_ in _PLAIN


def of_a_step(format_: str, target: Target) -> str | None:
    """The format of tensors where all kernels of a step are measured; None where only products are: the rest behaves as in bf16."""
    if not plain(format_) or format_ == "tf32" or (format_ in ("fp32", "fp16") and target.cuda):
        return None
    return format_


def by_blocks(format_: str, target: Target) -> bool:
    """Whether fp8 with block scales is measured with this format: torch has such products on one architecture, our kernel wherever there is
    fp8."""
    return format_ == "fp8_block" or (format_ == "fp8" and "fp8_block" in target.absent)
