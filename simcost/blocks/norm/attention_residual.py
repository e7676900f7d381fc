"""Attention residuals (AttnRes): a sublayer reads a softmax-weighted sum of the residual stream and of copies of it that earlier layers left, one every `attn_res_block_size` layers.

In place of the norm before a sublayer: its output is added to the stream, the rows are scored by a norm and a vector of their own, summed and normed. A block begins with a copy, before its first FFN. A stage of a pipeline
receives all copies made before it. Most likely to be wrong: kernels that take two passes over the rows. Source: Kimi-K3, SGLang 0.5.23 `layers/attn_residual.py` and `models/kimi_k3.py`.
"""

from __future__ import annotations

from typing import ClassVar

from simcost.blocks.embed.embed import Head
from simcost.blocks.norm.norm import Norm
from simcost.frozen import frozen
from simcost.hf import Reader
from simcost.num import Num
from simcost.ops.stream import Stream
from simcost.plan import Plan
from simcost.program import Call, Program, Serial
from simcost.sharding.shard import View, Weight

HANDLES = ("attn_res_block_size",)


@frozen
class AttentionResidual(Norm):
    """As Norm, over the stream and `copies` of it."""

    copies: float = 0.0
    source: ClassVar[str] = "SGLang models/kimi_k3.py"

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """The norm, and the norm and the vector that score a row."""
        return (*Norm.weights(self, plan), Weight(f"{self.name}_score", "norm", 2.0 * self.width))

    @property
    def carried_elements(self) -> Num:
        """The copies."""
        return self.copies * self.width

    def peak_elements(self, plan: Plan) -> Num:
        """The copies."""
        return self.copies * self.width

    def program(self, view: View) -> Program:
        """One kernel over the rank's rows: it reads the sublayer's output, the stream and its copies, and writes the stream and the normed sum."""
        rows, act = self.copies + 1.0, view.activation
        flops = 1.0 + 5.0 * rows + 4.0
        return Call(Stream("norm", view.own_tokens * self.width, rows + 1.0, 2.0, flops, act, act), self.name)


@frozen
class AttentionResidualHead(Head):
    """As Head, of a sum of the stream and `copies` of it."""

    copies: float = 0.0

    @property
    def carried_elements(self) -> Num:
        """The copies."""
        return self.copies * self.hidden_size

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """Those of a head, and the norm and the vector that score a row."""
        return (*Head.weights(self, plan), Weight("residual_score", "norm", 2.0 * self.hidden_size))

    def program(self, view: View) -> Program:
        """The weighted sum, then a head; rows are `view.head_rows`."""
        rows, act = self.copies + 1.0, view.activation
        summed = Stream("norm", view.head_rows * self.hidden_size, rows, 1.0, 5.0 * rows, act, act)
        return Serial((Call(summed, "residual sum"), Head.program(self, view)), "head")


def copies(r: Reader, layer: int, ffn: bool) -> float | None:
    """Copies that attention, or the FFN, of a layer reads; None for a model without them."""
    if not r.given("attn_res_block_size"):
        return None
    size = r.layout("attn_res_block_size", least=1)
    return float(layer // size + 1 if ffn else -(-layer // size))
