"""Cross-layer attention (CLA, Hunyuan-Large): layers in groups of `cla_share_factor`; the first of a group has keys and values, the others read its cache.

A layer that reads has a query and an output projection, no k_proj and v_proj; it writes nothing and keeps nothing, and its core reads what the first layer wrote. Most likely to be wrong: engines that
give every layer a cache of its own hold twice as much. Sources: CLA (arXiv 2405.12981); Hunyuan-Large (arXiv 2411.02265) and tencent/Tencent-Hunyuan-Large `modeling_hunyuan.py`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from simcost.blocks.attention import gqa
from simcost.blocks.attention.gqa import GQA
from simcost.errors import NotModelled
from simcost.frozen import frozen
from simcost.hf import Reader
from simcost.num import Num
from simcost.ops.stream import Stream
from simcost.plan import Plan
from simcost.program import Call, Program, Serial
from simcost.sharding.linear import linear
from simcost.sharding.shard import View, Weight

HANDLES = ("use_cla", "cla_share_factor")


@frozen
class CrossLayer(GQA):
    """A layer that reads the keys and values of the first of its group."""

    source: ClassVar[str] = "arXiv 2405.12981"

    @property
    def reads_cache(self) -> bool:
        """That of the first of its group."""
        return True

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """As GQA, with queries (and their gate) alone in place of queries, keys and values; the class keeps both norms."""
        h, _ = self.heads(plan)
        width = h * (self.head_dim + self._gate)
        found = []
        for weight in GQA.weights(self, plan):
            if weight.name == "qkv_proj":
                weight = replace(weight, name="q_proj", out=width)
            elif weight.name == "qkv_bias":
                weight = replace(weight, out=width)
            found.append(weight)
        return tuple(found)

    def state_elements(self, context: Num, plan: Plan) -> Num:
        """Nothing: it reads another layer's."""
        return 0.0 * context

    def peak_elements(self, plan: Plan) -> Num:
        """Queries and outputs of the heads of one rank."""
        h, _ = self.heads(plan)
        return h * (self.head_dim + self.v_head_dim + self._gate)

    def _projections(self, view: View) -> tuple[Program, ...]:
        """Queries of this rank's heads, and their norm."""
        h, _ = self.heads(view.plan)
        act = view.activation
        queries = linear(view, self._weight(view, "q_proj"), view.tokens)
        if self.qk_norm == "none":
            return (queries,)
        return queries, Call(Stream("norm", view.tokens * h * self.head_dim, 1.0, 1.0, 4.0, act, act), "qk_norm")

    def program(self, view: View) -> Program:
        """As GQA; only queries rotate."""
        h, _ = self.heads(view.plan)
        act = view.activation
        rope = Stream("rope", view.tokens * h * self.head_dim * self.rotary, 1.0, 1.0, 3.0, act, act)
        program = GQA.program(self, view)
        assert isinstance(program, Serial)
        parts = [
            Call(rope, "rope") if isinstance(part, Call) and part.tag == "rope" else part for part in program.parts
        ]
        return Serial(tuple(parts), program.tag)


BY_KEYS = ("use_cla",)


def claims(r: Reader, layer: int, layers: int) -> int:
    """3 for a layer that reads another's keys and values, else 0."""
    return 3 if r.flag("use_cla") and layer % r.layout("cla_share_factor", 1, least=1) else 0


def alike(r: Reader, layer: int, layers: int) -> object:
    """What of a layer `from_hf` reads, so that equal layers are read once: nothing."""
    return None


def from_hf(r: Reader, layer: int, layers: int) -> CrossLayer:
    """The block of a layer. Raises SpecError for a missing or wrong key; NotModelled where layers have windows."""
    if r.has("sliding_window") and r.flag("use_sliding_window", True):
        raise NotModelled(
            f"{r.where}: not modelled: use_cla with windows: a layer may only read the cache of a layer of the same kind"
        )
    plain = gqa.from_hf(r, layer, layers)
    return CrossLayer(
        plain.hidden_size, plain.num_attention_heads, plain.num_key_value_heads, plain.head_dim, plain.v_head_dim, plain.qkv_bias, plain.o_bias,
        plain.qk_norm, plain.qk_norm_bias, plain.sinks, plain.rotary, plain.output_gate,
    )  # fmt: skip
