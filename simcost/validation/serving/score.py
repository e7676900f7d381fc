"""How good predicted serving is: errors of TPOT, TTFT and throughput, by slice of the rows, and order within
sweeps.

Throughput is not measured but follows from the closed loop: requests in flight, over the time that one takes.
Most likely to be wrong: that a short benchmark's mean is the steady state's. Source: definitions in
docs/glossary.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from simcost.frozen import frozen
from simcost.result import Row as Cells
from simcost.validation import score
from simcost.validation.serving.point import Prediction, ServingPoint
from simcost.validation.serving.rows import AGGREGATED, DISAGGREGATED, Row

TPOT, TTFT, RATE = "TPOT", "TTFT", "output tokens/s/GPU"
WHAT = (TPOT, TTFT, RATE)
SWEEP = 6  # rows from which the order within a sweep of loads is judged
FIGURES = (*score.FULL[:5], "within_fifth", *score.FULL[5:], "spearman", "sweeps")
JUDGED, SPECULATIVE = "all", "speculative"


@frozen
class Answered:
    """A row with what a predictor says of it."""

    row: Row
    said: Prediction

    @property
    def answered(self) -> bool:
        """Whether the predictor gave numbers."""
        return not self.said.reason

    @property
    def point(self) -> ServingPoint:
        """The question; there is one wherever there is an answer."""
        assert self.row.point is not None
        return self.row.point


def loop_rate(concurrency: float, osl: float, ttft_s: float, tpot_s: float) -> float:
    """Output tokens a second of a closed loop: `concurrency` requests, each of which takes TTFT and osl - 1
    tokens. [1/s]"""
    return concurrency * osl / (ttft_s + tpot_s * (osl - 1.0))


def pair(one: Answered, what: str) -> tuple[float, float] | None:
    """(predicted, measured) of TPOT [s], TTFT [s] or RATE [1/s]; None where a row's TTFT is not judged, or
    nobody says it."""
    row, said = one.row, one.said
    if what != TPOT and row.ttft_apart:
        return None
    if what == TPOT:
        found = said.tpot_s, row.tpot_s
    elif what == TTFT:
        found = said.ttft_s, row.ttft_s
    else:
        measured = loop_rate(one.point.concurrency, one.point.osl, row.ttft_s, row.tpot_s)
        found = said.output_tokens_per_s / one.point.gpus, measured / one.point.gpus
    return found if math.isfinite(found[0]) else None


def errors(answers: Sequence[Answered], what: str) -> list[Cells]:
    """error, covered and half_width of every answer; tokens/s have no interval."""
    found = []
    for one in answers:
        both = pair(one, what) if one.answered else None
        if both is None:
            continue
        said = one.said
        ends = {TPOT: (said.tpot_low_s, said.tpot_high_s), TTFT: (said.ttft_low_s, said.ttft_high_s)}
        low, high = ends.get(what, (both[0], both[0]))
        found.append(
            {
                "error": score.error(*both),
                "covered": bool(low <= both[1] <= high),
                "half_width": (high - low) / 2.0 / both[0],
            }
        )
    return found


def figures(answers: Sequence[Answered], what: str) -> dict[str, Any]:
    """`FIGURES` of answers: those of `score.full`, the share within a fifth, and the median rank correlation
    over the sweeps of at least `SWEEP` rows, with how many there are."""
    cells = errors(answers, what)
    order = [value for sweep in sweeps(answers) if (value := _order(sweep, what)) is not None]
    found = score.full(cells) | {
        "within_fifth": score.near(cells),
        "spearman": float(np.median(order)) if order else None,
        "sweeps": len(order),
    }
    if not any(row["half_width"] > 0.0 for row in cells):
        found |= {"coverage": None, "median_half_width": None}
    return {name: found[name] for name in FIGURES}


def sweeps(answers: Sequence[Answered]) -> list[list[Answered]]:
    """Answers that differ in the load alone, of at least `SWEEP` rows each."""
    groups: dict[tuple[Any, ...], list[Answered]] = {}
    for one in answers:
        if one.answered:
            groups.setdefault(configuration(one.row), []).append(one)
    return [group for group in groups.values() if len(group) >= SWEEP]


def configuration(row: Row) -> tuple[Any, ...]:
    """What a sweep of loads keeps: model, device, engine, build, plan, format, lengths, and drafted tokens."""
    point = row.point
    if point is None:
        return (row.id,)
    plans = [repr(sorted((key, repr(value)) for key, value in point.sets.items())), repr((point.prefill, point.decode))]
    return (
        row.model,
        row.hw,
        row.engine,
        row.version,
        row.image,
        row.format,
        row.isl,
        row.osl,
        point.speculative,
        *plans,
    )


def _order(sweep: Sequence[Answered], what: str) -> float | None:
    both = [found for one in sweep if (found := pair(one, what)) is not None]
    return score.spearman(*zip(*both, strict=True)) if len(both) >= SWEEP else None


def slices(answers: Sequence[Answered]) -> Iterator[tuple[str, str, list[Answered]]]:
    """(dimension, name, answers): all judged rows, parts of them, and rows that are only reported."""
    judged = [one for one in answers if one.row.judged]
    yield "rows", JUDGED, judged
    parts: dict[str, Callable[[Row], str]] = {
        "family": lambda row: row.family,
        "engine": lambda row: row.engine,
        "hw": lambda row: row.hw,
        "format": lambda row: row.format,
    }
    for dimension, of in parts.items():
        for name in sorted({of(one.row) for one in judged}):
            yield dimension, name, [one for one in judged if of(one.row) == name]
    fast = [one for one in answers if one.row.speculative and not one.row.apart]
    yield "rows", SPECULATIVE, fast
    for drafted in sorted({one.point.speculative for one in fast}):
        yield "drafted", str(drafted), [one for one in fast if one.point.speculative == drafted]
    yield "rows", DISAGGREGATED, [one for one in answers if one.row.mode == DISAGGREGATED and not one.row.apart]
    for kind in sorted({one.row.apart for one in answers if one.row.apart}):
        of_kind = [one for one in answers if one.row.apart == kind and one.row.mode == AGGREGATED]
        yield "apart", kind, [one for one in of_kind if one.row.point is not None]


def table(name: str, answers: Sequence[Answered], what: str) -> list[Cells]:
    """A line for every slice with rows; name: of the predictor."""
    return [
        {
            "answer": name,
            "slice": dimension,
            "rows_of": part,
            "asked": len(own),
            "answered": sum(one.answered for one in own) / len(own),
            **figures(own, what),
        }
        for dimension, part, own in slices(answers)
        if own
    ]
