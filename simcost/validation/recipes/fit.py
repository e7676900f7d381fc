"""Terms of a framework's host from published steps, fitted on families of models that they do not judge.

Two terms: the host's time in a step of the engine, and in a kernel that the trainer launches. They make the mean of |log(predicted / measured)| of steps and printed phases least, over a whole grid,
so that nothing depends on where a search starts. Each family of models is predicted with the terms of all others; the
sigma of what steps are missed by is the smallest at which 90 % intervals hold nine tenths of n + 1 of the n steps of families that
were predicted so (split conformal prediction, arXiv 2107.07511 §1), and for a family it comes from the others again. What is written for use rests on all rows, and its error is that of
families left out. Most likely to be wrong: frameworks and releases that differ in what the host does. Source:
docs/validation/recipes.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from simcost.frozen import frozen
from simcost.learning.phases import ALL, TRAINER
from simcost.learning.stack import Framework
from simcost.num import Array
from simcost.result import Row as Cells
from simcost.validation import score as figures
from simcost.validation.recipes.score import Scored, printed, steps, under
from simcost.validation.recipes.terms import DECODE, KERNEL

LEAST = 3  # families, of which two make terms for the third
HELD = 0.90  # of steps of families left out, inside their 90 % interval
_DECODE = np.concatenate([[0.0], np.geomspace(0.2e-3, 60e-3, 118)])  # [s], 5 % apart
_KERNEL = np.concatenate([[0.0], np.geomspace(5e-6, 5e-3, 142)])  # [s], 5 % apart
_SPREADS = np.arange(0.0, 2.0001, 0.01)


@frozen
class Terms:
    """Fitted: [s] of a step of the engine, of a kernel of the trainer; sigma of the log of a step."""

    decode: float
    kernel: float
    spread: float

    def of(self, host: Framework) -> Framework:
        """A framework with these."""
        return replace(host, host_decode_s=self.decode, host_kernel_s=self.kernel, step_spread=self.spread)


NONE = Terms(0.0, 0.0, 0.0)


def cold(one: Scored) -> Scored:
    """A row's prediction without any fitted term."""
    return under(one, NONE.of(host_of(one))) if one.answered and one.framework is not None else one


def host_of(one: Scored) -> Framework:
    """The framework of an answered row."""
    assert one.framework is not None
    return one.framework


def of_framework(all_: Sequence[Scored], framework: str) -> list[Scored]:
    """Rows that judge the step, with a prediction."""
    return [one for one in steps(all_) if one.answered and one.row.cells["framework"] == framework]


def families(rows: Sequence[Scored]) -> list[str]:
    """Models of rows."""
    return sorted({one.row.cells["model"] for one in rows})


def fitted(rows: Sequence[Scored]) -> tuple[float, float]:
    """(decode, kernel) of rows [s]."""
    found: list[Array] = []
    for one in rows:
        found.append(_log(_step(one), one.row.numbers["step_s"]))
        for column in printed(one.row):
            if sum_ := _phase(one, column):
                found.append(_log(_grid(*sum_), one.row.numbers[column]))
    off = np.mean(np.abs(found), axis=0)
    i, j = np.unravel_index(int(np.argmin(off)), off.shape)
    return float(_DECODE[i]), float(_KERNEL[j])


def spread(rows: Sequence[Scored]) -> float:
    """The smallest sigma at which enough of rows that are predicted already are inside."""
    needed = min(math.ceil(HELD * (len(rows) + 1)), len(rows))
    for sigma in _SPREADS:
        wide = [under(one, replace(host_of(one), step_spread=float(sigma))) for one in rows]
        if sum(bool(one.figure["covered"]) for one in wide) >= needed:
            return float(round(sigma, 2))
    return float(_SPREADS[-1])


def left_out(rows: Sequence[Scored]) -> list[Scored]:
    """Each row by the terms of the other families, without their sigma."""
    found: dict[str, Scored] = {}
    for family in families(rows):
        terms = Terms(*fitted([one for one in rows if one.row.cells["model"] != family]), 0.0)
        found |= {one.row.id: under(one, terms.of(host_of(one))) for one in rows if one.row.cells["model"] == family}
    return [found[one.row.id] for one in rows]


def terms(rows: Sequence[Scored]) -> Terms:
    """Of all rows: sigma of families that are left out one after the other."""
    return Terms(*fitted(rows), spread(left_out(rows)))


def held_out(all_: Sequence[Scored], framework: str) -> tuple[list[Scored], dict[str, Terms]]:
    """(all rows, those of a framework each by the terms of the other families of models; these terms by family). As they
    are with few families. Rows of that framework that judge less take the same terms."""
    rows = of_framework(all_, framework)
    if len(families(rows)) < LEAST:
        return list(all_), {}
    by = {family: terms([one for one in rows if one.row.cells["model"] != family]) for family in families(rows)}
    whole = [
        under(one, by[one.row.cells["model"]].of(host_of(one)))
        if one.answered and one.framework is not None and one.row.cells["framework"] == framework
        and one.row.cells["model"] in by
        else one
        for one in all_
    ]  # fmt: skip
    return whole, by


def table(cold_: Sequence[Scored], held: Sequence[Scored], by: Mapping[str, Terms], framework: str) -> list[Cells]:
    """A line a family that is left out: its terms and both errors; then all of them together. Empty with few families."""
    if not by:
        return []
    before = of_framework(cold_, framework)
    after = of_framework(held, framework)

    def line(name: str, pick: str | None, terms: Terms | None) -> Cells:
        old, new = ([one for one in rows if pick is None or one.row.cells["model"] == pick] for rows in (before, after))
        full = figures.full([one.figure for one in new])
        return {
            "rows_of": framework,
            "left_out_family": name,
            "n": len(new),
            "cold_median_abs_error": float(np.median([abs(float(one.figure["error"])) for one in old])),
            "error_left_out": full["median_abs_error"],
            "bias": full["bias"],
            "coverage": full["coverage"],
            "host_decode_s": None if terms is None else terms.decode,
            "host_kernel_s": None if terms is None else terms.kernel,
            "step_spread": None if terms is None else terms.spread,
        }

    lines = [line(family, family, by[family]) for family in sorted(by)]
    return [*lines, line("all, each left out", None, None)]


def _step(one: Scored) -> Array:
    """Seconds of a step over the whole grid. [decode, kernel]"""
    bare = one.bare
    assert bare is not None
    sides: dict[str, tuple[float, float, float]] = {}
    for phase in bare.phases:
        side = phase.pool if bare.at_once and phase.pool in (ALL, TRAINER) else "rollout"
        base, decode, kernel = sides.get(side, (0.0, 0.0, 0.0))
        more = _counted(one, phase.name)
        sides[side] = base + phase.seconds, decode + more[0], kernel + more[1]
    grids = {side: _grid(*each) for side, each in sides.items()}
    if not bare.at_once:
        return grids["rollout"]
    return np.maximum(grids["rollout"], grids[TRAINER]) + grids.get(ALL, 0.0)


def _phase(one: Scored, column: str) -> tuple[float, float, float] | None:
    """(seconds without terms, counts of both) of a printed column; None where no term is in it."""
    bare = one.bare
    assert bare is not None
    base = sum(phase.seconds for phase in bare.phases if phase.name in one.columns[column])
    names = {phase.name for phase in bare.phases}.intersection(one.columns[column])
    counts = [_counted(one, name) for name in sorted(names)]
    decode, kernel = (sum(each[i] for each in counts) for i in (0, 1))
    return (base, decode, kernel) if decode or kernel else None


def _counted(one: Scored, name: str) -> tuple[float, float]:
    assert one.bare is not None
    term, count = one.bare.counts.get(name, (DECODE, 0.0))
    return (count, 0.0) if term == DECODE else (0.0, count if term == KERNEL else 0.0)


def _grid(base: float, decode: float, kernel: float) -> Array:
    return np.asarray(base + decode * _DECODE[:, None] + kernel * _KERNEL[None, :])


def _log(seconds: Array, measured: float) -> Array:
    return np.asarray(np.log(seconds / measured))
