"""What a user can cause. Anything else that is raised is a bug."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import lru_cache
from typing import TypeVar

T = TypeVar("T")


class SimcostError(Exception):
    """One clear line for the user; the command line exits with 2."""

    def __str__(self) -> str:
        return line(super().__str__())


class SpecError(SimcostError):
    """A model, hardware or plan description is wrong; the message names file, key and value."""


class UnitError(SpecError):
    """A quantity has no unit, or the wrong one."""


class NotModelled(SpecError):
    """The input is legal but its field is not modelled yet: never a wrong number."""


class Infeasible(SpecError):
    """A plan that cannot be run as asked; in a sweep this is a row with its reason."""


# Who wants to hear of slow work, or of rows passed over, in a line (the terminal); nobody does by default.
listeners: list[Callable[[str, str], None]] = []


def say(text: str, about: str = "slow work") -> None:
    """Tell whoever listens; one line about a thing is enough."""
    for tell in listeners:
        tell(line(text), about)


# Who shows how far long work is (the terminal): called with how much is done, how much in all, and what it is.
watchers: list[Callable[[int, int, str], None]] = []
_loops: list[str] = []  # that are watched now, the outermost first


def watched(items: Collection[T], what: str) -> Iterator[T]:
    """The items one after the other; whoever watches hears how many are done. Of loops inside each other the outermost with more than one item tells."""
    if not watchers or _loops or len(items) < 2:
        yield from items
        return
    _loops.append(what)
    try:
        for done, item in enumerate(items):
            _tell(done, len(items), what)
            yield item
    finally:
        _loops.clear()
        _tell(len(items), len(items), what)


def _tell(done: int, total: int, what: str) -> None:
    for tell in watchers:
        tell(done, total, what)


def plain(text: str) -> str:
    """A text without what drives a terminal or turns the order of reading: control characters (ANSI and OSC sequences begin with one), marks
    of direction, of no width and of no assigned meaning, halves of characters, and ends of lines become escapes, spaces of all kinds a space.
    Source: Unicode's general categories, by `str.isprintable`."""
    return text if text.isprintable() else "".join(map(_visible, text))


def _visible(character: str) -> str:
    if character.isprintable():
        return character
    import unicodedata

    return " " if unicodedata.category(character) == "Zs" else character.encode("unicode_escape").decode("ascii")


ECHOED = 80  # characters of a value in a message
_PATH = 300  # of a word, which may be a path: names of files have up to 255
_MESSAGE = 2000
_READ = 4_000  # characters of a message that are looked at: its head and its end
_OPENS = re.compile(r"(?<!\w)['\"]|[\[{]")
_QUOTED = {"'": re.compile(r"(?<!\\)'(?!\w)"), '"': re.compile(r'(?<!\\)"(?!\w)')}
_BRACKET = re.compile(r"[\[\]{}]")


def prose(text: str) -> str:
    """A note, a verdict or a message as one line of plain text; no word of it is longer than a path."""
    shown = text if text.isprintable() else plain(" ".join(text.split()))
    return shown if len(shown) <= _PATH else " ".join(_cut(word, _PATH) for word in shown.split(" "))


def line(message: str) -> str:
    """An error's message as `prose`, in which what it echoes, in quotes or brackets, has at most `ECHOED` characters."""
    text = prose(_cut(message, _READ))
    if len(text) <= ECHOED:
        return text
    parts, at = [], 0
    while (opens := _OPENS.search(text, at)) is not None:
        end = _closed(text, opens.start())
        parts += [text[at : opens.start()], _cut(text[opens.start() : end], ECHOED)]
        at = end
    return _cut("".join([*parts, text[at:]]), _MESSAGE)


def _closed(text: str, start: int) -> int:
    """Where what opens at `start` is closed; the next place where it never is."""
    if text[start] in _QUOTED:
        closes = _QUOTED[text[start]].search(text, start + 1)
        return start + 1 if closes is None else closes.end()
    depth = 0
    for bracket in _BRACKET.finditer(text, start):
        depth += 1 if bracket[0] in "[{" else -1
        if depth == 0:
            return bracket.end()
    return start + 1


def _cut(text: str, most: int) -> str:
    """A text of at most `most` characters, with three dots in the place of its middle."""
    tail = most // 4
    return text if len(text) <= most else f"{text[: most - tail - 3]}...{text[-tail:]}"


def nearest(name: str, known: Iterable[str]) -> str:
    """A suggestion clause for an unknown name: "; did you mean 'x'?" or "". Names that go on where it ends come before those that are
    like it: of 'fp8' 'fp8-block' and 'fp8-row', not 'mxfp8'. None for a text that is longer than any name."""
    if len(name) > _LONGEST:
        return ""
    known = frozenset(known)
    longer = sorted(each for each in known if name and re.match(rf"{re.escape(name)}[-_.:]", each, re.IGNORECASE))
    close = longer[:_SEVERAL] if len(longer) > 1 else [each for each in [_closest(name, known)] if each]
    return f"; did you mean {' or '.join(repr(each) for each in close)}?" if close else ""


@lru_cache(maxsize=256)
def _closest(name: str, known: frozenset[str]) -> str:
    """Kept: designs of one config have the same unknown keys, and a look among a thousand words takes as long as reading a model."""
    import difflib  # of a mistake alone, as all that a question does without is

    return next(iter(difflib.get_close_matches(name, sorted(known - {name}), n=1, cutoff=_ALIKE)), "")


_SEVERAL = 3  # names that go on
_LONGEST = 80  # characters of a name: the search takes their square
# Share of letters in common: 'fp9' and 'fp8' have 0.67, 'foo_bar' and 'o_bias' 0.62, 'nothing' and 'ring-1t' 0.43. A wrong
# suggestion costs a reader more than none.
_ALIKE = 0.65
