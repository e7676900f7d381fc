"""The loss of a training step: softmax cross entropy over the logits of one rank's part of the vocabulary, forward and backward.

`plain` widens logits to fp32 and keeps the log-probabilities (PyTorch's `F.cross_entropy` on `logits.float()`, Megatron's `vocab_parallel_cross_entropy`); `fused` reads logits as they are and writes their
gradient in their place. Most likely to be wrong: passes that a compiler fuses. Sources: NVIDIA Megatron Core `tensor_parallel/cross_entropy.py`, `fusions/fused_cross_entropy.py`; Apex `xentropy`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from simcost.dtypes import Dtype
from simcost.frozen import frozen
from simcost.num import Num
from simcost.ops.work import INPUT, Coords, Op, Work

PLAIN, FUSED = "plain", "fused"
_FP32 = 4.0  # B


@frozen
class CrossEntropy:
    """`tokens` rows of `vocabulary` logits in the format `x`; `method`: PLAIN or FUSED."""

    tokens: Num
    vocabulary: Num
    x: Dtype
    method: str = FUSED
    gradient: str = ""
    family: ClassVar[str] = "stream"
    formula: ClassVar[str] = (
        "5·T·V FLOP; fused: 2 reads; plain: a cast to fp32, a log-softmax that reads it twice and writes it"
    )
    source: ClassVar[str] = "Megatron Core, vocab_parallel_cross_entropy and fused_cross_entropy"

    @property
    def _size(self) -> Num:
        return self.tokens * self.vocabulary

    @property
    def peak(self) -> str:
        """The rate of plain arithmetic ("vector"): it has no matrix products."""
        return "vector"

    def work(self) -> Work:
        """Fused: the maximum and the sum of exponentials, a read each; its gradient reads the logits and writes over them. Plain: logits are widened to fp32, read twice and written as log-probabilities;
        its gradient reads these, writes fp32 and narrows that."""
        logits, wide = self.x.tensor_bytes(self._size), _FP32 * self._size
        if self.method == FUSED:
            return Work(3.0 * self._size, logits, logits) if self.gradient else Work(5.0 * self._size, 2.0 * logits)
        if self.gradient:
            return Work(3.0 * self._size, 2.0 * wide, wide + logits)
        return Work(5.0 * self._size, logits + 2.0 * wide, 2.0 * wide)

    def coords(self) -> Coords:
        """Method and direction, tokens, vocabulary and format."""
        op = f"{self.method} cross entropy" + (" backward" if self.gradient else "")
        return {"op": op, "tokens": self.tokens, "vocabulary": self.vocabulary, "dtype": self.x.name}

    def workspace_bytes(self) -> Num:
        """Logits, and in the plain form two fp32 tensors of their size beside them. [B]"""
        return self.x.tensor_bytes(self._size) + (0.0 if self.method == FUSED else 2.0 * _FP32 * self._size)

    def saved_bytes(self) -> Num:
        """Fused: the logits, whose place the gradient takes. Plain: log-probabilities in fp32. [B]"""
        return self.x.tensor_bytes(self._size) if self.method == FUSED else _FP32 * self._size

    def input_grad(self) -> tuple[Op, ...]:
        """The gradient of the logits."""
        return (replace(self, gradient=INPUT),)

    def weight_grad(self, sums: Dtype | None = None) -> tuple[Op, ...]:
        """None: it has no weight."""
        return ()
