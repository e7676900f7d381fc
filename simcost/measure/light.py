"""The least time that a kernel could take on a device, by rates probed there: what is faster was not measured whole.

The rates are those of a large product and a large copy, with room for what exceeds them: a short product under a higher
clock, and data that the L2 still holds, which comes two to three times as fast. Most likely to be wrong: nothing that
is true is refused, but half of a kernel may pass where most of its data was hot.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from simcost.measure.blocks_timing import BlockTime
from simcost.measure.design import Rates
from simcost.ops.work import Op
from simcost.units import parse

_ROTATE = parse("1 GB", "bytes")  # of the probed copy: beyond any cache
_FLOPS, _BYTES = 1.5, 4.0  # times the probed rates


@cache
def rates(device: str, dtype: str) -> Rates:
    """Probed once a device and format."""
    from simcost.measure import probe
    from simcost.measure.bench import Bench
    from simcost.measure.target import Target

    return probe.rates(Bench(Target(device, 1, _ROTATE, _ROTATE, (dtype,), {}), 0))


def least(op: Op, probed: Rates) -> float:
    """Seconds that the arithmetic, or the bytes, take at the very least."""
    work = op.work()
    rate = probed.flops_per_s.get(op.peak) or max(probed.flops_per_s.values())
    return max(float(work.flops) / (_FLOPS * rate), float(work.bytes) / (_BYTES * probed.bytes_per_s))


def credible(found: BlockTime, probed: Rates) -> BlockTime:
    """The block without sections that are faster than light, and without classes that such a section is part of."""
    refused = tuple(one.name for one in found.ops if one.time.seconds < least(one.op, probed))
    kept = tuple(one for one in found.ops if one.name not in refused)
    whole = tuple(one for one in found.fused if not any(name.startswith(one.name + "/") for name in refused))
    return replace(found, ops=kept, fused=whole, refused=refused)
