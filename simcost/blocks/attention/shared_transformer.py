"""Zamba and Zamba2: Mamba layers of which some run a transformer block before them whose weights several of these layers share.

The block sees the layer's input beside the embedding, 2 x hidden_size wide: a norm, attention, a norm, an FFN, and a product that is the layer's own; the sum with the input enters
the Mamba layer. Weights of a block are counted where it is used first, with how often a token passes them; in Zamba2 every use has low-rank adapters of its own. Each use keeps
its own keys and values. Most likely to be wrong: engines that merge adapters into copies of the block hold more. Sources: arXiv 2405.16712, 2411.15242; Hugging Face
`modeling_zamba.py`, `modeling_zamba2.py`; sharding: vLLM `model_executor/models/zamba2.py`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from simcost.blocks._layer_kinds import HYBRID, LINEAR, layer_kind
from simcost.blocks._recurrent import states
from simcost.blocks.attention import mamba, mamba2
from simcost.blocks.attention.gqa import GQA
from simcost.blocks.ffn.dense import Dense, activation
from simcost.blocks.norm.norm import Norm
from simcost.errors import NotModelled, SpecError
from simcost.frozen import frozen
from simcost.hf import Reader
from simcost.num import Num, ceil, every
from simcost.ops.collective import Collective
from simcost.ops.stream import Stream
from simcost.plan import Check, Plan, divides
from simcost.program import Call, Program, Serial
from simcost.sharding.linear import enter, leave, linear
from simcost.sharding.shard import BESIDE, Block, Plain, View, Weight

HANDLES = (
    "hybrid_layer_ids", "num_mem_blocks", "use_shared_attention_adapter", "adapter_rank", "use_mem_rope", "shared_transformer", "attention_head_dim",
    "attention_hidden_size",
)  # fmt: skip
IGNORES = ("num_query_groups", "use_long_context", "use_mem_eff_path", "hidden_mamba_act")
LAYER_TYPES = (LINEAR, HYBRID)


def _adapter(view: View, weights: dict[str, Weight], name: str, rows: Num, tag: str) -> tuple[Program, ...]:
    """Both products of an adapter, its rank joined between them, and the sum with what it adapts."""
    down, up, act, tp = weights[f"{name}_down"], weights[f"{name}_up"], view.activation, view.plan.tp
    rank = rows * down.out * tp * down.copies
    out = rows * up.out * up.copies
    return (
        linear(view, down, rows),
        Call(Collective("all_gather", act.tensor_bytes(rank), tp), f"gather {tag}"),
        linear(view, up, rows),
        Call(Stream("residual", out, 2.0, 1.0, 1.0, act, act), f"add {tag}"),
    )


@frozen
class SharedAttention(GQA):
    """GQA that reads 2 x hidden_size. `uses`: how often a token passes the shared matrices, where this layer holds them (0: another does); `adapter_rank` of the layer's own
    adapters of q, k and v (0: none)."""

    uses: float = 1.0
    adapter_rank: Num = 0.0
    adapted: bool = False
    source: ClassVar[str] = "arXiv 2411.15242"

    @property
    def _wide(self) -> Num:
        return 2.0 * self.hidden_size

    @property
    def lent(self) -> SharedAttention | None:
        """The shared projections, where this layer holds them."""
        return replace(self, adapted=False, adapter_rank=0.0) if self.uses else None

    @property
    def borrows(self) -> bool:
        """Where another layer holds them."""
        return not self.uses

    @property
    def unstaged(self) -> str:
        """vLLM's Zamba2 is none of its classes that support pipelines."""
        return (
            "pp of shared transformer blocks: no engine runs it (vLLM's Zamba2 has no SupportsPP); here each stage holds a copy of every block that it uses, "
            "and a hop carries the embedding too"
        )

    @property
    def carried_elements(self) -> Num:
        """The embedding, which it reads beside the layer's input."""
        return self.hidden_size

    def checks(self, plan: Plan) -> list[Check]:
        """Those of GQA; tp divides the rank."""
        found = GQA.checks(self, plan)
        return [*found, divides(self.adapter_rank, plan.tp, "adapter_rank")] if self.adapted else found

    def _all(self, plan: Plan) -> tuple[Weight, ...]:
        h, kv = self.heads(plan)
        width = h * self.head_dim + kv * (self.head_dim + self.v_head_dim)
        shared = (
            Weight("qkv_proj", "attention", width, self._wide, uses=self.uses),
            Weight("o_proj", "attention", self.hidden_size, h * self.v_head_dim, uses=self.uses),
        )
        if not self.adapted:
            return shared
        rank = self.adapter_rank
        return (
            *shared,
            Weight("qkv_adapter_down", "attention", rank / plan.tp, self._wide, 3.0),
            Weight("qkv_adapter_up", "attention", self._wide / plan.tp, rank, 3.0),
        )

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """The shared projections, where this layer holds them; the adapters, cut by their outputs."""
        found = self._all(plan)
        return found if self.uses else found[2:]

    def program(self, view: View) -> Program:
        """Projections with their adapters, rope where there is one, cache write and core of each group of tokens, o_proj; collectives of the plan around them."""
        h, kv = self.heads(view.plan)
        rows, act = view.tokens, view.activation
        weights = {w.name: w for w in self._all(view.plan)}
        rope = Stream("rope", rows * (h + kv) * self.head_dim * self.rotary, 1.0, 1.0, 3.0, act, act)
        parts = (
            *enter(view, self._wide),
            linear(view, weights["qkv_proj"], rows),
            *(_adapter(view, weights, "qkv_adapter", rows, "adapters") if self.adapted else ()),
            *((Call(rope, "rope"),) if self.rotary else ()),
            *(self._core(group, BESIDE if i else "") for i, group in enumerate(view.groups)),
            linear(view, weights["o_proj"], rows),
            leave(view, self.hidden_size),
        )
        return Serial(parts, "attention")


@frozen
class SharedFFN(Dense):
    """A gated FFN whose matrices several layers share; `uses` and `adapter_rank` as of SharedAttention, for gate and up together. No biases but `bias`, of both products."""

    uses: float = 1.0
    adapter_rank: Num = 0.0
    adapted: bool = False
    source: ClassVar[str] = "arXiv 2411.15242"

    @property
    def lent(self) -> SharedFFN | None:
        """The shared matrices and biases, where this layer holds them."""
        return replace(self, adapted=False, adapter_rank=0.0) if self.uses else None

    def checks(self, plan: Plan) -> list[Check]:
        """Those of a dense layer; tp divides the rank."""
        return [
            *Dense.checks(self, plan),
            *([divides(self.adapter_rank, plan.tp, "adapter_rank")] if self.adapted else []),
        ]

    def _all(self, plan: Plan) -> tuple[Weight, ...]:
        rank = self.adapter_rank
        shared = tuple(replace(w, uses=self.uses) for w in Dense.weights(self, plan))
        if not self.adapted:
            return shared
        up = Weight("gate_up_adapter_up", "ffn", 2.0 * self.intermediate_size / plan.tp, rank)
        return *shared, Weight("gate_up_adapter_down", "ffn", rank / plan.tp, self.hidden_size), up

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """The shared matrices and biases, where this layer holds them; the adapter, cut by its outputs."""
        found = self._all(plan)
        return found if self.uses else tuple(w for w in found if "adapter" in w.name)

    def program(self, view: View) -> Program:
        """As a dense layer, with the adapter beside gate and up."""
        rows, weights = view.tokens, {w.name: w for w in self._all(view.plan)}
        parts = (
            *enter(view, self.hidden_size),
            linear(view, weights["gate_up_proj"], rows),
            *(_adapter(view, weights, "gate_up_adapter", rows, "adapter") if self.adapted else ()),
            activation(view, rows * self.intermediate_size / view.plan.tp, True),
            linear(view, weights["down_proj"], rows),
            leave(view, self.hidden_size),
        )
        return Serial(parts, "ffn")


@frozen
class SharedNorm(Norm):
    """A norm of a shared block; `held`: whether this layer holds its weights."""

    held: bool = True

    @property
    def lent(self) -> SharedNorm | None:
        """All of it, where this layer holds it."""
        return self if self.held else None

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """Those of a norm, where this layer holds them."""
        return Norm.weights(self, plan) if self.held else ()


@frozen
class Joint(Plain):
    """The product d x d behind a shared block, each use's own, whole on every rank, and the sum with the layer's input."""

    hidden_size: Num
    kind: ClassVar[str] = "joint"
    source: ClassVar[str] = "arXiv 2405.16712"

    def checks(self, plan: Plan) -> list[Check]:
        """No rules: it is whole on every rank."""
        return []

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """The matrix."""
        return (Weight("linear", "ffn", self.hidden_size, self.hidden_size),)

    def program(self, view: View) -> Program:
        """Product and sum over the rank's own rows."""
        rows, act = view.own_tokens, view.activation
        added = Stream("residual", rows * self.hidden_size, 2.0, 1.0, 1.0, act, act)
        return Serial((linear(view, self.weights(view.plan)[0], rows), Call(added, "add block")), "joint")


BY_KEYS = ("hybrid_layer_ids", "num_mem_blocks")
BY_FACTS = ("shared_transformer",)  # of a class that gives its layers to this block: a swap switches them off


def claims(r: Reader, layer: int, layers: int) -> int:
    """5 for every layer of a family whose layers share a transformer block, else 0."""
    return 5 if not r.off("shared_transformer") and r.given("shared_transformer") else 0


def alike(r: Reader, layer: int, layers: int) -> object:
    """What of a layer `from_hf` reads, so that equal layers are read once: its kind, and whether it holds a block's weights."""
    kinds = _kinds(r, layers)
    use = kinds[:layer].count(HYBRID)
    return kinds[layer], use if use < _blocks(r) else None


def from_hf(r: Reader, layer: int, layers: int) -> Block | tuple[Block, ...]:
    """The Mamba block of a layer, behind a shared one in a hybrid layer. Raises SpecError for a missing or wrong key."""
    kinds = _kinds(r, layers)
    own = _mamba(r)
    if kinds[layer] != HYBRID:
        return own
    number, blocks, hybrids = kinds[:layer].count(HYBRID), _blocks(r), kinds.count(HYBRID)
    uses = float(len(range(number, hybrids, blocks))) if number < blocks else 0.0
    hidden, heads = r.num("hidden_size"), r.num("num_attention_heads")
    kv = r.num("num_key_value_heads", heads)
    r.divisible(heads, kv, "num_attention_heads must be a multiple of num_key_value_heads")
    r.ineffective("head_dim", "attention_head_dim states the width of a head")
    if not r.has("attention_head_dim"):
        r.divisible(2.0 * hidden, heads, "attention_head_dim is absent, and 2 x hidden_size / num_attention_heads")
    head = r.num("attention_head_dim", 2.0 * hidden / heads)
    _fits(r, hidden)
    wide = r.num("intermediate_size") if r.has("intermediate_size") else 4.0 * hidden
    two = not r.given("mamba_dt_rank")
    rank = r.num("adapter_rank", 128) if two else 0.0
    attention = SharedAttention(
        hidden, heads, kv, head, head, rotary=1.0 if r.flag("use_mem_rope") else 0.0, uses=uses, adapter_rank=rank,
        adapted=two and r.flag("use_shared_attention_adapter"),
    )  # fmt: skip
    ffn = SharedFFN(hidden, wide, True, r.biased(), uses=uses, adapter_rank=rank, adapted=two)
    held = uses > 0.0
    norms = (
        SharedNorm("concat_norm", 2.0 * hidden, 1.0, False, held),
        SharedNorm("pre_ff_norm", hidden, 1.0, False, held),
    )
    return norms[0], attention, norms[1], ffn, Joint(hidden), own


def _fits(r: Reader, hidden: Num) -> None:
    """Raises SpecError for a width of the input that is not the layer's and the embedding's together, NotModelled where the class shares no block."""
    if not every(r.num("attention_hidden_size", 2.0 * hidden) == 2.0 * hidden):
        raise SpecError(
            f"{r.where}: 'attention_hidden_size' must be 2 x hidden_size: the layer's input beside the embedding"
        )
    if not r.flag("tie_word_embeddings"):
        raise NotModelled(
            f"{r.where}: not modelled: tie_word_embeddings = false: the class then shares no weights, and every use has a block of its own"
        )


def _kinds(r: Reader, layers: int) -> list[str]:
    """The word of every layer. Raises SpecError where the config lists none, and for another word."""
    if r.items("layer_types") is None and r.items("hybrid_layer_ids") is None:
        raise SpecError(f"{r.where}: missing key 'layers_block_type': it says which layers run a shared block")
    listed = r.items("hybrid_layer_ids") or []
    if r.items("layer_types") is not None:
        r.ineffective("hybrid_layer_ids", "layers_block_type says which layers run a shared block")
    if r.items("layer_types") is None:
        return [HYBRID if layer in listed else LINEAR for layer in range(layers)]
    found = [layer_kind(r, layer, layers) for layer in range(layers)]
    wrong = [kind for kind in found if kind not in LAYER_TYPES]
    if wrong:
        raise SpecError(f"{r.where}: 'layers_block_type' has {wrong[0]!r}: a layer is mamba or hybrid here")
    return found


def _blocks(r: Reader) -> int:
    return r.layout("num_mem_blocks", 1, least=1)


def _mamba(r: Reader) -> Block:
    """Mamba-2 of Zamba2, whose convolution always has a bias; of Zamba, Mamba-1 in heads."""
    if not r.given("mamba_dt_rank"):
        bias = r.biased()
        r.ineffective("mamba_conv_bias", "the convolution of this class always has a bias")
        found = mamba2.of(r)
        inner = r.num("mamba_expand") * found.hidden_size
        if not every(found.mamba_num_heads * found.mamba_head_dim == inner):
            raise SpecError(f"{r.where}: n_mamba_heads x mamba_headdim must be mamba_expand x hidden_size")
        return replace(found, in_bias=bias, out_bias=bias, conv_bias=True)
    hidden, stated = r.num("hidden_size"), r.config.get("mamba_dt_rank", "auto")
    rank = ceil(hidden / 16.0) if stated == "auto" else r.num("mamba_dt_rank")
    r.used.add("mamba_dt_rank")
    heads = r.num("mamba_num_heads")
    r.divisible(r.num("mamba_expand") * hidden, heads, "mamba_expand x hidden_size must be a multiple of n_mamba_heads")
    return mamba.Mamba(
        hidden, r.num("mamba_expand"), rank, r.num("ssm_state_size"), r.num("mamba_d_conv"), states(r),
        conv_bias=r.flag("mamba_conv_bias", True), proj_bias=r.flag("mamba_proj_bias"), heads=heads,
    )  # fmt: skip
