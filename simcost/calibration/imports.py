"""Candidates of an importer -> a run folder: rows beyond physics out, the rest thinned, everything left out recorded."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simcost.calibration import rows as tables
from simcost.calibration.family import families, kind
from simcost.calibration.importers._tables import Candidate
from simcost.calibration.rows import Rows
from simcost.calibration.score import scored
from simcost.calibration.store import fitted, row_terms
from simcost.calibration.thin import thinned
from simcost.errors import SpecError
from simcost.hardware.profile import Device

MARGIN = 1.02  # clocks above the datasheet's
MOST_EXCLUDED = 0.03
ROWS = 1300


@dataclass(frozen=True, slots=True)
class Chosen:
    """Rows of one kind that a run keeps. `beyond`: rows above the datasheet's rates; `kept` None: too many of them. `rest`:
    (n, median, P90, coverage) of the curve through the kept rows on those that were thinned away."""

    candidate: Candidate
    beyond: int
    kept: Rows | None
    rest: tuple[int, float, float, float] | None = None

    @property
    def kind(self) -> str:
        return kind(self.candidate.labels)

    def record(self) -> dict[str, Any]:
        """What run.toml says of it."""
        found: dict[str, Any] = {
            "table": self.candidate.table,
            "kernels": list(self.candidate.kernels),
            "rows_in_table": len(self.candidate.seconds),
            "rows": 0 if self.kept is None else len(self.kept),
            "above_datasheet": self.beyond,
        }
        if self.candidate.dropped:
            found["left_out"] = [f"{count} rows: {reason}" for reason, count in self.candidate.dropped.items()]
        if self.rest is not None:
            n, median, p90, coverage = self.rest
            found["unused_rows"] = n
            found["unused_median_error"], found["unused_p90_error"] = round(median, 4), round(p90, 4)
            found["unused_coverage"] = round(coverage, 3)
        if self.kept is None:
            found["dropped"] = f"more than {MOST_EXCLUDED:.0%} of the rows stand above the datasheet's rates"
        return found


def choose(candidate: Candidate, device: Device, count: int = ROWS) -> Chosen:
    """Apply the rule: out with rows above 1.02 x peak FLOP/s, or above 1.02 x memory bandwidth with a footprint beyond
    twice the L2; a table with more than 3 % of them is dropped whole; the rest is thinned."""
    family = families()[candidate.family]
    rows = Rows(candidate.numbers, candidate.seconds)
    terms, points = row_terms(family, rows, candidate.labels, device)
    cache = 0.0 if device.l2 is None else float(np.max(device.l2))
    too_fast = terms.compute_s > MARGIN * rows.seconds
    if candidate.family != "collective":
        too_fast = too_fast | ((terms.memory_s > MARGIN * rows.seconds) & (terms.bytes > 2.0 * cache))
    beyond = int(np.sum(too_fast))
    if beyond > MOST_EXCLUDED * len(rows):
        return Chosen(candidate, beyond, None)
    good = np.flatnonzero(~too_fast)
    index = good[thinned(points.features[good], count)]
    kept = rows.take(index)
    unused = rows.take(np.setdiff1d(good, index))
    return Chosen(candidate, beyond, kept, _judged(candidate, kept, unused, device) if len(unused) else None)


def _judged(candidate: Candidate, kept: Rows, unused: Rows, device: Device) -> tuple[int, float, float, float]:
    """How the curve does on the rows that it will never see."""
    family = families()[candidate.family]
    curve = fitted(family, kept, candidate.labels, device)
    score = scored(curve, family, unused, candidate.labels, device)
    return len(unused), score.median, score.p90, score.coverage


def write_run(
    target: Path, record: dict[str, Any], chosen: Iterable[Chosen], progress: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """A whole run folder or none: written beside its place, then moved there. Returns its record.

    Raises SpecError when the place cannot be written or holds something else."""
    if target.exists() and not (target / "run.toml").is_file():
        raise SpecError(f"{target}: exists and is not a measurement run")
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        part.mkdir(parents=True)
        kinds: dict[str, Any] = {}
        for one in chosen:
            name = f"{one.candidate.family}/{one.kind}"
            progress(name)
            kinds[name] = one.record()
            if one.kept is not None:
                path = part / one.candidate.family / f"{one.kind}.csv"
                path.parent.mkdir(exist_ok=True)
                path.write_text(tables.written(families()[one.candidate.family], one.kept), encoding="utf-8")
        full = {**record, "kinds": kinds}
        (part / "run.toml").write_text(to_toml(full), encoding="utf-8")
        if target.exists():
            shutil.rmtree(target)
        part.replace(target)
    except OSError as error:
        raise SpecError(f"{target}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return full


def to_toml(record: dict[str, Any]) -> str:
    """A record of strings, numbers, lists of strings and tables of them as TOML."""
    lines = [f"{key} = {_value(value)}" for key, value in record.items() if not isinstance(value, dict)]
    for key, value in record.items():
        if isinstance(value, dict):
            for name, table in value.items():
                if isinstance(table, dict):
                    lines += ["", f'[{key}."{name}"]', *(f"{k} = {_value(v)}" for k, v in table.items())]
            plain = {k: v for k, v in value.items() if not isinstance(v, dict)}
            if plain:
                lines += ["", f"[{key}]", *(f"{k} = {_value(v)}" for k, v in plain.items())]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    text = str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{text}"'
