"""Standard streams as a shell may leave them: closed, on a full disk, in an encoding that lacks a mark.

A stdout that takes no answer is an error; a stderr that takes no line is not. Most likely to be wrong: a mark that no table below names,
which is written as JSON would escape it.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from pathlib import Path
from typing import Any

from simcost.errors import SpecError

STDOUT = Path("-")  # as a name of a file
# One character for one, where that can be read, so that columns stay columns.
_MARKS = {
    "·": ".", "×": "x", "–": "-", "—": "-", "…": "~", "±": "+-", "²": "2", "³": "3", "√": "sqrt ", "≈": "~", "≤": "<=", "≥": ">=", "→": ">", "←": "<",
    "§": "sec. ", "µ": "u", "°": " deg ", "•": "*", "█": "#", "▓": "#", "▒": ":", "░": ".", "▀": '"', "▄": "_", "‘": "'", "’": "'", "“": '"', "”": '"',
    "\u00a0": " ",
}  # fmt: skip
_OF_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EBADF)
_LINES = {**dict.fromkeys("─━┄┅┈┉╌╍═╴╶╸╺", "-"), **dict.fromkeys("│┃┆┇┊┋╎╏║╵╷╹╻", "|")}


def prepare() -> None:
    """Streams that can be used whatever the shell left. A closed stdout refuses what is written, a closed or full stderr takes it and says nothing; what an
    encoding lacks is written in ASCII."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # else the next file that is opened would be this stream, and another's words would go into it
            os.open(os.devnull, os.O_RDONLY)
    codecs.register_error("simcost", _in_ascii)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="simcost")
    if sys.stdout is None:
        sys.stdout = _Closed()
    sys.stderr = _Lenient(sys.stderr)


def out(text: str) -> None:
    """Text to stdout. Raises SpecError where it does not take it, and BrokenPipeError where nobody reads on."""
    try:
        sys.stdout.write(text)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise SpecError(f"cannot write: {error.strerror or error}") from None


def refused(error: OSError) -> str:
    """A line about an error of the system that no reader of a file put into words: writers of files do."""
    why = error.strerror or str(error)
    if error.filename is not None:
        return f"reading {error.filename}: {why}"
    return f"cannot write: {why}" if error.errno in _OF_WRITING else f"cannot read or write: {why}"


class _Closed(io.TextIOBase):
    """Stdout that was closed before the start."""

    def write(self, text: str) -> int:
        raise OSError(errno.EBADF, "standard output is closed")


class _Lenient:
    """Stderr that takes a line, whether or not it can be read anywhere: an answer is not lost for it."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream if self._stream is not None else io.StringIO(), name)

    def write(self, text: str) -> int:
        try:
            return 0 if self._stream is None else int(self._stream.write(text))
        except OSError:
            return 0

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        try:
            if self._stream is not None:
                self._stream.flush()
        except OSError:
            pass


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    """What stands for characters that an encoding lacks."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_mark, error.object[error.start : error.end])), error.end


def _mark(character: str) -> str:
    if "\u2500" <= character <= "\u257f":
        return _LINES.get(character, "+")
    code = ord(character)
    if code > 0xFFFF:  # as JSON has it
        code -= 0x10000
        return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
    return _MARKS.get(character, f"\\u{code:04x}")
