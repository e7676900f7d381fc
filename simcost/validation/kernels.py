"""Kernel timings that others published, against what simcost predicts: rows that no fit ever sees.

`workloads/validation/kernels.csv`: figures with source and locator, each mapped to an op by the columns of its calibration
family. Of 925 collected rows 661 are carried. Left out, with why: 42 sparse attention and its indexer (no op yet);
40 devices that the source does not name; 40 half a chip, or no profile (TPU7x, Trainium3); 44 superseded by a later
table of the same source; 26 FlashAttention 2 on devices that it was not tuned for; 24 not causal; 20 fused exchange,
experts and combination (no single op); 8 a clock held below the
profile's; 7 format not printed; 4 unit not printed; 4 message size not stated; 3 a slow path by their own source; 1 no shape; 1 a link rate.

Conventions: `taken` says whether the source prints the latency or a rate from which it follows (FLOP as the source counts
them); rows an expert of masked grouped GEMMs follow from the printed utilisation, because that benchmark draws them at
random; DeepEP's copies a token follow from its tests' routing (uniform scores, the four nodes with the best), 24 SMs. Most likely to be wrong: kernels of
other libraries and versions than those that the curves were measured with; that is what this report shows.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from simcost.calibration.family import families
from simcost.cost import calibrated
from simcost.cost.cost import basis
from simcost.data import folder
from simcost.errors import SpecError, nearest
from simcost.hardware import load as hardware
from simcost.hardware.profile import Device
from simcost.ops.work import Op
from simcost.result import Result, Row
from simcost.scenarios.step import interval
from simcost.validation.score import COVERAGE, error, grouped, summary

COLUMNS = ("id", "source", "locator", "kernel", "hw", "family", "numbers", "labels", "seconds", "taken")
WORST = 10


@dataclass(frozen=True, slots=True)
class Reference:
    """One published timing of one op on one device."""

    id: str
    source: str
    locator: str
    kernel: str
    hw: str
    family: str
    op: Op
    numbers: str
    labels: str
    seconds: float


def references(path: Path | None = None) -> list[Reference]:
    """All rows of the file. Raises SpecError naming file and line."""
    path = path or folder("workloads") / "validation" / "kernels.csv"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise SpecError(f"{path}: {getattr(problem, 'strerror', None) or problem}") from None
    table = csv.DictReader(text.splitlines())
    if tuple(table.fieldnames or ()) != COLUMNS:
        raise SpecError(f"{path}: columns must be {','.join(COLUMNS)}")
    return [_reference(row, f"{path}:{line}") for line, row in enumerate(table, start=2)]


def _reference(row: dict[str, str], where: str) -> Reference:
    family = families().get(row["family"])
    if family is None:
        raise SpecError(f"{where}: no family {row['family']!r}{nearest(row['family'], families())}")
    try:
        numbers = {name: float(value) for name, value in _pairs(row["numbers"])}
        op = family.op(numbers, dict(_pairs(row["labels"])))
        seconds = float(row["seconds"])
    except (KeyError, ValueError) as problem:
        raise SpecError(f"{where}: {problem} in {row['numbers']!r}, {row['labels']!r}") from None
    return Reference(
        row["id"], row["source"], row["locator"], row["kernel"], row["hw"], row["family"], op, row["numbers"],
        row["labels"], seconds,
    )  # fmt: skip


def _pairs(text: str) -> list[tuple[str, str]]:
    return [(name, value) for name, _, value in (part.partition("=") for part in text.split(";"))]


def reference(hw: str | None = None, rows: Iterable[Reference] | None = None) -> Result:
    """Every row of a device, or of all, beside its prediction and interval. Raises SpecError for a device without rows."""
    every = list(references() if rows is None else rows)
    chosen = [row for row in every if hw is None or _same(row.hw, hw)]
    if not chosen:
        known = list(dict.fromkeys(row.hw for row in every))
        raise SpecError(f"no published kernel timings of '{hw}' (there are some of {', '.join(known)})")
    found = [_row(one, _device(one.hw if hw is None else hw)) for one in chosen]
    metrics = summary(found)
    by = ("source", "hw", "op", "basis")
    groups = grouped(found, lambda r: (r["source"], r["hw"], r["op"], _main(r["basis"])), by)
    worst = sorted(found, key=lambda r: -abs(float(r["log_error"])))[:WORST]
    return Result(
        "validate kernels", {"hw": hw}, {"rows": metrics.pop("n"), **metrics},
        {"sources": groups, "worst": worst, "rows": found}, tuple(_notes(found)),
        tuple(dict.fromkeys(f"{one.source}: {one.locator}" for one in chosen)), _verdict(found),
    )  # fmt: skip


@cache
def _device(hw: str) -> Device:
    return hardware.load(hw)


def _same(name: str, hw: str) -> bool:
    """A row's profile is the one asked for, by name or by path."""
    return name == hw.lower() or ("/" in hw and _device(hw).name == name)


def _row(one: Reference, device: Device) -> Row:
    cost = calibrated.model(device)(one.op)
    low, high = (float(value) for value in interval(cost))
    seconds = float(cost.seconds)
    return {
        "id": one.id, "source": one.source, "kernel": one.kernel, "hw": one.hw, "op": one.family,
        "numbers": one.numbers, "labels": one.labels, "measured_s": one.seconds, "predicted_s": seconds,
        "low_s": low, "high_s": high, "error": error(seconds, one.seconds),
        "log_error": math.log(seconds / one.seconds), "covered": low <= one.seconds <= high,
        "light_s": float(cost.light_s), "basis": basis(cost), "locator": one.locator,
    }  # fmt: skip


def _main(text: str) -> str:
    """The larger share of a basis, "roofline" for what no row answers."""
    word = text.split(",")[0].split()[-1]
    return "roofline" if word in ("datasheet", "assumed") else word


def _notes(rows: list[Row]) -> list[str]:
    plain = sorted({f"{r['hw']} {r['op']}" for r in rows if _main(r["basis"]) == "roofline"})
    notes = [f"no measured rows, answered by the roofline: {', '.join(plain)}"] if plain else []
    fast = [r["id"] for r in rows if r["measured_s"] < r["light_s"]]
    if fast:
        notes.append(f"{len(fast)} rows are faster than the profile's rates allow: {', '.join(fast[:5])}")
    return notes


def _verdict(rows: list[Row]) -> str:
    found = summary(rows)
    return (
        f"{found['n']} published timings: |error| median {found['median_abs_error']:.1%}, P90 "
        f"{found['p90_abs_error']:.1%}, bias {found['bias']:+.1%}; {COVERAGE:.0%} intervals cover {found['coverage']:.0%}"
    )
