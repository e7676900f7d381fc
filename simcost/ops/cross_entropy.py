"""The loss of a training step: softmax cross entropy over the logits of one rank's part of the vocabulary, forward and
backward.

`plain` widens logits to fp32 and keeps the log-probabilities (PyTorch's `F.cross_entropy` on `logits.float()`,
Megatron's `vocab_parallel_cross_entropy`); `gathered` does so on every tensor-parallel rank with the logits of all of
them (Transformers, `colwise_gather_output` of the head; torchtitan, `disable_loss_parallel`); `fused` reads logits as they are and writes their gradient in their place.
Two keep no logits: `chunked` makes those of a few tokens at a time, and with them the gradients of the head's input and
table at once, which stay until the backward pass (Liger, torchtitan); `cut` never writes them out, and computes them
again for their gradient (Cut Cross Entropy). Most likely to be wrong: passes that a compiler fuses; blocks of the table
that `cut` skips since their gradient is too small to count. Sources: NVIDIA Megatron Core
`tensor_parallel/cross_entropy.py`, `fusions/fused_cross_entropy.py`; Apex `xentropy`; Liger (arXiv 2410.10989 §3.2,
`ops/fused_linear_cross_entropy.py`); Wijmans et al. 2024, Cut Your Losses (arXiv 2411.09009 §4).
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np

from simcost.dtypes import Dtype
from simcost.errors import SpecError, nearest
from simcost.frozen import frozen
from simcost.num import Num, ceil, minimum
from simcost.ops.gemm import Gemm
from simcost.ops.work import INPUT, Coords, Op, Work

PLAIN, GATHERED, FUSED, CHUNKED, CUT = "plain", "gathered", "fused", "chunked", "cut"
METHODS = (PLAIN, GATHERED, FUSED, CHUNKED, CUT)
_FP32 = 4.0  # B


def named(text: str) -> tuple[str, int]:
    """(a method, chunks; 0 where nobody states them) of a text such as "chunked:8". Raises SpecError for one that is
    none."""
    method, colon, number = text.partition(":")
    if method not in METHODS or (colon and (method != CHUNKED or not number.isdecimal() or int(number) < 1)):
        known = (*METHODS, f"{CHUNKED}:8")
        raise SpecError(f"plan.loss={text}: must be one of {', '.join(known)}{nearest(text, known)}")
    return method, int(number or 0)


def chunk(tokens: Num, vocabulary: Num, width: Num, chunks: int = 0) -> Num:
    """Tokens whose logits stand at a time: of so many `chunks`, or, as Liger cuts, such that logits take about as much
    as the input of the head: a power of 2."""
    if chunks:
        return ceil(tokens / chunks)
    parts = ceil(vocabulary / width)
    return minimum(2.0 ** ceil(np.log2(ceil(tokens / parts)) + 0.0), tokens)


@frozen
class CrossEntropy:
    """`tokens` rows of `vocabulary` logits in the format `x`; `method`: of METHODS; `width`: of the head's input;
    `at_once`: tokens whose logits stand at a time (`chunk`), 0: all."""

    tokens: Num
    vocabulary: Num
    x: Dtype
    method: str = FUSED
    gradient: str = ""
    width: Num = 0.0
    at_once: Num = 0.0
    family: ClassVar[str] = "stream"
    formula: ClassVar[str] = (
        "5·T·V FLOP; fused, chunked: 2 reads; plain: a cast to fp32, a log-softmax that reads it twice and writes it; "
        "cut: none"
    )
    source: ClassVar[str] = (
        "Megatron Core, vocab_parallel_cross_entropy and fused_cross_entropy; Liger; arXiv 2411.09009"
    )

    @property
    def _size(self) -> Num:
        return self.tokens * self.vocabulary

    @property
    def peak(self) -> str:
        """The rate of plain arithmetic ("vector"): its matrix products are calls of their own."""
        return "vector"

    def work(self) -> Work:
        """Fused and chunked: the maximum and the sum of exponentials, a read each; the gradient reads the logits and
        writes over them. Plain: logits are widened to fp32, read twice and written as log-probabilities; the gradient
        reads these, writes fp32 and narrows that. Cut: inside the product; a sum of exponentials a token is written,
        and read for the gradient."""
        logits, wide = self.x.tensor_bytes(self._size), _FP32 * self._size
        if self.method == CUT:
            sums = _FP32 * self.tokens
            return Work(3.0 * self._size, sums, 0.0) if self.gradient else Work(5.0 * self._size, 0.0, sums)
        if self.method != PLAIN:
            return Work(3.0 * self._size, logits, logits) if self.gradient else Work(5.0 * self._size, 2.0 * logits)
        if self.gradient:
            return Work(3.0 * self._size, 2.0 * wide, wide + logits)
        return Work(5.0 * self._size, logits + 2.0 * wide, 2.0 * wide)

    def coords(self) -> Coords:
        """Method and direction, tokens, vocabulary and format."""
        op = f"{self.method} cross entropy" + (" backward" if self.gradient else "")
        return {"op": op, "tokens": self.tokens, "vocabulary": self.vocabulary, "dtype": self.x.name}

    def workspace_bytes(self) -> Num:
        """Logits, all or those of a chunk, and in the plain form two fp32 tensors of their size beside them. [B]"""
        if self.method in (CHUNKED, CUT):
            return self.x.tensor_bytes(self.at_once * self.vocabulary)
        return self.x.tensor_bytes(self._size) + (0.0 if self.method == FUSED else 2.0 * _FP32 * self._size)

    def saved_bytes(self) -> Num:
        """Fused: the logits, whose place the gradient takes. Plain: log-probabilities in fp32. Chunked: the gradient of
        the table; that of the input takes the input's place. Cut: a number per token. [B]"""
        if self.method == CHUNKED:
            return self.x.tensor_bytes(self.vocabulary * self.width)
        if self.method == CUT:
            return _FP32 * self.tokens
        return self.x.tensor_bytes(self._size) if self.method == FUSED else _FP32 * self._size

    def beside_bytes(self) -> Num:
        """What a pass has beside the tensor that stays: fused, the gradient of the logits. [B]"""
        if self.method == PLAIN:
            return self.workspace_bytes() - self.saved_bytes()
        return self.workspace_bytes()

    def input_grad(self) -> tuple[Op, ...]:
        """The gradient of the logits, after these where they were never written."""
        mine = replace(self, gradient=INPUT)
        if self.method != CUT:
            return (mine,)
        x = self.x
        return (Gemm(self.tokens, self.vocabulary, self.width, x, x, x, x, gradient=INPUT), mine)

    def weight_grad(self, sums: Dtype | None = None) -> tuple[Op, ...]:
        """None: it has no weight."""
        return ()
