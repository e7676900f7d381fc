"""A residual stream that forgets (Muse Spark): each element of the stream and of a sublayer's output has a learned weight, and the two are added.

With β the sigmoid of the gate, the output counts β and the stream √(1 - β²). It takes the place of the plain sum. Most likely to be wrong: engines that fuse it with the norm before or behind it save passes. Source: Hugging Face
`modeling_muse_spark.py` (ResidualGate).
"""

from __future__ import annotations

from typing import ClassVar

from simcost.frozen import frozen
from simcost.num import Num
from simcost.ops.stream import Stream
from simcost.plan import Check, Plan
from simcost.program import Call, Program
from simcost.sharding.shard import Plain, View, Weight


@frozen
class ResidualGate(Plain):
    """One weight for each of `width` elements; whole on every rank, over the rank's own rows."""

    name: str
    width: Num
    kind: ClassVar[str] = "norm"
    source: ClassVar[str] = "Hugging Face modeling_muse_spark.py"

    def checks(self, plan: Plan) -> list[Check]:
        """No rules: it is whole on every rank."""
        return []

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """The gate."""
        return (Weight(self.name, "norm", self.width),)

    def program(self, view: View) -> Program:
        """One kernel: stream and output are read, the stream is written."""
        act = view.activation
        return Call(Stream("residual", view.own_tokens * self.width, 2.0, 1.0, 3.0, act, act), self.name)
