"""Rows of plans for people: an interval in one cell beside its number, and nothing that is the same in every row or that the header says."""

from __future__ import annotations

from collections.abc import Sequence

from simcost.report import fleets
from simcost.report.cells import cell, with_intervals
from simcost.result import Row

TABLES = ("plans", "best per device", "best per number of GPUs")
_SIZES = ("tp", "cp", "dp_attention", "pp", "dp", "ep", "etp")
_FOLLOWS = ("feasible", "etp")  # from the reasons below a table, and from the other sizes
_BESIDE = ("versus_best", "probability_behind")  # beside the ranked metric, before anything that may not fit
_SAID = ("model", "engine", "phase", "context", "isl", "simcost")  # by the line above the tables
_OF_TRAINING = ("tp", "cp", "pp", "ep", "dp", "schedule", "vpp", "micro_batch", "recompute", "zero_stage", "seq", "global_batch", "versus_best")  # fmt: skip
_CHOSEN = ("overlap", "sequence_parallel")


def shown(rows: Sequence[Row]) -> list[Row]:
    """Rows without what goes without saying, intervals as text."""
    if fleets.are(rows):
        return [
            with_intervals({name: row[name] for name in fleets.ordered(row) if name != "hw" or _several(rows)})
            for row in map(marked, rows)
        ]
    if any("schedule" in row for row in rows):
        of_run = any("run_s" in row for row in rows)
        return [with_intervals(_trained(row, _several(rows), of_run)) for row in map(marked, rows)]
    alike = (name for name in ("hw", "gpus") if len({row.get(name) for row in rows}) == 1)
    hidden = {*_SAID, *_FOLLOWS, *same(rows), *alike}
    return [
        with_intervals({name: row[name] for name in _ordered(row) if name not in hidden}) for row in map(marked, rows)
    ]


def trained(row: Row) -> str:
    """A plan of training in words, as frameworks need them: sizes above 1, the schedule where there is a pipeline, micro-batch, recomputation, ZeRO."""
    if "plan" in row:
        return str(row["plan"])
    found = [f"{name}={row[name]}" for name in ("tp", "cp", "pp", "ep") if row.get(name, 1) != 1]
    if "schedule" in row:
        interleaved = f" vpp={row['vpp']}" if row["vpp"] > 1 else ""
        found += [f"{row['schedule']}{interleaved}"] if row.get("pp", 1) > 1 else []
        found += [f"micro-batch {row['micro_batch']}", f"ZeRO-{row['zero_stage']}", f"recompute {row['recompute']}"]
    return ", ".join(found)


def _trained(row: Row, several: bool, of_run: bool) -> Row:
    """The plan in one cell, so that what ranks it stands beside it on any screen; where runs are priced in the narrower column of plans, so that the price of a run does too."""
    names = [name for name in row if name not in (*_OF_TRAINING, *_SAID, "hw", "gpus", "plan", "feasible")]
    first = {"hw": row["hw"]} if several else {}
    if not of_run:
        return {**first, "training_plan": trained(row), **{name: row[name] for name in names}}
    ranking = [name for name in names if not name.startswith("run_")][:2]
    every = dict.fromkeys((*ranking, "run_usd", *names))
    return {**first, "plan": trained(row), **{name: row[name] for name in every if name in row}}


def marked(row: Row) -> Row:
    """A row that is tied with the best says so beside its probability: a column of its own would push the interval off a narrow screen."""
    found = {name: value for name, value in row.items() if name != "best_or_tied"}
    sure = row.get("probability_behind")
    if row.get("best_or_tied") and sure is not None:
        found["probability_behind"] = f"{cell('probability_behind', sure)}, tied"
    return found


def _ordered(row: Row) -> list[str]:
    """Columns in the order of their worth to a reader: after the ranked metric its place, then its interval, then what else was chosen."""
    if "batch" not in row:
        return list(row)
    names = [name for name in row if name not in (*_BESIDE, *_CHOSEN)]
    ranked = names.index("batch") + 2
    ends = [name for name in names[ranked : ranked + 2] if name.endswith(("_low", "_high", "_low_s", "_high_s"))]
    rest = names[ranked + len(ends) :]
    return [*names[:ranked], *(name for name in (*_BESIDE, *ends, *_CHOSEN) if name in row), *rest]


def _several(rows: Sequence[Row]) -> bool:
    return len({row.get("hw") for row in rows}) > 1


def same(rows: Sequence[Row]) -> Row:
    """Sizes that are 1 in every plan, as without --cp or without experts, and what all that run have chosen: a column each would say
    nothing."""
    if fleets.are(rows) or any("schedule" in row for row in rows):  # whose plans are said in words
        return {}
    found: Row = {name: 1 for name in _SIZES if {row[name] for row in rows if name in row} == {1}}
    for name in _CHOSEN:
        values = {row[name] for row in rows if name in row}
        if len(values) == 1:
            found[name] = values.pop()
    return found
