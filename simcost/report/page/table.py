"""A table of a page: cells as people read them, what each rests on under the pointer, and the numbers that a click sorts by."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from simcost import metrics
from simcost.errors import plain
from simcost.provenance import Basis
from simcost.report.cells import cell, title, with_intervals
from simcost.report.figures.points import ends
from simcost.result import Row

_LONG, _WIDE = 400, 30  # characters of a cell, and of one that stands on several lines
_SAID = (("basis", "rests on"), ("bound", "bound by"), ("formula", "formula"), ("source", "source"), ("why", "why"), ("reason", "reason"))  # fmt: skip


def escaped(words: object) -> str:
    """A text as the text of a page: no markup of it is read, no letter of it turns the order of reading."""
    return html.escape(plain(str(words).encode("utf-8", "backslashreplace").decode()))


def table(rows: Sequence[Row], most: int) -> str:
    """At most so many rows; what is left out is said below."""
    shown = list(rows[:most])
    merged = [with_intervals(row) for row in shown]
    names = list(dict.fromkeys(name for row in merged for name in row))
    names = [name for name in names if any(row.get(name) is not None for row in merged)]
    numeric = {name for name in names if all(_number(row.get(name)) for row in shown if row.get(name) is not None)}
    head = "".join(_head(name, name in numeric or metrics.error(name) != "") for name in names)
    body = "".join(
        f"<tr>{''.join(_cell(name, words, row, name in numeric) for name, words in ((name, one.get(name)) for name in names))}</tr>"
        for one, row in zip(merged, shown, strict=True)
    )
    more = len(rows) - len(shown)
    left = f'<p class="small">{more:,} more rows are not shown: --format csv has them.</p>' if more > 0 else ""
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{left}\n'


def _number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _head(name: str, right: bool) -> str:
    known = metrics.find(name)
    meaning = f' title="{escaped(known.meaning)}"' if known is not None and known.meaning else ""
    return f'<th scope="col"{" class=n" if right else ""}{meaning}><button type="button">{escaped(title(name))}</button></th>'


def _cell(name: str, value: Any, row: Mapping[str, Any], right: bool) -> str:
    said = hover(name, row)
    number = row.get(name)
    sort = f' data-v="{float(number):.9g}"' if _number(number) else ""
    text = cell(name, value)
    text = text if len(text) <= _LONG else f"{text[:_LONG]}…"
    about = f' title="{escaped(said)}"' if said and _number(number) else ""
    kind = " class=n" if right or sort else " class=w" if len(text) > _WIDE else ""
    return f"<td{kind}{sort}{about}>{escaped(text)}</td>"


def hover(name: str, row: Mapping[str, Any]) -> str:
    """The interval of a number and what it rests on, where its row says so."""
    found = []
    low, high = ends(row, name)
    if low is not None and high is not None:
        found.append(f"90 % interval: {cell(name, low)} to {cell(name, high)}")
    if metrics.error(name) or name.endswith("_s"):
        shares = [(each.value, row.get(f"share_{each.value}")) for each in Basis]
        told = [f"{share:.0%} {word}" for word, share in shares if share and share >= 0.005]
        found += [f"rests on: {', '.join(told)}"] if told else []
        found += [f"{words}: {row[key]}" for key, words in _SAID if row.get(key) and key != name]
    return "; ".join(found)
