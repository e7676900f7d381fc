"""Attention over compressed keys (DeepSeek-V4): a short window of single tokens, and entries that stand for 4 or 128 tokens each.

One vector of `head_dim` is key and value of all heads. A layer of ratio 4 (CSA) picks `index_topk` of its entries by an indexer over keys compressed alike; one of ratio 128 (HCA) attends to all of them; one of ratio 0 has the
window alone. The output passes groups of low rank. Most likely to be wrong: the format of the indexer's keys (MXFP4 as the model was trained; engines on Hopper keep fp8, twice as many bytes). Sources: DeepSeek-V4
report; Hugging Face `modeling_deepseek_v4.py`; buffers: `kv_state` and `score_state` of DeepSeek's own `inference/model.py`; layout of an entry: deepseek-ai/FlashMLA; vLLM issue 48993.
"""

from __future__ import annotations

from typing import ClassVar

from simcost.blocks._layer_kinds import COMPRESSED, HEAVILY_COMPRESSED, SLIDING, layer_kind
from simcost.dtypes import Dtype, dtype
from simcost.frozen import frozen
from simcost.hf import Reader
from simcost.num import Num, floor, maximum, minimum
from simcost.ops.attention_core import AttentionCore, Mask
from simcost.ops.index_scores import IndexScores, IndexTopK
from simcost.ops.stream import Stream
from simcost.plan import Check, Plan, divides
from simcost.program import Call, Program, Serial
from simcost.sharding.linear import enter, leave, linear
from simcost.sharding.shard import BESIDE, Plain, View, Weight

HANDLES = ("compress_ratios", "o_groups", "o_lora_rank", "index_topk", "index_n_heads", "index_head_dim")
IGNORES = ("compress_rope_theta", "compress_rates")
LAYER_TYPES = (COMPRESSED, HEAVILY_COMPRESSED)
RATIOS = {COMPRESSED: 4.0, HEAVILY_COMPRESSED: 128.0, SLIDING: 0.0}
_SCORED = dtype("fp8")  # format in which the indexer's products run
_KEYS = dtype("mxfp4")  # of the indexer's keys in the cache
_ROTARY = 2.0  # B: an element of the rotary part, which stays in bf16
_SCALED = 64.0  # elements of an entry in fp8 that share a scale of one byte, padded to 8 bytes


@frozen
class CompressedAttention(Plain):
    """`compress_ratio` tokens become an entry (0: none). `indexer`: entries are picked. Queries are cut over tp, groups of the output too; entries, the compressor and the indexer are whole on every rank."""

    hidden_size: Num
    num_attention_heads: Num
    head_dim: Num
    q_lora_rank: Num
    o_lora_rank: Num
    o_groups: Num
    rotary_dim: Num
    window: Num
    compress_ratio: float
    index_n_heads: Num = 0.0
    index_head_dim: Num = 0.0
    index_topk: Num = 0.0
    kind: ClassVar[str] = "attention"
    source: ClassVar[str] = "DeepSeek-V4 report"

    @property
    def indexer(self) -> bool:
        """Whether entries are picked."""
        return self.compress_ratio == RATIOS[COMPRESSED]

    @property
    def mask(self) -> Mask:
        """Causal; without entries bounded by the window."""
        return Mask() if self.compress_ratio else Mask(window=self.window)

    @property
    def rotary_width(self) -> Num:
        """The rotary part of a head."""
        return self.rotary_dim

    @property
    def core_width(self) -> Num:
        """heads x 2·head_dim. [FLOP/2]"""
        return 2.0 * self.num_attention_heads * self.head_dim

    def pairs(self, q_len: Num, past: Num) -> Num:
        """(query, key) pairs of one sequence: of the window, and of the entries that a query sees or picks."""
        found = Mask(window=self.window).pairs(q_len, past)
        if not self.compress_ratio:
            return found
        seen = Mask(picked=self.index_topk * self.compress_ratio) if self.indexer else Mask()
        return found + seen.pairs(q_len, past) / self.compress_ratio

    def core_flops(self, q_len: Num, past: Num) -> Num:
        """Of the core over its pairs, and of the indexer over all entries. [FLOP]"""
        found = 2.0 * self.core_width * self.pairs(q_len, past)
        return found + self._scores(1.0, q_len, past, False).work().flops if self.indexer else found

    def peak_elements(self, plan: Plan) -> Num:
        """Latents, queries and outputs of the heads of one rank, the compressors' inputs."""
        h = self.num_attention_heads / plan.tp
        return (
            self.q_lora_rank
            + self.head_dim
            + 2.0 * h * self.head_dim
            + self.o_groups / plan.tp * self.o_lora_rank
            + self._entering
        )

    @property
    def _entering(self) -> Num:
        """Elements of a token that enter the compressors: an entry and its gate, twice as wide where windows of 4 overlap, and the same of the indexer's keys."""
        if not self.compress_ratio:
            return 0.0
        return 2.0 * self._wide * (self.head_dim + self.index_head_dim)

    @property
    def _wide(self) -> float:
        return 2.0 if self.indexer else 1.0

    def checks(self, plan: Plan) -> list[Check]:
        """tp divides the heads and the groups; a sequence stands on one rank."""
        reason = "context parallelism of compressed attention is not modelled: an entry of the cache holds several neighbouring tokens (cp must be 1)"
        return [
            divides(self.num_attention_heads, plan.tp, "num_attention_heads"), divides(self.o_groups, plan.tp, "o_groups"),
            Check(plan.cp == 1.0, reason),
        ]  # fmt: skip

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """The projection to the queries' latent and the key, the latent's expansion, the grouped output of one rank, sinks; of entries the compressor with its position bias; of an indexer its
        queries, compressor and weights."""
        d, h, width, q = self.hidden_size, self.num_attention_heads / plan.tp, self.head_dim, self.q_lora_rank
        groups = self.o_groups / plan.tp
        found = [
            Weight("qkv_a_proj", "attention", q + width, d), Weight("q_a_norm", "attention", q), Weight("kv_norm", "attention", width),
            Weight("q_b_proj", "attention", h * width, q),
            Weight("o_a_proj", "attention", self.o_lora_rank, self.num_attention_heads * width / self.o_groups, groups),
            Weight("o_b_proj", "attention", d, groups * self.o_lora_rank), Weight("sinks", "attention", h),
        ]  # fmt: skip
        if self.compress_ratio:
            wide = self._wide * width
            found += [
                Weight("compressor", "attention", 2.0 * wide, d), Weight("compressor_bias", "attention", self.compress_ratio * wide),
                Weight("compressor_norm", "attention", width),
            ]  # fmt: skip
        if self.indexer:
            narrow = self._wide * self.index_head_dim
            found += [
                Weight("index_compressor", "attention", 2.0 * narrow, d), Weight("index_bias", "attention", self.compress_ratio * narrow),
                Weight("index_norm", "attention", self.index_head_dim), Weight("index_wq_b", "attention", self.index_n_heads * self.index_head_dim, q),
                Weight("index_weights_proj", "router", self.index_n_heads, d),
            ]  # fmt: skip
        return tuple(found)

    def _entry_bytes(self, kv: Dtype) -> Num:
        """One vector; in 8 bits with scales, its rotary part in 16. [B]"""
        if kv.bits != 8:
            return kv.tensor_bytes(self.head_dim)
        plain = self.head_dim - self.rotary_dim
        return plain + _ROTARY * self.rotary_dim + floor(plain / _SCALED + 1.0)

    def _index_bytes(self) -> Num:
        return _KEYS.tensor_bytes(self.index_head_dim) if self.indexer else 0.0

    def _buffers(self) -> Num:
        """Tokens on their way into an entry, and their gates, fp32: where windows overlap those of two windows, each twice as wide. [B]"""
        if not self.compress_ratio:
            return 0.0
        each = 2.0 * self._wide * (self.head_dim + self.index_head_dim) * 4.0
        return self._wide * self.compress_ratio * each

    @property
    def state_formula(self) -> str:
        """Vectors of the window, and entries with what the indexer keeps."""
        if not self.compress_ratio:
            return f"one vector for K and V: {self.head_dim:.0f}"
        index = f" + {self.index_head_dim:.0f}" if self.indexer else ""
        key = " + indexer's key" if self.indexer else ""
        sizes = f"({self.head_dim:.0f}{index})" if index else f"{self.head_dim:.0f}"
        return f"an entry{key} for {self.compress_ratio:.0f} tokens: {sizes} / {self.compress_ratio:.0f}"

    def token_elements(self, plan: Plan) -> Num:
        """One vector a token for the window, and its share of an entry."""
        return self.head_dim / self.compress_ratio if self.compress_ratio else self.head_dim

    def state_elements(self, context: Num, plan: Plan) -> Num:
        """The window's vectors, whole entries and the indexer's keys; buffers apart."""
        found = minimum(context, self.window) * self.head_dim
        if self.compress_ratio:
            found = found + floor(context / self.compress_ratio) * (self.head_dim + self.index_head_dim * self.indexer)
        return found

    def state_bytes(self, context: Num, plan: Plan, kv: Dtype) -> Num:
        """The window, entries, the indexer's keys, and the compressor's buffers. [B]"""
        found = minimum(context, self.window) * self._entry_bytes(kv) + self._buffers()
        if self.compress_ratio:
            found = found + floor(context / self.compress_ratio) * (self._entry_bytes(kv) + self._index_bytes())
        return found

    def token_bytes(self, plan: Plan, kv: Dtype) -> Num:
        """What a further token adds: its share of an entry; without entries the window's vector. [B]"""
        if not self.compress_ratio:
            return self._entry_bytes(kv)
        return (self._entry_bytes(kv) + self._index_bytes()) / self.compress_ratio

    def fixed_bytes(self, context: Num, plan: Plan, kv: Dtype) -> Num:
        """Window and buffers of a layer with entries. [B]"""
        if not self.compress_ratio:
            return 0.0
        return minimum(context, self.window) * self._entry_bytes(kv) + self._buffers()

    def program(self, view: View) -> Program:
        """Projections, compression, the indexer and core of each group of tokens, the grouped output; collectives of the plan around them."""
        rows, act = view.tokens, view.activation
        weight = {w.name: w for w in self.weights(view.plan)}
        heads, width = self.num_attention_heads / view.plan.tp, self.head_dim
        parts: list[Program] = [
            *enter(view, self.hidden_size),
            linear(view, weight["qkv_a_proj"], rows),
            Call(Stream("norm", rows * (self.q_lora_rank + width), 1.0, 1.0, 4.0, act, act), "latent norms"),
            linear(view, weight["q_b_proj"], rows),
            Call(Stream("rope", rows * (heads + 1.0) * width, 1.0, 1.0, 3.0, act, act), "q norm + rope"),
            Call(Stream("cache write", rows * width, 1.0, 1.0, 3.0, act, view.kv), "key rope + write"),
        ]
        if self.compress_ratio:
            parts.append(self._compression(view, weight))
        for index, group in enumerate(view.groups):
            parts += self._core(group, BESIDE if index else "")
        parts += [
            linear(view, weight["o_a_proj"], rows),
            linear(view, weight["o_b_proj"], rows),
            leave(view, self.hidden_size),
        ]
        return Serial(tuple(parts), "attention")

    def _compression(self, view: View, weight: dict[str, Weight]) -> Program:
        """Entries of the rows that came, and the indexer's queries, keys and weights."""
        rows, act = view.tokens, view.activation
        parts: list[Program] = [linear(view, weight["compressor"], rows)]
        if self.indexer:
            parts += [
                linear(view, weight[name], rows) for name in ("index_compressor", "index_wq_b", "index_weights_proj")
            ]
            queries = rows * self.index_n_heads * self.index_head_dim
            parts.append(Call(Stream("quantise", queries, 1.0, 1.0, 6.0, act, _SCORED), "index rope + quantise"))
        gathered = Stream("compress", rows * self._entering / 2.0, 2.0, 1.0 / self.compress_ratio, 6.0, act, view.kv)
        return Serial((*parts, Call(gathered, "compress + write")), "compression")

    def _scores(self, batch: Num, q_len: Num, past: Num, paged: bool) -> IndexScores:
        """Over entries: so many keys before the queries that a query sees on average what its own entries are."""
        mean = (past + (q_len + 1.0) / 2.0) / self.compress_ratio
        return IndexScores(
            batch, q_len, mean - (q_len + 1.0) / 2.0, self.index_n_heads, self.index_head_dim, _SCORED, paged
        )

    def _core(self, view: View, whose: str) -> list[Program]:
        """Scores and picks of an indexer, and the core over the keys that a query sees on average."""
        phase, act, heads = view.phase, view.activation, self.num_attention_heads / view.plan.tp
        found: list[Program] = []
        if self.indexer:
            scores = self._scores(view.batch, phase.q_len, phase.past, phase.decode)
            found.append(Call(scores, f"{whose}index scores"))
            found.append(Call(IndexTopK(view.batch, phase.q_len, scores.past, self.index_topk), f"{whose}index top-k"))
        mean = maximum(self.pairs(phase.q_len, phase.past) / phase.q_len, 1.0)
        core = AttentionCore(
            view.batch, phase.q_len, maximum(phase.past, mean), heads, 1.0, self.head_dim, self.head_dim, Mask(picked=mean), act, view.kv, act, True
        )  # fmt: skip
        return [*found, Call(core, f"{whose}core")]


@frozen
class CSA(CompressedAttention):
    """Ratio 4, entries picked by an indexer."""


@frozen
class HCA(CompressedAttention):
    """Ratio 128, all entries."""


@frozen
class WindowMQA(CompressedAttention):
    """The window alone."""


_CLASSES = {COMPRESSED: CSA, HEAVILY_COMPRESSED: HCA, SLIDING: WindowMQA}
BY_KEYS = ("compress_ratios", "o_lora_rank")


def claims(r: Reader, layer: int, layers: int) -> int:
    """4 for a layer of a config with compressed entries and a grouped output, else 0."""
    return 4 if r.given("o_lora_rank") and layer_kind(r, layer, layers) in _CLASSES else 0


def alike(r: Reader, layer: int, layers: int) -> object:
    """What of a layer `from_hf` reads, so that equal layers are read once: its kind."""
    return layer_kind(r, layer, layers)


def from_hf(r: Reader, layer: int, layers: int) -> CompressedAttention:
    """The block of a layer. Raises SpecError for a missing or wrong key."""
    kind = layer_kind(r, layer, layers)
    heads, groups, width = r.num("num_attention_heads"), r.num("o_groups"), r.num("head_dim")
    r.divisible(heads * width, groups, "num_attention_heads x head_dim must be a multiple of o_groups")
    r.ineffective("num_key_value_heads", "all heads read one entry of the cache")
    rotary = (
        r.num("qk_rope_head_dim") if r.has("qk_rope_head_dim") else width * r.fraction("partial_rotary_factor", 0.125)
    )
    indexed = kind == COMPRESSED
    index = [r.num(key) if indexed else 0.0 for key in ("index_n_heads", "index_head_dim", "index_topk")]
    return _CLASSES[kind](
        r.num("hidden_size"), heads, width, r.num("q_lora_rank"), r.num("o_lora_rank"), groups, rotary, r.num("sliding_window"), RATIOS[kind], *index
    )  # fmt: skip
