"""Lightning attention: linear attention whose state decays by a fixed number a head, with no convolution.

A gate as wide as the output weighs it after a norm. Most likely to be wrong: no table times it; another rule's rows stand in. Sources: arXiv 2401.04658, MiniMax-01 (arXiv 2501.08313); Hugging Face
`modeling_minimax.py`; inclusionAI/Ring-linear-2.0 `modeling_bailing_moe_linear.py`.
"""

from __future__ import annotations

from typing import ClassVar

from simcost.blocks._layer_kinds import LINEAR, layer_kind
from simcost.blocks._recurrent import STATE_KEY, Recurrent, States, states
from simcost.blocks.swap import Chosen, Design, Swap, none
from simcost.frozen import frozen
from simcost.hf import Reader
from simcost.num import Num
from simcost.ops.recurrent import Heads
from simcost.ops.stream import Stream
from simcost.plan import Check, Plan, divides
from simcost.program import Call, Program, Serial
from simcost.sharding.linear import enter, leave, linear
from simcost.sharding.shard import View, Weight

HANDLES = ("lightning", "attn_type_list", "block_size", STATE_KEY)
IGNORES = (
    "postnorm", "group_norm_size", "layernorm_full_attention_alpha", "layernorm_full_attention_beta", "layernorm_linear_attention_alpha",
    "layernorm_linear_attention_beta", "layernorm_mlp_alpha", "layernorm_mlp_beta", "full_attn_alpha_factor", "full_attn_beta_factor",
    "linear_attn_alpha_factor", "linear_attn_beta_factor", "mlp_alpha_factor", "mlp_beta_factor",
)  # fmt: skip
LAYER_TYPES = (LINEAR,)
BLOCK = 256.0  # tokens that kernels take at once: MiniMax-01's


@frozen
class Lightning(Recurrent):
    """`num_attention_heads` heads of `head_dim`, each with keys and values of its own; `qk_norm`: norms of queries and keys by head. Heads are cut over tp."""

    hidden_size: Num
    num_attention_heads: Num
    head_dim: Num
    states: States
    chunk_size: Num = BLOCK
    qk_norm: bool = False
    conv_kernel: Num = 1.0
    kind: ClassVar[str] = "attention"
    source: ClassVar[str] = "arXiv 2401.04658"
    rule: ClassVar[str] = "lightning"
    convolves: ClassVar[bool] = False

    def width(self, plan: Plan) -> Num:
        """All heads of one rank."""
        return self.num_attention_heads * self.head_dim / plan.tp

    def shape(self, plan: Plan) -> Heads:
        """A state of width x width for each head."""
        heads = self.num_attention_heads / plan.tp
        return Heads(heads, heads, self.head_dim, self.head_dim)

    def channels(self, plan: Plan) -> Num:
        """None: there is no convolution."""
        return 0.0

    def peak_elements(self, plan: Plan) -> Num:
        """Queries, keys, values, gate, outputs before and after their norm."""
        return 6.0 * self.width(plan)

    def checks(self, plan: Plan) -> list[Check]:
        """tp divides the heads; a sequence stands on one rank."""
        return [divides(self.num_attention_heads, plan.tp, "num_attention_heads"), self.unsplit(plan)]

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """Of the heads of one rank: queries, keys, values and the gate, the norm of the output, o_proj. Norms of queries and keys are whole."""
        width, d = self.width(plan), self.hidden_size
        found = [
            Weight("qkv_proj", "attention", 3.0 * width, d),
            Weight("output_gate", "attention", width, d),
            Weight("output_norm", "attention", width),
            Weight("o_proj", "attention", d, width),
        ]
        if self.qk_norm:
            found.append(Weight("qk_norm", "attention", 2.0 * self.head_dim))
        return tuple(found)

    def program(self, view: View) -> Program:
        """Projections, core of each group of tokens, norm and gate of the output, o_proj; collectives of the plan around them."""
        rows, act, width = view.tokens, view.activation, self.width(view.plan)
        weight = {w.name: w for w in self.weights(view.plan)}
        norms = Call(Stream("norm", rows * 2.0 * width, 1.0, 1.0, 4.0, act, act), "qk_norm")
        parts = (
            *enter(view, self.hidden_size),
            linear(view, weight["qkv_proj"], rows),
            linear(view, weight["output_gate"], rows, quantise=False),
            *([norms] if self.qk_norm else []),
            *self.mixed(view),
            Call(Stream("norm", rows * width, 2.0, 1.0, 9.0, act, act), "gated norm"),
            linear(view, weight["o_proj"], rows),
            leave(view, self.hidden_size),
        )
        return Serial(parts, "attention")


def _lightning(design: Design, text: str) -> list[Chosen]:
    """The heads of the design, each with keys and values of its own."""
    none(text, "lightning")
    found = [Chosen("lightning", True, "asked for")]
    if "head_dim" not in design.config:
        found.append(Chosen("head_dim", int(design.head_dim), "head_dim of the design"))
    return found


BY_KEYS = ("lightning", "attn_type_list")
SWAPS = {"lightning": Swap(_lightning, "lightning")}


def claims(r: Reader, layer: int, layers: int) -> int:
    """4 for a layer of linear attention of a config that is of lightning attention, by a key or by its family; else 0."""
    mine = r.flag("lightning") if isinstance(r.config.get("lightning", r.implied.get("lightning")), bool) else False
    return 4 if (mine or r.given("attn_type_list")) and layer_kind(r, layer, layers) == LINEAR else 0


def alike(r: Reader, layer: int, layers: int) -> object:
    """What of a layer `from_hf` reads, so that equal layers are read once: nothing."""
    return None


def from_hf(r: Reader, layer: int, layers: int) -> Lightning:
    """The lightning block of a layer. Raises SpecError for a missing or wrong key."""
    hidden, heads = r.num("hidden_size"), r.num("num_attention_heads")
    if not r.has("head_dim"):
        r.divisible(hidden, heads, "head_dim is absent and hidden_size / num_attention_heads is not whole")
    width = r.num("head_dim", hidden / heads)
    return Lightning(hidden, heads, width, states(r), r.num("block_size", BLOCK), r.flag("qk_norm"))
