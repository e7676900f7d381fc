"""What the curves that answer for a kernel say together: the geometric mean of engines' tables, and how far they lie apart.

Most likely to be wrong: half of what two engines differ by over all, as the least by which they differ at one shape.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simcost.calibration.curve import Prediction
from simcost.calibration.family import At
from simcost.calibration.form import Terms
from simcost.calibration.store import Found
from simcost.calibration.tables import LARGE
from simcost.num import Array, Bools, Index

_MANY = 512  # points from which looking for equal ones pays
# Correlation of the errors of two engines' curves at one shape: the middle of 130 pairs on H100, H200, B200 and GB300 is 0.3, of
# GEMM in bf16, which all engines leave to one library, 0.6.
_ALIKE = 0.35
_LEAST_APART = 0.5  # of how far engines lie apart over all shapes


@dataclass(frozen=True, slots=True)
class Heard:
    """What all voices say together: seconds [n], the share of them that is start-up, sigma of the log of their curves, sigma of the log
    between engines, on a measured row, the share of the voices that have it from a sibling's rows."""

    seconds: Array
    start: Array
    sigma: Array
    between: Array
    measured: Bools
    lent: Array

    def take(self, index: Index | None) -> Heard:
        return Heard(*(np.asarray(getattr(self, name))[index] for name in self.__slots__))


def heard(found: Found, terms: Terms, points: At, part: Array | None = None) -> Heard:
    """Of all points, each kind of them asked once. terms: arrays [n], at the rates of the curves' device; part [n]: which part of a table
    each is, where voices are of several tables."""
    first, which = _distinct(points, terms)
    if first is None:
        return _together(found, terms, points, part)
    return _together(found, terms.take(first), points.take(first), None if part is None else part[first]).take(which)


def _together(found: Found, terms: Terms, points: At, part: Array | None) -> Heard:
    """The geometric mean of the voices; engines differ by what they do here, and by no less than half of what they do over all. Rows of
    an engine that was asked for do not differ from it."""
    said = [voice.curve.predict(terms, points) for voice in found.voices]
    logs = np.stack([np.log(p.seconds) for p in said])
    mean = logs.mean(axis=0)
    variance = np.mean([np.square(p.sigma) for p in said], axis=0)
    variance = variance * (1.0 + (len(said) - 1.0) * _ALIKE) / len(said)
    start = np.mean([_start(p) for p in said], axis=0)
    size = np.maximum(np.asarray(terms.compute_s), np.asarray(terms.memory_s) + np.asarray(terms.serial_s))
    table = np.where(size >= LARGE, found.between[1], found.between[0])
    lent, others = (_share(found, whose, part, mean) for whose in ("lent", "others"))
    if len(said) > 1:
        between = np.maximum(logs.std(axis=0), _LEAST_APART * table)
    else:
        between = table * others if found.asked else table + 0.0 * mean
    measured = np.all([p.measured for p in said], axis=0) & (lent <= 0.0)
    return Heard(np.exp(mean), start, np.sqrt(variance), between, measured, lent)


def _share(found: Found, whose: str, part: Array | None, like: Array) -> Array:
    """The share of the voices whose table for a point is a sibling's ("lent"), or of an engine that was not asked for ("others"). [n]"""
    total = np.zeros_like(like)
    for voice in found.voices:
        flags = np.asarray(getattr(voice, whose), np.float64)
        total = total + (flags[0] if part is None or voice.one else flags[voice.curve.table_of(part)])
    return total / len(found.voices)


def _start(p: Prediction) -> Array:
    """The share of a time that a kernel's start takes."""
    whole = p.start_s + np.maximum(p.compute_s, p.memory_s)
    return np.asarray(np.minimum(p.start_s / np.maximum(whole, 1e-30), 1.0))


def _distinct(points: At, terms: Terms) -> tuple[Index | None, Index | None]:
    """(the first of every kind of point, which kind each point is); None where nearly all differ. In a sweep of plans most points
    run the same kernels. Kinds are told apart by a 64-bit hash of their numbers: two of a million meet once in 40 million sweeps."""
    n = len(points.features)
    if n < _MANY:
        return None, None
    key = np.zeros(n, np.uint64)
    columns = [
        *points.features.T,
        *points.sites.T,
        terms.compute_s,
        terms.memory_s,
        terms.serial_s,
        terms.bytes,
        *terms.sizes,
    ]
    for column in columns:
        bits = np.ascontiguousarray(column, np.float64).view(np.uint64)
        key = (key ^ bits) * np.uint64(0x9E3779B97F4A7C15)
        key ^= key >> np.uint64(29)
    _, first, which = np.unique(key, return_index=True, return_inverse=True)
    return (first, which) if len(first) < n // 2 else (None, None)
