"""Kimi Delta Attention (KDA): Gated DeltaNet whose state forgets by a number of its own for every channel of a key.

Queries, keys and values have as many heads, of one width. The forget gate and the output's gate are of low rank (the width of a head), or full products, both (Ling-3.0) or the latter alone (Kimi-K3). Most likely to be wrong: a
checkpoint that mixes the two. Sources: Kimi Linear (arXiv 2510.26692); Hugging Face `modeling_kimi_linear.py`, `modeling_bailing_hybrid.py`, `modeling_glm5_next.py`; sharding: vLLM
`model_executor/models/kimi_linear.py`.
"""

from __future__ import annotations

from typing import ClassVar

from simcost.blocks._layer_kinds import LINEAR, layer_kind
from simcost.blocks._recurrent import STATE_KEY, Recurrent, States, states
from simcost.blocks.swap import Chosen, Design, Swap, multiple, whole
from simcost.frozen import frozen
from simcost.hf import Reader
from simcost.num import Num
from simcost.ops.recurrent import Heads
from simcost.ops.stream import Stream
from simcost.plan import Check, Plan, divides
from simcost.program import Call, Program, Serial
from simcost.sharding.linear import enter, leave, linear
from simcost.sharding.shard import View, Weight

HANDLES = (
    "kda",
    "kda_layers",
    "full_attn_layers",
    "linear_num_heads",
    "linear_head_dim",
    "linear_conv_kernel_dim",
    "kda_full_rank_gates",
    "kda_full_rank_output_gate",
    STATE_KEY,
)
IGNORES = (
    "kda_safe_gate",
    "kda_lower_bound",
    "linear_lower_bound",
    "linear_attn_config.gate_lower_bound",
)
LAYER_TYPES = (LINEAR,)
GATES = ("forget", "output")
CHUNK = 64.0  # tokens that kernels take at once: flash-linear-attention `fla/ops/kda/chunk.py`


@frozen
class KDA(Recurrent):
    """`linear_num_heads` heads of `linear_head_dim`; `full_rank`: gates ("forget", "output") that are whole products, not of the rank of a head. Heads are cut over tp, the narrow half of a gate is whole."""

    hidden_size: Num
    linear_num_heads: Num
    linear_head_dim: Num
    conv_kernel: Num
    states: States
    full_rank: tuple[str, ...] = ()
    chunk_size: Num = CHUNK
    kind: ClassVar[str] = "attention"
    source: ClassVar[str] = "arXiv 2510.26692"
    rule: ClassVar[str] = "kda"

    def width(self, plan: Plan) -> Num:
        """Queries, or keys, or values, of one rank."""
        return self.linear_num_heads * self.linear_head_dim / plan.tp

    def shape(self, plan: Plan) -> Heads:
        """A state of width x width for each head."""
        heads = self.linear_num_heads / plan.tp
        return Heads(heads, heads, self.linear_head_dim, self.linear_head_dim)

    def channels(self, plan: Plan) -> Num:
        """Queries, keys and values."""
        return 3.0 * self.width(plan)

    def peak_elements(self, plan: Plan) -> Num:
        """Queries, keys and values before and after the convolution, both gates, outputs before and after their norm."""
        return 10.0 * self.width(plan)

    def checks(self, plan: Plan) -> list[Check]:
        """tp divides the heads; a sequence stands on one rank."""
        return [divides(self.linear_num_heads, plan.tp, "linear_num_heads"), self.unsplit(plan)]

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """Of the heads of one rank: queries, keys and values; the two gates; learning rates, which checkpoints leave unquantised, as a router; the convolution, decays and
        their biases; o_proj. The norm of a head and the narrow halves of gates are whole."""
        width, d, heads = self.width(plan), self.hidden_size, self.linear_num_heads / plan.tp
        found = [Weight("qkv_proj", "attention", 3.0 * width, d)]
        for gate in GATES:
            if gate in self.full_rank:
                found.append(Weight(f"{gate}_gate", "attention", width, d))
            else:
                found.append(Weight(f"{gate}_gate_down", "attention", self.linear_head_dim, d))
                found.append(Weight(f"{gate}_gate_up", "attention", width, self.linear_head_dim))
        return (
            *found,
            Weight("b_proj", "router", heads, d),
            Weight("conv1d", "attention", self.channels(plan) * self.conv_kernel),
            Weight("dt_bias", "attention", width),
            Weight("A_log", "attention", heads),
            Weight("gated_norm", "attention", self.linear_head_dim),
            Weight("o_proj", "attention", d, width),
        )

    def program(self, view: View) -> Program:
        """Projections and gates, convolution and core of each group of tokens, the gated norm of a head, o_proj; collectives of the plan around them."""
        rows, act = view.tokens, view.activation
        matrices = [w for w in self.weights(view.plan) if w.inner is not None]
        norm = Stream("norm", rows * self.width(view.plan), 2.0, 1.0, 9.0, act, act)
        parts = (
            *enter(view, self.hidden_size),
            *(linear(view, w, rows) for w in matrices if w.name != "o_proj"),
            *self.mixed(view),
            Call(norm, "gated norm"),
            linear(view, matrices[-1], rows),
            leave(view, self.hidden_size),
        )
        return Serial(parts, "attention")


_WIDTH, _CUT = 128, 8  # Kimi Linear's width of a head; heads stay a multiple that tp = 8 cuts


def _kda(design: Design, text: str) -> list[Chosen]:
    """Kimi Linear's proportions: heads of 128, together nearly twice as wide as the model."""
    heads = whole(text, "the heads", f"model.attention=kda:{text}") if text else None
    why = "asked for" if heads else f"1.8 x hidden_size / {_WIDTH}, as Kimi Linear, to a multiple of {_CUT}"
    return [
        Chosen("kda", True, "asked for"),
        Chosen("linear_num_heads", heads or multiple(1.8 * float(design.hidden_size) / _WIDTH, _CUT), why),
        Chosen("linear_head_dim", _WIDTH, "as Kimi Linear"),
        Chosen("linear_conv_kernel_dim", 4, "as Kimi Linear"),
    ]


BY_KEYS = ("kda", "kda_layers", "linear_num_heads")
SWAPS = {"kda": Swap(_kda, "kda or kda:<heads>")}


def claims(r: Reader, layer: int, layers: int) -> int:
    """4 for a layer of linear attention of a config that is of KDA, by a key or by its family; else 0."""
    mine = r.flag("kda") if isinstance(r.config.get("kda", r.implied.get("kda")), bool) else False
    return 4 if (mine or r.given("kda_layers")) and layer_kind(r, layer, layers) == LINEAR else 0


def alike(r: Reader, layer: int, layers: int) -> object:
    """What of a layer `from_hf` reads, so that equal layers are read once: nothing."""
    return None


def from_hf(r: Reader, layer: int, layers: int) -> KDA:
    """The KDA block of a layer; heads and width are those of attention where it has none of its own. Raises SpecError for a missing or wrong key."""
    heads = r.num("linear_num_heads") if r.has("linear_num_heads") else r.num("num_attention_heads")
    width = r.num("linear_head_dim") if r.has("linear_head_dim") else r.num("head_dim")
    conv = r.num("linear_conv_kernel_dim")
    whole_gates = GATES if r.flag("kda_full_rank_gates") else GATES[1:] if r.flag("kda_full_rank_output_gate") else ()
    return KDA(r.num("hidden_size"), heads, width, conv, states(r), whole_gates)
