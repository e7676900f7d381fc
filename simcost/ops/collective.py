"""What must cross links, as logical facts: payload, group, and how far apart its members stand. Cost resolves them to
links, algorithms and time."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

from simcost.dtypes import Dtype
from simcost.frozen import frozen
from simcost.num import Num
from simcost.ops.work import Coords, Op, Work

Kind = Literal["all_reduce", "all_gather", "reduce_scatter", "all_to_all", "p2p"]

# Multiprocessors that a ring exchange holds, of tensor-parallel chunks, of keys and values, from stage to stage: NVIDIA Megatron Bridge,
# comm_overlap.RingExchangeOverlapCfg (num_sm = 1).
RING = 1.0


@frozen
class Collective:
    """`payload` bytes: the reduced tensor (all_reduce), the gathered tensor (all_gather), the one to be scattered
    (reduce_scatter), what one rank sends to *other* ranks (all_to_all), to the next one (p2p: `group` is 2 where something
    moves). A group of one moves nothing. `stride`: ranks between neighbours of the group, 1 when they are adjacent. `again`: what is gathered is the input of a product, of which a rank keeps its part
    alone, so that the weight's gradient needs it gathered once more. `shares`: what its ranks share out, a layer's width (tensor parallelism)
    or a sequence (context parallelism): tables name time by it."""

    kind: Kind
    payload: Num
    group: Num
    stride: Num = 1.0
    again: bool = False
    shares: Literal["width", "sequence"] = "width"
    family: ClassVar[str] = "collective"
    gradient: ClassVar[str] = ""
    formula: ClassVar[str] = "ring all-reduce 2(n-1)/n·S, all-gather (n-1)/n·S, All2All remote bytes"
    source: ClassVar[str] = "alpha-beta model, Thakur et al. 2005"

    @property
    def peak(self) -> str:
        """The rate of links ("wire"): it does no arithmetic that counts."""
        return "wire"

    def work(self) -> Work:
        """Zero FLOPs and bytes of memory: the cost model resolves the op to links."""
        return Work()

    def coords(self) -> Coords:
        """Kind, payload [B], group and stride."""
        return {"op": self.kind, "payload_bytes": self.payload, "group": self.group, "stride": self.stride}

    def workspace_bytes(self) -> Num:
        """The payload; 0 in a group of one. [B]"""
        return self.payload * (self.group > 1.0)

    def saved_bytes(self) -> Num:
        """Nothing. [B]"""
        return 0.0

    def input_grad(self) -> tuple[Op, ...]:
        """One collective with the same payload: all-gather and reduce-scatter change places, every other kind stays."""
        adjoint: dict[Kind, Kind] = {"all_gather": "reduce_scatter", "reduce_scatter": "all_gather"}
        return (replace(self, kind=adjoint.get(self.kind, self.kind), again=False),)

    def weight_grad(self, sums: Dtype | None = None) -> tuple[Op, ...]:
        """The same gather once more where the product behind it needs its input `again` (Megatron Core, sequence parallelism), else none: it has no weight."""
        return (replace(self, again=False),) if self.again else ()


@frozen
class Copied(Collective):
    """A gather of what every rank then works on alike: of the gradient, which all of them have, each takes its part."""

    def input_grad(self) -> tuple[Op, ...]:
        """None: nothing is sent."""
        return ()
