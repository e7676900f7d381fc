"""DeepSeek sparse attention whose indexer scores pools of tokens (GLM-5.3-Flash): `index_kpool` keys become one by a learned weighted mean, and a query picks whole pools.

Its queries see `index_topk` tokens in pools, and the tokens of the incomplete pool. The indexer's cache holds a key for each pool, and key and gate of the tokens of the incomplete one. Most likely to be wrong: the format of a pool's
key (fp8 with a scale, as of DSA without pools); Hugging Face's class keeps key and gate of every token. Sources: Hugging Face `modeling_glm5_next.py`; layout of the caches: vLLM PR 53906.
"""

from __future__ import annotations

from dataclasses import fields
from typing import ClassVar

from simcost.blocks._layer_kinds import FULL, INDEXED, LINEAR, layer_kind
from simcost.blocks.attention import dsa
from simcost.blocks.attention.dsa import DSA, KEY_SCALE, KEYS
from simcost.blocks.attention.mla import MLA
from simcost.dtypes import Dtype, dtype
from simcost.errors import NotModelled
from simcost.frozen import frozen
from simcost.hf import Reader
from simcost.num import Num, floor
from simcost.ops.index_scores import IndexScores, IndexTopK
from simcost.ops.pooled_mask import PooledMask
from simcost.ops.stream import Stream
from simcost.plan import Plan
from simcost.program import Call, Program
from simcost.sharding.linear import linear
from simcost.sharding.shard import View, Weight

HANDLES = (*dsa.HANDLES, "index_kpool", "index_kpool_always_select_tail")
IGNORES = dsa.IGNORES
_TAIL = dtype("bf16")  # of key and gate of a token that no pool holds yet


@frozen
class PooledDSA(DSA):
    """DSA over pools of `index_kpool` tokens; `tail`: the tokens of the incomplete pool are always seen. The indexer is whole on every rank."""

    index_kpool: float = 16.0
    tail: bool = True
    source: ClassVar[str] = "Hugging Face modeling_glm5_next.py"

    @property
    def mask(self) -> PooledMask:
        """As many keys as are picked in whole pools, and the tail; all stay in the cache."""
        return PooledMask(picked=self.index_topk, pool=self.index_kpool, tail=self.tail)

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """As DSA; of the indexer also the projection to the gates that weigh the tokens of a pool, and a bias for each place in it."""
        found = DSA.weights(self, plan)
        if not self.indexer:
            return found
        return (
            *found,
            Weight("index_pool_gate", "attention", self.index_head_dim, self.hidden_size),
            Weight("index_pool_bias", "attention", self.index_kpool * self.index_head_dim),
        )

    def peak_elements(self, plan: Plan) -> Num:
        """As DSA, and key and gate of a token."""
        return DSA.peak_elements(self, plan) + 2.0 * self.index_head_dim * self.indexer

    @property
    def state_formula(self) -> str:
        """Latent, and of a layer with an indexer its share of a pool's key."""
        words, sizes = MLA.state_formula.fget(self).split(": ")  # type: ignore[attr-defined]
        if not self.indexer:
            return f"{words}: {sizes}"
        pool = f"{self.index_kpool:.0f}"
        return f"{words} + indexer's key for {pool} tokens: {sizes} + {self.index_head_dim:.0f} / {pool}"

    def state_elements(self, context: Num, plan: Plan) -> Num:
        """A latent a token, and the indexer's key of every whole pool; the incomplete one apart."""
        pools = floor(context / self.index_kpool) * self.index_head_dim * self.indexer
        return MLA.state_elements(self, context, plan) + pools

    def state_bytes(self, context: Num, plan: Plan, kv: Dtype) -> Num:
        """Latents in the format `kv`, keys of pools in fp8 with one scale, and the incomplete pool. [B]"""
        pools = floor(context / self.index_kpool) * self._key_bytes()
        return self.latent_bytes(context, kv) + pools + self._tail_bytes()

    def token_bytes(self, plan: Plan, kv: Dtype) -> Num:
        """A latent, and its share of a pool's key. [B]"""
        return self.latent_bytes(1.0, kv) + self._key_bytes() / self.index_kpool

    def fixed_bytes(self, context: Num, plan: Plan, kv: Dtype) -> Num:
        """The incomplete pool. [B]"""
        return self._tail_bytes()

    def _key_bytes(self) -> Num:
        return (KEYS.tensor_bytes(self.index_head_dim) + KEY_SCALE) * self.indexer

    def _tail_bytes(self) -> Num:
        return _TAIL.tensor_bytes(2.0 * self.index_kpool * self.index_head_dim) * self.indexer

    def _index_keys(self, view: View) -> list[Program]:
        """Key and gate of every token, the queries quantised, and pools that are complete weighed, quantised and written."""
        rows, act, width = view.tokens, view.activation, self.index_head_dim
        return [
            linear(view, self._weight(view, "index_wk"), rows, quantise=False),
            linear(view, self._weight(view, "index_pool_gate"), rows, quantise=False),
            linear(view, self._weight(view, "index_weights_proj"), rows),
            Call(Stream("norm", rows * width, 1.0, 1.0, 4.0, act, act), "index k norm"),
            Call(Stream("quantise", rows * self.index_n_heads * width, 1.0, 1.0, 3.0, act, KEYS), "index quantise"),
            Call(Stream("compress", rows * width, 2.0, 1.0 / self.index_kpool, 6.0, act, KEYS), "index pool + write"),
        ]

    def _scores(self, batch: Num, q_len: Num, past: Num) -> IndexScores:
        """Over whole pools: so many keys before the queries that a query sees on average what its own pools are."""
        mean = self.mask.pools(q_len, past) / q_len
        return IndexScores(batch, q_len, mean - (q_len + 1.0) / 2.0, self.index_n_heads, self.index_head_dim, KEYS)

    def _picks(self, scores: IndexScores) -> IndexTopK:
        return IndexTopK(scores.batch, scores.q_len, scores.past, self.index_topk / self.index_kpool)


BY_KEYS = ("index_kpool",)


def claims(r: Reader, layer: int, layers: int) -> int:
    """4 for a layer with MLA of a config whose indexer pools keys, else 0."""
    mine = r.given("index_kpool") and r.has("kv_lora_rank")
    return 4 if mine and layer_kind(r, layer, layers) != LINEAR else 0


def alike(r: Reader, layer: int, layers: int) -> object:
    """What of a layer `from_hf` reads, so that equal layers are read once: its kind, and whether it has an indexer."""
    return layer_kind(r, layer, layers), dsa.alike(r, layer, layers)


def from_hf(r: Reader, layer: int, layers: int) -> PooledDSA:
    """The block of a layer. Raises SpecError for a missing or wrong key, and for pools that do not divide the picks; NotModelled for a layer of another kind."""
    if (kind := layer_kind(r, layer, layers)) not in (FULL, INDEXED):
        raise NotModelled(f"{r.where}: not modelled: layer {layer} ({kind}) beside 'index_kpool': only {INDEXED}")
    plain, pool = dsa.from_hf(r, layer, layers), float(r.layout("index_kpool", least=1))
    r.divisible(plain.index_topk, pool, "index_topk must be a multiple of index_kpool")
    shape = {each.name: getattr(plain, each.name) for each in fields(plain)}
    return PooledDSA(**shape, index_kpool=pool, tail=r.flag("index_kpool_always_select_tail", True))
