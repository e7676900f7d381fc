"""A sweep to a file: planned, dealt out in blocks, kept as it goes, put together at the end.

Rows and their order are those of `simcost.scenarios.design_map`; what is in memory is a block and the front. Most likely to be wrong: a folder
that has no room for the parts, a fifth of the output, beside it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from simcost import files
from simcost.bulk import arrow, assemble, block, parts, plan, question
from simcost.bulk.assemble import Totals
from simcost.bulk.dealer import AIM_S, Dealer
from simcost.bulk.journal import Journal
from simcost.bulk.plan import Plan
from simcost.errors import SpecError, say
from simcost.estimate import step as steps
from simcost.frozen import frozen
from simcost.model.spec import ModelSpec
from simcost.pool import Progress, quiet
from simcost.provenance import Note
from simcost.query import Point, Query
from simcost.report import identity
from simcost.result import Result
from simcost.scale import fingerprint
from simcost.scale.workers import Alone, Workers
from simcost.scenarios import design_map, memory_notes, notes, sweep
from simcost.scenarios.inputs import command, inputs

STYLES = {".csv": block.CSV, ".parquet": block.PARQUET}


@frozen
class Ways:
    """How a sweep is worked out, which changes no row."""

    workers: Workers = Alone()
    progress: Progress = quiet
    aim_s: float = AIM_S


def style_of(out: Path) -> str:
    """The format of an output. Raises SpecError for a suffix that says neither."""
    style = STYLES.get(out.suffix.lower(), "")
    if not style:
        raise SpecError(
            f"-o {out}: rows are streamed to .csv or .parquet, not to {out.suffix or 'a file without a suffix'}"
        )
    return style


def result(query: Query, pareto: Sequence[str] | None, out: Path, ways: Ways | None = None) -> Result:
    """Writes every row to `out`, and answers what is known of all. Raises SpecError for a question that `design_map` refuses, for a file that
    cannot be written, and where the folder of its parts holds another question."""
    if not query.axes:
        raise SpecError(design_map.NO_AXES)
    if style_of(out) == block.PARQUET:
        arrow.ready()
    files.check(out, f"-o {out}")
    style, journal, ways = style_of(out), Journal(out), ways or Ways()
    with journal.alone():
        late = journal.late()
        ways.progress(0.0, 1.0, "looking at each design")
        while True:
            whole, points = plan.made(query, pareto, late)
            expected = _expected(whole, style)
            journal.opened(expected, late)
            failed = _worked(whole, points, journal, style, ways)
            if failed is None:
                break
            # All points of it are rows with the reason, those too that a part holds already.
            late = {**late, failed: plan.first_failure(whole, failed) or "it has no answer"}
            now, _ = plan.made(query, pareto, late)
            first = failed * whole.inner
            journal.drop(*((first, first + whole.inner) if now.digest() == whole.digest() else (0, whole.size)))
            journal.write(_expected(now, style), late)
        found = _finished(whole, points, journal, out, style)
        journal.end()
    return found


def _expected(whole: Plan, style: str) -> dict[str, Any]:
    return {
        "package": fingerprint.here(), "question": whole.digest(), "points": whole.size, "files": question.files_of(whole.query), "style": style,
    }  # fmt: skip


def _worked(whole: Plan, points: list[Point], journal: Journal, style: str, ways: Ways) -> int | None:
    """Works out all that no part holds. Returns the structure that has no answer, None where all is done."""
    ranges = [(part.start, part.stop) for part in journal.every()]
    done = sum(stop - start for start, stop in ranges)
    if done:
        say(f"continues: {done:,} of {whole.size:,} points are in {journal.home}", "resume")
    packed, dealer = whole.packed(), Dealer(whole, ranges, plan.most_of(_chunks(points)), ways.aim_s)

    def deal() -> str | None:
        rectangles = dealer.deal()
        return block.task(packed, rectangles, style) if rectangles else None

    def keep(data: bytes) -> None:
        nonlocal done
        part = parts.known(data)
        if part is None:
            raise SpecError("a worker sent rows that are damaged")
        journal.add(data, part)
        dealer.told(part)
        done += part.stop - part.start
        ways.progress(float(done), float(whole.size), _words(done, whole.size, ways.workers.count))

    ways.progress(float(done), float(whole.size), _words(done, whole.size, ways.workers.count))
    try:
        ways.workers.run(block.priced, deal, keep)
    except block.Failed as error:
        return int(json.loads(str(error.args[0]))[0])
    except KeyboardInterrupt:
        say(
            f"{done:,} of {whole.size:,} points are in {journal.home}: run the same command again to continue",
            "resume later",
        )
        raise
    return None


def _words(done: int, size: int, workers: int) -> str:
    return f"{done:,} of {size:,} points" + (f", {workers} workers" if workers != 1 else "")


def _chunks(points: list[Point]) -> int:
    """Chunks in which the prompt of one point passes, at most."""
    return max((steps.chunks(point.workload.phase) for point in points if point.workload is not None), default=1)


def _beyond(points: list[Point], totals: Totals) -> list[Note]:
    """Notes on the longest context that memory allows, one a model."""
    longest: dict[str, tuple[ModelSpec, float]] = {}
    for i, reached in sorted(totals.longest.items()):
        w = points[i].workload
        assert w is not None
        model, most = longest.get(w.model.name, (w.model, reached))
        longest[w.model.name] = model, max(most, reached)
    return [line for model, most in longest.values() for line in memory_notes.beyond(model, most)]


def _finished(whole: Plan, points: list[Point], journal: Journal, out: Path, style: str) -> Result:
    """The output, and what is said of it."""
    query, totals = whole.query, Totals()
    for part in journal.every():
        totals.add(part)
    if totals.points != whole.size:
        raise SpecError(f"{journal.home} lost parts while it was read: run the same command again")
    asked = design_map.inputs_of(inputs(query, None), command(query), whole.wanted)
    counted = {"points": whole.size, "points_feasible": totals.feasible}
    runnable = [
        point.workload for i, point in enumerate(points) if point.workload is not None and i not in whole.failed
    ]
    said = [line for w in runnable for line in notes.warnings(query, w)] + _beyond(points, totals)
    found = Result(
        "sweep", asked, counted, {}, tuple(dict.fromkeys(said)), tuple(dict.fromkeys(line for w in runnable for line in notes.references(w))),
        sweep.verdict(totals.feasible, totals.fit, whole.size), totals.fit > 0,
    )  # fmt: skip
    on_front = assemble.written(whole, totals, journal.every(whole=True), out, style, identity.of(found))
    return Result(
        found.command, asked, {**counted, "points_on_front": on_front}, {}, found.warnings, found.references, found.verdict, found.fits
    )  # fmt: skip
