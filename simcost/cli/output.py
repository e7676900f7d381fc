"""From a Result to the terminal or a file; from an error to one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from simcost import files, streams
from simcost.errors import SpecError, nearest
from simcost.result import Result

MOST_ROWS = 200_000  # that are made in memory for a file or a pipe: 20 s of work; `simcost.bulk` streams more
FORMATS = ("console", "csv", "markdown", "json")
FIGURE, PAGE = "figure", "html"  # of a file alone, by its suffix
PICTURES = (".png", ".svg", ".pdf")
_SUFFIXES = {
    ".csv": "csv", ".md": "markdown", ".markdown": "markdown", ".json": "json", ".html": PAGE, ".htm": PAGE,
    **dict.fromkeys(PICTURES, FIGURE),
}  # fmt: skip
_PLAIN = ("", ".txt")  # suffixes of text in any format, of the console where none is stated

_noted: list[str] = []  # of the command that runs: how its line was read
_drawn: list[str] = []  # of the command that runs: which figure, how wide


_kept: list[list[Result]] = []  # where answers go that another command asked for


@contextmanager
def kept() -> Iterator[list[Result]]:
    """A context in which answers are kept in a list, and nothing is printed or written."""
    found: list[Result] = []
    _kept.append(found)
    try:
        yield found
    finally:
        _kept.pop()


@contextmanager
def noting(lines: list[str]) -> Iterator[None]:
    """What a command's answer says first among its notes."""
    _noted[:] = lines
    try:
        yield
    finally:
        _noted.clear()


@contextmanager
def drawing(name: str, width: str) -> Iterator[None]:
    """Which figure a command draws where -o asks for a picture ("": the first that its answer has), and how wide."""
    _drawn[:] = [name, width]
    try:
        yield
    finally:
        _drawn.clear()


def emit(result: Result, style: str, out: Path | None, strict: bool = False, details: bool = False) -> int:
    """Prints a result, or writes it to `out` ("-": prints it). Returns the exit code: 3 when `strict` and the design does not fit, else 0. A CSV
    has no place for notes: they go to stderr. `details`: the console shows all notes and tables, as files do."""
    if _kept:
        _kept[-1].append(result)
        return 0
    style, out = chosen(style, out), None if out == streams.STDOUT else out
    result = _with_notes(result)
    if out is not None and style == FIGURE:
        from simcost.report.figures import kinds

        kinds.write(result, out, *_drawn)
        return _code(result, strict)
    text = render(result, style, out, details)
    if out is not None:
        write(out, text)
    else:
        streams.out(text)
    return _after(result, style, strict)


def streamed(result: Result, strict: bool) -> int:
    """What is said of an answer whose rows stand in a file already, as `emit` does of a CSV."""
    return _after(_with_notes(result), "csv", strict)


def _with_notes(result: Result) -> Result:
    return replace(result, warnings=(*_noted, *result.warnings)) if _noted else result


def _after(result: Result, style: str, strict: bool) -> int:
    if style == "csv":
        sys.stderr.writelines(f"simcost: note: {' '.join(line.split())}\n" for line in result.warnings)
    return _code(result, strict)


def _code(result: Result, strict: bool) -> int:
    if strict and not result.fits:
        sys.stderr.write(f"simcost: --strict: {result.verdict}\n")
        return 3
    return 0


def chosen(style: str, out: Path | None) -> str:
    """The format: as stated, else by the file's suffix, else console. Raises SpecError for one that is none, where the suffix says
    another, and where it says nothing and none is stated."""
    implied = "" if out is None else suffix_of(out)
    if style and style not in FORMATS and style != implied:
        raise SpecError(f"--format must be one of {', '.join(FORMATS)}, not {style!r}{nearest(style, FORMATS)}")
    if style and implied and style != implied:
        raise SpecError(f"--format {style} contradicts -o {out}, whose suffix means {implied}")
    if out is not None and not style and not implied and out.suffix.lower() not in _PLAIN:
        raise SpecError(
            f"-o {out}: the suffix {out.suffix} is not a known format: add --format ({', '.join(FORMATS)}), or one of {', '.join((*_SUFFIXES, '.txt'))} (.bib applies to simcost cite)"
        )
    return style or implied or "console"


def suffix_of(path: Path) -> str:
    """The format that a file's suffix means; "" for one that says nothing."""
    return _SUFFIXES.get(path.suffix.lower(), "")


def check(style: str, out: Path | None = None) -> str:
    """The format, as `chosen`. Raises SpecError as it does, and for a file that cannot be written: before minutes of work, not
    after."""
    style = chosen(style, out)
    if out is not None and out != streams.STDOUT:
        files.check(out, f"-o {out}")
    return style


def report_name(style: str) -> str:
    """File name of a report inside a folder: report.csv, report.json, else report.md."""
    return f"report.{style}" if style in ("csv", "json") else "report.md"


def render(result: Result, style: str, out: Path | None, details: bool = False) -> str:
    """The text of a result in a format, or its page; of "console" as wide as COLUMNS says, else as the terminal, else 140 characters; in
    colours on a terminal alone. Raises SpecError for more rows than files take."""
    if style == PAGE:
        from simcost.report.page.page import page

        return page(result)
    from simcost.report import text

    style = chosen(style, None)
    if style == "console":
        stated = os.environ.get("COLUMNS", "")
        width = int(stated) if stated.isdecimal() and int(stated) >= 40 else None
        if out is None and sys.stdout.isatty():
            return _coloured(result, width, details)
        return text.as_console(result, width or 140, details)
    rows = sum(map(len, result.tables.values()))
    if rows > MOST_ROWS:
        raise SpecError(
            f"{rows:,} rows as {style}: at most {MOST_ROWS:,}; -o FILE.csv or FILE.parquet of simcost sweep takes any number, and the Python API keeps them as arrays"
        )
    return {"json": text.as_json, "csv": text.as_csv, "markdown": text.as_markdown}[style](result)


def _coloured(result: Result, width: int | None, details: bool) -> str:
    """The page for a terminal, as wide as it is where no width is stated."""
    from io import StringIO

    from rich.console import Console

    from simcost.report import console, screen

    buffer = StringIO()
    terminal = Console(file=buffer, force_terminal=True, width=width or Console().width, highlight=False)
    screen.drawn(console.page(result, terminal.width, details), terminal)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"


def write(path: Path | None, text: str) -> None:
    """Text to a file, whole or not at all, or to stdout for None and "-". Raises SpecError where it cannot, and for a picture's name."""
    if path is not None and path.suffix.lower() in PICTURES:
        raise SpecError(f"-o {path}: this result is a text and has no picture")
    if path is None or path == streams.STDOUT:
        streams.out(text)
    else:
        files.write_whole(path, text, f"-o {path}", make=False)
