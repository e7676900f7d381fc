"""prefill and decode: one operating point, or a sweep over the product of the axes."""

from __future__ import annotations

from simcost.cost.price import with_range
from simcost.estimate import answer
from simcost.estimate import step as steps
from simcost.query import Query, workload
from simcost.result import Result, number
from simcost.scenarios import engine_notes, fitting, memory_notes, notes, sweep
from simcost.scenarios.answers import terms
from simcost.scenarios.inputs import command, dimensions, inputs


def result(query: Query) -> Result:
    """A Result with metrics (one point) or rows (a sweep)."""
    return sweep.result(query) if query.axes else _single(query)


def _single(query: Query) -> Result:
    w = workload(query)
    step = steps.checked(w)
    sentence, fits = fitting.judged(query, step.kept)
    known = with_range(answer.metrics(step, query.decode, query.price(w.device)), query.paid(w.device))
    found = {k: number(v) for k, v in known.items()}
    return Result(
        command(query), inputs(query, w), {**found, "fits": fits, **answer.forms_named(step)},
        warnings=(*notes.warnings(query, w), *memory_notes.tight(step.kept), *engine_notes.imported_first(step), *memory_notes.beyond(w.model, found.get("max_context"))), references=notes.references(w, step),
        verdict=sentence, fits=fits, dimensions=dimensions(w.model), terms=terms.of(step),
    )  # fmt: skip
