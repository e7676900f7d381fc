"""Multi-head latent attention (MLA): K and V of a token are one shared latent of `kv_lora_rank` plus a rotary key.

Two forms of equal result. Expanded: the latent of every token is expanded to K and V of all heads, then plain attention.
Absorbed: the expansion is folded into Q and O, and all heads attend to the latent itself (multi-query, 576/512 wide in
DeepSeek-V3). A single query is always absorbed, as engines run it; of more the cost model takes the cheaper form (engines change
over anywhere from 1 to 512 queries, docs/theory/mla.md), unless the plan forces one. Most likely to be wrong: kernels for the
absorbed form differ much in quality. Sources: DeepSeek-V2 (arXiv 2405.04434 §2.1), DeepSeek-V3 (arXiv 2412.19437).
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from simcost.blocks.swap import Chosen, Design, Swap, multiple, whole
from simcost.frozen import frozen, remembered
from simcost.hf import Reader
from simcost.num import Num, every
from simcost.ops.attention_core import CAUSAL, AttentionCore, Mask
from simcost.ops.gemm import Gemm
from simcost.ops.stream import Stream
from simcost.plan import Check, Plan, divides
from simcost.program import Call, Choice, Program, Serial
from simcost.provenance import Kind
from simcost.sharding import context as cp
from simcost.sharding.linear import enter, leave, linear
from simcost.sharding.shard import BESIDE, Plain, View, Weight

_UP = "mla_up_proj"  # Megatron Core's name in `recompute_modules`


@frozen
class MLA(Plain):
    """`q_lora_rank` None: queries are projected directly. `output_gate`: "full", "head" (one number a head), "latent" (full, and made beside the queries from their latent before and after its norm) or "none". `sinks`: a learned logit a head; `rotary_key_norm`: a norm of the rotary key; `rotated` False: no position turns a query or a key (Kimi Linear). The latent is replicated over tp."""

    hidden_size: Num
    num_attention_heads: Num
    kv_lora_rank: Num
    qk_nope_head_dim: Num
    qk_rope_head_dim: Num
    v_head_dim: Num
    q_lora_rank: Num | None = None
    bias: bool = False
    output_gate: str = "none"
    sinks: bool = False
    rotary_key_norm: bool = False
    rotated: bool = True
    kind: ClassVar[str] = "attention"
    source: ClassVar[str] = "arXiv 2405.04434 §2.1"

    @property
    def qk_head_dim(self) -> Num:
        """Width of a query and of an expanded key: the part that does not rotate, and the part that does."""
        return self.qk_nope_head_dim + self.qk_rope_head_dim

    @property
    def plain_heads(self) -> tuple[Num, Num, Num, Num]:
        """Plain attention of the same heads is as wide as the values."""
        return self.num_attention_heads, self.num_attention_heads, self.v_head_dim, self.v_head_dim

    @property
    def mask(self) -> Mask:
        """Causal, over the whole context."""
        return CAUSAL

    @property
    def core_width(self) -> Num:
        """heads x (d_qk + d_v), un-absorbed: a (query, key) pair costs twice this. [FLOP/2]"""
        return self.num_attention_heads * (self.qk_head_dim + self.v_head_dim)

    @property
    def rotary_width(self) -> Num:
        """The rotary part of a head."""
        return self.qk_rope_head_dim if self.rotated else 0.0

    @property
    def forms(self) -> tuple[str, ...]:
        """The two forms of the core; a plan chooses one by `mla_form`."""
        return ("expanded", "absorbed")

    def peak_elements(self, plan: Plan) -> Num:
        """Queries, expanded keys and values, the keys joined with their rotary part, and outputs."""
        h = self.num_attention_heads / plan.tp
        return self.latent + h * (2.0 * self.qk_head_dim + self.qk_nope_head_dim + 2.0 * self.v_head_dim)

    def expanded_elements(self, plan: Plan) -> Num:
        """K without its rotary part, and V, of the heads of one rank: the output of kv_b_proj."""
        return self.num_attention_heads / plan.tp * (self.qk_nope_head_dim + self.v_head_dim)

    def absorbed_elements(self, plan: Plan, merged: bool) -> Num:
        """W_UK and W_UV of this rank's heads; merged: W_Q·W_UK and W_UV·W_O (vLLM V0, `attention/backends/mla`)."""
        h = self.num_attention_heads / plan.tp
        if not merged:
            return h * self.kv_lora_rank * (self.qk_nope_head_dim + self.v_head_dim)
        queries = self.hidden_size if self.q_lora_rank is None else self.q_lora_rank
        return h * self.kv_lora_rank * (queries + self.hidden_size)

    @property
    def absorbed_core_width(self) -> Num:
        """The same of the absorbed form: every head attends to the latent."""
        return self.num_attention_heads * (self.latent + self.kv_lora_rank)

    @property
    def latent(self) -> Num:
        """Cache elements of one token."""
        return self.kv_lora_rank + self.qk_rope_head_dim

    def checks(self, plan: Plan) -> list[Check]:
        """tp divides the heads; rules of the cp method."""
        heads = self.num_attention_heads
        return [divides(heads, plan.tp, "num_attention_heads"), *cp.checks(plan, heads)]

    @remembered
    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """kv_b_proj, o_proj and the queries' projection of the heads of one rank. The projections to the latents, norms and the bias are whole on every
        rank."""
        h, d = self.num_attention_heads / plan.tp, self.hidden_size
        found = [
            Weight("kv_b_proj", "attention", h * (self.qk_nope_head_dim + self.v_head_dim), self.kv_lora_rank),
            Weight("o_proj", "attention", d, h * self.v_head_dim),
        ]
        if self.q_lora_rank is None:
            found.append(Weight("q_proj", "attention", h * self.qk_head_dim, d))
            found.append(Weight("kv_a_proj", "attention", self.latent, d))
        else:
            # One product of both, as vLLM (`fused_qkv_a_proj`) and SGLang run them.
            found.append(
                Weight(
                    "qkv_a_proj", "attention", self.q_lora_rank + self.latent, d, parts=(self.q_lora_rank, self.latent)
                )
            )
            gated = self.output_gate == "latent"
            width = self.qk_head_dim + (self.v_head_dim if gated else 0.0)
            found.append(Weight("q_b_proj", "attention", h * width, self.q_lora_rank * (2.0 if gated else 1.0)))
            found.append(Weight("q_a_norm", "attention", self.q_lora_rank))
        found.append(Weight("kv_a_norm", "attention", self.kv_lora_rank))
        if self.bias:
            # transformers `modeling_deepseek_v3.py`: attention_bias gives q_a, kv_a and o a bias.
            width = self.latent + d + (0.0 if self.q_lora_rank is None else self.q_lora_rank)
            found.append(Weight("bias", "attention", width))
        if self.output_gate in ("full", "head"):
            found.append(
                Weight("output_gate", "attention", h * (self.v_head_dim if self.output_gate == "full" else 1.0), d)
            )
        if self.sinks:
            found.append(Weight("sinks", "attention", h))
        if self.rotary_key_norm:
            found.append(Weight("rotary_key_norm", "attention", self.qk_rope_head_dim))
        return tuple(found)

    def state_elements(self, context: Num, plan: Plan) -> Num:
        """One latent with its rotary key a token that the mask keeps, whole on every tp rank. cp cuts the tokens; with ulysses every rank keeps all of them."""
        return self.mask.state_tokens(context) * cp.copies(plan, 1.0) / plan.cp * self.latent

    @property
    def state_formula(self) -> str:
        """The latent, and the rotary key where there is one."""
        if every(self.qk_rope_head_dim == 0.0):
            return f"latent: {self.kv_lora_rank:.0f}"
        return f"latent + rotary key: {self.kv_lora_rank:.0f} + {self.qk_rope_head_dim:.0f}"

    def program(self, view: View) -> Program:
        """Projections of queries and latents, the core of each group of tokens in its form, o_proj; collectives of the plan around them."""
        cores = tuple(self._form(group, BESIDE if i else "") for i, group in enumerate(view.groups))
        o = linear(view, self._weight(view, "o_proj"), view.tokens)
        gate = self._gated(view)
        parts = (
            *enter(view, self.hidden_size),
            *self._projections(view),
            *cores,
            *gate,
            o,
            leave(view, self.hidden_size),
        )
        return Serial(parts, "attention")

    def _form(self, view: View, whose: str = "") -> Program:
        """The core of one group of tokens, in the form that the plan asks for, or in the cheaper one."""
        forms = {"expanded": self._expanded(view, whose), "absorbed": self._absorbed(view, whose)}
        chosen = view.plan.mla_form
        if chosen != "auto":
            return forms[chosen]
        return Choice(tuple(forms.items()), f"{whose}MLA form", view.phase.q_len <= 1.0)

    def _gated(self, view: View) -> tuple[Program, ...]:
        """The gate's projection, and its sigmoid times the output of the core, where there is a gate."""
        if self.output_gate == "none":
            return ()
        width, act = self.num_attention_heads / view.plan.tp * self.v_head_dim, view.activation
        times = Call(Stream("activation", view.tokens * width, 2.0, 1.0, 5.0, act, act), "output gate")
        return (
            (times,)
            if self.output_gate == "latent"
            else (linear(view, self._weight(view, "output_gate"), view.tokens), times)
        )

    def _weight(self, view: View, name: str) -> Weight:
        return next(w for w in self.weights(view.plan) if w.name == name)

    def _projections(self, view: View) -> tuple[Program, ...]:
        """Down to the queries' and the tokens' latents, their norms, up to the queries of this rank's heads."""
        rows, act = view.tokens, view.activation
        # The latent is a part of a tensor that holds the rotary key too, all of which stays for the backward pass.
        latent = Stream("norm", rows * self.kv_lora_rank, 1.0, 1.0, 4.0, act, act, kept=rows * self.latent)
        kv_norm = Call(latent, "kv_a_norm")
        if self.q_lora_rank is None:
            # Both read the layer's input, quantised once.
            kv_a = linear(view, self._weight(view, "kv_a_proj"), rows, quantise=False)
            return linear(view, self._weight(view, "q_proj"), rows, module=_UP), kv_a, kv_norm
        down = linear(view, self._weight(view, "qkv_a_proj"), rows)
        q_norm = Call(Stream("norm", rows * self.q_lora_rank, 1.0, 1.0, 4.0, act, act), "q_a_norm")
        return down, q_norm, linear(view, self._weight(view, "q_b_proj"), rows, module=_UP), kv_norm

    def _core(self, view: View, core: AttentionCore, whose: str) -> Program:
        """Rope of the queries, rope and write of the tokens' latents, and the core: one call of an engine. Between context-parallel ranks latents travel; in training, which has no cache, keys and values of all heads."""
        rows, act, heads = view.tokens, view.activation, self.num_attention_heads / view.plan.tp
        rope = self._rotated(view, whose)
        latents = cp.copies(view.plan, 1.0) * self.latent
        write = Call(Stream("cache write", rows * latents, 1.0, 1.0, 3.0, act, view.kv), f"{whose}latent rope + write")
        moved = act.tensor_bytes(heads * (core.d_qk + core.d_v)) if view.phase.loss else view.kv.tensor_bytes(latents)
        wire = cp.Wire(act.tensor_bytes(heads * core.d_qk), moved, act.tensor_bytes(heads * core.d_v))
        return cp.around(view, Serial((*rope, write, Call(core, f"{whose}core")), kernel="attention"), wire, self.mask)

    def _rotated(self, view: View, whose: str) -> tuple[Program, ...]:
        """Rope of the queries, where a part of a head rotates."""
        if not self.rotated or every(self.qk_rope_head_dim == 0.0):
            return ()
        width, act = self.num_attention_heads / view.plan.tp * self.qk_rope_head_dim, view.activation
        return (Call(Stream("rope", view.tokens * width, 1.0, 1.0, 3.0, act, act), f"{whose}q rope"),)

    def _expanded(self, view: View, whose: str) -> Program:
        at, act = cp.at(view, self.mask), view.activation
        heads = self.num_attention_heads / view.plan.tp / at.head_parts
        up = self._weight(view, "kv_b_proj")
        if view.phase.loss:  # a rank expands its own tokens (Megatron Core, get_query_key_value_tensors)
            mine, rows = up, view.tokens
        else:  # all that its heads see, cached ones too
            mine, rows = replace(up, out=up.out / at.head_parts), at.batch * at.mask.keys(at.q_len, at.past)
        expand = linear(view, mine, rows, f"{whose}kv_b_proj (expand)", module=_UP)
        core = AttentionCore(
            at.batch, at.q_len, at.past, heads, heads, self.qk_head_dim, self.v_head_dim, at.mask, act, act, act
        )
        return Serial((expand, self._core(view, core, whose)))

    def _absorbed(self, view: View, whose: str) -> Program:
        at, act, heads = cp.at(view, self.mask), view.activation, self.num_attention_heads / view.plan.tp
        core = AttentionCore(
            at.batch, at.q_len, at.past, heads / at.head_parts, 1.0, self.latent, self.kv_lora_rank, at.mask, act, view.kv,
            view.core, True,
        )  # fmt: skip
        return Serial(
            (
                self._absorb(view, heads, self.kv_lora_rank, self.qk_nope_head_dim, f"{whose}absorb k into q"),
                self._core(view, core, whose),
                self._absorb(view, heads, self.v_head_dim, self.kv_lora_rank, f"{whose}absorb v into o"),
            )
        )

    def _absorb(self, view: View, heads: Num, out: Num, inner: Num, tag: str) -> Call:
        """One product a head with its slice of kv_b_proj, in the activations' format: vLLM and SGLang hold W_UK and W_UV so,
        dequantised when they load a narrow checkpoint."""
        stored, act = view.storage["attention"], view.activation
        held = stored if stored.bits > act.bits else act
        return Call(Gemm(view.tokens, out, inner, act, held, act, held, heads), tag)


_RANK, _ROPE = (
    4,
    64,
)  # of the latent over head_dim, and width of the rotary part: DeepSeek-V3's, 512 and 64 at heads of 128


def _mla(design: Design, text: str) -> list[Chosen]:
    """DeepSeek-V3's proportions; from MLA itself, another rank alone."""
    rank = whole(text, "the rank", f"model.attention=mla:{text}") if text else None
    if "kv_lora_rank" in design.config:
        return [] if rank is None else [Chosen("kv_lora_rank", rank, "asked for")]
    width = int(design.head_dim)
    on = [Chosen("use_mla", None, "MLA is asked for")] if design.config.get("use_mla") is False else []
    return [
        *on,
        Chosen(
            "kv_lora_rank",
            rank or multiple(_RANK * width),
            "asked for" if rank else f"{_RANK} x head_dim, as DeepSeek-V3",
        ),
        Chosen("q_lora_rank", None, "no rank of the queries unless it is set"),
        Chosen("qk_nope_head_dim", width, "head_dim of the design"),
        Chosen("qk_rope_head_dim", _ROPE, "as DeepSeek-V3"),
        Chosen("v_head_dim", width, "head_dim of the design"),
    ]


BY_KEYS = ("kv_lora_rank",)
_NOPE = "mla_use_nope"
HANDLES = (_NOPE,)
SWAPS = {"mla": Swap(_mla, "mla or mla:<rank of the latent>", "kv_lora_rank")}


def claims(r: Reader, layer: int, layers: int) -> int:
    """2 where the config has kv_lora_rank and does not switch MLA off, else 0."""
    return 2 if r.has("kv_lora_rank") and r.flag("use_mla", True) else 0


def alike(r: Reader, layer: int, layers: int) -> object:
    """What of a layer `from_hf` reads, so that equal layers are read once: nothing."""
    return None


def from_hf(r: Reader, layer: int, layers: int) -> MLA:
    """The MLA block of a layer. Raises SpecError for a missing or wrong key."""
    return MLA(**dimensions(r))  # type: ignore[arg-type]


def dimensions(r: Reader, prefix: str = "") -> dict[str, object]:
    """The HF keys of an MLA layer, those of its sizes behind a `prefix` ("swa_"); without q_lora_rank it projects queries directly."""
    if r.has("num_key_value_heads"):
        # MLA has no KV heads of its own: configs repeat the query heads.
        r.raw("num_key_value_heads")
        r.note(
            "num_key_value_heads has no effect: MLA caches one latent per token",
            Kind.UNUSED, "num_key_value_heads",
        )  # fmt: skip
    # Whether V is as wide as K says which kernel the expanded form runs: widths that are swept are priced one by one.
    r.scalar |= {prefix + "qk_nope_head_dim", prefix + "qk_rope_head_dim", prefix + "v_head_dim"}
    nope, rope = r.num(prefix + "qk_nope_head_dim"), prefix + "qk_rope_head_dim"
    # Window layers of dots.3 state the whole width of a head.
    rotary = r.num(rope, least=0) if r.has(rope) or not prefix else r.num(prefix + "head_dim") - nope
    return {
        "hidden_size": r.num("hidden_size"),
        "num_attention_heads": r.num(prefix + "num_attention_heads"),
        "kv_lora_rank": r.num(prefix + "kv_lora_rank"),
        "qk_nope_head_dim": nope,
        "qk_rope_head_dim": rotary,
        "v_head_dim": r.num(prefix + "v_head_dim"),
        "q_lora_rank": r.num(prefix + "q_lora_rank") if r.has(prefix + "q_lora_rank") else None,
        "bias": r.flag("attention_bias"),
        "output_gate": _output_gate(r),
        "sinks": r.flag("attention_sinks"),
        "rotary_key_norm": r.flag("rotary_key_norm"),
        "rotated": not r.flag(_NOPE),
    }


def _output_gate(r: Reader) -> str:
    """Where the gate of the output is made, and how wide it is."""
    if r.flag("mla_gate_from_latent"):
        return "latent"
    return "full" if r.flag("mla_use_output_gate") else "head" if r.flag("use_head_wise_attn_gate") else "none"
