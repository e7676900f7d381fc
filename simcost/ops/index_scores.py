"""How an indexer picks keys, or blocks of keys: scores of every cached key by a few small heads, and the best for each query.

Of keys the heads' scores are summed (DeepSeek-V3.2); of blocks each head keeps the best score of any key of a block, and picks for itself (MiniMax-M3). Sources: arXiv 2512.02556 §2.1; MiniMax-AI/MSA,
Hugging Face `modeling_minimax_m3_vl.py` (MiniMaxM3VLIndexer). Most likely to be wrong: engines score a prompt in pieces, since the scores of a long one do not fit into memory; a kernel that writes a
score for every key, and pools blocks in a second pass.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from simcost.dtypes import Dtype
from simcost.frozen import frozen
from simcost.num import Num
from simcost.ops.attention_core import Mask
from simcost.ops.work import INPUT, Coords, Op, Work

_SCORE = 4.0  # B: scores are fp32
_PICK = 4.0  # B: an index
_SCALE = 4.0  # B: of a key in a narrow format


@frozen
class IndexScores:
    """`batch` sequences, `q_len` queries each after `past` keys; `heads` of width `dim` against one key head: the sum of their weighted, rectified products; with `block` the largest product of so many
    keys, for each head. `paged`: keys lie in the pages of a cache, as in a decode step."""

    batch: Num
    q_len: Num
    past: Num
    heads: Num
    dim: Num
    x: Dtype
    paged: bool = False
    block: Num | None = None
    gradient: str = ""
    family: ClassVar[str] = "index"
    formula: ClassVar[str] = (
        "b·pairs·heads·(2·dim + 3) FLOP, of blocks (2·dim + 1); queries, keys of the context with their scales, fp32 scores, of blocks one a head"
    )
    source: ClassVar[str] = "arXiv 2512.02556 §2.1; MiniMax-AI/MSA"

    @property
    def peak(self) -> str:
        """The rate of the format of queries and keys."""
        return self.x.peak

    @property
    def pairs(self) -> Num:
        """(query, key) pairs of all sequences."""
        return self.batch * Mask().pairs(self.q_len, self.past)

    def _queries(self) -> Num:
        return self.x.tensor_bytes(self.batch * self.q_len * self.heads * self.dim)

    def _scores(self) -> Num:
        return _SCORE * _scored(self.pairs, self.heads, self.block)

    def key_bytes(self) -> Num:
        """Keys of all sequences with their scales. [B]"""
        scale = _SCALE if self.x.bits <= 8 else 0.0
        return self.batch * (self.past + self.q_len) * (self.x.tensor_bytes(self.dim) + scale)

    def work(self) -> Work:
        """Forward: a product, a rectifier and a weighted sum for each head and pair; of blocks a product and a comparison. Gradient: two products for each, and the forward's anew."""
        flops = self.pairs * self.heads * (2.0 * self.dim + (3.0 if self.block is None else 1.0))
        read, scores = self._queries() + self.key_bytes(), self._scores()
        if not self.gradient:
            return Work(flops, read, scores)
        return Work(3.0 * flops, read + scores, read)

    def coords(self) -> Coords:
        """Sequences, queries, keys, heads, width, block where there are blocks, and format."""
        return {
            "op": "index scores" if self.block is None else "block scores",
            "b": self.batch,
            "q": self.q_len,
            "kv": self.past + self.q_len,
            "h": self.heads,
            "d": self.dim,
            **({} if self.block is None else {"block": self.block}),
            "dtype": self.x.name,
        }

    def workspace_bytes(self) -> Num:
        """Queries and scores; keys are cache. [B]"""
        return self._queries() + self._scores()

    def saved_bytes(self) -> Num:
        """Queries and keys. [B]"""
        return self._queries() + self.key_bytes()

    def input_grad(self) -> tuple[Op, ...]:
        """Of queries, keys and weights together."""
        return (replace(self, gradient=INPUT),)

    def weight_grad(self, sums: Dtype | None = None) -> tuple[Op, ...]:
        """None: it has no weight."""
        return ()


def _scored(pairs: Num, heads: Num, block: Num | None) -> Num:
    """Scores that are written: one a pair, or one for each head and block."""
    return pairs if block is None else pairs * heads / block


@frozen
class IndexTopK:
    """The `top_k` best of the scores of each of `batch` x `q_len` queries; with `block` the best blocks of so many keys, for each of `heads`."""

    batch: Num
    q_len: Num
    past: Num
    top_k: Num
    heads: Num = 1.0
    block: Num | None = None
    family: ClassVar[str] = "stream"
    gradient: ClassVar[str] = ""
    formula: ClassVar[str] = (
        "2·scores FLOP; 4·scores + 4·top_k·queries B; scores = pairs, of blocks heads·pairs/block, and as many queries as heads"
    )
    source: ClassVar[str] = "arXiv 2512.02556 §2.1; MiniMax-AI/MSA"

    @property
    def peak(self) -> str:
        """The rate of plain arithmetic ("vector")."""
        return "vector"

    @property
    def pairs(self) -> Num:
        """(query, key) pairs of all sequences."""
        return self.batch * Mask().pairs(self.q_len, self.past)

    @property
    def scores(self) -> Num:
        """Scores of all queries and heads."""
        return _scored(self.pairs, self.heads, self.block)

    def _picks(self) -> Num:
        return _PICK * self.batch * self.q_len * self.heads * self.top_k

    def work(self) -> Work:
        """Scores are read once, indices written."""
        return Work(2.0 * self.scores, _SCORE * self.scores, self._picks())

    def coords(self) -> Coords:
        """Sequences, queries, keys, heads and block where there are blocks, and what each picks."""
        return {
            "op": "index top-k" if self.block is None else "block top-k",
            "b": self.batch,
            "q": self.q_len,
            "kv": self.past + self.q_len,
            **({} if self.block is None else {"h": self.heads, "block": self.block}),
            "k": self.top_k,
            "dtype": "fp32",
        }

    def workspace_bytes(self) -> Num:
        """Scores and indices. [B]"""
        return _SCORE * self.scores + self._picks()

    def saved_bytes(self) -> Num:
        """The indices. [B]"""
        return self._picks()

    def input_grad(self) -> tuple[Op, ...]:
        """None: a choice has no gradient."""
        return ()

    def weight_grad(self, sums: Dtype | None = None) -> tuple[Op, ...]:
        """None: it has no weight."""
        return ()
