"""Kernel timings that others published, against what simcost predicts: rows that no fit ever sees.

`workloads/validation/kernels.csv`: figures with source and locator, each mapped to an op by the columns of its calibration
family. Of 925 rows of a first collection 664 are carried, and 62 of all-reduces over nodes and on a mesh. Left out, with why:
42 sparse attention and its indexer (no op yet); 40 devices that the source does not name; 40 half a chip, or no profile (TPU7x,
Trainium3); 44 superseded by a later table of the same source; 26 FlashAttention 2 on devices that it was not tuned for; 24 not
causal; 20 fused exchange, experts and combination (no single op); 8 a clock held below the profile's; 7 format not printed; 4
unit not printed; 1 message size not stated; 3 a slow path by their own source; 1 no shape; 1 a link rate. 137 rows of experts,
small all-reduces and NVLink All2All came later. Of tables with times before and after a change the later are carried (the
earlier are a slow path by their own source), of TensorRT-LLM's All2All every second batch. Not carried: times that no graph
frees from the host's launches (all-reduces of 20 to 50 us; experts that take as long for one token as for eight), one GEMM of
two, a shared expert that may be in it, devices and group sizes that a table does not name, 1 faster than the memory at twice
the L2.

Conventions: `taken` says whether the source prints the latency or a rate from which it follows (FLOP as the source counts
them); rows an expert of masked grouped GEMMs follow from the printed utilisation, because that benchmark draws them at random;
DeepEP's copies per token follow from its tests' routing (uniform scores, the four nodes with the best), 24 SMs; NCCL's peaks of a
"large message" are of 8 GiB. vLLM's benchmark of experts draws uniform gates: experts that get a token and the busiest one's
load are the expected ones. Its times hold the choice of the experts, as the tables do that curves go through, and repeat one
input in a graph, so that small weights stay in the L2. Of FlashInfer's, one rank of eight, the copies are those that its FLOP
count expects: drawn by groups, they stray by a tenth at 128 tokens. TensorRT-LLM's All2All routes perfectly: a token goes to as
many ranks as experts, its own among them. Most likely to be wrong: kernels of other libraries and versions than those that the
curves were measured with; that is what this report shows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from simcost.calibration.family import families
from simcost.cost import calibrated
from simcost.cost.cost import basis, interval
from simcost.errors import SpecError, nearest, watched
from simcost.files import folder
from simcost.frozen import frozen
from simcost.hardware import load as hardware
from simcost.hardware.profile import Device
from simcost.ops.work import Op
from simcost.result import Result, Row
from simcost.texts import csv_table
from simcost.validation import seen_rows
from simcost.validation.score import COVERAGE, error, grouped, summary

COLUMNS = ("id", "source", "locator", "kernel", "hw", "family", "numbers", "labels", "seconds", "taken")
WORST = 10
WIDTHS = (0.15, 0.30)  # half-widths up to which an answer is said to be sharp, fair; beyond, wide
BAR = (
    0.80,
    0.95,
)  # of the rows of every class an interval of 90 % must cover so many: less is overconfident, more too wide


@frozen
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

    @property
    def looked_at(self) -> str:
        """What the row was looked at for before a decision; "" when it was not."""
        return seen_rows.reason(self.source, self.hw, self.family, self.kernel, self.numbers)


def references(path: Path | None = None) -> list[Reference]:
    """All published timings of a file, by default the shipped one. Raises SpecError naming file and line."""
    path = path or folder("workloads") / "validation" / "kernels.csv"
    return [_reference(row, f"{path}:{line}") for line, row in enumerate(csv_table(path, COLUMNS), start=2)]


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
    found = [_row(one, one.hw if hw is None else hw) for one in watched(chosen, "published timings")]
    by = ("source", "hw", "op", "basis", "looked_at")
    seen = {True: "yes", False: ""}  # the reason stands in the rows, and in a note
    groups = grouped(
        found, lambda r: (r["source"], r["hw"], r["op"], _main(r["basis"]), seen[bool(r["looked_at"])]), by, _summary
    )
    last = ("basis", "looked_at")  # errors before what they rest on, where a terminal is narrow
    groups = [{**{k: v for k, v in row.items() if k not in last}, **{k: row[k] for k in last}} for row in groups]
    worst = sorted(found, key=lambda r: -abs(float(r["log_error"])))[:WORST]
    classes = {"basis": _classes(found, "basis", _by_basis), "half-width": _classes(found, "half_width", _by_width)}
    return Result(
        "validate kernels", {"hw": hw}, _metrics(found),
        {"sources": groups, **classes, "worst": worst, "rows": found}, tuple(_notes(found)),
        tuple(dict.fromkeys(f"{one.source}: {one.locator}" for one in chosen)), _verdict(found),
    )  # fmt: skip


def _summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Errors of the predictions; and of the same device without measured rows, which is what calibration is worth."""
    plain = summary([{**row, "error": row["roofline_error"]} for row in rows])
    return {**summary(rows), **{f"roofline_{name}": plain[name] for name in ("median_abs_error", "p90_abs_error")}}


def _by_basis(row: Row) -> str:
    return _main(row["basis"])


def _by_width(row: Row) -> str:
    """Half-width of the interval (log of its upper end over the time), in three classes."""
    width = float(row["half_width"])
    return next((f"up to {most:.0%}" for most in WIDTHS if width <= most), f"above {WIDTHS[-1]:.0%}")


def _classes(rows: Sequence[Row], name: str, key: Callable[[Row], str]) -> list[Row]:
    """Every class alone, rows that somebody looked at apart: an interval that covers on the mean of all rows may be far too narrow
    where it is narrow and far too wide where it is wide. Unseen classes first, by the median half-width."""
    seen = {True: "yes", False: ""}
    found = grouped(
        rows, lambda r: (key(r), seen[bool(r["looked_at"])]), (name, "looked_at"),
        lambda members: {**summary(members), "median_half_width": float(np.median([m["half_width"] for m in members]))},
    )  # fmt: skip
    found = [{**row, "within_bar": bool(BAR[0] <= row["coverage"] <= BAR[1])} for row in found]
    order = sorted(found, key=lambda row: (row["looked_at"], row["median_half_width"]))
    return [{**{k: v for k, v in row.items() if k != "looked_at"}, "looked_at": row["looked_at"]} for row in order]


def _metrics(rows: list[Row]) -> dict[str, Any]:
    """The headline is of rows that nobody looked at before a decision; the others stand beside it."""
    apart, alone = _apart(rows)
    found = _summary(alone) if alone else {"n": 0}
    seen = {f"looked_at_{name}": value for name, value in summary(apart).items()} if apart else {}
    return {"rows": found.pop("n"), **found, "looked_at_rows": seen.pop("looked_at_n", 0), **seen}


def _apart(rows: Iterable[Row]) -> tuple[list[Row], list[Row]]:
    """(looked at, not looked at)."""
    every = list(rows)
    return [row for row in every if row["looked_at"]], [row for row in every if not row["looked_at"]]


@cache
def _device(hw: str, measured: bool = True) -> Device:
    return hardware.load(hw) if measured else hardware.load(hw, {"measurements": "none"})


def _same(name: str, hw: str) -> bool:
    """A row's profile is the one asked for, by name or by path."""
    return name == hardware.spelled(hw) or ("/" in hw and _device(hw).name == name)


def _row(one: Reference, hw: str) -> Row:
    cost = calibrated.model(_device(hw))(one.op)
    plain = float(calibrated.model(_device(hw, False))(one.op).seconds)
    low, high = (float(value) for value in interval(cost))
    seconds = float(cost.seconds)
    return {
        "id": one.id, "source": one.source, "kernel": one.kernel, "hw": one.hw, "op": one.family,
        "numbers": one.numbers, "labels": one.labels, "measured_s": one.seconds, "predicted_s": seconds,
        "low_s": low, "high_s": high, "half_width": math.log(high / seconds), "error": error(seconds, one.seconds),
        "log_error": math.log(seconds / one.seconds), "covered": bool(low <= one.seconds <= high),
        "roofline_error": error(plain, one.seconds), "light_s": float(cost.light_s), "basis": basis(cost),
        "looked_at": one.looked_at, "locator": one.locator,
    }  # fmt: skip


def _main(text: str) -> str:
    """The larger share of a basis, "roofline" for what no row answers."""
    word = text.split(",")[0].split()[-1]
    return "roofline" if word in ("datasheet", "assumed") else word


def _notes(rows: list[Row]) -> list[str]:
    plain = sorted({f"{r['hw']} {r['op']}" for r in rows if _main(r["basis"]) == "roofline"})
    notes = [f"no measured rows, answered by the roofline: {', '.join(plain)}"] if plain else []
    looks = dict.fromkeys((r["source"], r["hw"], r["op"], r["looked_at"]) for r in rows if r["looked_at"])
    notes += [f"looked at: {source}, {hw} {op}: {reason}" for source, hw, op, reason in looks]
    notes += _outside(rows)
    fast = [r["id"] for r in rows if r["measured_s"] < r["light_s"]]
    if fast:
        notes.append(f"{len(fast)} rows are faster than the profile's rates allow: {', '.join(fast[:5])}")
    return notes


def _outside(rows: list[Row]) -> list[str]:
    """Classes of unseen rows that miss the bar."""
    _, alone = _apart(rows)
    found = [*_classes(alone, "is", _by_basis), *_classes(alone, "is", lambda r: f"half-width {_by_width(r)}")]
    missed = [f"{row['is']} ({row['n']} rows): {row['coverage']:.0%}" for row in found if not row["within_bar"]]
    bar = f"{BAR[0]:.0%} to {BAR[1]:.0%}"
    return [f"classes whose intervals do not cover {bar} of the unseen rows: {', '.join(missed)}"] if missed else []


def _verdict(rows: list[Row]) -> str:
    apart, alone = _apart(rows)
    said = [_said(summary(alone), "published timings that nobody looked at before a decision")] if alone else []
    said += [_said(summary(apart), "that were looked at")] if apart else []
    return "; ".join(said) + f" (intervals of {COVERAGE:.0%})"


def _said(found: dict[str, Any], what: str) -> str:
    return (
        f"{found['n']} {what}: |error| median {found['median_abs_error']:.1%}, P90 {found['p90_abs_error']:.1%}, "
        f"bias {found['bias']:+.1%}, {found['coverage']:.0%} covered"
    )
