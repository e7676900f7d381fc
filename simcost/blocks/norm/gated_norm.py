"""An RMSNorm whose output a gate of low rank scales, element by element: norm(x) * sigmoid(W2 silu(W1 norm(x))) (A.X-K2).

Most likely to be wrong: an engine that fuses the two small products. Source: Hugging Face `modeling_axk2.py` (AXK2GatedRMSNorm).
"""

from __future__ import annotations

from typing import ClassVar

from simcost.blocks.norm.norm import Norm
from simcost.frozen import frozen
from simcost.num import Num
from simcost.ops.stream import Stream
from simcost.plan import Plan
from simcost.program import Call, Program, Serial
from simcost.sharding.linear import linear
from simcost.sharding.shard import View, Weight

HANDLES = ("gated_norm_rank",)


@frozen
class GatedNorm(Norm):
    """As Norm, with a gate of `rank`. It is whole on every rank, and its matrices stay unquantised, as a router's."""

    rank: Num = 16.0
    source: ClassVar[str] = "Hugging Face modeling_axk2.py"

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """The norm's vector, and the matrices down to `rank` and up again."""
        down = Weight(f"{self.name}_gate_down", "router", self.rank, self.width)
        return (*Norm.weights(self, plan), down, Weight(f"{self.name}_gate_up", "router", self.width, self.rank))

    def program(self, view: View) -> Program:
        """The norm, two products over the rank's rows, and the gate times its output."""
        rows, act = view.own_tokens, view.activation
        _, down, up = self.weights(view.plan)
        gate = Stream("activation", rows * self.width, 2.0, 1.0, 5.0, act, act)
        return Serial(
            (
                Norm.program(self, view),
                linear(view, down, rows),
                linear(view, up, rows),
                Call(gate, f"{self.name} gate"),
            ),
            self.name,
        )
