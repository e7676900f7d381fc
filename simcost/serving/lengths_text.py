"""Lengths as people write them: "1024", "lognormal:1024:0.8", "uniform:128:2048", "exponential:512",
"file:lengths.csv".

A file has one column of whole numbers, or a column named as the option (`isl`, `osl`) or `tokens`; a column `weight`
says how often a row counts. Most likely to be wrong: a file of prompts with a chat template's tokens left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from simcost.errors import SpecError, nearest, say
from simcost.serving import lengths
from simcost.serving.lengths import Lengths
from simcost.texts import csv_rows, number, text

FORMS = "write 1024, lognormal:MEAN:SIGMA, uniform:LEAST:MOST, exponential:MEAN or file:PATH.csv"
_KINDS: dict[str, tuple[tuple[str, ...], Callable[..., Lengths]]] = {
    "lognormal": (("MEAN", "SIGMA"), lengths.lognormal),
    "uniform": (("LEAST", "MOST"), lengths.uniform),
    "exponential": (("MEAN",), lengths.exponential),
}
_TOKENS, _WEIGHT, _LENGTHS = "tokens", "weight", ("isl", "osl")


def parse(text: str, option: str) -> Lengths:
    """The lengths of a text; `option`: what the user set, "--isl" or "isl", which names the column of a file. Raises
    SpecError, which names the option, the text and what may stand there."""
    kind, _, rest = text.strip().partition(":")
    said = f"{option} {text}"
    if kind == "file":
        return _of_file(Path(rest), said, option.lstrip("-"))
    plain = _number(kind)
    if plain is not None and not rest:
        return _made(said, lengths.constant, [plain])
    if kind not in _KINDS:
        raise SpecError(f"{said}: unknown length ({FORMS}){nearest(kind, [*_KINDS, 'file'])}")
    names, make = _KINDS[kind]
    numbers = [_number(part) for part in rest.split(":")]
    if len(numbers) != len(names) or None in numbers:
        raise SpecError(f"{said}: write {kind}:{':'.join(names)} with plain numbers")
    return _made(said, make, [each for each in numbers if each is not None])


def _made(said: str, make: Callable[..., Lengths], numbers: list[float]) -> Lengths:
    try:
        return make(*numbers)
    except SpecError as error:
        raise SpecError(f"{said}: {error}") from None


def _number(text: str) -> float | None:
    """A plain number; None for anything else."""
    try:
        value = number(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _of_file(path: Path, said: str, wanted: str) -> Lengths:
    """The lines of a file as a distribution."""
    where = f"{said}: {path}"
    rows = [(at, cells) for at, cells in csv_rows(text(path, where), where) if any(cell.strip() for cell in cells)]
    if not rows:
        raise SpecError(f"{where}: no lengths")
    names = [cell.strip() for cell in rows[0][1]]
    headless = len(names) == 1 and _number(names[0]) is not None
    column, weight = (0, None) if headless else _columns(names, where, wanted)
    values, weights = [], []
    for line, row in rows if headless else rows[1:]:
        at = f"{where}, row {line}"
        if len(row) != len(names):
            raise SpecError(f"{at}: {len(row)} cells, not {len(names)}")
        values.append(_cell(row[column], at, whole=True))
        weights.append(1.0 if weight is None else _cell(row[weight], at, whole=False))
    if not values or not any(weights):
        raise SpecError(f"{where}: {'no lengths' if not values else 'all weights are 0'}")
    return lengths.weighted(np.asarray(values), np.asarray(weights))


def _columns(names: list[str], where: str, wanted: str) -> tuple[int, int | None]:
    """Places of the lengths and of the weights."""
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise SpecError(f"{where}: column {doubled[0]!r} appears twice")
    weight = names.index(_WEIGHT) if _WEIGHT in names else None
    others = [name for name in names if name != _WEIGHT]
    for name in (wanted, _TOKENS):
        if name in others:
            unread = [one for one in others if one not in (name, *_LENGTHS)]
            if unread:
                say(f"{where}: columns without effect: {', '.join(unread)}", where)
            return names.index(name), weight
    raise SpecError(
        f"{where}: no column {wanted!r} or {_TOKENS!r} (columns: {', '.join(names)}){nearest(wanted, others)}"
    )


def _cell(text: str, where: str, whole: bool) -> float:
    """A number of a file: a whole length, or a weight of at least 0."""
    value = _number(text.strip())
    if value is None or (whole and not (1.0 <= value <= lengths.MOST_TOKENS and value == math.floor(value))):
        raise SpecError(
            f"{where}: {text.strip()!r} is not a whole number from 1 to {lengths.MOST_TOKENS:,}"
            if whole
            else f"{where}: {text.strip()!r} is not a weight"
        )
    if value < 0.0:
        raise SpecError(f"{where}: weight {text.strip()} is below 0")
    return value
