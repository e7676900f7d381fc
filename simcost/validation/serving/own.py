"""A user's own benchmark of serving beside predictions: a CSV with the columns below, or what vLLM's and SGLang's
benchmarks write.

A row states the design, the plan and the load, and at least one measured figure. What a row leaves empty, an option
of the command states for all. Most likely to be wrong: a file that names a load by another word than it ran.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

from simcost import grammar
from simcost.errors import SpecError, nearest
from simcost.frozen import frozen
from simcost.hardware import engines
from simcost.result import Result
from simcost.result import Row as Cells
from simcost.texts import csv_dicts, csv_rows, number_or_nan, text
from simcost.texts import whole as count_of
from simcost.validation.serving import figures as parts
from simcost.validation.serving import own_json
from simcost.validation.serving.figures import Figure
from simcost.validation.serving.lines import MILLISECOND
from simcost.validation.serving.point import Predict, ServingPoint
from simcost.validation.serving.predict import EMITTED
from simcost.validation.serving.predict_events import predict_events

SIZES = ("tp", "pp", "ep", "dp_attention")
FORMATS = ("weight_dtype", "kv_dtype")
MEASURED: Mapping[str, tuple[str, float]] = {  # column -> figure, and its unit [s or 1/s]
    "ttft_ms": ("ttft", MILLISECOND),
    "tpot_ms": ("tpot", MILLISECOND),
    "output_tokens_per_s": ("output", 1.0),
}
COLUMNS: Mapping[str, str] = {
    "id": "name of the run; default: the file and the line",
    "model": "as --model",
    "hw": "as --hw",
    "engine": "vllm, sglang, trtllm; default any",
    "version": "release of the engine",
    **dict.fromkeys(SIZES, "as plan.<name>; default 1"),
    **dict.fromkeys(FORMATS, "as plan.<name>; default: the checkpoint's"),
    "concurrency": "users who each send their next request when an answer ends; inf: all at once, without a server",
    "rate": "requests a second that come at random; instead of concurrency",
    "requests": "requests of the run; default 10 per user, 1,000 at a rate, 3,000 at once",
    "isl": "mean tokens of a prompt",
    "osl": "mean tokens of an answer",
    "shortest": "the least length over the longest, lengths between are uniform; default 1: all alike",
    "prefix_hit": "share of prompts that the prefix cache holds; default 0",
    "drafts": "tokens drafted a step by the design's MTP module; default 0",
    "ttft_ms": "measured mean time to the first token",
    "tpot_ms": "measured mean time per output token after the first",
    "output_tokens_per_s": "measured output tokens per second over all GPUs",
    "note": "any text",
}
SET = "set:"  # before the path of any other setting: set:plan.cuda_graph


@frozen
class OwnRow:
    """A run. load: in words; measured: [s] and [1/s] by quantity; point: None where nothing can be asked, for `reason`."""

    id: str
    load: str
    measured: Mapping[str, float]
    point: ServingPoint | None
    reason: str = ""


@frozen
class Given:
    """What options state for rows that do not: a model, a device, and settings by path, the engine and its version
    among them. The model's name and the engine of a JSON file only stand in for them."""

    model: str = ""
    hw: str = ""
    sets: Mapping[str, Any] = field(default_factory=dict)


def read(path: Path, given: Given) -> list[OwnRow]:
    """The runs of a file: JSON or JSON lines where it begins with a brace or bracket, else CSV. Raises SpecError naming
    file, line and column of what is malformed."""
    whole = text(path)
    if whole.lstrip()[:1] in ("{", "["):
        stated = {"model": given.model, "engine": given.sets.get("engine", "")}
        found = [
            _row({name: cell for name, cell in line.items() if not stated.get(name)}, at, given, why)
            for at, line, why in own_json.lines(whole, path.name)
        ]
    else:
        found = [_row(line, at, given, "") for at, line in _lines(whole, path.name)]
    if not found:
        raise SpecError(f"{path}: holds no run")
    return found


def header(path: Path) -> tuple[str, ...]:
    """Names of a CSV's columns; none of what is JSON. Raises SpecError for a file that cannot be read."""
    found = text(path)
    if found.lstrip()[:1] in ("{", "["):
        return ()
    rows = csv_rows(found, path.name)
    return tuple(rows[0][1]) if rows else ()


def _lines(whole: str, file: str) -> list[tuple[str, dict[str, str]]]:
    stated, rows = csv_dicts(whole, file)
    names = [name.strip() for name in stated]
    for name in names:
        if name not in COLUMNS and not name.startswith(SET):
            raise SpecError(
                f"{file}: column {name!r} is unknown "
                f"(any of {', '.join(COLUMNS)}, or {SET}<path>){nearest(name, COLUMNS)}"
            )
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise SpecError(f"{file}: column {doubled[0]!r} appears twice")
    return [(f"{file}:{line}", {name.strip(): cell.strip() for name, cell in row.items()}) for line, row in rows]


def _row(cells: Mapping[str, str], at: str, given: Given, why: str) -> OwnRow:
    cell = {name: cells.get(name, "") for name in COLUMNS}
    measured = {name: _number(cell, column, at) * unit for column, (name, unit) in MEASURED.items() if cell[column]}
    if not measured:
        raise SpecError(f"{at}: nothing is measured: {', '.join(MEASURED)} are empty")
    if why:
        return OwnRow(cell["id"] or at, "", measured, None, why)
    point, load = _point(cell, _sets(cells, at), at, given)
    return OwnRow(cell["id"] or at, load, measured, point)


def _point(cell: Mapping[str, str], stated: dict[str, Any], at: str, given: Given) -> tuple[ServingPoint, str]:
    named = {name: cell[name] or getattr(given, name) for name in ("model", "hw")}
    for name, value in named.items():
        if not value:
            raise SpecError(f"{at}: {name} is empty: fill the column, or add --{name}")
    if bool(cell["concurrency"]) == bool(cell["rate"]):
        raise SpecError(f"{at}: state either concurrency or rate")
    sets = {**given.sets, **stated}
    engine = _engine(cell["engine"] or str(sets.pop("engine", engines.ANY)), at)
    version = cell["version"] or str(sets.pop("engine.version", ""))
    open_rate = _number(cell, "rate", at) if cell["rate"] else 0.0
    users = math.inf if open_rate else _number(cell, "concurrency", at, most=math.inf)
    point = ServingPoint(
        model=named["model"],
        hw=named["hw"],
        engine=engine,
        version=version,
        sets={path: value for path, value in sets.items() if path not in ("engine", "engine.version")},
        concurrency=users,
        isl=_number(cell, "isl", at),
        osl=_number(cell, "osl", at),
        shortest=_number(cell, "shortest", at, most=1.0) if cell["shortest"] else 1.0,
        requests=_number(cell, "requests", at) if cell["requests"] else 0.0,
        prefix_hit=_share(cell["prefix_hit"], at) if cell["prefix_hit"] else 0.0,
        speculative=_drafts(cell["drafts"], at),
        rate=open_rate,
    )
    load = f"{open_rate:g}/s" if open_rate else "offline" if math.isinf(users) else f"{users:g} users"
    return point, load


def _sets(cells: Mapping[str, str], at: str) -> dict[str, Any]:
    """What sizes, formats and columns of settings state, by path."""
    stated = [f"plan.{name}={cells[name]}" for name in (*SIZES, *FORMATS) if cells.get(name)]
    stated += [f"{name.removeprefix(SET)}={value}" for name, value in cells.items() if name.startswith(SET) and value]
    for name in SIZES:
        if cells.get(name) and not count_of(cells[name]):
            raise SpecError(f"{at}: {name} = {cells[name]!r} must be a whole number above 0")
    try:
        return grammar.assignments(stated)
    except SpecError as fault:
        raise SpecError(f"{at}: {fault}") from None


def _engine(text: str, at: str) -> str:
    try:
        return engines.checked(text)
    except SpecError as fault:
        raise SpecError(f"{at}: {fault}") from None


def _drafts(text: str, at: str) -> int:
    if text in ("", "0"):
        return 0
    known: Iterable[str] = tuple(map(str, EMITTED))
    if text not in known:
        raise SpecError(f"{at}: drafts = {text!r} is not one of 0, {', '.join(known)}")
    return int(text)


def _share(text: str, at: str) -> float:
    value = number_or_nan(text)
    if not 0.0 <= value < 1.0:
        raise SpecError(f"{at}: prefix_hit = {text!r} must be a share from 0 to below 1")
    return value


def _number(cell: Mapping[str, str], column: str, at: str, most: float | None = None) -> float:
    text = cell[column]
    if not text:
        raise SpecError(f"{at}: {column} is empty")
    value = number_or_nan(text)
    if not value > 0.0 or (math.isinf(value) if most is None else value > most):
        bound = f", at most {most:g}" if most is not None and math.isfinite(most) else ""
        raise SpecError(f"{at}: {column} = {text!r} must be a number above 0{bound}")
    return value


def result(path: Path, given: Given, predict: Predict = predict_events) -> Result:
    """The report on a file. It passes where a run has an answer. Raises SpecError as `read`."""
    rows = read(path, given)
    scores = scored(rows, predict)
    every = [one for _, figures in scores for one in figures]
    answered = sum(any(one.answered for one in figures) for _, figures in scores)
    tables = {"errors": errors(every)} | {
        name: [
            {**_about(row), **parts.cells(one)} for row, figures in scores for one in figures if one.quantity == name
        ]
        for name in parts.QUANTITIES
    }
    return Result(
        "validate serving",
        {"rows": path.name},
        {"rows": len(rows), "refused": len(rows) - answered},
        {name: table for name, table in tables.items() if table},
        (),
        (),
        f"{answered} of {len(rows)} runs answered{_off(tables['errors'])}",
        answered > 0,
    )


_WORDS = {"ttft": "TTFT", "tpot": "TPOT", "output": "output tokens/s"}


def _off(lines: Sequence[Cells]) -> str:
    """ "; the predictions are off by TTFT 12 %, TPOT 4 % (median)"."""
    known = [(line["quantity"], line["median_abs_error"]) for line in lines if line["median_abs_error"] is not None]
    said = ", ".join(f"{_WORDS.get(name, name)} by {float(error):.1%}" for name, error in known)
    return f"; the predictions are off, by the median: {said}" if said else ""


def scored(rows: Sequence[OwnRow], predict: Predict) -> list[tuple[OwnRow, list[Figure]]]:
    """Each row with its measured figures beside what is predicted."""
    points = [row.point for row in rows if row.point is not None]
    said = iter(predict(points))
    found = []
    for row in rows:
        if row.point is None:
            ranges, why = {}, row.reason
        else:
            one = next(said)
            ranges, why = parts.ranges(one), one.reason or "an answer of one token has no time between tokens"
        found.append((row, [parts.of(row.id, name, value, ranges, why) for name, value in row.measured.items()]))
    return found


def errors(every: Sequence[Figure]) -> list[Cells]:
    """A line for each quantity."""
    quantities = dict.fromkeys(one.quantity for one in every)
    return [{"quantity": name, **parts.figures([one for one in every if one.quantity == name])} for name in quantities]


def _about(row: OwnRow) -> Cells:
    point = row.point
    if point is None:
        return {"id": row.id}
    model = point.model if isinstance(point.model, str) else ""
    return {
        "id": row.id, "model": model, "hw": point.hw, "engine": f"{point.engine} {point.version}".strip(),
        "load": row.load, "isl": point.isl, "osl": point.osl,
    }  # fmt: skip
