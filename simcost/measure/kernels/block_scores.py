"""Scores of blocks of keys in plain torch: a product and the largest of a block, for each head, a piece of the keys at a time."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from simcost.measure.kernels.kernel import Kernel
from simcost.measure.machine.target import Target
from simcost.measure.points.kernel_class import Numbers, Unit, Wanted, of_a_step
from simcost.measure.points.point import Kind
from simcost.measure.points.rounding import whole
from simcost.measure.points.sobol import log_between, one_of
from simcost.measure.timing.buffers import Bench, error, tolerance
from simcost.measure.torch_index import block_scores
from simcost.ops.index_scores import IndexScores
from simcost.ops.work import Op

LIGHT = True
STAGES = {"": 7}
_BEHIND = -1e4  # no product is less; a block behind its query has the least number of the format (-65,504 in fp16)


def build(op: Op, bench: Bench, copies: int) -> Kernel:
    """`op.heads` queries per token against one key a cached token, in the format of both."""
    assert isinstance(op, IndexScores)
    assert op.block is not None
    batch, queries, past, heads, dim = (int(float(v)) for v in (op.batch, op.q_len, op.past, op.heads, op.dim))
    x, size = op.x.name, int(float(op.block))
    sets = [
        (bench.take((batch, queries, heads, dim), x), bench.take((batch, past + queries, dim), x))
        for _ in range(copies)
    ]  # fmt: skip
    calls = [partial(block_scores, *one, size, past) for one in sets]

    def wrong() -> float:
        q, k = sets[0]
        got, want = calls[0](), block_scores(q.double(), k.double(), size, past)
        seen = want > _BEHIND
        return error(got[seen], want[seen]) if bool(((got > _BEHIND) == seen).all()) else 1.0

    return Kernel(calls, wrong, tolerance(x), "torch products in pieces")


def kinds(format_: str, target: Target) -> list[Wanted]:
    """In the formats of a step: torch has no product of fp8 without scales for all of a batch."""
    x = of_a_step(format_, target)
    return [] if x is None else [({"x": x}, 0.3)]


def draw(kind: Kind, u: Unit, large: bool) -> Mapping[str, float]:
    """Every second point of one query a sequence; heads and blocks as MiniMax-M3's, or those of a rank."""
    one = u[3] < 0.5
    return {
        "batch": log_between(u[0], 1.0, (64.0 if one else 2.0) if large else 2.0), "q_len": 1.0 if one else log_between(u[1], 2.0, 1024.0 if large else 64.0),
        "past": log_between(u[2], 128.0, 65536.0 if large else 4096.0), "heads": one_of(u[4], (1.0, 4.0)), "dim": 128.0, "block": 128.0,
    }  # fmt: skip


def rounded(kind: Kind, x: Numbers) -> tuple[int, ...]:
    """Whole numbers."""
    return (
        whole(x["batch"]), whole(x["q_len"]), max(round(x["past"]), 0), whole(x["heads"]), whole(x["dim"], 8), whole(x["block"]),
    )  # fmt: skip
