"""DeepSeek sparse attention (DSA): MLA whose queries attend to the `index_topk` keys that an indexer picks for each of them.

The indexer has a few small heads with one key a token, in a cache of its own that is fp8 whatever the cache of latents is. It scores every cached token, so its work grows as that of
dense attention does, at a small width. The core runs in the absorbed form. Layers that share an earlier layer's picks have no indexer (`indexer_types`). Most likely to be wrong: engines
attend densely where a prompt is shorter than `index_topk`, and still run the indexer. Sources: DeepSeek-V3.2 (arXiv 2512.02556); Hugging Face `modeling_deepseek_v32.py`,
`modeling_glm_moe_dsa.py`; layout of the caches: deepseek-ai/FlashMLA README, vLLM `model_executor/models/deepseek_v2.py` (Indexer).
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from simcost.blocks._layer_kinds import FULL, INDEXED, layer_kind
from simcost.blocks.attention import mla
from simcost.blocks.attention.mla import MLA
from simcost.blocks.swap import Chosen, Design, Swap, whole
from simcost.dtypes import Dtype, dtype
from simcost.errors import NotModelled, SpecError
from simcost.frozen import frozen
from simcost.hf import Reader
from simcost.num import Num, every
from simcost.ops.attention_core import AttentionCore, Mask
from simcost.ops.index_scores import IndexScores, IndexTopK
from simcost.ops.stream import Stream
from simcost.plan import Check, Plan
from simcost.program import Call, Program, Serial
from simcost.sharding.linear import linear
from simcost.sharding.shard import BESIDE, View, Weight

HANDLES = (
    "index_topk", "index_n_heads", "index_head_dim", "indexer_types", "index_topk_freq", "index_skip_topk_offset", "index_topk_pattern", "use_dsa",
)  # fmt: skip
IGNORES = ("indexer_rope_interleave", "rope_interleave")
LAYER_TYPES = (INDEXED,)
_FULL, _SHARED = "full", "shared"
KEYS = dtype("fp8")  # of the indexer's queries and keys
KEY_SCALE = 4.0  # B: a scale for 128 numbers in fp8, fp32


@frozen
class DSA(MLA):
    """MLA with an indexer of `index_n_heads` heads of `index_head_dim`, which picks `index_topk` keys; `indexer` False: an earlier layer's picks are used. The
    indexer is whole on every rank."""

    index_n_heads: Num = 64.0
    index_head_dim: Num = 128.0
    index_topk: Num = 2048.0
    indexer: bool = True
    source: ClassVar[str] = "arXiv 2512.02556"

    @property
    def mask(self) -> Mask:
        """As many keys as are picked; all stay in the cache."""
        return Mask(picked=self.index_topk)

    @property
    def forms(self) -> tuple[str, ...]:
        """None to choose from: keys that differ query by query are not expanded."""
        return ()

    @property
    def own_latent(self) -> bool:
        """Whether the layer writes latents of its own; `direct_dsa.py` has layers that do not."""
        return True

    def checks(self, plan: Plan) -> list[Check]:
        """As MLA; no context parallelism, since a rank would pick among its own keys."""
        reason = "context parallelism of sparse attention is not modelled: its indexer picks among all keys of a sequence (cp must be 1)"
        return [*MLA.checks(self, plan), Check(plan.cp == 1.0, reason)]

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """As MLA; of the indexer the projections of queries (from their latent) and keys, a LayerNorm of keys, and the weights of its heads, which checkpoints leave
        unquantised, as a router."""
        found = MLA.weights(self, plan)
        if not self.indexer:
            return found
        assert self.q_lora_rank is not None
        return (
            *found,
            Weight("index_wq_b", "attention", self.index_n_heads * self.index_head_dim, self.q_lora_rank),
            Weight("index_wk", "attention", self.index_head_dim, self.hidden_size),
            Weight("index_k_norm", "attention", 2.0 * self.index_head_dim),
            Weight("index_weights_proj", "router", self.index_n_heads, self.hidden_size),
        )

    def peak_elements(self, plan: Plan) -> Num:
        """As MLA in its absorbed form, and the indexer's queries."""
        h = self.num_attention_heads / plan.tp
        core = h * (self.qk_head_dim + self.latent + self.kv_lora_rank + self.v_head_dim)
        return self.latent + core + self.index_n_heads * self.index_head_dim * self.indexer

    @property
    def core_width(self) -> Num:
        """That of the absorbed form, the only one that runs. [FLOP/2]"""
        return self.absorbed_core_width

    def core_flops(self, q_len: Num, past: Num) -> Num:
        """Of the picked pairs, and of the indexer over all pairs. [FLOP]"""
        found = MLA.core_flops(self, q_len, past)
        return found + self._scores(1.0, q_len, past).work().flops if self.indexer else found

    @property
    def state_formula(self) -> str:
        """Latent and rotary key, and of a layer with an indexer its key."""
        words, sizes = MLA.state_formula.fget(self).split(": ")  # type: ignore[attr-defined]
        return f"{words} + indexer's key: {sizes} + {self.index_head_dim:.0f}" if self.indexer else f"{words}: {sizes}"

    def token_elements(self, plan: Plan) -> Num:
        """A latent with its rotary key."""
        return self.latent

    def state_elements(self, context: Num, plan: Plan) -> Num:
        """A latent with its rotary key, and the indexer's key, a token."""
        return MLA.state_elements(self, context, plan) + context * self.index_head_dim * self.indexer

    def state_bytes(self, context: Num, plan: Plan, kv: Dtype) -> Num:
        """The latent in the format `kv`; the indexer's key is fp8 with one scale. [B]"""
        keys = context * (KEYS.tensor_bytes(self.index_head_dim) + KEY_SCALE) * self.indexer
        return self.latent_bytes(context, kv) + keys

    def latent_bytes(self, context: Num, kv: Dtype) -> Num:
        """Latents of `context` tokens: of 8 bits they have a scale for 128 numbers, and the rotary part stays in 16 bits. [B]"""
        if kv.bits != 8:
            return kv.tensor_bytes(context * self.latent)
        scales = self.kv_lora_rank / 128.0 * KEY_SCALE
        return context * (self.kv_lora_rank + scales + 2.0 * self.qk_rope_head_dim)

    def program(self, view: View) -> Program:
        """As MLA, with the indexer before the core of each group of tokens."""
        program = MLA.program(self, view)
        if not self.indexer or not isinstance(program, Serial):
            return program
        at = next(i for i, part in enumerate(program.parts) if isinstance(part, Serial) and part.tag == "sparse core")
        return Serial((*program.parts[:at], self._indexer(view), *program.parts[at:]), program.tag)

    def _indexer(self, view: View) -> Program:
        """Queries, then keys and weights of its heads; scores and picks of each group of tokens."""
        parts: list[Program] = [*self._index_queries(view), *self._index_keys(view)]
        for index, group in enumerate(view.groups):
            whose, phase = BESIDE if index else "", group.phase
            scores = replace(self._scores(group.batch, phase.q_len, phase.past), paged=phase.decode)
            parts.append(Call(scores, f"{whose}index scores"))
            parts.append(Call(self._picks(scores), f"{whose}index top-k"))
        return Serial(tuple(parts), "indexer")

    def _index_queries(self, view: View) -> list[Program]:
        """From their latent."""
        return [linear(view, self._weight(view, "index_wq_b"), view.tokens)]

    def _index_keys(self, view: View) -> list[Program]:
        """Keys and weights of the heads; queries and keys rotated, where a part of a head rotates, and quantised, keys written."""
        rows, act = view.tokens, view.activation
        width = (self.index_n_heads + 1.0) * self.index_head_dim
        rope = Call(Stream("rope", rows * width, 1.0, 1.0, 3.0, act, act), "index rope")
        return [
            linear(view, self._weight(view, "index_wk"), rows, quantise=False),
            linear(view, self._weight(view, "index_weights_proj"), rows),
            Call(Stream("norm", rows * self.index_head_dim, 1.0, 1.0, 4.0, act, act), "index k norm"),
            *(() if every(self.qk_rope_head_dim == 0.0) else (rope,)),
            Call(Stream("quantise", rows * width, 1.0, 1.0, 3.0, act, KEYS), "index quantise + write"),
        ]

    def _scores(self, batch: Num, q_len: Num, past: Num) -> IndexScores:
        return IndexScores(batch, q_len, past, self.index_n_heads, self.index_head_dim, KEYS)

    def _picks(self, scores: IndexScores) -> IndexTopK:
        """The best of what was scored."""
        return IndexTopK(scores.batch, scores.q_len, scores.past, self.index_topk)

    def _form(self, view: View, whose: str = "") -> Program:
        """The absorbed form over the picked keys; its core dequantises a narrow cache and computes in the activations' format."""
        act, heads, phase = view.activation, self.num_attention_heads / view.plan.tp, view.phase
        core = AttentionCore(
            view.batch, phase.q_len, phase.past, heads, 1.0, self.latent, self.kv_lora_rank, self.mask, act, view.kv, act, True
        )  # fmt: skip
        rows = view.tokens
        write = Stream("cache write", rows * self.latent, 1.0, 1.0, 3.0, act, view.kv)
        parts = (
            self._absorb(view, heads, self.kv_lora_rank, self.qk_nope_head_dim, f"{whose}absorb k into q"),
            *self._rotated(view, whose),
            *((Call(write, f"{whose}latent rope + write"),) if self.own_latent else ()),
            Call(core, f"{whose}core"),
            self._absorb(view, heads, self.v_head_dim, self.kv_lora_rank, f"{whose}absorb v into o"),
        )
        return Serial(parts, "sparse core")


_HEADS, _WIDTH, _TOPK = 64, 128, 2048  # DeepSeek-V3.2's indexer


def _dsa(design: Design, text: str) -> list[Chosen]:
    """MLA in DeepSeek-V3's proportions with V3.2's indexer."""
    found = mla.SWAPS["mla"].choose(design, "")
    if not any(one.key == "q_lora_rank" and one.value for one in found) and not design.config.get("q_lora_rank"):
        rank = 3 * int(
            design.config.get("kv_lora_rank") or next(one.value for one in found if one.key == "kv_lora_rank")
        )
        found = [one for one in found if one.key != "q_lora_rank"]
        found.append(
            Chosen("q_lora_rank", rank, "3 x kv_lora_rank, as DeepSeek-V3.2: the indexer reads the queries' latent")
        )
    topk = whole(text, "the keys", f"model.attention=dsa:{text}") if text else _TOPK
    return [
        *found,
        Chosen("index_n_heads", _HEADS, "as DeepSeek-V3.2"),
        Chosen("index_head_dim", _WIDTH, "as DeepSeek-V3.2"),
        Chosen("index_topk", topk, "asked for" if text else "as DeepSeek-V3.2"),
    ]


BY_KEYS = ("index_topk",)
SWAPS = {"dsa": Swap(_dsa, "dsa or dsa:<keys that a query picks>")}


def claims(r: Reader, layer: int, layers: int) -> int:
    """3 where the config has MLA and an indexer, else 0; where `use_dsa` or the list of layers says which layers are dense, 0 for these."""
    if not r.given("index_topk") or not r.has("kv_lora_rank"):
        return 0
    return 3 if _is_indexed(r, layer, layers) else 0


def _is_indexed(r: Reader, layer: int, layers: int) -> bool:
    """dots.3: `full_attention` in older files means layers with an indexer, unless `use_dsa` is false; files that list the sizes of every layer mean what they say."""
    if not r.flag("indexer_by_layer_type"):
        return True
    listed = isinstance(r.config.get("kv_lora_rank"), list)
    return (
        not listed
        if r.config.get("use_dsa") is None and layer_kind(r, layer, layers) == FULL
        else r.flag("use_dsa", True)
    )


def alike(r: Reader, layer: int, layers: int) -> object:
    """What of a layer `from_hf` reads, so that equal layers are read once: whether it has an indexer."""
    return _kind(r, layer, layers)


def has_indexer(r: Reader, layer: int, layers: int) -> bool:
    """Whether a layer picks for itself. Raises SpecError for a word that is none of "full" and "shared"."""
    return _kind(r, layer, layers) == _FULL


def from_hf(r: Reader, layer: int, layers: int) -> DSA:
    """The DSA block of a layer. Raises SpecError for a missing or wrong key, and without a latent of the queries, which the indexer reads."""
    shape = mla.dimensions(r)
    if not shape["rotated"]:
        raise NotModelled(f"{r.where}: not modelled: sparse attention with mla_use_nope = true")
    if shape["q_lora_rank"] is None:
        raise SpecError(
            f"{r.where}: missing key 'q_lora_rank': the indexer of sparse attention reads the queries' latent"
        )
    heads, width, picked = r.num("index_n_heads"), r.num("index_head_dim"), r.num("index_topk")
    own = {
        "index_n_heads": heads,
        "index_head_dim": width,
        "index_topk": picked,
        "indexer": has_indexer(r, layer, layers),
    }
    return DSA(**shape, **own)  # type: ignore[arg-type]


def _kind(r: Reader, layer: int, layers: int) -> str:
    """ "full" or "shared": by `indexer_types`, a pattern of letters, or every `index_topk_freq`-th layer."""
    stated = r.per_layer("indexer_types", layer, layers)
    if stated is None and r.given("index_topk_pattern"):
        pattern = r.raw("index_topk_pattern")
        stated = (
            {"F": _FULL, "S": _SHARED}.get(str(pattern[layer]), str(pattern[layer]))
            if len(pattern) == layers
            else pattern
        )
    if stated is not None:
        if stated not in (_FULL, _SHARED):
            raise SpecError(f"{r.where}: layer {layer}: an indexer is 'full' or 'shared', not {stated!r}")
        return str(stated)
    every, offset = r.layout("index_topk_freq", 1, least=1), r.layout("index_skip_topk_offset", 2)
    return _FULL if max(layer - offset + 1, 0) % every == 0 else _SHARED
