"""How an indexer picks blocks of keys: the best score of any key of a block, for each of its heads, and the blocks with the best.

Most likely to be wrong: a kernel that writes a score for every key, and pools them in a second pass. Sources: MiniMax-AI/MSA; Hugging Face `modeling_minimax_m3_vl.py` (MiniMaxM3VLIndexer).
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


@frozen
class BlockScores:
    """`batch` sequences, `q_len` queries each after `past` keys; `heads` of width `dim` against one key head; the largest product of `block` keys is kept for each head."""

    batch: Num
    q_len: Num
    past: Num
    heads: Num
    dim: Num
    block: Num
    x: Dtype
    gradient: str = ""
    family: ClassVar[str] = "index"
    formula: ClassVar[str] = (
        "b·pairs·heads·(2·dim + 1) FLOP; queries, keys of the context, an fp32 score a head and block"
    )
    source: ClassVar[str] = "MiniMax-AI/MSA"

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

    def _keys(self) -> Num:
        return self.x.tensor_bytes(self.batch * (self.past + self.q_len) * self.dim)

    def _scores(self) -> Num:
        return _SCORE * self.pairs * self.heads / self.block

    def work(self) -> Work:
        """Forward: a product and a comparison for each head and pair. Gradient: two products for each, and the forward's anew."""
        flops = self.pairs * self.heads * (2.0 * self.dim + 1.0)
        read = self._queries() + self._keys()
        if not self.gradient:
            return Work(flops, read, self._scores())
        return Work(3.0 * flops, read + self._scores(), read)

    def coords(self) -> Coords:
        """Sequences, queries, keys, heads, width, block and format."""
        return {
            "op": "block scores",
            "b": self.batch,
            "q": self.q_len,
            "kv": self.past + self.q_len,
            "h": self.heads,
            "d": self.dim,
            "block": self.block,
            "dtype": self.x.name,
        }

    def workspace_bytes(self) -> Num:
        """Queries and scores; keys are cache. [B]"""
        return self._queries() + self._scores()

    def saved_bytes(self) -> Num:
        """Queries and keys. [B]"""
        return self._queries() + self._keys()

    def input_grad(self) -> tuple[Op, ...]:
        """Of queries and keys together."""
        return (replace(self, gradient=INPUT),)

    def weight_grad(self, sums: Dtype | None = None) -> tuple[Op, ...]:
        """None: it has no weight."""
        return ()


@frozen
class BlockTopK:
    """The `top_k` best blocks of each of `heads` x `batch` x `q_len` scored queries."""

    batch: Num
    q_len: Num
    past: Num
    heads: Num
    block: Num
    top_k: Num
    family: ClassVar[str] = "stream"
    gradient: ClassVar[str] = ""
    formula: ClassVar[str] = "2·scores FLOP; 4·scores + 4·top_k·heads·queries B, scores = heads·pairs/block"
    source: ClassVar[str] = "MiniMax-AI/MSA"

    @property
    def peak(self) -> str:
        """The rate of plain arithmetic ("vector")."""
        return "vector"

    @property
    def scores(self) -> Num:
        """Scored blocks of all queries and heads."""
        return self.batch * Mask().pairs(self.q_len, self.past) * self.heads / self.block

    def _picks(self) -> Num:
        return _PICK * self.batch * self.q_len * self.heads * self.top_k

    def work(self) -> Work:
        """Scores are read once, indices written."""
        return Work(2.0 * self.scores, _SCORE * self.scores, self._picks())

    def coords(self) -> Coords:
        """Sequences, queries, keys, heads, block, and blocks that each picks."""
        return {
            "op": "block top-k",
            "b": self.batch,
            "q": self.q_len,
            "kv": self.past + self.q_len,
            "h": self.heads,
            "block": self.block,
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
