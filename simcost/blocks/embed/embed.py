"""The ends of a model: input embedding (token table, learned positions) and the output head.

The head sees `phase.logits` rows per sequence: the last token in prefill. Tied embeddings share one table. Both are
split over the vocabulary; the embedding's rows and the logits are joined by a collective.
Most likely to be wrong: engines differ in how they join logits (gather or all-gather). Source: Megatron-LM (arXiv 1909.08053).
"""

from __future__ import annotations

from typing import ClassVar

from simcost.frozen import frozen, remembered
from simcost.num import Num, ceil
from simcost.ops import cross_entropy
from simcost.ops.collective import Collective, Copied
from simcost.ops.cross_entropy import CHUNKED, GATHERED, PLAIN, CrossEntropy
from simcost.ops.gather import Gather
from simcost.ops.stream import Stream
from simcost.plan import Check, Plan
from simcost.program import Call, Program, Serial
from simcost.sharding.linear import enter, leave, linear
from simcost.sharding.shard import Plain, View, Weight


@frozen
class Embedding(Plain):
    """A table of `vocab_size` rows, `positions` learned positions (0: none), a norm of `norm_vectors` vectors (0: none), and `rotary_scales` learned
    scales of the frequencies by which heads rotate (0: none)."""

    hidden_size: Num
    vocab_size: Num
    positions: Num = 0.0
    norm_vectors: float = 0.0
    rotary_scales: Num = 0.0
    kind: ClassVar[str] = "embedding"
    source: ClassVar[str] = "arXiv 1909.08053"

    def checks(self, plan: Plan) -> list[Check]:
        """No rules: the vocabulary is padded to tp."""
        return []

    @remembered
    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """The table, cut over the vocabulary and rounded up; positions, norm and scales are whole on every rank."""
        # Engines pad the vocabulary to the tensor-parallel size: the busiest rank holds the ceiling.
        found = [Weight("embed_tokens", "embedding", ceil(self.vocab_size / plan.tp), self.hidden_size)]
        if not (isinstance(self.positions, float) and self.positions == 0.0):
            found.append(Weight("embed_positions", "embedding", self.positions, self.hidden_size))
        if self.norm_vectors:
            found.append(Weight("embed_norm", "norm", self.norm_vectors * self.hidden_size))
        if not (isinstance(self.rotary_scales, float) and self.rotary_scales == 0.0):
            found.append(Weight("rotary_scales", "norm", self.rotary_scales))
        return tuple(found)

    @property
    def table(self) -> Embedding:
        """The token table alone: what a pipeline stage with a tied head copies."""
        return Embedding(self.hidden_size, self.vocab_size)

    def program(self, view: View) -> Program:
        """Look-up of a row for each token, and the collective that joins the parts of the vocabulary. Positions and norm are not in it."""
        table = view.storage["embedding"]
        rows = Call(Gather(view.tokens, self.hidden_size, table, view.activation), "embed_tokens")
        return Serial((rows, leave(view, self.hidden_size)), "embedding")


@frozen
class Head(Plain):
    """Final norm, output projection and sampling. `tied`: the table is the embedding's, read again but not stored; `hc_mult`: residual streams that become one, by weights
    of their own or, where `hc_weighted` is False, by their mean."""

    hidden_size: Num
    vocab_size: Num
    tied: bool = False
    bias: bool = False
    norm_vectors: float = 1.0
    hc_mult: float = 1.0
    hc_weighted: bool = True
    kind: ClassVar[str] = "head"
    source: ClassVar[str] = "arXiv 1909.08053"

    def checks(self, plan: Plan) -> list[Check]:
        """No rules: the vocabulary is padded to tp."""
        return []

    @property
    def carried_elements(self) -> Num:
        """The streams beside the first."""
        return (self.hc_mult - 1.0) * self.hidden_size

    def _table(self, plan: Plan) -> Weight:
        return Weight("lm_head", "head", ceil(self.vocab_size / plan.tp), self.hidden_size)

    @remembered
    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """The final norm; the table, unless it is tied, and its bias, both cut over the vocabulary and rounded up."""
        found = [Weight("final_norm", "norm", self.norm_vectors * self.hidden_size)] if self.norm_vectors else []
        if self.hc_mult > 1.0 and self.hc_weighted:
            found.append(Weight("hc_head", "norm", self.hc_mult**2 * self.hidden_size + self.hc_mult + 1.0))
        if not self.tied:
            found.append(self._table(plan))
        if self.bias:
            found.append(Weight("lm_head_bias", "head", ceil(self.vocab_size / plan.tp)))
        return tuple(found)

    def program(self, view: View) -> Program:
        """Streams to one, where there are several; final norm with residual, product with the table, gather of the logits, and sampling over the vocabulary of one rank; rows are
        `view.head_rows`. Of a training step the logits of all tokens, and the loss in place of gather and sampling."""
        rows, act = view.head_rows, view.activation
        mixing = 2.0 * self.hc_mult**2 if self.hc_weighted else self.hc_mult
        joined = Stream("hyper connection before", rows * self.hidden_size, self.hc_mult, 1.0, mixing, act, act)
        passes = (
            2.0 if view.phase.loss else 1.0
        )  # the residual stream is added, and stays where a backward pass follows
        norm = Stream("norm", rows * self.hidden_size, 2.0, passes, 5.0, act, act)
        return Serial(
            (
                *((Call(joined, "hc_head"),) if self.hc_mult > 1.0 else ()),
                Call(norm, "final_norm"),
                *(self._loss(view) if view.phase.loss else self._sampled(view)),
            ),
            "head",
        )

    def _sampled(self, view: View) -> tuple[Program, ...]:
        rows, act = view.head_rows, view.activation
        logits = rows * ceil(self.vocab_size / view.plan.tp)
        gathered = act.tensor_bytes(rows * self.vocab_size)
        return (
            linear(view, self._table(view.plan), rows),
            Call(Collective("all_gather", gathered, view.plan.tp), "gather logits"),
            Call(Stream("sample", logits, 1.0, 0.0, 5.0, act, act), "softmax + sample"),
        )

    def _loss(self, view: View) -> tuple[Program, ...]:
        """Megatron's vocabulary-parallel loss joins the maximum, the target's logit and the sum of exponentials, an fp32 number per token each. Of a loss in chunks the product runs once for each. With gathered logits every rank has the whole loss."""
        part, table, rows = ceil(self.vocab_size / view.plan.tp), self._table(view.plan), view.tokens
        method, chunks = cross_entropy.named(view.phase.loss)
        at_once = cross_entropy.chunk(rows, part, self.hidden_size, chunks) if method == CHUNKED else 0.0
        product: Program = linear(view, table, rows)
        if method == CHUNKED:
            product = Serial((linear(view, table, at_once),), repeat=rows / at_once)
        if method == GATHERED:
            act, size = view.activation, view.plan.tp
            return (
                *enter(view, self.hidden_size),
                product,
                Call(Copied("all_gather", act.tensor_bytes(rows * self.vocab_size), size), "gather logits"),
                Call(CrossEntropy(rows, self.vocab_size, act, PLAIN, "", self.hidden_size), "cross entropy"),
            )
        return (
            *enter(view, self.hidden_size),
            product,
            Call(CrossEntropy(rows, part, view.activation, method, "", self.hidden_size, at_once), "cross entropy"),
            Call(Collective("all_reduce", 12.0 * view.tokens, view.plan.tp), "join loss"),
        )
