"""Multi-token prediction (MTP): one more decoder layer that joins the last hidden state with the next token's embedding.

Two norms, the joining projection 2d -> d, a whole layer and a final norm; embedding and head are shared with the model.
Most likely to be wrong: checkpoints differ in how many norms they store. Source: DeepSeek-V3 (arXiv 2412.19437 §2.2).
"""

from __future__ import annotations

from typing import ClassVar

from simcost.frozen import frozen
from simcost.num import Num
from simcost.ops.stream import Stream
from simcost.plan import Check, Plan
from simcost.program import Call, Program, Serial
from simcost.sharding.linear import linear
from simcost.sharding.shard import Block, Plain, View, Weight


@frozen
class MTPJoin(Plain):
    """Norms of the last hidden state and of the next token's embedding, and the projection that joins them."""

    hidden_size: Num
    kind: ClassVar[str] = "mtp"
    source: ClassVar[str] = "arXiv 2412.19437 §2.2"

    def checks(self, plan: Plan) -> list[Check]:
        """No rules: the projection is whole on every rank."""
        return []

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """The joining projection [d, 2d] and three norms (the third before the head), whole on every rank."""
        d = self.hidden_size
        return (Weight("eh_proj", "ffn", d, 2.0 * d), Weight("mtp_norms", "norm", 3.0 * d))

    def program(self, view: View) -> Program:
        """Norms of both inputs, and the joining projection."""
        act, d = view.activation, self.hidden_size
        norms = Call(Stream("norm", 2.0 * view.tokens * d, 1.0, 1.0, 4.0, act, act), "mtp norms")
        return Serial((norms, linear(view, self.weights(view.plan)[0], view.tokens)))


@frozen
class MTP(Plain):
    """`layer` are the blocks of its decoder layer."""

    hidden_size: Num
    layer: tuple[Block, ...]
    kind: ClassVar[str] = "mtp"
    source: ClassVar[str] = "arXiv 2412.19437 §2.2"

    def checks(self, plan: Plan) -> list[Check]:
        """Rules of the blocks of the layer."""
        return [check for block in self.layer for check in block.checks(plan)]

    @property
    def join(self) -> MTPJoin:
        """What stands before the layer."""
        return MTPJoin(self.hidden_size)

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """The joining projection and norms, and the weights of the layer."""
        return self.join.weights(plan) + tuple(w for block in self.layer for w in block.weights(plan))

    def state_elements(self, context: Num, plan: Plan) -> Num:
        """Sum over the blocks of the layer."""
        total: Num = 0.0
        for block in self.layer:
            total = total + block.state_elements(context, plan)
        return total

    def program(self, view: View) -> Program:
        """Norms of both inputs, the joining projection, and the layer. Final norm, embedding and head are not in it."""
        join = self.join.program(view)
        assert isinstance(join, Serial)
        return Serial((*join.parts, *(block.program(view) for block in self.layer)), "mtp")
