"""The best blocks of each query and head, its own among them, by torch's top-k."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from simcost.measure.kernels import index_topk
from simcost.measure.kernels.kernel import Kernel
from simcost.measure.machine.target import Target
from simcost.measure.points.kernel_class import Numbers, Unit, Wanted
from simcost.measure.points.point import Kind
from simcost.measure.points.rounding import whole
from simcost.measure.points.sobol import log_between, one_of
from simcost.measure.timing.buffers import Bench, error, tolerance
from simcost.measure.torch_index import Tensor, best_blocks, own_block
from simcost.ops.index_scores import IndexTopK
from simcost.ops.work import Op

LIGHT = True
STAGES = {"": 7}
_OWN = 1e4  # more than any score, for the block that is always picked


def build(op: Op, bench: Bench, copies: int) -> Kernel:
    """Scores of all blocks of a context, for each head; of fewer than `top_k` all are picked."""
    assert isinstance(op, IndexTopK)
    assert op.block is not None
    names = ("batch", "q_len", "past", "top_k", "heads", "block")
    batch, queries, past, top_k, heads, size = (int(float(getattr(op, name))) for name in names)
    blocks = -(-(past + queries) // size)
    scores = [bench.take((batch, heads, queries, blocks), "fp32") for _ in range(copies)]
    calls = [partial(best_blocks, x, top_k, size, past) for x in scores]

    def best(picked: Tensor | None) -> Tensor:
        x = scores[0].double().scatter(-1, own_block(scores[0], size, past), _OWN)
        return (x.topk(min(top_k, blocks), -1).values if picked is None else x.gather(-1, picked)).sort(-1).values

    def wrong() -> float:
        return error(best(calls[0]()), best(None))

    return Kernel(calls, wrong, tolerance("fp32"), "torch topk")


def kinds(format_: str, target: Target) -> list[Wanted]:
    """As of keys."""
    return index_topk.kinds(format_, target)


def draw(kind: Kind, u: Unit, large: bool) -> Mapping[str, float]:
    """Every second point of one query a sequence; picks, heads and blocks as MiniMax-M3's, or the heads of a rank."""
    one = u[3] < 0.5
    return {
        "batch": log_between(u[0], 1.0, (64.0 if one else 2.0) if large else 2.0), "q_len": 1.0 if one else log_between(u[1], 2.0, 1024.0 if large else 64.0),
        "past": log_between(u[2], 2048.0, 65536.0 if large else 8192.0), "top_k": 16.0, "heads": one_of(u[4], (1.0, 4.0)), "block": 128.0,
    }  # fmt: skip


def rounded(kind: Kind, x: Numbers) -> tuple[int, ...]:
    """Whole numbers."""
    return (*index_topk.rounded(kind, x), whole(x["heads"]), whole(x["block"]))
