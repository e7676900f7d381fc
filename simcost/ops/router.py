"""Expert selection: scores (softmax or sigmoid) over the router's logits, group limit, top-k.

The router's projection is a GEMM of its own. Operation counts are per token: a score an expert, the two largest scores of
each group where groups are limited (DeepSeek-V3, arXiv 2412.19437 §2.1.2), one pass over the remaining experts a pick.
Most likely to be wrong: real top-k kernels are latency bound, which only a measurement shows.
"""

from __future__ import annotations

from typing import ClassVar

from simcost.dtypes import Dtype
from simcost.frozen import frozen
from simcost.num import Num
from simcost.ops.work import INPUT, Coords, Op, Work

# exp, sum, divide, max, subtract; exp, add, divide, bias; exp, add, log, root, bias
_SCORE_FLOPS = {"softmax": 5.0, "sigmoid": 4.0, "sqrtsoftplus": 5.0}


@frozen
class Router:
    """`tokens` choose `top_k` of `experts`, from `topk_groups` of `groups` groups; `scoring`: "softmax" or "sigmoid"."""

    tokens: Num
    experts: Num
    top_k: Num
    scoring: str = "softmax"
    groups: Num = 1.0
    topk_groups: Num = 1.0
    family: ClassVar[str] = "stream"
    gradient: ClassVar[str] = ""
    formula: ClassVar[str] = "T·(score·E + 2E + G·G_k + k·E·G_k/G) FLOP; T·(4E + 8k) B"
    source: ClassVar[str] = "arXiv 2412.19437 §2.1.2; fp32 logits"

    @property
    def peak(self) -> str:
        """The rate of plain arithmetic ("vector"): it has no matrix products."""
        return "vector"

    def work(self) -> Work:
        """Scores, group limit and picks of all tokens, as in `formula`. An fp32 logit a token and expert is read, 8 B a pick are written."""
        picks = self.top_k * self.experts * self.topk_groups / self.groups
        limit = 2.0 * self.experts + self.groups * self.topk_groups
        flops = self.tokens * (_SCORE_FLOPS[self.scoring] * self.experts + limit + picks)
        return Work(flops, 4.0 * self.tokens * self.experts, 8.0 * self.tokens * self.top_k)

    def coords(self) -> Coords:
        """Tokens, experts, top_k and scoring."""
        return {
            "tokens": self.tokens,
            "experts": self.experts,
            "top_k": self.top_k,
            "op": self.scoring,
            "dtype": "fp32",
        }

    def workspace_bytes(self) -> Num:
        """Logits and picks. [B]"""
        return 4.0 * self.tokens * self.experts + 8.0 * self.tokens * self.top_k

    def saved_bytes(self) -> Num:
        """One fp32 score a token and expert. [B]"""
        return 4.0 * self.tokens * self.experts

    def input_grad(self) -> tuple[Op, ...]:
        """One RouterGrad: the gradient of the logits of all experts."""
        return (RouterGrad(self.tokens, self.experts),)

    def weight_grad(self, sums: Dtype | None = None) -> tuple[Op, ...]:
        """None: the router's projection is a GEMM of its own."""
        return ()


@frozen
class RouterGrad:
    """Gradient of the scores: probabilities and their gradient in, the logits' gradient out."""

    tokens: Num
    experts: Num
    family: ClassVar[str] = "stream"
    gradient: ClassVar[str] = INPUT
    formula: ClassVar[str] = "4·T·E FLOP; 12·T·E B"
    source: ClassVar[str] = "adjoint of softmax/sigmoid"

    @property
    def peak(self) -> str:
        """The rate of plain arithmetic ("vector"): it has no matrix products."""
        return "vector"

    def work(self) -> Work:
        """Two fp32 tensors of tokens x experts are read, one is written; four operations an element."""
        size = self.tokens * self.experts
        return Work(4.0 * size, 8.0 * size, 4.0 * size)

    def coords(self) -> Coords:
        """Tokens and experts."""
        return {"tokens": self.tokens, "experts": self.experts, "dtype": "fp32"}

    def workspace_bytes(self) -> Num:
        """The three fp32 tensors of tokens x experts. [B]"""
        return 12.0 * self.tokens * self.experts

    def saved_bytes(self) -> Num:
        """Nothing. [B]"""
        return 0.0

    def input_grad(self) -> tuple[Op, ...]:
        """None: it is itself a gradient."""
        return ()

    def weight_grad(self, sums: Dtype | None = None) -> tuple[Op, ...]:
        """None: it has no weight."""
        return ()
