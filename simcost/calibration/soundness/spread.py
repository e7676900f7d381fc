"""How far engines, and sibling parts, lie apart at equal shapes: sigma of the log, by family and arithmetic.

P90 of |log ratio| over 1.645, and over the square root of two where two engines differ from a truth between them. Most likely to be
wrong: kernels that all engines share make them look alike; what tables cannot know stands apart (`cost/calibrated.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from simcost.calibration.soundness.evidence import LEAST, Evidence, shared
from simcost.calibration.soundness.picks import Pick
from simcost.calibration.tables import LARGE
from simcost.frozen import frozen
from simcost.hardware.siblings import siblings
from simcost.num import Z90_STATED, Array


@frozen
class Spread:
    """Sigma of the log: between engines and between siblings, of kernels below and above LARGE of light."""

    family: str
    kind: str
    engine_small: float
    engine_large: float
    sibling_small: float
    sibling_large: float
    rows: int


def measured(picks: Sequence[Pick]) -> list[Spread]:
    """Spreads by family and kind, over all devices, from the tables that engines would pick as their own."""
    groups: dict[tuple[str, str], list[Evidence]] = {}
    for pick in picks:
        if pick.how == "own":
            groups.setdefault((pick.family, pick.kind), []).append(pick.tables[0])
    found = []
    for (family, which), tables in sorted(groups.items()):
        engines, siblings = _joined(_between_engines(tables)), _joined(_between_siblings(tables))
        values = [_sigma(part, part_large) for part in (engines, siblings) for part_large in (False, True)]
        small, large = (value / np.sqrt(2.0) for value in values[:2])
        if np.isfinite([small, large, *values[2:]]).any():
            found.append(Spread(family, which, float(small), float(large), values[2], values[3], len(engines[0])))
    return found


def _between_engines(tables: Sequence[Evidence]) -> Iterator[tuple[Array, Array]]:
    for i, one in enumerate(tables):
        for other in tables[i + 1 :]:
            if one.device.name == other.device.name and one.engine != other.engine:
                yield _apart(one, other, False)


def _between_siblings(tables: Sequence[Evidence]) -> Iterator[tuple[Array, Array]]:
    for i, one in enumerate(tables):
        for other in tables[i + 1 :]:
            if other.device.name in siblings(one.device.name) and one.engine == other.engine:
                yield _apart(one, other, True)


def _apart(one: Evidence, other: Evidence, scaled: bool) -> tuple[Array, Array]:
    """(|log ratio|, light) of equal shapes; `scaled`: by the ratio of their lights."""
    mine, theirs = shared(one, other)
    ratio = one.rows.seconds[mine] / other.rows.seconds[theirs]
    if scaled:
        ratio = ratio * other.light_s[theirs] / one.light_s[mine]
    return np.abs(np.log(ratio)), one.light_s[mine]


def _joined(pairs: Iterator[tuple[Array, Array]]) -> tuple[Array, Array]:
    found = list(pairs)
    if not found:
        return np.zeros(0), np.zeros(0)
    return np.concatenate([a for a, _ in found]), np.concatenate([b for _, b in found])


def _sigma(part: tuple[Array, Array], large: bool) -> float:
    apart, light = part
    chosen = apart[(light >= LARGE) == large]
    return float(np.quantile(chosen, 0.9) / Z90_STATED) if len(chosen) >= LEAST else float("nan")
