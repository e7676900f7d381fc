"""Tokens on their way to the experts (dispatch) and back (combine), as logical facts: who sends how many copies how wide.

Cost resolves them to bytes a link tier: one copy a token and destination node over the network, forwarded inside that node
(DeepEP's normal kernels), or one copy a token and expert straight to its rank (low-latency kernels, plain All2All).
Most likely to be wrong: where experts stand is a random order. Sources: DeepSeek-V3 (arXiv 2412.19437 §3.2.2), deepseek-ai/DeepEP.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from simcost.num import Num
from simcost.ops.work import Coords, Op, Work
from simcost.routing import Router, Routing

MODES = ("normal", "low_latency", "nccl")


@dataclass(frozen=True, slots=True)
class Exchange:
    """`tokens` of one rank, each `width_bytes` on the wire (scales included), over `group` ranks that stand `stride` apart.
    `incast`: tokens of the busiest receiver over the mean. `direction`: dispatch or combine."""

    tokens: Num
    width_bytes: Num
    group: Num
    stride: Num
    router: Router
    routing: Routing
    incast: Num
    mode: str
    direction: str
    family: ClassVar[str] = "exchange"
    formula: ClassVar[str] = "tokens x bytes x distinct nodes (network) and GPUs (inside), or x top-k"
    source: ClassVar[str] = "arXiv 2412.19437 §3.2.2"

    @property
    def peak(self) -> str:
        return "wire"

    def work(self) -> Work:
        return Work()

    def coords(self) -> Coords:
        return {
            "op": self.direction,
            "mode": self.mode,
            "tokens": self.tokens,
            "token_bytes": self.width_bytes,
            "group": self.group,
        }

    def workspace_bytes(self) -> Num:
        """What a rank keeps for it. Low-latency kernels have a slot for every token of a rank and expert, to send and to receive,
        each twice (deepseek-ai/DeepEP `csrc/config.hpp`, LowLatencyLayout); the others what the busiest rank receives."""
        if self.mode == "low_latency":
            slots = 4.0 * self.router.experts * self.tokens
        else:
            slots = self.tokens * self.incast * (1.0 if self.mode == "normal" else self.router.top_k)
        return slots * self.width_bytes * (1.0 * (self.group > 1.0))

    def saved_bytes(self) -> Num:
        return 0.0

    def input_grad(self) -> tuple[Op, ...]:
        """Gradients travel the mirrored way."""
        back = "combine" if self.direction == "dispatch" else "dispatch"
        return (
            Exchange(
                self.tokens, self.width_bytes, self.group, self.stride, self.router, self.routing, self.incast, self.mode, back,
            ),
        )  # fmt: skip

    def weight_grad(self) -> tuple[Op, ...]:
        return ()
