"""An exchange of tokens resolved on a machine: copies that each token sends inside a node and over the network.

What curves are fitted to, and what `cost/exchange.py` makes of an Exchange. Source: deepseek-ai/DeepEP, `csrc/kernels`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from simcost.dtypes import Dtype
from simcost.num import Num
from simcost.ops.work import Coords, Op, Work


@dataclass(frozen=True, slots=True)
class Traffic:
    """`tokens` of one rank, `width_bytes` each; `near`, `far`: copies a token that leave a rank inside its node and over the
    network; `nodes` of `group` ranks; `sms`: multiprocessors that move them."""

    tokens: Num
    width_bytes: Num
    near: Num
    far: Num
    group: Num
    nodes: Num
    sms: Num
    mode: str
    direction: str
    family: ClassVar[str] = "exchange"
    gradient: ClassVar[str] = ""
    formula: ClassVar[str] = "tokens x bytes x copies"
    source: ClassVar[str] = "deepseek-ai/DeepEP"

    @property
    def peak(self) -> str:
        return "wire"

    @property
    def near_bytes(self) -> Num:
        return self.tokens * self.width_bytes * self.near

    @property
    def far_bytes(self) -> Num:
        return self.tokens * self.width_bytes * self.far

    def work(self) -> Work:
        return Work()

    def coords(self) -> Coords:
        return {
            "op": self.direction,
            "mode": self.mode,
            "tokens": self.tokens,
            "group": self.group,
            "nodes": self.nodes,
        }

    def workspace_bytes(self) -> Num:
        return self.near_bytes + self.far_bytes

    def saved_bytes(self) -> Num:
        return 0.0

    def input_grad(self) -> tuple[Op, ...]:
        return (self,)

    def weight_grad(self, sums: Dtype | None = None) -> tuple[Op, ...]:
        return ()
