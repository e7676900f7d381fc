"""The list of points of a run: half off-grid, half anchored, everything that would not fit or take too long left out.

How long a call takes is guessed from two probes (a product in each format, a copy): good to a factor of three, which is
enough to leave out the calls that would eat the budget. What is left out is counted and recorded. Most likely to be wrong: that
guess for kernels that fall to a slow path.
"""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from simcost.frozen import frozen
from simcost.measure.machine.target import Target
from simcost.measure.points import order
from simcost.measure.points.anchors import anchors, attention_gradients
from simcost.measure.points.kernel_class import said
from simcost.measure.points.kinds import Mode
from simcost.measure.points.point import Kind, Point, alternated, in_turn, unique
from simcost.measure.points.sobol import space
from simcost.model.spec import ModelSpec
from simcost.ops.fused import Fused
from simcost.ops.grouped_gemm import GroupedGemm
from simcost.ops.work import Op

_PATIENCE = 40  # off-grid points looked at for one that may be taken
_SHARE = 0.3  # of the probed rate: what an ordinary kernel reaches


@frozen
class Rates:
    """Probed: FLOP/s by format, bytes/s of a copy."""

    flops_per_s: Mapping[str, float]
    bytes_per_s: float

    def seconds(self, op: Op) -> float:
        """A guess of the time of one call: arithmetic and bytes one after the other, each at 0.3 of the probed rate. [s]"""
        work = op.work()
        rate = self.flops_per_s.get(op.peak) or max(self.flops_per_s.values(), default=math.inf)
        return float(work.flops) / (_SHARE * rate) + float(work.bytes) / (_SHARE * self.bytes_per_s)


@dataclass
class Design:
    """points in the order of the first pass; left_out: reason -> how many."""

    points: list[Point] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def footprint(op: Op) -> float:
    """Bytes of the tensors of one call; experts that nobody touches are held all the same. [B]"""
    if isinstance(op, Fused):
        return sum(footprint(part) for part in op.parts)
    total = float(op.work().bytes)
    if isinstance(op, GroupedGemm):
        spare = max(float(op.held) - float(op.experts), 0.0)
        total += spare * float(op.w.matrix_bytes(op.n, op.k))
    return total


def design(
    wanted: Mapping[Kind, int],
    specs: Sequence[ModelSpec],
    target: Target,
    mode: Mode,
    mode_name: str,
    rates: Rates,
    seed: int,
) -> Design:
    """Points of every kind, interleaved. `wanted`: points of each kind. A quick run goes stage after stage, so that a minute has
    whole kinds; other runs add the anchors beyond a kind's half."""
    found = Design()

    def allowed(point: Point) -> bool:
        why = reason(point, target, mode, rates)
        if why:
            found.left_out[why] += 1
        return not why

    rng = random.Random(seed)
    shards = (1.0, 8.0) if mode_name == "full" else (1.0,)
    sites = anchors(specs, wanted, anchored_formats(target, mode_name), shards) if specs else []
    sites = unique([*sites, *attention_gradients(sites, wanted)])
    by_kind: dict[Kind, list[Point]] = {kind: [] for kind in wanted}
    for point in sites:
        if allowed(point):
            by_kind[point.kind].append(point)
    queues: dict[Kind, list[Point]] = {}
    for kind, count in wanted.items():
        mine = by_kind[kind]
        rng.shuffle(mine)
        half = -(-count // 2)
        if mode_name == "quick" or said(kind.family, "LIGHT", False):
            mine = mine[: count - half]
        free = _off_grid(kind, max(half, count - len(mine)), target, mode, rates, seed)
        if not free and not mine:
            found.left_out[f"{kind}: no point fits"] += 1
            continue
        queues[kind] = unique(alternated(free, mine))
    stages = order.stages(queues, target) if mode_name == "quick" else [queues]
    found.points = in_turn(queues, stages, rng)
    return found


def anchored_formats(target: Target, mode_name: str) -> list[str]:
    """Formats whose layers are measured one by one: the main one and the narrow ones, which models are served in; in a full
    run all."""
    wide = ("fp32", "tf32", "fp16", "bf16")
    found = [name for name in target.formats if name == target.main or name not in wide or mode_name == "full"]
    if "fp8" in found and "fp8_block" in target.absent:
        found.append("fp8_block")  # its experts are measured all the same, by our own kernel
    return found


def reason(point: Point, target: Target, mode: Mode, rates: Rates) -> str:
    """Why a point is left out, "" for one that is measured."""
    op = point.op
    if footprint(op) > target.memory:
        return "more than the device's memory allows"
    if rates.seconds(op) > mode.call_s:
        return "a call would take too long for this mode"
    return ""


def _off_grid(kind: Kind, count: int, target: Target, mode: Mode, rates: Rates, seed: int) -> list[Point]:
    """The first `count` points of the kind's sequence that may be measured."""
    looked = itertools.islice(space(kind, target.cuda, seed), count * _PATIENCE)
    good = (point for point in looked if not reason(point, target, mode, rates))
    return list(itertools.islice(good, count))
