"""Qwen's sparse attention (QSA): grouped-query attention whose queries attend to pools of keys that an indexer picks, one choice for all heads.

The indexer has a few heads and one key a token; the mean of `indexer_compress_ratio` keys, normed and rotated, stands for them. A query sees `indexer_budget` tokens in whole pools, and those of the incomplete one. Most likely to be wrong: the format of a
pool's key (bf16; engines have an option for fp8); Hugging Face's class keeps the key of every token. Sources: Hugging Face `modeling_qwen4_exp.py`; layout of the caches: vLLM PR 55557, SGLang PR 39614.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from simcost.blocks import _by_layer as by_layer
from simcost.blocks._layer_kinds import FULL, INDEXED, layer_kind
from simcost.blocks.attention.gqa import GQA, dimensions
from simcost.dtypes import Dtype, dtype
from simcost.errors import NotModelled
from simcost.frozen import frozen
from simcost.hf import Reader
from simcost.num import Num, every, floor
from simcost.ops.index_scores import IndexScores, IndexTopK
from simcost.ops.pooled_mask import PooledMask
from simcost.ops.stream import Stream
from simcost.plan import Check, Plan
from simcost.program import Call, Program, Serial
from simcost.sharding.linear import linear
from simcost.sharding.shard import View, Weight

HANDLES = (
    "indexer_n_heads",
    "indexer_kv_heads",
    "indexer_head_dim",
    "indexer_budget",
    "indexer_compress_ratio",
)
LAYER_TYPES = (INDEXED,)
_KEYS = dtype("bf16")  # of the indexer's queries and keys


@frozen
class QSA(GQA):
    """GQA over `index_budget` tokens in pools of `index_pool`, and the incomplete pool. The indexer is whole on every rank."""

    index_n_heads: Num = 4.0
    index_head_dim: Num = 128.0
    index_budget: Num = 2048.0
    index_pool: float = 4.0
    source: ClassVar[str] = "Hugging Face modeling_qwen4_exp.py"

    @property
    def mask(self) -> PooledMask:
        """As many keys as are picked in whole pools, and the tail; all stay in the cache."""
        return PooledMask(picked=self.index_budget, pool=self.index_pool)

    def checks(self, plan: Plan) -> list[Check]:
        """As GQA; no context parallelism, since a rank would pick among its own keys."""
        reason = "context parallelism of sparse attention is not modelled: its indexer picks among all keys of a sequence (cp must be 1)"
        return [*GQA.checks(self, plan), Check(plan.cp == 1.0, reason)]

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """As GQA; of the indexer the product to queries and key, and a norm of each."""
        return (
            *GQA.weights(self, plan),
            Weight("index_qk_proj", "attention", (self.index_n_heads + 1.0) * self.index_head_dim, self.hidden_size),
            Weight("index_norms", "attention", 2.0 * self.index_head_dim),
        )

    def peak_elements(self, plan: Plan) -> Num:
        """What GQA holds, and the indexer's queries and key."""
        return GQA.peak_elements(self, plan) + (self.index_n_heads + 1.0) * self.index_head_dim

    def core_flops(self, q_len: Num, past: Num) -> Num:
        """Of the pairs that are seen, and of the indexer over whole pools. [FLOP]"""
        return GQA.core_flops(self, q_len, past) + self._scores(1.0, q_len, past).work().flops

    @property
    def state_formula(self) -> str:
        """Heads of keys and values, and the share of a pool's key."""
        words, sizes = GQA.state_formula.fget(self).split(": ")  # type: ignore[attr-defined]
        pool = f"{self.index_pool:.0f}"
        return f"{words} + indexer's key for {pool} tokens: {sizes} + {self.index_head_dim:.0f} / {pool}"

    def token_elements(self, plan: Plan) -> Num:
        """Keys and values."""
        return GQA.state_elements(self, 1.0, plan)

    def state_elements(self, context: Num, plan: Plan) -> Num:
        """Keys and values a token, and the indexer's key of every whole pool; the incomplete one apart."""
        return GQA.state_elements(self, context, plan) + floor(context / self.index_pool) * self.index_head_dim

    def state_bytes(self, context: Num, plan: Plan, kv: Dtype) -> Num:
        """Keys and values in the format `kv`; keys of pools, and those of the incomplete pool's tokens, in bf16. [B]"""
        pools = _KEYS.tensor_bytes(floor(context / self.index_pool) * self.index_head_dim)
        return kv.tensor_bytes(GQA.state_elements(self, context, plan)) + pools + self.fixed_bytes(context, plan, kv)

    def token_bytes(self, plan: Plan, kv: Dtype) -> Num:
        """Keys and values, and the share of a pool's key. [B]"""
        return kv.tensor_bytes(self.token_elements(plan)) + _KEYS.tensor_bytes(self.index_head_dim / self.index_pool)

    def fixed_bytes(self, context: Num, plan: Plan, kv: Dtype) -> Num:
        """Keys of the incomplete pool's tokens. [B]"""
        return _KEYS.tensor_bytes(self.index_pool * self.index_head_dim)

    def _projections(self, view: View) -> tuple[Program, ...]:
        """As GQA, and the indexer's queries, normed and rotated, and keys, of which a pool that is complete is averaged, normed, rotated and written."""
        rows, act, width = view.tokens, view.activation, self.index_head_dim
        queries = rows * self.index_n_heads * width
        return (
            *GQA._projections(self, view),
            linear(view, self._weight(view, "index_qk_proj"), rows, quantise=False),
            Call(Stream("norm", queries, 1.0, 1.0, 4.0, act, act), "index q norm"),
            Call(Stream("rope", queries, 1.0, 1.0, 3.0, act, act), "index q rope"),
            Call(Stream("compress", rows * width, 2.0, 1.0 / self.index_pool, 8.0, act, _KEYS), "index pool + write"),
        )

    def _core(self, view: View, whose: str) -> Program:
        """Scores and picks of one group of tokens, then the core over what they see."""
        phase = view.phase
        scores = replace(self._scores(view.batch, phase.q_len, phase.past), paged=phase.decode)
        picks = IndexTopK(view.batch, phase.q_len, scores.past, self.index_budget / self.index_pool)
        return Serial(
            (
                Call(scores, f"{whose}index scores"),
                Call(picks, f"{whose}index top-k"),
                GQA._core(self, view, whose),
            ),
            "sparse core",
        )

    def _scores(self, batch: Num, q_len: Num, past: Num) -> IndexScores:
        """Over whole pools: so many keys before the queries that a query sees on average what its own pools are."""
        mean = self.mask.pools(q_len, past) / q_len
        return IndexScores(batch, q_len, mean - (q_len + 1.0) / 2.0, self.index_n_heads, self.index_head_dim, _KEYS)


BY_KEYS = ("indexer_n_heads", "indexer_budget")


def claims(r: Reader, layer: int, layers: int) -> int:
    """3 for a layer of attention of a config with the keys of this indexer, else 0."""
    return 3 if r.given("indexer_n_heads") and layer_kind(r, layer, layers) in (FULL, INDEXED) else 0


def alike(r: Reader, layer: int, layers: int) -> object:
    """What of a layer `from_hf` reads, so that equal layers are read once: the part of a head that rotates."""
    return by_layer.rotary(r, layer, layers, 1.0)


def from_hf(r: Reader, layer: int, layers: int) -> QSA:
    """The block of a layer. Raises SpecError for a missing or wrong key, and for pools that do not divide the picks; NotModelled for more than one key a token."""
    shape = dimensions(r)
    shape["rotary"] = by_layer.rotary(r, layer, layers, shape["rotary"])  # type: ignore[arg-type]
    if not every(r.num("indexer_kv_heads", 1) == 1.0):
        raise NotModelled(
            f"{r.where}: not modelled: 'indexer_kv_heads' other than 1: the indexer has one key per token"
        )
    budget, pool = r.num("indexer_budget"), float(r.layout("indexer_compress_ratio", least=1))
    r.divisible(budget, pool, "indexer_budget must be a multiple of indexer_compress_ratio")
    return QSA(
        **shape,  # type: ignore[arg-type]
        index_n_heads=r.num("indexer_n_heads"), index_head_dim=r.num("indexer_head_dim"), index_budget=budget, index_pool=pool,
    )  # fmt: skip
