"""The attention core: scores, softmax, weighted sum, over exactly the (query, key) pairs that the mask leaves.

One op for prefill, chunked prefill and decode; GQA grouping; separate K and V widths; causal, sliding and chunked masks.
Most likely to be wrong: K/V are read once a step (a long prefill re-reads them from cache). Sources: FlashAttention
(arXiv 2205.14135) for the traffic; masks as in Hugging Face `masking_utils` (a window counts the token itself).
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np

from simcost.dtypes import Dtype
from simcost.frozen import frozen
from simcost.num import Num, floor, minimum, plain
from simcost.ops.work import INPUT, Coords, Op, Work


@frozen
class Mask:
    """Which keys a query sees. `window` = W last tokens with itself; `chunk` = tokens of its own chunk of C; `picked` = so many of all before it, which it picks
    for itself."""

    causal: bool = True
    window: Num | None = None
    chunk: Num | None = None
    picked: Num | None = None

    @property
    def bounded(self) -> bool:
        """Whether only so many keys can be seen, whatever the context: what is picked may stand anywhere, so all of it is kept."""
        return self.window is not None or self.chunk is not None

    def pairs(self, q_len: Num, past: Num) -> Num:
        """(query, key) pairs of one sequence: q_len new tokens after `past` cached ones."""
        if self.chunk is not None:
            return _chunk_pairs(past + q_len, self.chunk) - _chunk_pairs(past, self.chunk)
        limit = self.picked if self.window is None else self.window
        if limit is not None:
            growing = minimum(np.maximum(limit - past, 0.0), q_len)
            return growing * past + growing * (growing + 1.0) / 2.0 + (q_len - growing) * limit
        if not self.causal:
            return q_len * (past + q_len)
        return q_len * past + q_len * (q_len + 1.0) / 2.0

    def keys(self, q_len: Num, past: Num) -> Num:
        """Distinct keys that the q_len queries touch together."""
        if self.chunk is not None:
            return past + q_len - floor(past / self.chunk) * self.chunk
        if self.window is not None:
            return minimum(past + q_len, self.window + q_len - 1.0)
        if self.picked is not None:
            return minimum(past + q_len, self.picked * q_len)
        return past + q_len

    def state_tokens(self, context: Num) -> Num:
        """Tokens that must stay in the cache at this context."""
        limit = self.window if self.window is not None else self.chunk
        return context if limit is None else minimum(context, limit)

    def label(self) -> str:
        """The mask in words: "causal", "full", "window W", "chunk C" or "top K"; "*" in place of an array."""
        if self.chunk is not None:
            return f"chunk {_count(self.chunk)}"
        if self.window is not None:
            return f"window {_count(self.window)}"
        if self.picked is not None:
            return f"top {_count(self.picked)}"
        return "causal" if self.causal else "full"


CAUSAL = Mask()


def _count(value: Num) -> str:
    return f"{value:.0f}" if isinstance(value, float) else "*"


def _chunk_pairs(tokens: Num, chunk: Num) -> Num:
    whole = floor(tokens / chunk)
    rest = tokens - whole * chunk
    return whole * chunk * (chunk + 1.0) / 2.0 + rest * (rest + 1.0) / 2.0


@frozen
class AttentionCore:
    """`batch` sequences, `q_len` queries each after `past` tokens; `shared_kv` when V is a slice of K (absorbed MLA)."""

    batch: Num
    q_len: Num
    past: Num
    heads: Num
    kv_heads: Num
    d_qk: Num
    d_v: Num
    mask: Mask
    x: Dtype
    kv: Dtype
    compute: Dtype
    shared_kv: bool = False
    gradient: str = ""
    family: ClassVar[str] = "attention"
    launches: ClassVar[float] = 2.0  # over parts of the keys, and the merge of them
    formula: ClassVar[str] = "2·b·h·pairs·(d_qk + d_v) FLOP; Q + K + V of the context + O B"
    source: ClassVar[str] = "arXiv 2205.14135; causal pairs counted exactly"

    @property
    def peak(self) -> str:
        """The rate of the format in which the core computes."""
        return self.compute.peak

    def _q_bytes(self) -> Num:
        return self.x.tensor_bytes(self.batch * self.q_len * self.heads * self.d_qk)

    def _o_bytes(self) -> Num:
        return self.x.tensor_bytes(self.batch * self.q_len * self.heads * self.d_v)

    def _kv_bytes(self) -> Num:
        width = self.d_qk if self.shared_kv else self.d_qk + self.d_v
        return self.kv.tensor_bytes(self.batch * self.mask.keys(self.q_len, self.past) * self.kv_heads * width)

    def work(self) -> Work:
        """Forward: the products Q·Kᵀ and P·V over the pairs that the mask leaves; Q, K and V are read, O is written. Gradient: five products; what is
        saved and the gradient of O are read, the gradients of Q, K and V are written. The softmax is not counted."""
        pairs = self.batch * self.heads * self.mask.pairs(self.q_len, self.past)
        if not self.gradient:
            return Work(2.0 * pairs * (self.d_qk + self.d_v), self._q_bytes() + self._kv_bytes(), self._o_bytes())
        # FlashAttention's backward: recompute S = QK^T, then dV, dP, dQ, dK: three products of width d_qk, two of d_v.
        flops = 2.0 * pairs * (3.0 * self.d_qk + 2.0 * self.d_v)
        grads = self._q_bytes() + self._kv_bytes()
        sums = 4.0 * self.batch * self.q_len * self.heads
        return Work(flops, self._q_bytes() + self._kv_bytes() + 2.0 * self._o_bytes() + sums, grads)

    def coords(self) -> Coords:
        """Sequences, queries, keys (cached and new), heads, widths, mask and formats."""
        return {
            "b": self.batch,
            "q": self.q_len,
            "kv": plain(self.past + self.q_len),
            "h": self.heads,
            "h_kv": self.kv_heads,
            "d_qk": self.d_qk,
            "d_v": self.d_v,
            "mask": self.mask.label(),
            "dtype": self.compute.name
            if self.kv.name == self.compute.name
            else f"{self.compute.name} (kv {self.kv.name})",
        }

    def workspace_bytes(self) -> Num:
        """Q and O; K and V are cache. Of a gradient all of Q, K, V and O, and their gradients. [B]"""
        if self.gradient:
            return 2.0 * (self._q_bytes() + self._kv_bytes() + self._o_bytes())
        return self._q_bytes() + self._o_bytes()

    def saved_parts(self) -> tuple[Num, Num, Num]:
        """(Q, K and V; O; one fp32 log-sum-exp a query and head) of the new tokens: those of other ranks come again in the backward pass. [B]"""
        width = self.d_qk if self.shared_kv else self.d_qk + self.d_v
        own = self.kv.tensor_bytes(self.batch * self.q_len * self.kv_heads * width)
        return self._q_bytes() + own, self._o_bytes(), 4.0 * self.batch * self.q_len * self.heads

    def saved_bytes(self) -> Num:
        """Q, K, V, O and one fp32 log-sum-exp a query and head, of the new tokens. [B]"""
        qkv, o, sums = self.saved_parts()
        return qkv + o + sums

    def input_grad(self) -> tuple[Op, ...]:
        """Of Q, K and V together."""
        return (replace(self, gradient=INPUT),)

    def weight_grad(self, sums: Dtype | None = None) -> tuple[Op, ...]:
        """None: it has no weight."""
        return ()
