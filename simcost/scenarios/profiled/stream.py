"""Events of a Chrome trace, one at a time: the file is never held whole, so that gigabytes are read in the memory of a few events.

A trace is a JSON object with a list `traceEvents` among its keys, or that list alone; plain or gzip. Format: Trace Event Format (Google, 2016), as Kineto writes it.
Most likely to be wrong: the limits, which are several times what torch.profiler writes for tens of steps.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from simcost.errors import SpecError

LARGEST = 1 << 30  # characters, unpacked: half a minute of reading
LONGEST = 1 << 24  # characters of an event, or of another value of the file
EVENTS = "traceEvents"
_CHUNK = 1 << 20
_SPACE = re.compile(r"[ \t\n\r]*")
_GZIP = b"\x1f\x8b"
Head = dict[str, Any]


def events(path: Path, heard: Callable[[int], None] = lambda _: None) -> Iterator[tuple[str, Any]]:
    """("event", event) of every event, and (key, value) of every other key of the file, in its order. `heard` is told the characters that were read. Raises SpecError, which names the
    file, for one that is missing, too large, cut off, or no trace."""
    try:
        with _opened(path) as file:
            yield from _document(_Text(file, str(path), heard))
    except (OSError, EOFError, zlib.error) as error:
        raise SpecError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    except UnicodeDecodeError:
        raise SpecError(f"{path}: not a UTF-8 text file") from None
    except RecursionError:
        raise SpecError(f"{path}: nested too deeply") from None


def _opened(path: Path) -> IO[str]:
    try:
        raw = path.open("rb")
    except ValueError:
        raise SpecError(f"{path}: not a valid file name: it has a zero byte") from None
    head = raw.peek(2)[:2]
    return io.TextIOWrapper(gzip.GzipFile(fileobj=raw) if head == _GZIP else raw, encoding="utf-8-sig")


class _Text:
    """What of a file is not yet read as JSON: `value` reads on where the text ends within one."""

    def __init__(self, file: IO[str], where: str, heard: Callable[[int], None]) -> None:
        self.file, self.where, self.heard = file, where, heard
        self.text, self.at, self.read, self.ended = "", 0, 0, False
        self.decode = json.JSONDecoder().raw_decode

    def more(self) -> bool:
        """Reads on. Raises SpecError beyond `LARGEST`."""
        if self.ended:
            return False
        chunk = self.file.read(_CHUNK)
        self.ended = not chunk
        self.read += len(chunk)
        if self.read > LARGEST:
            raise SpecError(
                f"{self.where}: more than {LARGEST >> 20} MiB of text: record fewer steps, or only the kernels"
            )
        self.heard(self.read)
        self.text, self.at = self.text[self.at :] + chunk, 0
        return not self.ended

    def next(self) -> str:
        """The next character that is no space, which stays; "" at the end."""
        while True:
            space = _SPACE.match(self.text, self.at)
            self.at = space.end() if space else self.at
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.more():
                return ""

    def take(self, expected: str) -> str:
        """The next character, which is read. Raises SpecError for one that is not expected."""
        found = self.next()
        if not found or found not in expected:
            raise self.broken(f"{found!r} where {' or '.join(expected)} belongs" if found else "it is cut off")
        self.at += 1
        return found

    def value(self) -> Any:
        """The next value. Raises SpecError for what is none."""
        self.next()
        while True:
            try:
                found, end = self.decode(self.text, self.at)
            except json.JSONDecodeError as error:
                if len(self.text) - self.at > LONGEST:
                    raise self.broken(f"a value that does not end, or is longer than {LONGEST >> 20} MiB") from None
                if not self.more():
                    raise self.broken("it is cut off" if error.pos >= len(self.text) - 1 else error.msg) from None
                continue
            except ValueError:  # int() of more digits than Python reads
                raise self.broken("a whole number of too many digits") from None
            if end == len(self.text) and self.more():  # a number may go on
                continue
            self.at = end
            return found

    def broken(self, what: str) -> SpecError:
        place = self.read - len(self.text) + self.at
        return SpecError(
            f"{self.where}: not a trace of torch.profiler: not valid JSON: {what} (character {place + 1:,})"
        )


def _document(text: _Text) -> Iterator[tuple[str, Any]]:
    first = text.next()
    if first == "[":
        yield from _items(text)
    elif first == "{":
        text.take("{")
        listed = False
        while text.next() != "}":
            key = text.value()
            text.take(":")
            if key == EVENTS:
                listed = True
                yield from _items(text)
            else:
                yield str(key), text.value()
            if text.next() == ",":
                text.take(",")
            elif text.next() != "}":
                text.take(",}")
        text.take("}")
        if not listed:
            raise SpecError(f"{text.where}: not a trace of torch.profiler: it has no '{EVENTS}'")
    else:
        raise SpecError(f"{text.where}: not a trace of torch.profiler: neither an object nor a list of events")
    if more := text.next():
        raise text.broken(f"{more!r} behind its end")


def _items(text: _Text) -> Iterator[tuple[str, Any]]:
    text.take("[")
    while text.next() != "]":
        yield "event", text.value()
        if text.next() != "]":
            text.take(",]")
    text.take("]")
