"""Measured rows that a step's kernels answer from, as points of a roofline: FLOP per byte that has to move, and FLOP/s that were reached."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from simcost.calibration import coverage
from simcost.calibration.family import families
from simcost.calibration.rows import kernels
from simcost.hardware import load as hardware
from simcost.num import Array
from simcost.result import Row

_MOST = 2500  # points


class Rows(NamedTuple):
    """Rows of one device. [FLOP/B], [FLOP/s]"""

    intensity: Array
    rate: Array


def measured(hw: str, tables: Sequence[Row]) -> Rows:
    """Rows of the tables of the device itself; a sibling's stand in for times, but its rates are another device's. Every n-th of many."""
    device = hardware.load(hw)
    runs = {f"{device.name}/{run.name}": run for run in coverage.every(device)}
    known = families()
    found: list[tuple[Array, Array]] = []
    for row in tables:
        name, _, which = str(row["kernel"]).partition(" ")
        run = runs.get(str(row["table"]))
        if run is None or name not in known or which not in run.kinds(name):
            continue
        labels, read = kernels(run.file(name, which), known[name])
        work = known[name].op(read.numbers, labels).work()
        flops, moved = (np.broadcast_to(np.asarray(each, float), (len(read),)) for each in (work.flops, work.bytes))
        kept = (flops > 0.0) & (moved > 0.0)
        found.append((flops[kept] / moved[kept], flops[kept] / read.seconds[kept]))
    if not found:
        return Rows(np.zeros(0), np.zeros(0))
    intensity, rate = (np.concatenate(each) for each in zip(*found, strict=True))
    step = -(-len(rate) // _MOST) or 1
    return Rows(intensity[::step], rate[::step])
