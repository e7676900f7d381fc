"""What every file of this folder builds: calls on rotated buffers, a check against higher precision, who does the work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, cast

from simcost.errors import SimcostError
from simcost.frozen import frozen
from simcost.measure.timing.buffers import Bench
from simcost.measure.timing.cpu import Call
from simcost.ops.work import Op
from simcost.registry import discover


class Unsupported(SimcostError):
    """No kernel here takes this shape: it says nothing of other shapes of the kind."""


def no_context() -> AbstractContextManager[Any]:
    """A context that changes nothing."""
    return nullcontext()


@frozen
class Kernel:
    """`calls`: the same work on other buffers each. `error()`: relative error of one call against a higher-precision
    reference. `expects`: what the name of a device kernel must contain for the fast path to have run, "" for anything.
    `graph`: whether it can be captured."""

    calls: Sequence[Call]
    error: Callable[[], float]
    tolerance: float
    backend: str
    context: Callable[[], AbstractContextManager[Any]] = no_context
    expects: str = ""
    graph: bool = True


class Builder(Protocol):
    """A module of this folder."""

    def build(self, op: Op, bench: Bench, copies: int) -> Kernel:
        """The kernel of `op` with `copies` calls on tensors of `bench`. Raises Unsupported for a shape that no kernel here takes."""
        ...


def builder(family: str) -> Builder:
    """The module that builds kernels of a family. Raises ModuleNotFoundError for a family that has none."""
    return cast(Builder, discover("simcost.measure.kernels")[family])
