"""What the curves that answer for a kernel say together: the geometric mean of engines' tables, and how far they lie apart.

Most likely to be wrong: half of what two engines differ by over all, as the least by which they differ at one shape.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence

import numpy as np

from simcost.calibration.curves.curve import Prediction
from simcost.calibration.family import At, families
from simcost.calibration.form import Terms
from simcost.calibration.parts import part_of
from simcost.calibration.store import Found
from simcost.calibration.tables import LARGE
from simcost.frozen import frozen
from simcost.num import Mask, Num, exp, log, maximum, minimum, sqrt, where
from simcost.ops.work import Op

# Correlation of the errors of two engines' curves at one shape: the middle of 130 pairs on H100, H200, B200 and GB300 is 0.3, of
# GEMM in bf16, which all engines leave to one library, 0.6.
_ALIKE = 0.35
_LEAST_APART = 0.5  # of how far engines lie apart over all shapes


@frozen
class Heard:
    """What all voices say together: seconds [n], the share of them that is start-up, sigma of the log of their curves, sigma of the log
    between engines, on a measured row, the share of the voices that have it from a sibling's rows."""

    seconds: Num
    start: Num
    sigma: Num
    between: Num
    measured: Mask
    lent: Num


def heard(found: Found, terms: Terms, points: At, part: Num | None = None) -> Heard:
    """The geometric mean of the voices; engines differ by what they do here, and by no less than half of what they do over all. Rows of
    an engine that was asked for do not differ from it. terms: arrays [n] or numbers of one point, at the rates of the curves' device; part
    [n]: which part of a table each point is, where voices are of several tables."""
    said = [voice.curve.predict(terms, points) for voice in found.voices]
    logs = [log(p.seconds) for p in said]
    mean = _mean(logs)
    variance = _mean([p.sigma * p.sigma for p in said])
    variance = variance * (1.0 + (len(said) - 1.0) * _ALIKE) / len(said)
    start = _mean([_start(p) for p in said])
    size = maximum(terms.compute_s, terms.memory_s + terms.serial_s)
    table = where(size >= LARGE, found.between[1], found.between[0])
    lent, others = (_share(found, whose, part, mean) for whose in ("lent", "others"))
    if len(said) > 1:
        apart = sqrt(_mean([(each - mean) * (each - mean) for each in logs]))
        between = maximum(apart, _LEAST_APART * table)
    else:
        between = table * others if found.asked else table + 0.0 * mean
    measured = functools.reduce(operator.and_, (p.measured for p in said)) & (lent <= 0.0)
    return Heard(exp(mean), start, sqrt(variance), between, measured, lent)


def _mean(values: Sequence[Num]) -> Num:
    """Of a few numbers or arrays, element by element."""
    return functools.reduce(operator.add, values) / len(values)


def _share(found: Found, whose: str, part: Num | None, like: Num) -> Num:
    """The share of the voices whose table for a point is a sibling's ("lent"), or of an engine that was not asked for ("others"). [n]"""
    total = 0.0 * like
    for voice in found.voices:
        flags = getattr(voice, whose)
        if part is None or voice.one:
            total = total + float(flags[0])
        else:
            total = total + np.asarray(flags, np.float64)[voice.curve.table_of(part)]
    return total / len(found.voices)


def _start(p: Prediction) -> Num:
    """The share of a time that a kernel's start takes."""
    whole = p.start_s + maximum(p.compute_s, p.memory_s)
    return minimum(p.start_s / maximum(whole, 1e-30), 1.0)


def part_asked(name: str, op: Op, found: Found) -> tuple[Num, ...]:
    """Which part of a table an op is (`parts.part_of`); empty where every voice is of one table."""
    if all(voice.one for voice in found.voices):
        return ()
    numbers = families()[name].numbers(op)
    return (part_of(name, {column: np.asarray(value, np.float64) for column, value in numbers.items()}),)
