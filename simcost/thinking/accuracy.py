"""What share of queries is solved at each budget or level, as a user's file says it.

A CSV has a column `budget` (tokens) or `level`, a column for each way to answer (`accuracy` of one answer, `pass@8` and
`best@8` of the best of 8, `majority@8`, `tree@16`), shares from 0 to 1, and `source` where one likes. Between two
budgets a share is taken on the straight line over the log of the budget; outside of them there is none. Most likely to
be wrong: shares of a benchmark that is not the user's traffic.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from simcost import units
from simcost.errors import SpecError, nearest
from simcost.frozen import frozen
from simcost.num import Array
from simcost.texts import csv_rows, number_or_nan, text
from simcost.thinking.parallel import BEST, SINGLE, Parallel

BUDGET, LEVEL = "budget", "level"
_COLUMN = re.compile(r"(pass|best|majority|tree)@[1-9]\d*\Z")
_ONE = "accuracy"


@frozen
class Accuracy:
    """Shares of solved queries by budget, ascending, or by level, one of which is empty. `column`: where from."""

    budgets: tuple[float, ...]
    levels: tuple[str, ...]
    shares: tuple[float, ...]
    column: str
    where: str

    def at_budgets(self, budgets: Array) -> Array:
        """The share of each budget; NaN outside of those of the file. Raises SpecError for a file of levels."""
        if not self.budgets:
            raise SpecError(f"{self.where}: has a column 'level', but --budget needs a column 'budget'")
        known = np.log(np.asarray(self.budgets))
        return np.asarray(np.interp(np.log(budgets), known, np.asarray(self.shares), left=math.nan, right=math.nan))

    def at_levels(self, levels: list[str]) -> Array:
        """The share of each level. Raises SpecError for one that the file does not have, and for a file of budgets."""
        if self.budgets:
            raise SpecError(f"{self.where}: has a column 'budget', but --levels needs a column 'level'")
        missing = [level for level in levels if level not in self.levels]
        if missing:
            known = ", ".join(self.levels)
            raise SpecError(f"{self.where}: no level '{missing[0]}' ({known}){nearest(missing[0], self.levels)}")
        return np.array([self.shares[self.levels.index(level)] for level in levels])


def columns_of(how: Parallel) -> tuple[str, ...]:
    """Columns that say how often a way to answer solves a query, the first one that a file has counts."""
    if how.kind == SINGLE:
        return (_ONE, "pass@1")
    own = f"{how.kind}@{how.width}"
    return (own, f"pass@{how.width}") if how.kind == BEST else (own,)


def read(path: str, how: Parallel, option: str = "--accuracy") -> Accuracy:
    """The shares of a file for a way to answer. Raises SpecError, which names the file, the line and what is wrong."""
    where = f"{option} {path}"
    read_ = csv_rows(text(Path(path), where), where)
    rows = [(at, [cell.strip() for cell in row]) for at, row in read_ if any(cell.strip() for cell in row)]
    if len(rows) < 2:
        raise SpecError(f"{where}: needs a header and at least one row, as in budget,accuracy")
    head = rows[0][1]
    key, column = _columns(head, how, where)
    found: dict[float | str, float] = {}
    for line, row in rows[1:]:
        if len(row) != len(head):
            raise SpecError(f"{where}, row {line}: {len(row)} cells, not {len(head)}")
        of = row[head.index(key)]
        at = _budget(of, f"{where}, row {line}") if key == BUDGET else of
        if at in found or at == "":
            raise SpecError(f"{where}, row {line}: {key} {of!r} {'appears twice' if of else 'is empty'}")
        found[at] = _share(row[head.index(column)], f"{where}, row {line}", column)
    if key == LEVEL:
        return Accuracy((), tuple(str(each) for each in found), tuple(found.values()), column, where)
    pairs = sorted((float(at), share) for at, share in found.items())
    return Accuracy(tuple(at for at, _ in pairs), (), tuple(share for _, share in pairs), column, where)


def _columns(head: list[str], how: Parallel, where: str) -> tuple[str, str]:
    keys = [name for name in (BUDGET, LEVEL) if name in head]
    if len(keys) != 1:
        raise SpecError(f"{where}: needs one of the columns budget and level ({', '.join(head)})")
    for name in head:
        if head.count(name) > 1:
            raise SpecError(f"{where}: column {name!r} appears twice")
        if name not in (BUDGET, LEVEL, _ONE, "source") and not _COLUMN.match(name):
            raise SpecError(
                f"{where}: unknown column {name!r} (accuracy, pass@N, best@N, majority@N, tree@N, source)"
                f"{nearest(name, [_ONE, BUDGET, LEVEL, 'source'])}"
            )
    wanted = columns_of(how)
    column = next((name for name in wanted if name in head), None)
    if column is None:
        raise SpecError(
            f"{where}: no column {' or '.join(wanted)}: the accuracy of {how.said} does not follow from that of one answer"
        )
    return keys[0], column


def _budget(text: str, where: str) -> float:
    value = units.whole(text, where, length=True)
    if not isinstance(value, (int, float)) or value < 1:
        raise SpecError(f"{where}: budget {text!r} is not a number of tokens")
    return float(value)


def _share(text: str, where: str, column: str) -> float:
    value = number_or_nan(text)
    if not 0.0 <= value <= 1.0:
        percent = ": write 0.80 for 80 %" if value > 1.0 or text.endswith("%") else ""
        raise SpecError(f"{where}: {column} = {text!r} must be a share from 0 to 1{percent}")
    return value
