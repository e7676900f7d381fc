"""AltUp and LAuReL (Gemma 3n): several residual streams of which one passes the layer, and a residual of low rank beside the attention.

AltUp: before a layer every stream is predicted from all of them, by m x m weights that a small product of the active stream gives; after it all are corrected by what the
active one learnt. The head sees the mean of all streams, each but the first through a product. LAuReL: x + norm(B·A·x) is added to the attention's output.
Most likely to be wrong: the streams are small products that engines run as several kernels; here each half is one. Sources: AltUp (arXiv 2301.13310), LAuReL
(arXiv 2411.07501); Hugging Face `modeling_gemma3n.py`; sharding: vLLM `model_executor/models/gemma3n.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from simcost.blocks.embed.embed import Head
from simcost.frozen import frozen
from simcost.num import Num
from simcost.ops.collective import Collective
from simcost.ops.stream import Stream
from simcost.plan import Check, Plan, divides
from simcost.program import Call, Program, Serial
from simcost.sharding.linear import enter, leave, linear
from simcost.sharding.shard import Block, Plain, View, Weight

HANDLES = ("altup_num_inputs", "laurel_rank")
IGNORES = ("altup_active_idx", "altup_coef_clip", "altup_correct_scale")


@frozen
class AltUp(Plain):
    """One half of it, for `streams` residual streams: `before` the layer, or after it; the weights stand with the first."""

    name: str
    width: Num
    streams: float
    before: bool
    kind: ClassVar[str] = "norm"
    source: ClassVar[str] = "arXiv 2301.13310"

    def checks(self, plan: Plan) -> list[Check]:
        """No rules: it is whole on every rank."""
        return []

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """The router with its norm, weights of prediction and correction, and a scale of the output: inside the kernels, and never quantised."""
        if not self.before:
            return ()
        m = self.streams
        return (
            Weight("modality_router", "router", m * self.width),
            Weight("prediction_coefs", "router", m**3),
            Weight("correction_coefs", "router", m**2),
            Weight("router_norm", "norm", self.width),
            Weight("correct_output_scale", "norm", self.width),
        )

    @property
    def unstaged(self) -> str:
        """vLLM's Gemma 3n is none of its classes that support pipelines."""
        return "pp of AltUp: no engine runs it (vLLM's Gemma 3n has no SupportsPP); here a hop carries all residual streams"

    @property
    def carried_elements(self) -> Num:
        """The streams beside the first."""
        return (self.streams - 1.0) * self.width

    def peak_elements(self, plan: Plan) -> Num:
        """The streams beside the first."""
        return (self.streams - 1.0) * self.width

    def program(self, view: View) -> Program:
        """One kernel over the rank's rows. Before: all streams are read and written; after: the layer's output too. The router is 2m operations an element, its norm 4."""
        m, act = self.streams, view.activation
        elements = view.own_tokens * self.width
        if self.before:
            return Call(Stream("altup predict", elements, m, m, 2.0 * m**2 + 3.0 * m + 4.0, act, act), self.name)
        return Call(Stream("altup correct", elements, m + 1.0, m, 2.0 * m + 2.0 * m + 6.0, act, act), self.name)


@frozen
class Laurel(Plain):
    """A residual of rank `laurel_rank`, which tp cuts, and its norm."""

    hidden_size: Num
    laurel_rank: Num
    kind: ClassVar[str] = "norm"
    source: ClassVar[str] = "arXiv 2411.07501"

    def checks(self, plan: Plan) -> list[Check]:
        """tp divides laurel_rank."""
        return [divides(self.laurel_rank, plan.tp, "laurel_rank")]

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """The product to the rank, cut by its outputs, the one back, cut by its inputs, and the norm, whole on every rank."""
        rank = self.laurel_rank / plan.tp
        return (
            Weight("linear_left", "ffn", rank, self.hidden_size),
            Weight("linear_right", "ffn", self.hidden_size, rank),
            Weight("post_laurel_norm", "norm", self.hidden_size),
        )

    def program(self, view: View) -> Program:
        """Both products and the collectives of the plan; norm, and the sum with input and attention."""
        act, (left, right, _) = view.activation, self.weights(view.plan)
        summed = Stream("norm", view.own_tokens * self.hidden_size, 3.0, 1.0, 7.0, act, act)
        parts = (
            *enter(view, self.hidden_size),
            linear(view, left, view.tokens),
            linear(view, right, view.tokens),
            leave(view, self.hidden_size),
            Call(summed, "laurel norm"),
        )
        return Serial(parts, "laurel")


@frozen
class AltUpHead(Head):
    """A head that sees the mean of `streams` residual streams: each but the first through a product d x d, cut by its outputs over tp, over all tokens."""

    streams: float = 1.0
    source: ClassVar[str] = "arXiv 2301.13310"

    @property
    def carried_elements(self) -> Num:
        """The streams beside the first."""
        return (self.streams - 1.0) * self.hidden_size

    def _unembed(self, plan: Plan) -> Weight:
        return Weight(
            "altup_unembed_projections", "ffn", self.hidden_size / plan.tp, self.hidden_size, self.streams - 1.0
        )

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """Those of a head, and the products of the streams."""
        return (*Head.weights(self, plan), self._unembed(plan))

    def program(self, view: View) -> Program:
        """The products, the magnitudes of their results, the mean; then as a head."""
        act, rows = view.activation, view.tokens
        size = rows * self.hidden_size * (self.streams - 1.0)
        mean = Stream("norm", rows * self.hidden_size, self.streams, 1.0, 5.0 * self.streams, act, act)
        parts = (
            linear(view, self._unembed(view.plan), rows),
            Call(Collective("all_gather", act.tensor_bytes(size), view.plan.tp), "gather streams"),
            Call(mean, "mean of streams"),
            Head.program(self, view),
        )
        return Serial(parts, "head")


def streams_of(layers: Sequence[Sequence[Block]]) -> float:
    """Residual streams of a model's layers; 1 without AltUp."""
    return max((block.streams for layer in layers for block in layer if isinstance(block, AltUp)), default=1.0)
