"""Candidates of an importer -> a run folder: rows beyond physics out, the rest thinned, everything left out recorded."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from simcost.calibration.candidate import Candidate
from simcost.calibration.family import families, kind
from simcost.calibration.record import to_toml
from simcost.calibration.rows import Rows, row_file, written
from simcost.calibration.score import Score, joined, scored
from simcost.calibration.speed_of_light import on_wire, row_light
from simcost.calibration.store import fitted, row_terms
from simcost.calibration.thinning import thinned
from simcost.errors import SpecError
from simcost.files import folder_in_place_of
from simcost.frozen import frozen
from simcost.hardware.profile import Device

MARGIN = 1.02  # clocks above the datasheet's
MOST_EXCLUDED = 0.03  # share of rows beyond the datasheet: with more the table is of another unit or device
ROWS = 1300  # of a kind that need not ship: with 600 the intervals of experts are up to half again as wide


@frozen
class Chosen:
    """Rows of one kind that a run keeps. `beyond`: rows above the datasheet's rates; `kept` None: too many of them. `share`
    of the datasheet's rates that the median row reaches. `rest`: the curve through the kept rows on those that were thinned
    away; `excluded`: on those left out for a reason whose work is known; `both`: on all of them, what the error would be
    without exclusions."""

    candidate: Candidate
    beyond: int
    kept: Rows | None
    share: float = 1.0
    rest: Score | None = None
    excluded: Score | None = None

    @property
    def both(self) -> Score | None:
        """Score on the thinned-away and the excluded rows together; None unless there are rows of both."""
        return None if self.rest is None or self.excluded is None else joined([self.rest, self.excluded])

    @property
    def kind(self) -> str:
        """Its labels as one word."""
        return kind(self.candidate.labels)

    def record(self) -> dict[str, Any]:
        """The lines of run.toml about it."""
        found: dict[str, Any] = {
            "table": self.candidate.table,
            "kernels": list(self.candidate.kernels),
            "rows_in_table": len(self.candidate.seconds),
            "rows": 0 if self.kept is None else len(self.kept),
            "above_datasheet": self.beyond,
        }
        if self.candidate.dropped:
            found["left_out"] = [f"{count} rows: {reason}" for reason, count in self.candidate.dropped.items()]
        for name, score in (("unused", self.rest), ("excluded", self.excluded), ("with_excluded", self.both)):
            if score is not None:
                found[f"{name}_rows"] = len(score.measured)
                found[f"{name}_median_error"], found[f"{name}_p90_error"] = round(score.median, 4), round(score.p90, 4)
                found[f"{name}_coverage"] = round(score.coverage, 3)
        if self.kept is None:
            found["dropped"] = f"more than {MOST_EXCLUDED:.0%} of the rows are faster than the datasheet allows"
        return found


def choose(candidate: Candidate, device: Device, count: int = ROWS, judged: bool = False) -> Chosen:
    """Apply the rule: out with rows above 1.02 x peak FLOP/s, or above 1.02 x memory bandwidth with a footprint beyond
    twice the L2; a table with more than 3 % of them is dropped whole; the rest is thinned. `judged`: the rules of
    `simcost.calibration.soundness` have been applied, and all rows stand."""
    family = families()[candidate.family]
    rows = Rows(candidate.numbers, candidate.seconds)
    terms, points = row_terms(family, rows, candidate.labels, device)
    cache = 0.0 if device.l2 is None else float(np.max(device.l2))
    too_fast = terms.compute_s > MARGIN * rows.seconds
    if not on_wire(candidate.family):
        too_fast = too_fast | ((terms.memory_s > MARGIN * rows.seconds) & (terms.bytes > 2.0 * cache))
    too_fast = too_fast & (not judged)
    beyond = int(np.sum(too_fast))
    share = float(np.median(row_light(candidate.family, terms) / rows.seconds))
    if beyond > MOST_EXCLUDED * len(rows):
        return Chosen(candidate, beyond, None)
    good = np.flatnonzero(~too_fast)
    index = good[thinned(points.features[good], count)]
    kept = rows.take(index)
    unused = rows.take(np.setdiff1d(good, index))
    left = [
        part for part in (rows.take(np.flatnonzero(too_fast)), candidate.excluded) if part is not None and len(part)
    ]
    if not (len(unused) or left):
        return Chosen(candidate, beyond, kept, share)
    curve = fitted(family, kept, candidate.labels, device)  # judged on rows that it will never see
    excluded = [scored(curve, family, part, candidate.labels, device) for part in left]
    rest = scored(curve, family, unused, candidate.labels, device) if len(unused) else None
    return Chosen(candidate, beyond, kept, share, rest, joined(excluded) if excluded else None)


def write_run(target: Path, record: dict[str, Any], chosen: Iterable[Chosen]) -> dict[str, Any]:
    """Writes a whole run folder in place of `target`, or none. Returns its record.

    Raises SpecError when the place cannot be written or holds something else than a run."""
    if target.exists() and not (target / "run.toml").is_file():
        raise SpecError(f"{target}: exists and is not a measurement run")
    kinds: dict[str, Any] = {}
    with folder_in_place_of(target) as new:
        for one in chosen:
            kinds[f"{one.candidate.family}/{one.kind}"] = one.record()
            if one.kept is not None:
                path = row_file(new, one.candidate.family, one.kind)
                path.parent.mkdir(exist_ok=True)
                path.write_text(written(families()[one.candidate.family], one.kept), encoding="utf-8")
        full = {**record, "kinds": kinds}
        (new / "run.toml").write_text(to_toml(full), encoding="utf-8")
    return full
