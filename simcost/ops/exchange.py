"""Tokens on their way to the experts (dispatch) and back (combine), as logical facts: who sends how many copies how wide.

Cost resolves them to bytes a link tier: one copy a token and destination node over the network, forwarded inside that node
(DeepEP's normal kernels), or one copy a token and expert straight to its rank (low-latency kernels, plain All2All).
Most likely to be wrong: where experts stand is a random order. Sources: DeepSeek-V3 (arXiv 2412.19437 §3.2.2), deepseek-ai/DeepEP.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from simcost.dtypes import Dtype
from simcost.frozen import frozen
from simcost.num import Num, ceil, maximum, minimum, where
from simcost.ops.work import Coords, Op, Work
from simcost.routing.load import busiest_rank, most_visited, visited
from simcost.routing.router import Router, Routing

# DeepEP `csrc/config.hpp`, get_nvl_buffer_size_hint and get_rdma_buffer_size_hint: GPUs that NVLink joins; channels, two
# multiprocessors each; beside a row its source (8 B), and room for 128 choices (8 B), weights and scales (4 B each).
_PEERS, _CHANNELS, _PER_ROW = 8.0, 10.0, 8.0 + 128.0 * (8.0 + 4.0 + 4.0)
# `deep_ep/buffer.py`, get_dispatch_config: ranks -> (rows received over NVLink at a time, rows sent to another node at
# a time, of which 128 that are received are a whole number). Numbers of ranks between take those of the next.
_FAR = 128.0
_CHUNKS = {
    8.0: (256.0, 6.0), 16.0: (288.0, 20.0), 32.0: (288.0, 32.0), 64.0: (288.0, 28.0), 128.0: (560.0, 32.0),
    144.0: (720.0, 12.0), 160.0: (720.0, 12.0),
}  # fmt: skip
MODES = ("normal", "low_latency", "nccl", "nvlink")


@frozen
class Exchange:
    """`tokens` of the rank that has most of them, of `all_tokens` of the group, each `width_bytes` on the wire (scales included),
    over `group` ranks that stand `stride` apart. `spare`: slots for copies of popular experts. `padded`: every expert is sent
    so many times its share of rows (0: as many as picked it). `direction`: dispatch or combine. `back_bytes`: a token's on the mirrored way (0: as
    wide). `auto`: nobody asked for `mode`, and where one NVLink domain holds the group an engine takes its kernels instead."""

    tokens: Num
    all_tokens: Num
    width_bytes: Num
    group: Num
    stride: Num
    router: Router
    routing: Routing
    mode: str
    direction: str
    spare: Num = 0.0
    padded: Num = 0.0
    auto: bool = False
    back_bytes: Num = 0.0
    family: ClassVar[str] = "exchange"
    gradient: ClassVar[str] = ""
    formula: ClassVar[str] = "tokens x bytes x distinct nodes (network) and GPUs (inside), or x top-k"
    source: ClassVar[str] = "arXiv 2412.19437 §3.2.2"

    @property
    def peak(self) -> str:
        """The rate of links ("wire"): it does no arithmetic that counts."""
        return "wire"

    def work(self) -> Work:
        """Zero FLOPs and bytes of memory: the cost model resolves the op to links."""
        return Work()

    def coords(self) -> Coords:
        """Direction, mode, tokens of one rank, bytes of a token and group."""
        return {
            "op": self.direction,
            "mode": self.mode,
            "tokens": self.tokens,
            "token_bytes": self.width_bytes,
            "group": self.group,
        }

    def buffer_bytes(self) -> Num:
        """What DeepEP's normal kernels hold on a rank as long as it runs, outside PyTorch's allocator; of the other
        modes nothing: NCCL's buffers are of its channels, whatever it sends. [B]"""
        if self.mode != "normal":
            return 0.0
        near = minimum(self.group, _PEERS)
        nodes = where(self.group > _PEERS, self.group / _PEERS, 0.0)
        known = sorted(_CHUNKS)
        received, sent_far = (
            where(self.group <= known[0], _CHUNKS[known[0]][part], _CHUNKS[known[-1]][part]) for part in (0, 1)
        )
        for ranks in reversed(known[:-1]):
            received = where(self.group <= ranks, _CHUNKS[ranks][0], received)
            sent_far = where(self.group <= ranks, _CHUNKS[ranks][1], sent_far)
        row = self.width_bytes + _PER_ROW
        inside = _CHANNELS * near * (received * row + 4.0 * (2.0 * maximum(nodes, 1.0) + 3.0))
        far = ceil(_FAR / sent_far) * sent_far
        away = _CHANNELS * nodes * 2.0 * (far * (row + 16.0) + 72.0) + 2.0**20
        return (inside + where(nodes > 0.0, away, 0.0)) * (self.group > 1.0)

    def rows(self) -> Num:
        """Of the busiest rank: one per token and expert."""
        share = self.all_tokens * self.router.top_k / self.group
        return share * busiest_rank(self.routing, self.router, self.all_tokens, self.group, self.spare)

    def distinct(self, parts: Num) -> Num:
        """Tokens that come to the most visited of `parts` equal parts of the ranks."""
        return self.all_tokens * most_visited(self.routing, self.router, self.all_tokens, parts, self.spare)

    def copies(self, parts: Num) -> Num:
        """Distinct ones of `parts` equal parts of the ranks that a token goes to."""
        return visited(self.routing, self.router, parts, self.spare)

    def workspace_bytes(self) -> Num:
        """What a rank keeps for it. Low-latency kernels have a slot for every token of a rank and expert, to send and to receive,
        each twice (deepseek-ai/DeepEP `csrc/config.hpp`, LowLatencyLayout); the others what the busiest rank receives."""
        if self.mode == "low_latency":
            slots = 4.0 * self.router.experts * self.tokens
        else:
            once = self.mode in ("normal", "nvlink")
            came = self.distinct(self.group) if once else self.rows()
            fixed = self.padded * self.tokens * (self.copies(self.group) if once else self.router.top_k)
            slots = where(self.padded > 0.0, fixed, came)
        return slots * self.width_bytes * (1.0 * (self.group > 1.0))

    def sent_bytes(self) -> Num:
        """What a rank sends as it stands in memory: a row a token and expert, or one per token where the kernels copy. [B]"""
        once = self.mode in ("normal", "nvlink")
        rows = self.tokens * (1.0 if once else self.router.top_k) * where(self.padded > 0.0, self.padded, 1.0)
        return rows * self.width_bytes * (1.0 * (self.group > 1.0))

    def saved_bytes(self) -> Num:
        """Nothing. [B]"""
        return 0.0

    def input_grad(self) -> tuple[Op, ...]:
        """Gradients travel the mirrored way."""
        way = "combine" if self.direction == "dispatch" else "dispatch"
        back = where(self.back_bytes > 0.0, self.back_bytes, self.width_bytes)
        return (replace(self, direction=way, width_bytes=back, back_bytes=self.width_bytes),)

    def weight_grad(self, sums: Dtype | None = None) -> tuple[Op, ...]:
        """None: it has no weight."""
        return ()
