"""Laws that every answer must keep, over a grid of kernels and of whole questions, and what breaks them.

At equal shape, beyond the interval: a narrower format is not slower; a newer part of a line is not slower than the one before it; time
does not fall when rows, batch, context, prompt or bytes grow; fp16 is bf16 where the rates are; nothing is faster than light; no table
lies far above its floor, or above its siblings' share of theirs. `broken(hw, engine)` names what does not hold, the worst point of each.
Most likely to be wrong: a law that a real kernel breaks; `known` says which do, and why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial

from simcost.hardware import load as hardware
from simcost.hardware.engines import ANY
from simcost.result import Row
from simcost.validation.laws import grid, kernels, questions
from simcost.validation.laws.devices import before
from simcost.validation.laws.grid import Grid
from simcost.validation.laws.kernels import Kernels
from simcost.validation.laws.known import explained
from simcost.validation.laws.questions import Answer, Question
from simcost.validation.laws.times import Asked, Broken


def broken(hw: str, engine: str = ANY) -> list[Row]:
    """What breaks a law on a device: one row a law and kind or question, the worst first; `why` where it is known to."""
    found = [*of_kernels([Asked(hw, engine)], grid.grids()), *of_questions([Asked(hw, engine)], questions.questions())]
    return [one.row for one in sorted(found, key=lambda one: (one.why != "", -one.beyond))]


def table(hw: str) -> dict[str, list[Row]]:
    """The table "laws" of a report about a device that ships with tables; {} for another, and where nothing is broken."""
    rows = broken(hw) if hardware.load(hw).tables else []
    return {"laws": rows} if rows else {}


def of_kernels(everybody: Sequence[Asked], chosen: Sequence[Grid]) -> list[Broken]:
    """What breaks a law of single kernels on the grids `chosen`, or of collectives, for every device and engine asked."""

    @cache
    def priced(hw: str, engine: str, index: int, name: str) -> Kernels | None:
        return kernels.of(hw, engine, chosen[index], grid.kinds(chosen[index])[name])

    found: list[Broken] = []
    for who in everybody:
        for index, one in enumerate(chosen):
            found += kernels.judged(who, grid.kinds(one), partial(_asked, priced, who.engine, index))
        found += [*kernels.collectives(who), *kernels.newer_collectives(who)]
    return [explained(one) for one in found]


def _asked(
    priced: Callable[[str, str, int, str], Kernels | None], engine: str, index: int, hw: str, name: str
) -> Kernels | None:
    return priced(hw, engine, index, name)


def of_questions(everybody: Sequence[Asked], chosen: Sequence[Question]) -> list[Broken]:
    """What breaks a law of whole steps among the questions `chosen`, for every device and engine asked."""

    @cache
    def answers(who: Asked) -> dict[Question, Answer]:
        return {one: answer for one in chosen if (answer := questions.ask(who, one)) is not None}

    found: list[Broken] = []
    for who in everybody:
        old = before(who.device)
        found += questions.judged(who, answers(who), {} if old is None else answers(Asked(old, who.engine)))
    return [explained(one) for one in found]
