"""The schedule command: pipeline schedules from bare durations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from simcost import units
from simcost.cli import options as o
from simcost.cli.declared import Argument, Option
from simcost.cli.output import check, emit
from simcost.errors import SpecError, nearest
from simcost.texts import csv_dicts, text
from simcost.texts import number as plain_number

_COLUMNS = ("stage", "F", "B", "W")
_TIME = "in seconds, or with a unit: 12ms"


def _names(incomplete: str) -> list[str]:
    from simcost.scenarios.schedule import known

    return [name for name in known() if name.startswith(incomplete)]


def schedule(
    schedules: Annotated[list[str], Argument(help="gpipe, 1f1b, interleaved, zb-h1, zb-h2, zb-1p, zb-2p, zb-v, v-half, dualpipe, dualpipev; several are ranked.", autocompletion=_names)],
    pp: Annotated[int, Option("--pp", help="Pipeline ranks. zb-v, v-half and dualpipev put two virtual stages on each rank, interleaved puts --vpp.")],
    microbatches: Annotated[int, Option("--microbatches", help="Micro-batches per step, of both directions together.")],
    forward: Annotated[str, Option("--forward", help=f"Time of the forward of one micro-batch through one virtual stage, {_TIME}.")] = "",
    backward: Annotated[str, Option("--backward", help="Time of the gradient of the input only; default: the time of a forward.")] = "",
    weight: Annotated[str, Option("--weight", help="Time of the gradient of the weights; default: the time of a forward.")] = "",
    hop: Annotated[str, Option("--hop", help="Time of a hop between two ranks; both ranks can compute meanwhile.")] = "0",
    vpp: Annotated[int | None, Option("--vpp", help="Virtual stages per rank of interleaved; default 2.")] = None,
    overlapped: Annotated[str, Option("--overlapped", help="Time of a forward together with both gradients of another micro-batch; default: their sum.")] = "",
    stage_times: Annotated[Path | None, Option("--stage-times", help="CSV of stage,F,B,W: durations of each virtual stage, in place of the three.")] = None,
    no_barrier: Annotated[bool, Option("--no-barrier", help="No barrier at the end of the step: time of the steady period, the longest span of a rank.")] = False,
    format: o.Format = "", output: Annotated[Path | None, Option("-o", "--output", help="Write to this file; .png, .svg, .pdf and .html draw it (extra 'plot'), .trace.json is for Perfetto.")] = None,
    details: o.Details = False,
) -> int:  # fmt: skip
    """Pipeline schedules from given durations: time, bubble and its cause, and chunks that a rank keeps."""
    from simcost import api
    from simcost.report import timeline

    drawn = output if output is not None and output.name.endswith(timeline.TRACE) else None
    report = None if drawn else output
    check(format, report)
    result = api.schedule(
        schedules, pp, microbatches, _seconds("--forward", forward) if forward else 1.0, _optional("--backward", backward), _optional("--weight", weight),
        _seconds("--hop", hop), vpp, _optional("--overlapped", overlapped), None if stage_times is None else _table(stage_times), not no_barrier, drawn,
    )  # fmt: skip
    return emit(result, format, report, False, details)


def _optional(option: str, text: str) -> float | None:
    return _seconds(option, text) if text else None


def _seconds(option: str, text: str) -> float:
    """A duration. Raises SpecError for what is none."""
    try:
        return float(text)
    except ValueError:
        return units.parse(text, "seconds", option)


def _table(path: Path) -> list[tuple[float, float, float]]:
    """F, B and W of every virtual stage, in their order. Raises SpecError, which names file, line and column."""
    where = f"--stage-times {path}"
    columns, lines = csv_dicts(text(path, where), where)
    for column in columns:
        if column not in _COLUMNS:
            raise SpecError(f"{path}: column {column!r} is not one of {', '.join(_COLUMNS)}{nearest(str(column), _COLUMNS)}")  # fmt: skip
    missing = [column for column in _COLUMNS if column not in columns]
    if missing:
        raise SpecError(f"{path}: missing column {missing[0]!r} (columns: {', '.join(_COLUMNS)})")
    found: dict[int, tuple[float, float, float]] = {}
    for number, line in lines:
        stage = _number(path, number, "stage", line)
        if stage != len(found):
            raise SpecError(f"{path}, line {number}: stage must be {len(found)}, in order from 0, not {stage:g}")
        forward, backward, weight = (_number(path, number, column, line) for column in _COLUMNS[1:])
        found[int(stage)] = forward, backward, weight
    if not found:
        raise SpecError(f"{path}: no stages")
    return list(found.values())


def _number(path: Path, number: int, column: str, line: dict[str, str]) -> float:
    try:
        return plain_number(line[column])
    except ValueError:
        raise SpecError(f"{path}, line {number}: '{column}' must be a number, not {line[column]!r}") from None
