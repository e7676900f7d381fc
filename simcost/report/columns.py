"""Columns of a table for people: their titles over several lines, their widths, and which of them a screen holds."""

from __future__ import annotations

import re
from collections.abc import Sequence

from simcost.report.cells import cell, title
from simcost.result import Row

_WRAPPED = {
    "after": 17,
    "plan": 26, "training_plan": 38, "source": 40, "weights": 40, "shape": 30, "measured_shape": 26, "cited_for": 18, "formula": 30, "op": 21, "basis": 14, "title": 24, "attention": 20, "verdict": 30, "table": 30, "at_import": 30, "do": 40, "why": 21, "may_come_from": 32,
    "dropped": 30, "worst": 40, "takes": 22, "default": 20, "meaning": 34, "needs": 30, "aliases": 24, "picked_by": 16, "answers": 16, "tried": 20, "metric_at_both": 22, "term": 24, "fits": 12, "virtual_stages": 24,
}  # fmt: skip
_NARROW = ("dp_attention", "versus_best", "probability_behind", "best_or_tied")  # titles wider than their cells
_NAMED = 6  # of what does not fit; files hold all
_PIECE = re.compile(r"[^ =]*[ =]|[^ =]+$")


def body(n: str, rows: Sequence[Row]) -> int:
    """Width of the widest cell. [characters]"""
    return max((len(cell(n, row.get(n))) for row in rows), default=0)


def heading(n: str, rows: Sequence[Row]) -> str:
    """The column's title over as many lines as its cells are narrow."""
    words = title(n).replace(" %", "\u00a0%")
    narrow = 7 if n in _NARROW else 12
    return folded(words, max(min(body(n, rows), 24), narrow)).replace("\u00a0", " ")


def folded(words: str, width: int) -> str:
    """Text in lines of at most `width` characters where it has places to break: each part after a comma on a line of its own, and
    a part that is still longer at its spaces and "="."""
    lines: list[str] = []
    for part in [words] if len(words) <= width else re.findall(r"[^,]+,?", words):
        start = len(lines)
        for piece in [part] if len(part) <= width else _PIECE.findall(part):
            if len(lines) > start and len(lines[-1] + piece.rstrip()) <= width:
                lines[-1] += piece
            else:
                lines.append(piece)
    return "\n".join(line.strip() for line in lines)


def fitting(names: Sequence[str], rows: Sequence[Row], width: int) -> list[str]:
    """The first columns, as many as the width holds, at least two."""
    kept: list[str] = []
    used = 1
    for n in names:
        need = max(head_width(n, rows), _least(n, rows)) + 3
        if used + need > width and len(kept) >= 2:
            break
        kept.append(n)
        used += need
    return kept


def head_width(n: str, rows: Sequence[Row]) -> int:
    """Width of the heading's longest line. [characters]"""
    return max(len(line) for line in heading(n, rows).splitlines())


def _least(n: str, rows: Sequence[Row]) -> int:
    """Width below which no cell is wrapped."""
    whole = body(n, rows)
    return min(whole, _WRAPPED.get(n, whole))


def widths(names: Sequence[str], rows: Sequence[Row], width: int) -> dict[str, int]:
    """Width of every column's cells: the least, and of what is left over a part where cells are longer. [characters]"""
    least = {n: _least(n, rows) for n in names}
    room = max(width - 1 - sum(max(head_width(n, rows), least[n]) + 3 for n in names), 0)
    short = {n: body(n, rows) - least[n] for n in names}
    total = sum(short.values())
    return {n: least[n] + (min(short[n], room * short[n] // total) if total else 0) for n in names}


def left_out(names: Sequence[str]) -> str:
    """ "not shown at this width (--format csv has them): tpot, mfu and 3 more"."""
    shown = ", ".join(title(n) for n in names[:_NAMED])
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"not shown at this width (--format csv has them): {shown}{more}"
