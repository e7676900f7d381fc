"""Norms of a layer: RMSNorm or LayerNorm, with the residual addition that engines fuse into them.

Most likely to be wrong: whether an engine fuses the addition. Sources: arXiv 1910.07467, 1607.06450.
"""

from __future__ import annotations

from typing import ClassVar

from simcost.frozen import frozen
from simcost.hf import Reader
from simcost.num import Num
from simcost.ops.stream import Stream
from simcost.plan import Check, Plan
from simcost.program import Call, Program
from simcost.sharding.shard import Plain, View, Weight


def inner_vectors(r: Reader, fact: str) -> float:
    """Vectors of a norm before an output projection (BitNet, Kosmos), which a family has by a `fact`; 0 where there is none."""
    return float(r.layout("norm_vectors", 1)) if r.flag(fact) else 0.0


def inner(view: View, vectors: float, elements: Num) -> tuple[Program, ...]:
    """The norm before an output projection over a rank's `elements`. Over tp each rank sums its own squares; the sum of these sums, one number per token, is not in it."""
    act = view.activation
    return (Call(Stream("norm", elements, 1.0, 1.0, 4.0, act, act), "inner norm"),) if vectors else ()


@frozen
class Norm(Plain):
    """`vectors` parameters of `width` (1 for RMSNorm, 2 for LayerNorm with bias, 0 weightless); `residual` = fused add."""

    name: str
    width: Num
    vectors: float = 1.0
    residual: bool = True
    kind: ClassVar[str] = "norm"
    source: ClassVar[str] = "arXiv 1910.07467"

    def checks(self, plan: Plan) -> list[Check]:
        """No rules: a norm is whole on every rank."""
        return []

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """One Weight with the parameters of all vectors; none for a norm without weights."""
        return (Weight(self.name, "norm", self.vectors * self.width),) if self.vectors else ()

    def program(self, view: View) -> Program:
        """One kernel over the rank's rows of the residual stream; with `residual` it reads two tensors and writes two."""
        passes = 2.0 if self.residual else 1.0
        act = view.activation
        return Call(
            Stream("norm", view.own_tokens * self.width, passes, passes, 4.0 + passes - 1.0, act, act), self.name
        )
