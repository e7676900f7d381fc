"""An exchange of tokens resolved on a machine: copies that each token sends inside a node and over the network.

What curves are fitted to, and what `cost/exchange.py` makes of an Exchange. Source: deepseek-ai/DeepEP, `csrc/kernels`.
"""

from __future__ import annotations

from typing import ClassVar

from simcost.dtypes import Dtype
from simcost.frozen import frozen
from simcost.num import Num
from simcost.ops.work import Coords, Op, Work


@frozen
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
        """The rate of links ("wire"): it does no arithmetic that counts."""
        return "wire"

    @property
    def near_bytes(self) -> Num:
        """Bytes that one rank moves inside its node. [B]"""
        return self.tokens * self.width_bytes * self.near

    @property
    def far_bytes(self) -> Num:
        """Bytes that one rank moves over the network. [B]"""
        return self.tokens * self.width_bytes * self.far

    def work(self) -> Work:
        """Zero FLOPs and bytes of memory: `near_bytes` and `far_bytes` cross links."""
        return Work()

    def coords(self) -> Coords:
        """Direction, mode, tokens of one rank, group and nodes."""
        return {
            "op": self.direction,
            "mode": self.mode,
            "tokens": self.tokens,
            "group": self.group,
            "nodes": self.nodes,
        }

    def workspace_bytes(self) -> Num:
        """What one rank moves, near and far. [B]"""
        return self.near_bytes + self.far_bytes

    def saved_bytes(self) -> Num:
        """Nothing. [B]"""
        return 0.0

    def input_grad(self) -> tuple[Op, ...]:
        """The same traffic: gradients move as many bytes."""
        return (self,)

    def weight_grad(self, sums: Dtype | None = None) -> tuple[Op, ...]:
        """None: it has no weight."""
        return ()
