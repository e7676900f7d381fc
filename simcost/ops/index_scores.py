"""How an indexer picks keys: scores of every cached key by a few small heads, and the best of them for each query.

Source: DeepSeek-V3.2 (arXiv 2512.02556 §2.1). Most likely to be wrong: engines score a prompt in pieces, since the scores of a long one do not fit into memory.
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
    """`batch` sequences, `q_len` queries each after `past` keys; `heads` of width `dim` against one key head: the sum of their weighted, rectified products. `paged`:
    keys lie in the pages of a cache, as in a decode step."""

    batch: Num
    q_len: Num
    past: Num
    heads: Num
    dim: Num
    x: Dtype
    paged: bool = False
    gradient: str = ""
    family: ClassVar[str] = "index"
    formula: ClassVar[str] = (
        "b·pairs·heads·(2·dim + 3) FLOP; queries, keys of the context with their scales, fp32 scores"
    )
    source: ClassVar[str] = "arXiv 2512.02556 §2.1"

    @property
    def peak(self) -> str:
        """The rate of the format of queries and keys."""
        return self.x.peak

    @property
    def pairs(self) -> Num:
        """(query, key) pairs of all sequences."""
        return self.batch * Mask().pairs(self.q_len, self.past)

    def key_bytes(self) -> Num:
        """Keys of all sequences with their scales. [B]"""
        scale = _SCALE if self.x.bits <= 8 else 0.0
        return self.batch * (self.past + self.q_len) * (self.x.tensor_bytes(self.dim) + scale)

    def work(self) -> Work:
        """Forward: a product, a rectifier and a weighted sum for each head and pair. Gradient: two products for each, and the forward's anew."""
        flops = self.pairs * self.heads * (2.0 * self.dim + 3.0)
        queries, scores = self.x.tensor_bytes(self.batch * self.q_len * self.heads * self.dim), _SCORE * self.pairs
        if not self.gradient:
            return Work(flops, queries + self.key_bytes(), scores)
        return Work(3.0 * flops, queries + self.key_bytes() + scores, queries + self.key_bytes())

    def coords(self) -> Coords:
        """Sequences, queries, keys, heads, width and format."""
        return {
            "op": "index scores",
            "b": self.batch,
            "q": self.q_len,
            "kv": self.past + self.q_len,
            "h": self.heads,
            "d": self.dim,
            "dtype": self.x.name,
        }

    def workspace_bytes(self) -> Num:
        """Queries and scores; keys are cache. [B]"""
        return self.x.tensor_bytes(self.batch * self.q_len * self.heads * self.dim) + _SCORE * self.pairs

    def saved_bytes(self) -> Num:
        """Queries and keys. [B]"""
        return self.x.tensor_bytes(self.batch * self.q_len * self.heads * self.dim) + self.key_bytes()

    def input_grad(self) -> tuple[Op, ...]:
        """Of queries, keys and weights together."""
        return (replace(self, gradient=INPUT),)

    def weight_grad(self, sums: Dtype | None = None) -> tuple[Op, ...]:
        """None: it has no weight."""
        return ()


@frozen
class IndexTopK:
    """The `top_k` best of the scores of each of `batch` x `q_len` queries."""

    batch: Num
    q_len: Num
    past: Num
    top_k: Num
    family: ClassVar[str] = "stream"
    gradient: ClassVar[str] = ""
    formula: ClassVar[str] = "2·pairs FLOP; 4·pairs + 4·top_k·queries B"
    source: ClassVar[str] = "arXiv 2512.02556 §2.1"

    @property
    def peak(self) -> str:
        """The rate of plain arithmetic ("vector")."""
        return "vector"

    @property
    def pairs(self) -> Num:
        """(query, key) pairs of all sequences."""
        return self.batch * Mask().pairs(self.q_len, self.past)

    def work(self) -> Work:
        """Scores are read once, indices written."""
        return Work(2.0 * self.pairs, _SCORE * self.pairs, _PICK * self.batch * self.q_len * self.top_k)

    def coords(self) -> Coords:
        """Sequences, queries, keys, and keys that each picks."""
        return {
            "op": "index top-k",
            "b": self.batch,
            "q": self.q_len,
            "kv": self.past + self.q_len,
            "k": self.top_k,
            "dtype": "fp32",
        }

    def workspace_bytes(self) -> Num:
        """Scores and indices. [B]"""
        return _SCORE * self.pairs + _PICK * self.batch * self.q_len * self.top_k

    def saved_bytes(self) -> Num:
        """The indices. [B]"""
        return _PICK * self.batch * self.q_len * self.top_k

    def input_grad(self) -> tuple[Op, ...]:
        """None: a choice has no gradient."""
        return ()

    def weight_grad(self, sums: Dtype | None = None) -> tuple[Op, ...]:
        """None: it has no weight."""
        return ()
