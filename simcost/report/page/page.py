"""The page of an answer: first what was asked and the answer with its interval, then its pictures, its tables, all numbers, notes and references.

One file of at most 1 MB that needs no network: style, script and pictures stand in it. A page that would be larger has fewer rows of each table, then pictures as PNG, and says so.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import Any

from simcost import metrics
from simcost.errors import SpecError
from simcost.provenance import VERSION
from simcost.report.answer import command
from simcost.report.answer.headline import partitions
from simcost.report.cells import cell, changed, title
from simcost.report.figures import kinds, style
from simcost.report.figures.points import ends
from simcost.report.page.looks import SCRIPT, STYLE, policy
from simcost.report.page.table import escaped, hover, table
from simcost.report.question import asked
from simcost.result import Result, Row

MOST = 1_000_000  # bytes of a page
_ROWS = (1000, 300, 100, 30, 10)  # of a table, tried in turn
_PICTURES = 800_000  # bytes of all SVGs
_HEADS = 6
_END = re.compile(r"_(low|high)(_s)?$")  # of an interval, which stands below its number
_INPUTS = 20_000  # characters


def page(result: Result, figures: Mapping[str, str] | None = None) -> str:
    """The text of the file. `figures`: names and SVGs to show; None: all that the result has, where matplotlib is installed. Raises SpecError where even few rows make more than 1 MB."""
    missing = ""
    if figures is None:
        try:
            figures = drawn(result)
        except SpecError as error:
            figures, missing = {}, str(error)
    for most in _ROWS:
        text = _document(result, figures, missing, most)
        if len(text.encode()) <= MOST:
            return text
    raise SpecError(f"the page of '{result.command}' would be larger than 1 MB: --format csv has all rows")


def drawn(result: Result, known: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Markup of every figure that a result has, the first in front; those in `known` were drawn before. Raises SpecError without matplotlib."""
    given = known or {}
    found = dict.fromkeys([*given, *kinds.names(result)])
    if not found:
        return {}
    kinds.ready("a figure in a page")
    figures = {name: given[name] if name in given else kinds.figure(result, name) for name in found}
    texts = {name: kinds.svg(figure) for name, figure in figures.items()}
    shown: dict[str, str] = {}
    left = sum(map(len, texts.values()))
    first = next(iter(texts))
    # Where all together are too large the largest are images, and the first at last.
    for name in sorted(texts, key=lambda one: (one == first, -len(texts[one]))):
        words = escaped(figures[name].get_suptitle().replace("\n", " "))
        shown[name] = inline(texts[name], name, words) if left <= _PICTURES else _image(figures[name], words)
        left -= len(texts[name])
    return {name: shown[name] for name in found}


def _image(figure: Any, words: str) -> str:
    """A figure as an image inside a page. `words`: what it shows, escaped."""
    data = base64.b64encode(kinds.picture(figure, ".png")).decode()
    return f'<img alt="{words}" style="width:100%" src="data:image/png;base64,{data}">'


def inline(text: str, name: str, words: str) -> str:
    """The markup of an SVG file for a page: its size is the page's, its ink and paper too, its names its own. `words`: what it shows, escaped, for who cannot see it."""
    inner = text[text.index("<svg") :]
    inner = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r"\1", inner, count=1)
    inner = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", inner)
    for colour, variable in ((style.INK, "ink"), (style.PAPER, "card"), (style.FAINT, "faint")):
        inner = inner.replace(colour, f"var(--{variable})")
    return inner.replace("<svg", f'<svg role="img" aria-label="{words}"', 1)


def _document(result: Result, figures: Mapping[str, str], missing: str, most: int) -> str:
    name = escaped(f"simcost {result.command}")
    parts = [
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy()}">',
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><title>{name}: {escaped(result.verdict)[:200]}</title><style>{STYLE}</style></head>\n<body><main>\n',
        _head(result, name),
        *(f"<figure>{markup}</figure>\n" for markup in figures.values()),
        f'<p class="small">{escaped(missing)}</p>\n' if missing else "",
        *(f"<h2>{escaped(words)}</h2>\n{table(rows, most)}" for words, rows in result.tables.items() if len(rows)),
        f"<h2>Dimensions that swaps chose</h2>\n{table([changed(row) for row in result.dimensions], most)}" if result.dimensions else "",
        _metrics(result),
        *(_list(heading, lines) for heading, lines in (("Notes", result.warnings), ("References", result.references)) if lines),
        _question(result),
        f"</main><script>{SCRIPT}</script></body></html>\n",
    ]  # fmt: skip
    return "".join(parts)


def _head(result: Result, name: str) -> str:
    """The answer: what it is in a sentence, what was asked, and the first numbers with their intervals."""
    said = asked(result)
    heads = [one for one in metrics.headlines() if _number(result.metrics.get(one))]
    heads = (heads or [one for one, value in result.metrics.items() if _number(value) and not _END.search(one)])[
        :_HEADS
    ]
    cards = "".join(_card(one, result.metrics) for one in heads)
    return (
        f"<h1>{name}</h1>\n"
        + (f'<p class="verdict">{escaped(result.verdict)}</p>\n' if result.verdict else "")
        + (f'<p class="asked">{escaped(said)}</p>\n' if said else "")
        + (f'<dl class="heads">{cards}</dl>\n' if cards else "")
        + _rests(result)
    )


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _card(name: str, row: Row) -> str:
    low, high = ends(row, name)
    within = "" if low is None or high is None else f"<span>90 %: {escaped(cell(name, low))} to {escaped(cell(name, high))}</span>"  # fmt: skip
    said = hover(name, row)
    about = f' title="{escaped(said)}"' if said else ""
    return f"<div{about}><dt>{escaped(title(name))}</dt><dd>{escaped(cell(name, row[name]))}{within}</dd></div>"


def _rests(result: Result) -> str:
    told = [f"{heading} {words}" for heading, words in partitions(result.metrics).items()]
    return f'<p class="small">The time {escaped("; it is ".join(told))}.</p>\n' if told else ""


def _metrics(result: Result) -> str:
    """All numbers with what they mean."""
    if not result.metrics:
        return ""
    lines = []
    for name, value in result.metrics.items():
        known = metrics.find(name)
        said, number = hover(name, result.metrics), f' data-v="{float(value):.9g}"' if _number(value) else ""
        about = f' title="{escaped(said)}"' if said and number else ""
        lines.append(
            f"<tr><td>{escaped(title(name))}</td><td class=n{number}{about}>{escaped(cell(name, value))}</td>"
            f"<td><code>{escaped(name)}</code></td><td class=w>{escaped(known.meaning if known is not None else '')}</td></tr>"
        )
    head = "".join(f'<th scope="col"{right}><button type="button">{words}</button></th>' for words, right in (("metric", ""), ("value", " class=n"), ("name in files", ""), ("meaning", "")))  # fmt: skip
    return f'<h2>All numbers</h2>\n<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>\n'


def _list(heading: str, lines: tuple[str, ...]) -> str:
    return f"<h2>{heading}</h2>\n<ul>{''.join(f'<li>{escaped(line)}</li>' for line in lines)}</ul>\n"


def _question(result: Result) -> str:
    """All that was asked, defaults included: simcost.ask(command, inputs) asks it again, and so does the command."""
    given = json.dumps(result.inputs, indent=1, ensure_ascii=False, default=str)
    given = given if len(given) <= _INPUTS else f"{given[:_INPUTS]}…"
    shown = "\n".join(map(escaped, given.split("\n")))
    line = "\n".join(map(escaped, command.lines(result)))
    again = f"<h2>Command</h2>\n<pre>{line}</pre>\n" if line else ""
    return f'<h2>What was asked</h2>\n<pre>{shown}</pre>\n{again}<p class="small">simcost {VERSION}. Numbers are estimates; intervals are 90 %.</p>\n'  # fmt: skip
