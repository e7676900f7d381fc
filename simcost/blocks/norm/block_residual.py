"""Attention residuals (Inkling 2): a sublayer's input is a mean of what came before it, weighted by a learned query, in place of one residual stream.

Every `n_layers_per_attn_res_block` layers the running sum is put aside as a block's state and begins anew. Before a sublayer the states of all blocks and the running sum are normed and
weighted by a softmax over their products with the query; full layers have a query each for queries, keys and values. A pipeline stage hands all states to the
next. Most likely to be wrong: a mean is one kernel here, where eager code stacks the states first. Source: Hugging Face `modeling_inkling2.py` (BlockAttentionResidual).
"""

from __future__ import annotations

from typing import ClassVar

from simcost.blocks.embed.embed import Head
from simcost.frozen import frozen
from simcost.hf import Reader
from simcost.num import Num
from simcost.ops.stream import Stream
from simcost.plan import Check, Plan
from simcost.program import Call, Program, Serial
from simcost.sharding.shard import Plain, View, Weight

PERIOD, FLAG = "n_layers_per_attn_res_block", "block_residuals"  # the family has them
HANDLES = (PERIOD, FLAG, "head_vocab_size")


@frozen
class BlockResidual(Plain):
    """`queries` means over `states` vectors of a token, the running sum among them. `runs`: how often a token passes it."""

    name: str
    width: Num
    states: float
    queries: float = 1.0
    runs: float = 1.0
    kind: ClassVar[str] = "norm"
    source: ClassVar[str] = "Hugging Face modeling_inkling2.py"

    def checks(self, plan: Plan) -> list[Check]:
        """No rules: it is whole on every rank."""
        return []

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """The queries."""
        return (Weight(self.name, "norm", self.queries * self.width, uses=self.runs),)

    @property
    def carried_elements(self) -> Num:
        """The states beside the running sum."""
        return (self.states - 1.0) * self.width

    def peak_elements(self, plan: Plan) -> Num:
        """The states beside the running sum, and the means beside the first."""
        return (self.states + self.queries - 2.0) * self.width

    def program(self, view: View) -> Program:
        """One kernel over the rank's rows: all states are read, the means are written. Of every state a norm (4 operations an element), its product with every query and its part of
        every mean (2 each)."""
        read = Stream(
            "block residual", view.own_tokens * self.width, self.states, self.queries,
            self.states * (4.0 + 4.0 * self.queries), view.activation, view.activation,
        )  # fmt: skip
        call = Call(read, self.name)
        return call if self.runs == 1.0 else Serial((call,), self.name, self.runs)


@frozen
class BlockResidualHead(Head):
    """A head that sees the mean of `states` vectors of a token."""

    states: float = 1.0
    source: ClassVar[str] = "Hugging Face modeling_inkling2.py"

    @property
    def carried_elements(self) -> Num:
        """The states beside the running sum."""
        return (self.states - 1.0) * self.hidden_size

    def _input(self) -> BlockResidual:
        return BlockResidual("final_input", self.hidden_size, self.states)

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """Those of a head, and the query."""
        return (*Head.weights(self, plan), *self._input().weights(plan))

    def program(self, view: View) -> Program:
        """The mean over all tokens; then as a head."""
        return Serial((self._input().program(view), Head.program(self, view)), "head")


def has(r: Reader) -> bool:
    """Whether the layers of a family read means of earlier blocks."""
    return r.flag(FLAG)


def before(r: Reader, name: str, width: Num, layer: int, queries: float = 1.0) -> tuple[BlockResidual, ...]:
    """What stands before the attention or the FFN ("attention" or "ffn") of a layer: none in another family, and none before the first attention, which sees the embedding."""
    if not has(r) or (name == "attention" and layer == 0):
        return ()
    period = r.layout(PERIOD, least=1)
    # A layer at a boundary puts the running sum aside behind its attention, so that its FFN sees it as a state.
    aside = -(-layer // period) if name == "attention" else layer // period + 1
    return (BlockResidual(f"{name}_input", width, aside + 1.0, queries),)


def head(r: Reader, plain: Head, layers: int) -> Head:
    """The head of a model with attention residuals, else `plain`."""
    if not has(r):
        return plain
    states = -(-layers // r.layout(PERIOD, least=1)) + 1.0
    return BlockResidualHead(
        plain.hidden_size, plain.vocab_size, plain.tied, plain.bias, plain.norm_vectors, states=states
    )
