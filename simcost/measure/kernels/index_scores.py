"""Scores of an indexer in plain torch: a product, a rectifier and a weighted sum over its heads, a piece of the keys at a time."""

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
from simcost.measure.torch_index import scores
from simcost.ops.index_scores import IndexScores
from simcost.ops.work import Op

LIGHT = True
STAGES = {"": 7}


def build(op: Op, bench: Bench, copies: int) -> Kernel:
    """`op.heads` queries per token against one key a cached token, in the format of both. Torch has no pages: keys lie side by side whatever the op says."""
    assert isinstance(op, IndexScores)
    batch, queries, past, heads, dim = (int(float(v)) for v in (op.batch, op.q_len, op.past, op.heads, op.dim))
    x = op.x.name
    sets = [
        (bench.take((batch, queries, heads, dim), x), bench.take((batch, past + queries, dim), x), bench.uniform((batch, queries, heads)))
        for _ in range(copies)
    ]  # fmt: skip
    calls = [partial(scores, *one) for one in sets]

    def wrong() -> float:
        q, k, weight = sets[0]
        return error(calls[0](), scores(q.double(), k.double(), weight.double()))

    return Kernel(calls, wrong, tolerance(x), "torch products in pieces")


def kinds(format_: str, target: Target) -> list[Wanted]:
    """In the formats of a step: torch has no product of fp8 without scales for all of a batch."""
    x = of_a_step(format_, target)
    return [] if x is None else [({"x": x, "keys": keys}, 0.25) for keys in ("paged", "plain")]


def draw(kind: Kind, u: Unit, large: bool) -> Mapping[str, float]:
    """One query a sequence in pages, else a prompt."""
    paged = kind.table["keys"] == "paged"
    return {
        "batch": log_between(u[0], 1.0, (64.0 if paged else 2.0) if large else 2.0), "q_len": 1.0 if paged else log_between(u[1], 2.0, 1024.0 if large else 64.0),
        "past": log_between(u[2], 128.0, 65536.0 if large else 4096.0), "heads": one_of(u[3], (32.0, 64.0)), "dim": 128.0,
    }  # fmt: skip


def rounded(kind: Kind, x: Numbers) -> tuple[int, ...]:
    """Whole numbers; one query where keys lie in pages."""
    queries = 1 if kind.table["keys"] == "paged" else max(whole(x["q_len"]), 2)
    return whole(x["batch"]), queries, max(round(x["past"]), 0), whole(x["heads"]), whole(x["dim"], 8)
