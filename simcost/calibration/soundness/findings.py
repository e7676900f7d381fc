"""Anyone's table beside those that ship: the same rule that chose them, at equal shapes or by a shipped table's curve.

Thinned tables share few shapes with rows of somebody else's grid. Where they share one the shipped row stands, elsewhere what the shipped
table's curve says, as far as it is sure. Most likely to be wrong: a curve between rows of another grid; `SURE` keeps it to less than
the least factor by which the rule asks one table to beat another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from simcost.calibration.curves.curve import Curve
from simcost.calibration.family import families
from simcost.calibration.parts import part_of
from simcost.calibration.rows import Rows, shown
from simcost.calibration.soundness import row_filters
from simcost.calibration.soundness.evidence import (
    CLASSES,
    LEAST,
    Evidence,
    evidence,
    ladders,
    median_ratio,
    more,
    shared,
)
from simcost.calibration.soundness.groups import wider
from simcost.calibration.soundness.verdicts import judged
from simcost.calibration.store import row_terms
from simcost.frozen import frozen
from simcost.num import Z90, Array, Bools

SURE = 0.35  # log of the 90 % interval's half-width: log 1.4
FAR_UNITS = 100.0  # so many times another table's, or of light where there is none: no kernel, another unit
LEAST_SHARE = 1e-3  # of the datasheet's rates: the median row of every kind that ships reaches more
_UNITS = {3: "milliseconds", 6: "microseconds", 9: "nanoseconds"}
FALLS = 1.02  # a time that falls by more than this along a ladder


@frozen
class Other:
    """A table to compare with, and its curve when that is asked for."""

    table: Evidence
    curve: Callable[[], Curve]


@frozen
class Rival:
    """A table at the shapes of another. `equal`: at so many it has rows of its own, elsewhere its curve says."""

    table: Evidence
    equal: int

    @property
    def by_curve(self) -> int:
        """Number of rows whose time is the curve's."""
        return len(self.table) - self.equal


@frozen
class Dropped:
    """Rows that a filter took out: how many, why, the worst of them in words, its time [s] and by what factor it is off."""

    why: str
    rows: int
    worst: str
    seconds: float
    factor: float


@frozen
class Finding:
    """What the rule says of a table. `table`: as it came; `left`: without the rows that fell; `why`: "" where it is sound;
    `rivals`: tables of the same kind that it could be held against."""

    table: Evidence
    left: Evidence
    why: str
    dropped: tuple[Dropped, ...]
    rivals: tuple[Rival, ...]

    @property
    def enough(self) -> bool:
        """Whether enough rows are left for any verdict."""
        return len(self.left) >= LEAST

    def ratio(self, rival: Rival, mask: Bools | None = None) -> float | None:
        """Median of this table's times over the rival's, of rows of a mask; None where too few can be compared."""
        return median_ratio(self.left, rival.table, np.ones(len(self.left), bool) if mask is None else mask)

    @property
    def best(self) -> tuple[Rival, float] | None:
        """The fastest rival, and how many times its time this table takes."""
        found = [(rival, ratio) for rival in self.rivals if (ratio := self.ratio(rival)) is not None]
        return max(found, key=lambda pair: pair[1], default=None)

    @property
    def falling(self) -> float | None:
        """Share of the steps up a ladder at which the time falls; None without a ladder."""
        return falling(self.table)


def examined(table: Evidence, others: Sequence[Other]) -> Finding:
    """What the rule says of a table beside `others`: tables of the device, of this kind and of the format that the rule holds it
    against."""
    wide = wider(table.family, table.labels)
    which = {table.kind, *(["-".join(wide.values())] if wide else [])}
    beside = [rival for one in others if one.table.kind in which and (rival := at_shapes(table, one)) is not None]
    rivals = tuple(one for one in beside if one.table.kind == table.kind)
    unit = units(table, rivals)
    first = judged([table, *(rival.table for rival in beside)])[0]
    return Finding(table, first.table, unit or first.why, tuple(drops(table, first.table)), rivals)


def at_shapes(table: Evidence, other: Other) -> Rival | None:
    """Another table at the shapes of this one: its rows, elsewhere its curve as far as that is sure; None where nothing can be said."""
    family, labels, rows = families()[table.family], other.table.labels, table.rows
    terms, points = row_terms(family, rows, labels, table.device)
    said = other.curve().predict(terms, points)
    seconds = np.array(said.seconds)
    mine, theirs = shared(table, other.table)
    seconds[mine] = other.table.rows.seconds[theirs]
    held = np.isin(part_of(table.family, rows.numbers), part_of(table.family, other.table.rows.numbers))
    good = np.isfinite(seconds) & held & (Z90 * said.sigma <= SURE)
    good[mine] = True
    if int(good.sum()) < LEAST:
        return None
    beside = evidence(
        table.device,
        table.family,
        labels,
        Rows(rows.numbers, seconds),
        other.table.engine,
        other.table.version,
        table.variant,
    )
    return Rival(beside.take(good), len(mine))


def units(table: Evidence, rivals: Sequence[Rival]) -> str:
    """A doubt about the unit of the times, "" where there is none: they are hundreds of times those of every other table, or of light."""
    ratios = [(r, one.table.name) for one in rivals if (r := median_ratio(table, one.table, _all(table))) is not None]
    if ratios:
        factor, name = min(ratios, key=lambda pair: abs(np.log(pair[0])))
        against = f"those of {name}"
        doubted = max(factor, 1.0 / factor) > FAR_UNITS
    else:
        factor, against = float(np.median(table.ratio)), "their light"
        doubted = factor > 1.0 / LEAST_SHARE or factor < row_filters.FASTER / 2.0
    if not doubted:
        return ""
    unit = _UNITS.get(round(float(np.log10(factor)))) if ratios else None
    like = f" (they look like {unit})" if unit else ""
    return f"are 'seconds' in seconds{like}? They are {factor:.3g} times {against}"


def drops(table: Evidence, left: Evidence) -> list[Dropped]:
    """What the filters of rows took out, one by one, and what the rule took out after them."""
    found: list[Dropped] = []
    rest = table
    for why, bad in row_filters.FILTERS.items():
        mask = bad(rest)
        if mask.any():
            off = row_filters.excess(rest) if bad is row_filters.spikes else rest.ratio
            worst = -off if bad is row_filters.too_fast else off
            found.append(_dropped(rest, mask, why, worst, off))
            rest = rest.take(~mask)
    for why, count in left.dropped.items():
        if why not in row_filters.FILTERS:
            mask = ~np.isin(rest.key, left.key)
            found.append(_dropped(rest, mask, why, np.where(rest.tiny, 0.0, rest.ratio), rest.ratio, count))
    return found


def _dropped(table: Evidence, mask: Bools, why: str, worst: Array, off: Array, count: int | None = None) -> Dropped:
    at = int(np.flatnonzero(mask)[np.argmax(worst[mask])])
    rows = int(mask.sum()) if count is None else count
    return Dropped(why, rows, shown(table.rows.numbers, at), float(table.rows.seconds[at]), float(off[at]))


def falling(table: Evidence) -> float | None:
    """Share of the steps up a ladder at which the time falls by more than noise; None without a ladder of two rungs."""
    steps = falls = 0
    for running in ladders(table.family):
        order, follows = row_filters.rungs(table, running)
        seconds = table.rows.seconds[order]
        up = follows & more(table, order[:-1], order[1:])
        steps += int(up.sum())
        falls += int((up & (seconds[:-1] > FALLS * seconds[1:])).sum())
    return falls / steps if steps else None


def classes(table: Evidence) -> dict[str, Bools]:
    """Rows by what bounds them, as the rule looks at them: tiny ones, and large ones bound by compute or by memory."""
    return {"tiny": table.tiny, **{name: table.of(name) & table.large for name in CLASSES}}


def _all(table: Evidence) -> Bools:
    return np.ones(len(table), bool)
