"""How long answers are at each row of a question: levels of published data, caps on one distribution, or one distribution.

Most likely to be wrong: the spread of a level whose source prints a mean alone. Source: docs/theory/thinking.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from simcost import grammar, units
from simcost.errors import SpecError
from simcost.frozen import frozen
from simcost.num import Array
from simcost.provenance import Kind, Note
from simcost.scenarios.serve.question import lengths_of as written
from simcost.serving.lengths import Lengths, lognormal
from simcost.thinking import published
from simcost.thinking.budget import Cut, cut, cuts
from simcost.thinking.published import Row

BUDGET, LEVEL, WHOLE = "budget", "level", "osl"
_MOST_ROWS = 10_000


@frozen
class Said:
    """How a user says the lengths of a model's answers; None where he does not. levels: of published data of the model
    `of`; budgets: caps; most: a cap on all; after: tokens behind a cut thought."""

    osl: Any = None
    levels: Any = None
    budgets: Any = None
    of: str | None = None
    benchmark: str | None = None
    sigma: float | None = None
    most: Any = None
    after: Any = None


@frozen
class Answers:
    """Rows of a question: `key` names what `labels` are; `ends`: the same with the least and the most spread, where the
    spread is assumed; `rows`: published ones, empty where the user states lengths."""

    key: str
    labels: tuple[Any, ...]
    lengths: tuple[Cut, ...]
    ends: tuple[tuple[Cut, ...], tuple[Cut, ...]] | None = None
    rows: tuple[Row, ...] = ()
    notes: tuple[Note, ...] = ()


def answers(said: Said, model: str, prefix: str = "--") -> Answers:
    """The rows. Raises SpecError for lengths that are not said once, and for what is none. `prefix`: of the options."""
    levels = [] if said.levels is None else grammar.words(f"{prefix}levels", _joined(said.levels))
    if (said.osl is None) == (not levels):
        raise SpecError(
            f"state how long answers are, with either {prefix}osl (tokens or a distribution) or {prefix}levels (published lengths)"
        )
    if levels and len(set(levels)) < len(levels):
        raise SpecError(f"{prefix}levels {','.join(levels)}: a level is given twice")
    for name, value in (("lengths-of", said.of), ("benchmark", said.benchmark), ("sigma", said.sigma)):
        if value is not None and not levels:
            raise SpecError(f"{prefix}{name} applies to published lengths: add {prefix}levels")
    caps = _caps(said)
    if levels and caps is not None and len(levels) > 1:
        raise SpecError(f"--budget needs one level: {prefix}levels {','.join(levels)} names {len(levels)}")
    if not levels:
        return _rows(said, caps, (str(said.osl),), (written(f"{prefix}osl", str(said.osl)),))
    return _published(said, caps, levels, said.of or model)


def _published(said: Said, caps: Array | None, levels: Sequence[str], model: str) -> Answers:
    """Log-normal lengths of published rows; what a row does not state of its spread is stated, or assumed with its range."""
    rows = tuple(published.find(model, level, said.benchmark) for level in levels)
    usual, low, high, number = published.usual_sigma()
    stated = None if said.sigma is None else _sigma(said.sigma)
    sigmas = [stated if stated is not None else row.sigma for row in rows]
    whole = tuple(
        lognormal(row.tokens, usual if sigma is None else sigma) for row, sigma in zip(rows, sigmas, strict=True)
    )
    notes = [
        Note(
            row.said,
            Kind.ASSUMED if row.mean is None or row.certainty in ("unsure", "claim") or row.note else Kind.ORIGIN,
        )
        for row in rows
    ]
    found = _rows(said, caps, tuple(levels), whole)
    if None in sigmas:
        text = (
            f"sigma {usual:.2f} of the log of lengths is assumed where only a mean is published ({low:.2f} to {high:.2f}, 10 % and 90 % points of {number} "
            "published rows with median and P95; --sigma states it)"
        )
        notes.append(Note(text, Kind.ASSUMED))
        ends = [
            _rows(said, caps, tuple(levels), tuple(lognormal(row.tokens, end if sigma is None else sigma) for row, sigma in zip(rows, sigmas, strict=True))).lengths
            for end in (low, high)
        ]  # fmt: skip
        found = replace(found, ends=(ends[0], ends[1]))
    return replace(found, rows=rows, notes=tuple(notes))


def _rows(said: Said, caps: Array | None, labels: tuple[str, ...], whole: tuple[Lengths, ...]) -> Answers:
    after = 0.0 if said.after is None else _tokens("--answer", said.after)
    if caps is not None:
        return Answers(BUDGET, tuple(int(cap) for cap in caps.tolist()), tuple(cuts(whole[0], caps, after)))
    most = math.inf if said.most is None else _tokens("--max-osl", said.most)
    if said.after is not None and said.most is None:
        raise SpecError("--answer is the answer after thinking was cut: add --budget or --max-osl")
    return Answers(LEVEL if said.levels is not None else WHOLE, labels, tuple(cut(each, most, after) for each in whole))


def _caps(said: Said) -> Array | None:
    """Ascending caps, None for none."""
    if said.budgets is None:
        return None
    if said.most is not None:
        raise SpecError("--budget already sets the cap of each row: leave out --max-osl")
    words = said.budgets if isinstance(said.budgets, (list, tuple)) else grammar.words("--budget", str(said.budgets))
    found = [_tokens("--budget", word) for word in words]
    if not found or len(found) > _MOST_ROWS:
        raise SpecError(f"--budget names {len(found):,} budgets: 1 to {_MOST_ROWS:,}")
    twice = next((cap for cap in found if found.count(cap) > 1), None) if len(set(found)) < len(found) else None
    if twice is not None:
        raise SpecError(f"--budget names {twice:,.0f} twice")
    return np.array(sorted(found))


def _tokens(option: str, value: Any) -> float:
    found = units.whole(value.strip(), option, length=True) if isinstance(value, str) else value
    number = isinstance(found, (int, float)) and not isinstance(found, bool)
    if not number or not 1 <= float(found) <= 10**8 or float(found) != int(found):
        raise SpecError(f"{option} = {value!r} must be whole tokens from 1 to 100,000,000, as 8k or 8192")
    return float(found)


def _sigma(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 < value <= 5.0:
        raise SpecError(f"--sigma = {value!r} must be the spread of the log of lengths, above 0 and at most 5")
    return float(value)


def _joined(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
