"""Block-sparse attention (MSA, MiniMax-M3): GQA whose queries attend to the blocks of keys that an indexer picks, one choice for each head of keys and values.

The indexer has a head for each KV head and one key a token, in a cache of its own; a block's score is the best of its keys. The block that holds the query is always among those picked. The
core is counted over whole blocks. Most likely to be wrong: the format of the indexer's keys (bf16; no engine is known to narrow it); the newest block, which is half full on average. Sources: Hugging Face
`modeling_minimax_m3_vl.py`; MiniMax-AI/MSA; vllm-project/recipes (pages of 128 tokens are the blocks).
"""

from __future__ import annotations

from typing import ClassVar

from simcost.blocks._layer_kinds import BLOCK_SPARSE, layer_kind
from simcost.blocks.attention.gqa import GQA, dimensions
from simcost.dtypes import Dtype, dtype
from simcost.errors import NotModelled
from simcost.frozen import frozen
from simcost.hf import Reader
from simcost.num import Num, every, maximum
from simcost.ops.attention_core import Mask
from simcost.ops.index_scores import IndexScores, IndexTopK
from simcost.ops.stream import Stream
from simcost.plan import Check, Plan
from simcost.program import Call, Program, Serial
from simcost.provenance import Kind
from simcost.sharding.linear import linear
from simcost.sharding.shard import View, Weight

HANDLES = (
    "index_n_heads", "index_head_dim", "index_block_size", "index_topk_blocks", "index_local_blocks", "index_init_blocks", "sparse_attention_freq",
    "use_sparse_attention", "sparse_disable_index_value", "sparse_score_type",
)  # fmt: skip
LAYER_TYPES = (BLOCK_SPARSE,)
_KEYS = dtype("bf16")  # of the indexer's keys


@frozen
class BlockSparse(GQA):
    """GQA over `index_topk_blocks` blocks of `index_block_size` keys. The indexer's heads are cut with the KV heads; its one key is whole on every rank."""

    index_head_dim: Num = 128.0
    index_block_size: Num = 128.0
    index_topk_blocks: Num = 16.0
    source: ClassVar[str] = "MiniMax-AI/MSA"

    @property
    def mask(self) -> Mask:
        """As many keys as the picked blocks hold; all stay in the cache."""
        return Mask(picked=self.index_topk_blocks * self.index_block_size)

    def checks(self, plan: Plan) -> list[Check]:
        """As GQA; no context parallelism, since a rank would pick among its own keys."""
        reason = "context parallelism of sparse attention is not modelled: its indexer picks among all keys of a sequence (cp must be 1)"
        return [*GQA.checks(self, plan), Check(plan.cp == 1.0, reason)]

    def index_heads(self, plan: Plan) -> Num:
        """One for each KV head of a rank."""
        return maximum(self.num_key_value_heads / plan.tp, 1.0)

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """As GQA; of the indexer the queries of this rank's KV heads, the key, and norms of both."""
        return (
            *GQA.weights(self, plan),
            Weight("index_wq", "attention", self.index_heads(plan) * self.index_head_dim, self.hidden_size),
            Weight("index_wk", "attention", self.index_head_dim, self.hidden_size),
            Weight("index_k_norm", "attention", 2.0 * self.index_head_dim),
        )

    def peak_elements(self, plan: Plan) -> Num:
        """What GQA holds, and the indexer's queries and key."""
        return GQA.peak_elements(self, plan) + (self.index_heads(plan) + 1.0) * self.index_head_dim

    def core_flops(self, q_len: Num, past: Num) -> Num:
        """Of the picked pairs, and of the indexer over all pairs. [FLOP]"""
        scores = self._scores(1.0, q_len, past, self.num_key_value_heads)
        return GQA.core_flops(self, q_len, past) + scores.work().flops

    @property
    def state_formula(self) -> str:
        """Heads of keys and values, and the indexer's key."""
        words, sizes = GQA.state_formula.fget(self).split(": ")  # type: ignore[attr-defined]
        return f"{words} + indexer's key: {sizes} + {self.index_head_dim:.0f}"

    def token_elements(self, plan: Plan) -> Num:
        """Keys and values."""
        return GQA.state_elements(self, 1.0, plan)

    def state_elements(self, context: Num, plan: Plan) -> Num:
        """Keys and values, and the indexer's key, a token."""
        return GQA.state_elements(self, context, plan) + context * self.index_head_dim

    def state_bytes(self, context: Num, plan: Plan, kv: Dtype) -> Num:
        """Keys and values in the format `kv`; the indexer's key is bf16. [B]"""
        return kv.tensor_bytes(GQA.state_elements(self, context, plan)) + _KEYS.tensor_bytes(
            context * self.index_head_dim
        )

    def _projections(self, view: View) -> tuple[Program, ...]:
        """As GQA, and the indexer's queries and key, normed, rotated and written."""
        rows, act, heads = view.tokens, view.activation, self.index_heads(view.plan)
        width = (heads + 1.0) * self.index_head_dim
        return (
            *GQA._projections(self, view),
            linear(view, self._weight(view, "index_wq"), rows, quantise=False),
            linear(view, self._weight(view, "index_wk"), rows, quantise=False),
            Call(Stream("norm", rows * width, 1.0, 1.0, 4.0, act, act), "index norms"),
            Call(Stream("rope", rows * width * self.rotary, 1.0, 1.0, 3.0, act, act), "index rope"),
            Call(Stream("cache write", rows * self.index_head_dim, 1.0, 1.0, 0.0, act, _KEYS), "index write"),
        )

    def _core(self, view: View, whose: str) -> Program:
        """Scores and picks of one group of tokens, then the core over whole blocks."""
        phase, heads = view.phase, self.index_heads(view.plan)
        scores = self._scores(view.batch, phase.q_len, phase.past, heads)
        picks = IndexTopK(view.batch, phase.q_len, phase.past, self.index_topk_blocks, heads, self.index_block_size)
        return Serial(
            (
                Call(scores, f"{whose}index scores"),
                Call(picks, f"{whose}index top-k"),
                GQA._core(self, view, whose),
            ),
            "sparse core",
        )

    def _scores(self, batch: Num, q_len: Num, past: Num, heads: Num) -> IndexScores:
        return IndexScores(batch, q_len, past, heads, self.index_head_dim, _KEYS, block=self.index_block_size)


BY_KEYS = ("index_topk_blocks", "sparse_attention_freq")


def claims(r: Reader, layer: int, layers: int) -> int:
    """3 for a layer that picks blocks, else 0."""
    return 3 if layer_kind(r, layer, layers) == BLOCK_SPARSE else 0


def alike(r: Reader, layer: int, layers: int) -> object:
    """What of a layer `from_hf` reads, so that equal layers are read once: whether its indexer has values."""
    return r.per_layer("sparse_disable_index_value", layer, layers)


def from_hf(r: Reader, layer: int, layers: int) -> BlockSparse:
    """The block of a layer. Raises SpecError for a missing or wrong key; NotModelled for an indexer that does more than pick, whose heads are not those of keys, and for blocks
    picked otherwise than by their best key."""
    shape = dimensions(r)
    heads = r.num("index_n_heads")
    if not every(heads == shape["num_key_value_heads"]):
        raise NotModelled(
            f"{r.where}: not modelled: 'index_n_heads' = {float(heads):.0f} other than num_key_value_heads: each KV head picks its own blocks"
        )
    for key, only in (("sparse_score_type", "max"), ("index_init_blocks", 0), ("use_sparse_attention", True)):
        if r.has(key) and r.raw(key) != only:
            raise NotModelled(f"{r.where}: not modelled: sparse attention with '{key}' = {r.raw(key)!r}: only {only!r}")
    if r.per_layer("sparse_disable_index_value", layer, layers) == 0:
        raise NotModelled(
            f"{r.where}: not modelled: layer {layer}, sparse by sparse_attention_freq: values of the indexer (sparse_disable_index_value 0)"
        )
    if r.has("sparse_disable_index_value"):
        r.note("sparse_disable_index_value has no effect in layers without an indexer", Kind.UNUSED)
    blocks = r.num("index_topk_blocks")
    local = r.num("index_local_blocks", 1, least=0)
    if not every(local <= blocks):
        raise NotModelled(
            f"{r.where}: not modelled: 'index_local_blocks' above index_topk_blocks: more local blocks than picked blocks"
        )
    r.ineffective("index_local_blocks", "local blocks are among those that are picked")
    return BlockSparse(
        **shape,  # type: ignore[arg-type]
        index_head_dim=r.num("index_head_dim"), index_block_size=r.num("index_block_size"), index_topk_blocks=blocks,
    )  # fmt: skip
