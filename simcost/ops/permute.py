"""Bringing token copies to their experts and back. Permute copies each token k times in expert order; unpermute
multiplies the copies by their gate weights and sums them."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from simcost.dtypes import Dtype
from simcost.frozen import frozen
from simcost.num import Num
from simcost.ops.work import INPUT, Coords, Op, Work


@frozen
class Permute:
    """`tokens` rows of `width`, `copies` in all; `combine` for the way back."""

    tokens: Num
    copies: Num
    width: Num
    x: Dtype
    combine: bool = False
    gradient: str = ""
    family: ClassVar[str] = "stream"
    formula: ClassVar[str] = "combine: 2·copies·width FLOP; (tokens + copies)·width·x + 8·copies B"
    source: ClassVar[str] = "token permutation of dropless MoE (arXiv 2211.15841)"

    @property
    def peak(self) -> str:
        """The rate of plain arithmetic ("vector"): it has no matrix products."""
        return "vector"

    @property
    def launches(self) -> float:
        """Experts' rows are counted, and aligned to tiles, before they are sorted."""
        return 1.0 if self.combine else 2.0

    def work(self) -> Work:
        """Permute: tokens are read, copies are written, no FLOPs. Combine: copies are read, tokens are written, one multiply-add for each element of a
        copy. Both read 8 B a copy besides."""
        one, many = self.x.tensor_bytes(self.tokens * self.width), self.x.tensor_bytes(self.copies * self.width)
        if self.combine:
            return Work(2.0 * self.copies * self.width, many + 8.0 * self.copies, one)
        return Work(0.0, one + 8.0 * self.copies, many)

    def coords(self) -> Coords:
        """Direction, tokens, copies (as `rows`), width and format."""
        op = "unpermute" if self.combine else "permute"
        return {"op": op, "tokens": self.tokens, "rows": self.copies, "width": self.width, "dtype": self.x.name}

    def workspace_bytes(self) -> Num:
        """Tokens and copies. [B]"""
        return self.x.tensor_bytes((self.tokens + self.copies) * self.width)

    def saved_bytes(self) -> Num:
        """The 8 B a copy that it reads besides the rows. [B]"""
        return 8.0 * self.copies

    def input_grad(self) -> tuple[Op, ...]:
        """The other direction with the same tokens and copies. The gradient of the gate weights is not counted."""
        return (replace(self, combine=not self.combine, gradient=INPUT),)

    def weight_grad(self, sums: Dtype | None = None) -> tuple[Op, ...]:
        """None: it has no weight."""
        return ()
