"""Multi-head, grouped-query and multi-query attention (MHA/GQA/MQA): one block, `num_key_value_heads` tells them apart.

Biases, qk-norm, sinks, a gate of the output, head_dim other than hidden/heads, and separate K and V widths are parameters.
Most likely to be wrong: the split-KV merge of decode kernels is not counted. Sources: arXiv 1706.03762, 1911.02150,
2305.13245; Hugging Face `modeling_llama.py`; sinks as in openai/gpt-oss.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from simcost.blocks import _by_layer as by_layer
from simcost.blocks._layer_kinds import FULL, layer_kind
from simcost.blocks.norm.norm import inner, inner_vectors
from simcost.blocks.swap import Chosen, Design, Swap, none, whole
from simcost.errors import SpecError
from simcost.frozen import frozen, remembered
from simcost.hf import Reader
from simcost.num import Num, every, maximum, where
from simcost.ops.attention_core import CAUSAL, AttentionCore, Mask
from simcost.ops.collective import Collective
from simcost.ops.stream import Stream
from simcost.plan import Check, Plan, divides
from simcost.program import Call, Program, Serial
from simcost.provenance import Kind
from simcost.sharding import context as cp
from simcost.sharding.linear import enter, leave, linear
from simcost.sharding.shard import BESIDE, Plain, View, Weight

QK_NORMS = ("none", "head", "full", "weightless")
HANDLES = by_layer.HANDLES
LAYER_TYPES = (FULL, "attention")  # values of `layer_types` that this block reads


@frozen
class GQA(Plain):
    """Dimensions of the attention layer; all scalars or arrays. `output_gate_bias`: one number a head; `inner_norm`: vectors of a norm before o_proj (0: none)."""

    hidden_size: Num
    num_attention_heads: Num
    num_key_value_heads: Num
    head_dim: Num
    v_head_dim: Num
    qkv_bias: bool = False
    o_bias: bool = False
    qk_norm: str = "none"
    qk_norm_bias: bool = False
    sinks: bool = False
    rotary: Num = 1.0
    output_gate: str = "none"
    output_gate_bias: bool = False
    inner_norm: float = 0.0
    kind: ClassVar[str] = "attention"
    source: ClassVar[str] = "arXiv 2305.13245"

    @property
    def mask(self) -> Mask:
        """Causal, over the whole context."""
        return CAUSAL

    @property
    def plain_heads(self) -> tuple[Num, Num, Num, Num]:
        """Its own."""
        return self.num_attention_heads, self.num_key_value_heads, self.head_dim, self.v_head_dim

    @property
    def core_width(self) -> Num:
        """heads x (d_qk + d_v): a (query, key) pair costs twice this. [FLOP/2]"""
        return self.num_attention_heads * (self.head_dim + self.v_head_dim)

    @property
    def rotary_width(self) -> Num:
        """The share `rotary` of a head."""
        return self.head_dim * self.rotary

    def peak_elements(self, plan: Plan) -> Num:
        """Queries, keys, values and outputs of the heads of one rank."""
        h, kv = self.heads(plan)
        return h * (self.head_dim + self.v_head_dim + self._gate) + kv * (self.head_dim + self.v_head_dim)

    @property
    def _gate(self) -> Num:
        """Elements of a head's gate: as wide as its output, or one."""
        return {"none": 0.0, "head": 1.0}.get(self.output_gate, self.v_head_dim)

    def heads(self, plan: Plan) -> tuple[Num, Num]:
        """(query, KV) heads of one rank; KV heads are replicated when tp exceeds them."""
        return self.num_attention_heads / plan.tp, maximum(self.num_key_value_heads / plan.tp, 1.0)

    def checks(self, plan: Plan) -> list[Check]:
        """tp divides the query heads; it divides the KV heads, or is a multiple of them; under ulysses so does tp·cp."""
        found = [divides(self.num_attention_heads, plan.tp, "num_attention_heads")]
        found += cp.checks(plan, self.num_attention_heads)
        found.append(_shares(self.num_key_value_heads, plan.tp, "tp"))
        if plan.cp_method == "ulysses":
            found.append(_shares(self.num_key_value_heads, plan.tp * plan.cp, "tp·cp (ulysses)"))
        return found

    @remembered
    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """Projections of the heads of one rank, a gate of their output with the queries; biases, qk-norm and sinks where the layer has them. The bias of
        o_proj and a qk-norm by head are whole on every rank."""
        (h, kv), d, qk, v = self.heads(plan), self.hidden_size, self.head_dim, self.v_head_dim
        width = h * (qk + self._gate) + kv * (qk + v)
        found = [
            Weight("qkv_proj", "attention", width, d, parts=(h * (qk + self._gate), kv * qk, kv * v)),
            Weight("o_proj", "attention", d, h * v),
        ]
        if self.qkv_bias:
            # A gate of single elements is a part of q_proj (Qwen3-Next), or has a projection without bias, as one number a head (Step-3.5).
            found.append(Weight("qkv_bias", "attention", width - h * self._gate * (self.output_gate != "full")))
        if self.o_bias:
            found.append(Weight("o_bias", "attention", d))
        if self.qk_norm in ("head", "full"):
            width = 2.0 * qk if self.qk_norm == "head" else (h + kv) * qk
            found.append(Weight("qk_norm", "attention", width * (2.0 if self.qk_norm_bias else 1.0)))
        if self.sinks:
            found.append(Weight("sinks", "attention", h))
        if self.output_gate_bias:
            found.append(Weight("gate_bias", "attention", h))
        if self.inner_norm:
            found.append(Weight("inner_norm", "attention", self.inner_norm * h * v))
        return tuple(found)

    def state_elements(self, context: Num, plan: Plan) -> Num:
        """K and V of the tokens that the mask keeps, for the KV heads of one rank. cp cuts the tokens; with ulysses it cuts the heads, at least one a
        rank."""
        _, kv = self.heads(plan)
        return self.mask.state_tokens(context) * cp.copies(plan, kv) / plan.cp * (self.head_dim + self.v_head_dim)

    @property
    def state_formula(self) -> str:
        """Heads of keys and values."""
        return f"K + V: {self.num_key_value_heads:.0f} heads x ({self.head_dim:.0f} + {self.v_head_dim:.0f})"

    def program(self, view: View) -> Program:
        """Projections, rope, cache write and core of each group of tokens, o_proj; collectives of the plan around them."""
        h, kv = self.heads(view.plan)
        rows, act = view.tokens, view.activation
        rope = Stream("rope", rows * (h + kv) * self.head_dim * self.rotary, 1.0, 1.0, 3.0, act, act)
        parts = (
            *enter(view, self.hidden_size),
            *self._projections(view),
            *(() if every(self.rotary == 0.0) else (Call(rope, "rope"),)),
            *(self._core(group, BESIDE if i else "") for i, group in enumerate(view.groups)),
            *self._gated(view),
            *inner(view, self.inner_norm, rows * h * self.v_head_dim),
            linear(view, self._weight(view, "o_proj"), rows),
            leave(view, self.hidden_size),
        )
        return Serial(parts, "attention")

    def _projections(self, view: View) -> tuple[Program, ...]:
        """Queries, keys and values of this rank's heads in one product, and their norms."""
        (h, kv), act = self.heads(view.plan), view.activation
        qkv = linear(view, self._weight(view, "qkv_proj"), view.tokens)
        if self.qk_norm == "none":
            return (qkv,)
        norm = Call(Stream("norm", view.tokens * (h + kv) * self.head_dim, 1.0, 1.0, 4.0, act, act), "qk_norm")
        if self.qk_norm != "full":
            return qkv, norm
        # A norm over all heads needs the squares of the other ranks: two fp32 sums a token (vLLM minimax_m2.py, MiniMaxText01RMSNormTP.forward_qk).
        return qkv, Call(Collective("all_reduce", 8.0 * view.tokens, view.plan.tp), "qk_norm all-reduce"), norm

    def _gated(self, view: View) -> tuple[Program, ...]:
        """The sigmoid of the gate times the output of the core, where there is a gate; before it the norm of each head's output, where there is one."""
        if self.output_gate == "none":
            return ()
        act, size = view.activation, view.tokens * self.heads(view.plan)[0] * self.v_head_dim
        gate = Call(Stream("activation", size, 2.0, 1.0, 5.0, act, act), "output gate")
        norm = Call(Stream("norm", size, 1.0, 1.0, 4.0, act, act), "output norm")
        return (norm, gate) if self.output_gate == "normed" else (gate,)

    def _weight(self, view: View, name: str) -> Weight:
        return next(w for w in self.weights(view.plan) if w.name == name)

    def _core(self, view: View, whose: str) -> Program:
        """The write of keys and values and the core, one call of an engine, of one group of tokens."""
        h, kv = self.heads(view.plan)
        rows, act = view.tokens, view.activation
        q, k_v, out = (
            h * self.head_dim,
            cp.copies(view.plan, kv) * (self.head_dim + self.v_head_dim),
            h * self.v_head_dim,
        )
        writes = Call(Stream("cache write", rows * k_v, 1.0, 1.0, 0.0, act, view.kv), f"{whose}kv write")
        at = cp.at(view, self.mask)
        core = AttentionCore(
            at.batch, at.q_len, at.past, h / at.head_parts, maximum(kv / at.head_parts, 1.0), self.head_dim,
            self.v_head_dim, at.mask, act, view.kv, view.core,
        )  # fmt: skip
        wire = cp.Wire(act.tensor_bytes(q), view.kv.tensor_bytes(k_v), act.tensor_bytes(out))
        return cp.around(
            view,
            Serial((*(() if self.reads_cache else (writes,)), Call(core, f"{whose}core")), kernel="attention"),
            wire,
            self.mask,
        )


def _shares(kv: Num, ranks: Num, what: str) -> Check:
    """The rule that each rank gets whole KV heads, or that each KV head is copied to as many ranks."""
    even = where(kv >= ranks, kv / ranks, ranks / kv)
    return Check(
        even == maximum(even // 1, 1.0),
        f"{what} must divide num_key_value_heads = {float(np.max(kv)):.0f}, or be a multiple of it",
    )


def dimensions(r: Reader, prefix: str = "") -> dict[str, object]:
    """The HF keys of a GQA layer; `prefix` ("swa_") for layers with dimensions of their own, which have those of the others where they state none."""
    hidden = r.num("hidden_size")
    heads = r.num(prefix + "num_attention_heads")
    if r.flag("multi_query") and not r.flag("new_decoder_architecture"):
        kv = 0.0 * heads + 1.0  # Falcon-7B and GPT-BigCode: one K/V head, whatever num_kv_heads says
        if r.has("num_key_value_heads"):
            r.raw("num_key_value_heads")
            r.note(
                "num_key_value_heads has no effect: multi_query gives one K/V head", Kind.UNUSED, "num_key_value_heads"
            )
    elif r.flag("all_heads_without_multi_query"):  # GPT-BigCode, which reads no number of KV heads
        kv = heads
        r.ineffective("num_key_value_heads", "multi_query = false gives every query head its own K and V")
    elif r.has(_own(r, prefix, "num_key_value_heads")) and r.flag("multi_query_attention", True):
        kv = r.num(_own(r, prefix, "num_key_value_heads"))
    else:
        kv = heads
        why = (
            "multi_query_attention = false"
            if r.has(prefix + "num_key_value_heads")
            else "num_key_value_heads is absent"
        )
        r.note(f"{why}: every query head has its own K and V", Kind.ASSUMED)
    width = _own(r, prefix, "head_dim")
    if not r.has(width):
        r.divisible(hidden, heads, "head_dim is absent and hidden_size / num_attention_heads is not whole")
    head_dim = r.num(width, hidden / heads)
    names = f"{prefix}num_attention_heads must be a multiple of {_own(r, prefix, 'num_key_value_heads')}"
    r.divisible(heads, kv, names)
    norm = r.text("qk_norm_type", "head") if r.flag("qk_norm") else "none"
    norm = {"per_layer": "full", "per_head": "head", "olmo": "full", "qwen3": "head"}.get(norm, norm)
    if norm not in QK_NORMS:
        raise SpecError(f"{r.where}: 'qk_norm_type' must be one of {', '.join(QK_NORMS)}, not {norm!r}")
    # What the config says of attention wins over what a family implies for all linear layers.
    stated = r.config.get("attention_bias") is not None
    bias = r.flag("attention_bias") if stated else r.flag("attention_bias") or r.biased()
    if "attention_bias" in r.config and {"qkv_bias", "o_bias"} <= set(r.implied):
        r.note(
            "attention_bias has no effect: this family fixes which projections have a bias",
            Kind.UNUSED,
            "attention_bias",
        )
    # Whether V is as wide as K says which kernel runs: one that is swept is priced width by width.
    r.scalar |= {prefix + "v_head_dim"} | ({prefix + "head_dim"} if r.has(prefix + "v_head_dim") else set())
    rotary = r.fraction("partial_rotary_factor", 1.0)
    if r.has("rotary_dim"):
        r.ineffective("partial_rotary_factor", "rotary_dim states how much of a head rotates")
        rotary = r.num("rotary_dim") / head_dim
    return {
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "num_key_value_heads": kv,
        "head_dim": head_dim,
        "v_head_dim": r.num(prefix + "v_head_dim", head_dim) if r.flag("use_mla", True) else head_dim,
        "qkv_bias": r.flag("qkv_bias", bias) or r.flag("use_qkv_bias"),
        "o_bias": r.flag("o_bias", bias),
        "qk_norm": norm,
        "qk_norm_bias": r.flag("qk_norm_bias"),
        "rotary": rotary,
        "output_gate": _output_gate(r),
        "output_gate_bias": r.flag("attn_gate_bias_by_head"),
        "inner_norm": inner_vectors(r, "attention_inner_norm"),
    }


def _own(r: Reader, prefix: str, key: str) -> str:
    """The key of layers with dimensions of their own where it is given, else that of all layers."""
    return prefix + key if r.has(prefix + key) else key


def _output_gate(r: Reader) -> str:
    """ "full" (a gate for each element, made with the queries), "separate" (by a product without bias), "normed" (so, behind a norm of each head), "head" (one for each) or "none"."""
    whole_, by_head = r.flag("attn_output_gate"), r.flag("use_head_wise_attn_gate")
    return r.text("output_gate_kind", "full") if whole_ else "head" if by_head else "none"


def plain_heads(design: Design, kv: int, why: str) -> list[Chosen]:
    """The keys of a layer with `kv` heads of keys and values, at the heads that the design has; MLA's come to be as wide as its values."""
    found = [Chosen("num_key_value_heads", kv, why)]
    if design.head_dim != design.config.get("head_dim", design.hidden_size / design.num_attention_heads):
        of = "v_head_dim of the design" if "v_head_dim" in design.config else "of the layers that see all tokens"
        found.append(Chosen("head_dim", int(design.head_dim), of))
    if design.config.get("multi_query"):
        found.append(Chosen("multi_query", False, "the KV heads are stated"))
    return found


def _mha(design: Design, text: str) -> list[Chosen]:
    none(text, "mha")
    return plain_heads(design, int(design.num_attention_heads), "one for each query head")


def _mqa(design: Design, text: str) -> list[Chosen]:
    none(text, "mqa")
    return plain_heads(design, 1, "one for all query heads")


def _gqa(design: Design, text: str) -> list[Chosen]:
    heads = int(design.num_attention_heads)
    if not text:
        raise SpecError("model.attention=gqa: state the KV heads, as in gqa:8, or add --iso kv, which solves for them")
    kv = whole(text, "KV heads", f"model.attention=gqa:{text}")
    if heads % kv:
        able = ", ".join(str(n) for n in range(1, heads + 1) if heads % n == 0)
        raise SpecError(f"model.attention=gqa:{text}: KV heads must divide num_attention_heads = {heads} ({able})")
    return plain_heads(design, kv, "asked for")


BY_KEYS: tuple[str, ...] = ()  # no key gives a layer to this block: it takes those that no other claims
SWAPS = {
    "mha": Swap(_mha, "mha"),
    "gqa": Swap(_gqa, "gqa:<KV heads>", "num_key_value_heads"),
    "mqa": Swap(_mqa, "mqa"),
}


def claims(r: Reader, layer: int, layers: int) -> int:
    """1: any layer of attention that nothing more specific claims; 0 for one of another kind."""
    return 1 if layer_kind(r, layer, layers) in LAYER_TYPES else 0


def alike(r: Reader, layer: int, layers: int) -> object:
    """What of a layer `from_hf` reads, so that equal layers are read once: the part of a head that rotates, and whether its output projection alone has a bias."""
    return by_layer.rotary(r, layer, layers, 1.0), _last_bias(r, layer, layers)


def _last_bias(r: Reader, layer: int, layers: int) -> bool:
    """GPT-NeoX Japanese: the output projection of the last layer alone has a bias."""
    return r.flag("last_layer_o_bias") and layer == layers - 1


def from_hf(r: Reader, layer: int, layers: int) -> GQA:
    """The GQA block of a layer. Raises SpecError for a missing or wrong key."""
    sinks = r.flag("attention_sinks") or r.flag("add_full_attention_sink_bias")
    shape = dimensions(r)
    shape["rotary"] = by_layer.rotary(r, layer, layers, shape["rotary"])  # type: ignore[arg-type]
    shape["o_bias"] = shape["o_bias"] or _last_bias(r, layer, layers)
    return GQA(**shape, sinks=sinks)  # type: ignore[arg-type]
