"""Gated DeltaNet (GDN): linear attention whose state forgets by a gate and corrects what a key already stands for.

Queries and keys have `linear_num_key_heads` heads, values and states `linear_num_value_heads`; a state is d_k x d_v, whatever the context. Most likely to be
wrong: kernels of different libraries for a prompt differ by a factor of four. Sources: arXiv 2412.06464; Hugging Face `modeling_qwen3_next.py`; which
products are one: vLLM `model_executor/models/qwen3_next.py`.
"""

from __future__ import annotations

from typing import ClassVar

from simcost.blocks._layer_kinds import LINEAR, layer_kind
from simcost.blocks._recurrent import STATE_KEY, Recurrent, States, states
from simcost.blocks.swap import Chosen, Design, Swap, multiple, whole
from simcost.errors import NotModelled, SpecError
from simcost.frozen import frozen
from simcost.hf import Reader
from simcost.num import Num, floor
from simcost.ops.recurrent import Heads
from simcost.ops.stream import Stream
from simcost.plan import Check, Plan, divides
from simcost.program import Call, Program, Serial
from simcost.sharding import context as cp
from simcost.sharding.linear import enter, leave, linear
from simcost.sharding.shard import View, Weight

HANDLES = (
    "linear_num_key_heads", "linear_num_value_heads", "linear_key_head_dim", "linear_value_head_dim",
    "linear_conv_kernel_dim", STATE_KEY,
)  # fmt: skip
IGNORES = (
    "linear_a_log_min", "linear_a_log_max", "linear_dt_min", "linear_dt_max", "linear_dt_init_floor", "linear_allow_neg_eigval",
)  # fmt: skip
LAYER_TYPES = (LINEAR,)
_DERIVED = "linear_sizes_follow"  # a fact of a family: sizes that its config leaves out follow from those of attention
CHUNK = 64.0  # tokens that kernels take at once: flash-linear-attention `fla/ops/gated_delta_rule/chunk.py`


@frozen
class GatedDeltaNet(Recurrent):
    """Dimensions of the layer; all scalars or arrays. Heads are cut over tp."""

    hidden_size: Num
    linear_num_key_heads: Num
    linear_num_value_heads: Num
    linear_key_head_dim: Num
    linear_value_head_dim: Num
    conv_kernel: Num
    states: States
    chunk_size: Num = CHUNK
    kind: ClassVar[str] = "attention"
    source: ClassVar[str] = "arXiv 2412.06464"
    rule: ClassVar[str] = "gated_delta"
    swaps: ClassVar[bool] = True

    def widths(self, plan: Plan) -> tuple[Num, Num]:
        """(queries, or keys; values) of one rank."""
        key = self.linear_num_key_heads * self.linear_key_head_dim
        return key / plan.tp, self.linear_num_value_heads * self.linear_value_head_dim / plan.tp

    def shape(self, plan: Plan) -> Heads:
        """A state for each head of values; with ulysses of a part of the heads, and all tokens."""
        parts = plan.tp * cp.heads(plan)
        return Heads(
            self.linear_num_value_heads / parts, self.linear_num_key_heads / parts, self.linear_key_head_dim,
            self.linear_value_head_dim,
        )  # fmt: skip

    def channels(self, plan: Plan) -> Num:
        """Queries, keys and values, of the heads whose tokens a rank has all."""
        keys, values = self.widths(plan)
        return (2.0 * keys + values) / cp.heads(plan)

    def peak_elements(self, plan: Plan) -> Num:
        """Queries, keys, values and the gate; these without the gate after the convolution; outputs before and after their norm."""
        keys, values = self.widths(plan)
        return 4.0 * keys + 5.0 * values

    def checks(self, plan: Plan) -> list[Check]:
        """tp divides the heads of keys and of values, with ulysses tp·cp; else a sequence stands on one rank."""
        parts = plan.tp * cp.heads(plan)
        over = " (ulysses splits them over tp·cp)" if plan.cp_method == "ulysses" else ""
        return [
            divides(self.linear_num_key_heads, parts, f"linear_num_key_heads{over}"),
            divides(self.linear_num_value_heads, parts, f"linear_num_value_heads{over}"),
            self.unsplit(plan),
        ]

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """Of the heads of one rank: the projection to queries, keys, values and the output's gate; to decay and learning rate, which checkpoints leave
        unquantised, as a router; the convolution; decays and their biases; o_proj. The norm of a head is whole on every rank."""
        keys, values = self.widths(plan)
        heads, d = self.linear_num_value_heads / plan.tp, self.hidden_size
        return (
            Weight("in_proj_qkvz", "attention", 2.0 * keys + 2.0 * values, d),
            Weight("in_proj_ba", "router", 2.0 * heads, d),
            Weight("conv1d", "attention", (2.0 * keys + values) * self.conv_kernel),
            Weight("A_log", "attention", heads),
            Weight("dt_bias", "attention", heads),
            Weight("gated_norm", "attention", self.linear_value_head_dim),
            Weight("o_proj", "attention", d, values),
        )

    def program(self, view: View) -> Program:
        """Projections, convolution and core of each group of tokens, the gated norm of a head, o_proj; collectives of the plan around them."""
        rows, act = view.tokens, view.activation
        weight = {w.name: w for w in self.weights(view.plan)}
        keys, values = self.widths(view.plan)
        norm = Stream("norm", rows * values, 2.0, 1.0, 9.0, act, act)  # reads the output and its gate
        # Context parallelism moves queries, keys, values, the gate, decays and learning rates, and the outputs back
        # (Megatron Core `ssm/gated_delta_net.py`, pull request 2614).
        heads = self.linear_num_value_heads / view.plan.tp
        there, back = act.tensor_bytes(2.0 * keys + 2.0 * values + 2.0 * heads), act.tensor_bytes(values)
        inner = (*self.mixed(view), Call(norm, "gated norm"))
        parts = (
            *enter(view, self.hidden_size),
            linear(view, weight["in_proj_qkvz"], rows),
            linear(view, weight["in_proj_ba"], rows),
            *cp.swapped(view, inner, there, back),
            linear(view, weight["o_proj"], rows),
            leave(view, self.hidden_size),
        )
        return Serial(parts, "attention")


_WIDTH, _RATIO, _CUT = (
    128,
    2,
    16,
)  # Qwen3-Next's: width of a head, and heads of values for each of keys; heads stay a multiple that tp = 8 cuts


def _gdn(design: Design, text: str) -> list[Chosen]:
    """Qwen3-Next's proportions: heads of 128, values as wide together as twice the model, half as many heads of keys."""
    heads = whole(text, "the heads of values", f"model.attention=gdn:{text}") if text else None
    values = heads or multiple(2 * float(design.hidden_size) / _WIDTH, _CUT)
    if values % _RATIO:
        raise SpecError(f"model.attention=gdn:{text}: heads of values must be a multiple of {_RATIO}")
    why = "asked for" if heads else f"2 x hidden_size / {_WIDTH}, as Qwen3-Next, to a multiple of {_CUT}"
    return [
        Chosen("linear_num_value_heads", values, why),
        Chosen("linear_num_key_heads", values // _RATIO, "half the heads of values, as Qwen3-Next"),
        Chosen("linear_key_head_dim", _WIDTH, "as Qwen3-Next"),
        Chosen("linear_value_head_dim", _WIDTH, "as Qwen3-Next"),
        Chosen("linear_conv_kernel_dim", 4, "as Qwen3-Next"),
    ]


BY_KEYS = ("linear_num_value_heads", "full_attention_interval")
SWAPS = {"gdn": Swap(_gdn, "gdn or gdn:<heads of values>")}


def claims(r: Reader, layer: int, layers: int) -> int:
    """3 for a layer of linear attention of a config with heads of Gated DeltaNet, stated or derived, else 0."""
    known = r.given("linear_num_value_heads") or r.flag(_DERIVED)
    return 3 if known and layer_kind(r, layer, layers) == LINEAR else 0


def alike(r: Reader, layer: int, layers: int) -> object:
    """What of a layer `from_hf` reads, so that equal layers are read once: nothing."""
    return None


def from_hf(r: Reader, layer: int, layers: int) -> GatedDeltaNet:
    """The Gated DeltaNet block of a layer. Raises SpecError for a missing or wrong key."""
    if r.flag(_DERIVED):
        return _derived(r, layers)
    keys, values = r.num("linear_num_key_heads"), r.num("linear_num_value_heads")
    r.divisible(values, keys, "linear_num_value_heads must be a multiple of linear_num_key_heads")
    return GatedDeltaNet(
        r.num("hidden_size"), keys, values, r.num("linear_key_head_dim"), r.num("linear_value_head_dim"),
        r.num("linear_conv_kernel_dim"), states(r),
    )  # fmt: skip


_LEAST = 4  # layers of a model of which every fourth is of attention


def _derived(r: Reader, layers: int) -> GatedDeltaNet:
    """OLMo Hybrid's: what its config leaves out follows from the heads of attention and the model's width. Raises SpecError for heads that do not divide, NotModelled for fewer layers than have
    one of attention among them."""
    if not r.has("layer_types") and layers < _LEAST:
        raise NotModelled(
            f"{r.where}: not modelled: {layers} layers without layer_types, of which every fourth is of attention"
        )
    heads = r.num("num_attention_heads")
    hidden, keys, values = (
        r.num("hidden_size"),
        r.num("linear_num_key_heads", heads),
        r.num("linear_num_value_heads", heads),
    )
    r.divisible(values, keys, "linear_num_value_heads must be a multiple of linear_num_key_heads")
    wide = r.num("linear_key_head_dim", floor(0.75 * hidden / keys))
    return GatedDeltaNet(
        hidden,
        keys,
        values,
        wide,
        r.num("linear_value_head_dim", 2.0 * wide),
        r.num("linear_conv_kernel_dim"),
        states(r),
    )
