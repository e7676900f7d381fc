"""The least time that a kernel could take on a device, by rates probed there: what is faster was not measured whole.

The rates are those of a large product and a large copy, with room for what exceeds them: a short product under a higher
clock, and data that the L2 still holds, which comes two to three times as fast. Most likely to be wrong: nothing that
is true is refused, but half of a kernel may pass where most of its data was hot.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

from simcost.errors import SpecError
from simcost.estimate.layer import BlockSpec, listed
from simcost.measure.points.design import Rates
from simcost.measure.timing.deadline import Deadline
from simcost.measure.torch_layers.times import BlockTime
from simcost.ops.work import Op
from simcost.units import parse, show

_ROTATE = parse("1 GB", "bytes")  # of the probed copy: beyond any cache
_FLOPS, _BYTES = 1.5, 4.0  # times the probed rates
_ROUNDS = 3.0


@cache
def rates(device: str, dtype: str) -> Rates:
    """Rates of a device in a format, probed once in the process. [FLOP/s, B/s]"""
    from simcost.measure.machine.target import Target
    from simcost.measure.sampling import probe
    from simcost.measure.timing.buffers import Bench

    return probe.rates(Bench(Target(device, 1, _ROTATE, _ROTATE, (dtype,), {}), 0))


@cache
def _host(dtype: str) -> Rates:
    """Of this processor."""
    from simcost.measure.machine.target import ROTATE_CPU, Target
    from simcost.measure.sampling import probe
    from simcost.measure.timing.buffers import Bench

    return probe.rates(Bench(Target("cpu", 1, ROTATE_CPU, ROTATE_CPU, (dtype,), {}), 0))


def refuse_late(spec: BlockSpec, until: Deadline) -> None:
    """Raises SpecError for a layer that cannot be over in time on this processor, before anything large is allocated:
    its weights are filled, then one round warms up and two are timed, each of a forward pass or of three."""
    if not math.isfinite(until.left_s):
        return
    probed = _host(spec.dtype)
    ops = [item.op for item in listed(spec)]
    fill = sum(float(op.work().bytes) for op in ops) / probed.bytes_per_s
    each = sum(_about(op, probed) for op in ops) * (3.0 if spec.backward else 1.0)
    if not until.holds(fill + _ROUNDS * each):
        raise SpecError(
            f"{spec.name}: takes {show(fill + _ROUNDS * each, 'seconds', 3)} or more, "
            f"only {show(until.left_s, 'seconds', 3)} are left: choose a longer budget or a smaller layer"
        )


def _about(op: Op, probed: Rates) -> float:
    """Seconds at the probed rates: few kernels reach both."""
    work = op.work()
    rate = probed.flops_per_s.get(op.peak) or max(probed.flops_per_s.values())
    return max(float(work.flops) / rate, float(work.bytes) / probed.bytes_per_s)


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
