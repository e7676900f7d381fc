"""Text that a user hands over: UTF-8 files, JSON, TOML and CSV, read whole or refused in one line.

A value that is read here is one that all else can compute with: no text that states a key twice, no number beyond what a float holds, no
depth at which a function that calls itself would end. Most likely to be wrong: the limits, which are ten times what real files have.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from simcost.errors import SpecError, nearest
from simcost.files import blake2b, kept, shipped

LARGEST = 1 << 27  # bytes of a text file
DEEPEST = 64  # tables and lists inside each other; configs of models have 5
_DIGITS = 300  # of a whole number: a float has 308
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def content(path: Path, said: str = "") -> bytes:
    """The bytes of a file. Raises SpecError, which names `said` or the path, for a file that is missing, or larger than `LARGEST`."""
    where = said or str(path)
    try:
        with path.open("rb") as file:
            stated = os.fstat(file.fileno()).st_size  # 0 of a pipe and of /dev/zero, which are read as far as it goes
            found = file.read(LARGEST + 1) if stated <= LARGEST else b""
    except OSError as error:
        raise SpecError(f"{where}: {error.strerror or error}") from None
    except ValueError:
        raise SpecError(f"{where}: not a valid file name: it has a zero byte") from None
    if max(stated, len(found)) > LARGEST:
        raise SpecError(f"{where}: larger than {LARGEST >> 20} MiB")
    return found


def text(path: Path, said: str = "") -> str:
    """The text of a file, without a mark of its order of bytes. Raises SpecError as `content`, and for what is no UTF-8."""
    found = content(path, said)
    try:
        return found.decode("utf-8-sig")
    except UnicodeDecodeError:
        more = " (it is UTF-16: save it as UTF-8)" if found.startswith(_UTF16) else ""
        raise SpecError(f"{said or path}: not a UTF-8 text file{more}") from None


def exists(path: str | Path) -> bool:
    """Whether a file or folder has this name; no name that no file can have. Raises SpecError where a folder on the way is closed."""
    try:
        os.stat(path)
    except PermissionError as error:
        raise SpecError(f"reading {path}: {error.strerror}") from None
    except (OSError, ValueError):  # not there, too long, or a zero byte in it
        return False
    return True


class NoJSON(SpecError):
    """A text that is not written as JSON at all."""


def json_value(found: str | bytes, where: str, finite: bool = True) -> Any:
    """The value of a JSON text. `finite` False: NaN and Infinity, which Python writes and JSON does not have, are taken. Raises NoJSON for
    what is no JSON, and SpecError for a key that an object states twice, a number beyond what is computed with, and too many levels."""
    constant = _not_finite if finite else float
    try:
        value = json.loads(
            found, object_pairs_hook=_once, parse_int=_whole, parse_float=_decimal, parse_constant=constant
        )
        _checked(value)
    except json.JSONDecodeError as error:
        place = f" (line {error.lineno}, column {error.colno})"
        raise NoJSON(f"{where}: not valid JSON: {error.msg}{place}") from None
    except UnicodeDecodeError:
        raise NoJSON(f"{where}: not valid JSON: not UTF-8") from None
    except _Refused as error:
        raise SpecError(f"{where}: {error}") from None
    except RecursionError:
        raise SpecError(f"{where}: {_DEEP}") from None
    return value


def checked_keys(table: Any, needed: Iterable[str], optional: Iterable[str], where: str, prefix: str) -> None:
    """Raises SpecError, which names file and key, for what is no table, a key that is neither needed nor optional, and one that is missing. `prefix`: the path to the table, with a dot at its end."""
    if not isinstance(table, Mapping):
        raise SpecError(f"{where}: '{prefix.rstrip('.')}' must be a table")
    required = tuple(needed)
    known = (*required, *optional)
    for key in table:
        if key not in known:
            raise SpecError(f"{where}: unknown key '{prefix}{key}' (known: {', '.join(known)}){nearest(key, known)}")
    for key in required:
        if key not in table:
            raise SpecError(f"{where}: '{prefix}{key}' is missing")


def toml_table(path: Path) -> dict[str, Any]:
    """The table of a TOML file. Raises SpecError for a file that `text` refuses, that is no TOML, or that `json_value` would refuse."""
    found = text(path)
    try:
        return toml(found) if shipped(path) else _parsed(found)
    except _Refused as error:
        raise SpecError(f"{path}: {error}") from None
    except RecursionError:
        raise SpecError(f"{path}: {_DEEP}") from None
    except ValueError as error:
        from tomllib import TOMLDecodeError

        # Else of int(), for more digits than Python reads.
        said = f"not valid TOML: {error}" if isinstance(error, TOMLDecodeError) else _BEYOND
        raise SpecError(f"{path}: {said}") from None


def _parsed(found: str) -> dict[str, Any]:
    import tomllib

    if _DOTTED.search(found):  # before it is parsed: the time of that is the square of a key's parts
        raise _Refused(_DEEP)
    table = tomllib.loads(found, parse_float=_decimal)
    _checked(table)
    return table


def toml(found: str) -> dict[str, Any]:
    """The table of TOML that ships with simcost, kept as JSON under a hash of its text: to parse what a question needs takes a thirtieth of it."""
    data = found.encode()
    name = f"{blake2b(data, digest_size=16).hexdigest()}.table"
    body = kept.read(name, kept.TABLE)
    if body is not None:
        read: dict[str, Any] = json.loads(body)
        return read
    table = _parsed(found)
    written = json.dumps(table, ensure_ascii=False, default=str).encode()
    if json.loads(written) == table:  # no dates
        kept.write(name, written, kept.TABLE)
    return table


def toml_text(words: str) -> str:
    """A basic string of TOML, with quotes. Of half a character, which TOML does not have, the number stands there in letters."""
    return f'"{"".join(map(_escaped, words))}"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if character.isprintable():
        return character
    code = ord(character)
    if 0xD800 <= code < 0xE000:
        return f"\\\\u{code:04x}"
    short = {"\n": "\\n", "\t": "\\t"}.get(character)
    return short or (f"\\u{code:04x}" if code < 1 << 16 else f"\\U{code:08x}")


def csv_rows(found: str, where: str) -> list[tuple[int, list[str]]]:
    """(line, cells) of every row of a CSV text that is not empty. Raises SpecError, which names the line, for a quotation mark that is not
    closed, and for a cell that is too long."""
    reader = csv.reader(io.StringIO(found, newline=""), strict=True)
    rows = []
    try:
        for cells in reader:
            if cells:
                rows.append((reader.line_num, cells))
    except csv.Error as error:
        raise SpecError(f"{where}:{reader.line_num}: not a CSV text file: {error}") from None
    return rows


def csv_dicts(found: str, where: str) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """(columns, (line, cell by column) of every row) of a CSV text with a header. Raises SpecError as `csv_rows`, for a column that stands
    there twice, and for a row with more or fewer cells."""
    rows = csv_rows(found, where)
    columns = rows[0][1] if rows else []
    twice = next((name for name in columns if columns.count(name) > 1), None)
    if twice is not None:
        raise SpecError(f"{where}: column {twice!r} appears twice")
    for at, cells in rows[1:]:
        if len(cells) != len(columns):
            raise SpecError(f"{where}:{at}: not as many cells as the header ({len(cells)}, not {len(columns)})")
    return columns, [(at, dict(zip(columns, cells, strict=True))) for at, cells in rows[1:]]


def csv_table(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """Rows of a CSV file with these columns, in this order. Raises SpecError for others, and as `csv_dicts`."""
    named, rows = csv_dicts(text(path), str(path))
    if tuple(named) != columns:
        raise SpecError(f"{path}: columns must be {','.join(columns)}")
    return [row for _, row in rows]


def whole(digits: str) -> int | None:
    """A count that is written in digits alone; None for anything else, and for more digits than `number` has."""
    return int(digits) if digits.isdecimal() and len(digits) <= _DIGITS else None


def number(cell: str) -> float:
    """A number of a cell or an option, NaN and infinity too. Raises ValueError for what is none; "1_024", which Python reads, is none."""
    if "_" in cell:
        raise ValueError(f"{cell!r} is not a number")
    return float(cell)


def number_or_nan(cell: str) -> float:
    """The same, NaN for what is none."""
    try:
        return number(cell)
    except ValueError:
        return math.nan


class _Refused(ValueError):
    """What is wrong with a value, without the name of its file."""


_DEEP = f"nested too deeply (more than {DEEPEST} levels)"
_DOTTED = re.compile(rf"""(?<![\w.-])(?:(?:[\w-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*){{{DEEPEST},}}""")
_BEYOND = f"a whole number of more than {_DIGITS} digits"


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object: of two equal keys a parser keeps the last in silence."""
    table = dict(pairs)
    if len(table) < len(pairs):
        counted = Counter(key for key, _ in pairs)
        twice = next(key for key in table if counted[key] > 1)
        raise _Refused(f"'{twice}' is stated twice in one object")
    return table


def _whole(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise _Refused(_BEYOND)
    return int(digits)


def _decimal(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise _Refused(f"a number must be finite, not {digits[:20]}")
    return value


def _not_finite(name: str) -> float:
    raise _Refused(f"a number must be finite, not {name}")


def _checked(value: Any) -> None:
    """Raises _Refused for more than `DEEPEST` levels, and for a whole number beyond what a float holds."""
    level = [value]
    for _ in range(DEEPEST):
        if any(isinstance(one, int) and one.bit_length() > 1000 for one in level):
            raise _Refused(_BEYOND)
        level = list(chain.from_iterable(map(_inside, level)))
        if not level:
            return
    raise _Refused(_DEEP)


def _inside(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
