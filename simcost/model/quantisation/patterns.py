"""Patterns of a file matched against the paths of modules in a bounded number of steps: regular expressions, and a shell's signs.

Python's `re` tries one way after the other, and a pattern such as (.*)*x takes it for ever. Here a pattern works on all paths at once: each of its parts turns the places at which the rest of the
pattern can end into those at which it can begin. What a pattern needs steps for is bounded and said. Most likely to be wrong: what is not taken, references to groups among it. Source: Thompson 1968,
Regular Expression Search Algorithm.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from fnmatch import translate
from functools import cache
from typing import Any

import numpy as np

from simcost.errors import SpecError
from simcost.num import Bools

STEPS = 150_000  # of all patterns of a file: some ten seconds for the paths of a large design
_LONGEST = 2_000  # characters of a pattern
_ASCII = 128
_ONE = ("LITERAL", "NOT_LITERAL", "ANY", "IN")  # parts that are one character
_DIGITS = 10  # codes that stand for the digits of a number
_SIGN = re.compile(r"\[!?\]?[^\]]*\]|.", re.DOTALL)  # a set of characters, or one
_PARSER: Any = importlib.import_module("re._parser")
_NAMES: Any = importlib.import_module("re._constants")
_IGNORES_CASE = int(_NAMES.SRE_FLAG_IGNORECASE)
_CLASSES: dict[str, Callable[[str], bool]] = {
    "CATEGORY_DIGIT": str.isdigit, "CATEGORY_SPACE": str.isspace, "CATEGORY_WORD": lambda c: c.isalnum() or c == "_",
}  # fmt: skip


class Refused(SpecError):
    """A pattern that is not matched, with the reason; who knows the file names it."""


class Paths:
    """Paths in ASCII, matched together. A `placeholder` stands for a number, which `numbered` puts in."""

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = tuple(paths)
        self.longest = max(map(len, self.paths), default=0)
        codes = np.full((self.longest, len(self.paths)), _ASCII, np.uint8)
        for i, path in enumerate(self.paths):
            codes[: len(path), i] = np.frombuffer(path.encode("ascii"), np.uint8)
        self.codes = codes  # [place, path]; 128 behind the end
        self.ends = np.array([len(path) for path in self.paths], np.intp)
        places = np.arange(self.longest + 1)
        self.inside: Bools = places[:, None] <= self.ends
        self.end: Bools = places[:, None] == self.ends
        words = np.zeros((self.longest + 2, len(self.paths)), bool)
        words[1:-1] = _table(_CLASSES["CATEGORY_WORD"])[codes] | (codes < _DIGITS)
        self.edge: Bools = words[:-1] != words[1:]

    def numbered(self, number: int) -> Paths:
        """With the digits of a number."""
        digits = np.frombuffer(str(number).encode("ascii"), np.uint8)
        found = copy(self)
        codes = np.arange(_ASCII + 1, dtype=np.uint8)
        codes[: len(digits)] = digits
        found.codes = codes[self.codes]
        return found


class Steps:
    """How many are left for the patterns of a file."""

    def __init__(self, most: int = STEPS) -> None:
        self.most = self.left = most

    def take(self) -> None:
        """One more. Raises Refused behind the last."""
        self.left -= 1
        if self.left < 0:
            raise Refused(f"its patterns take more than {self.most:,} steps to match: write simpler ones, or fewer")


def expression(pattern: str, paths: Paths, steps: Steps) -> Bools:
    """Where a regular expression matches from the start of a path on, as `re.match`. [paths] Nowhere for one that is none. Raises Refused."""
    parsed = _parsed(pattern)
    if parsed is None:
        return np.zeros(len(paths.paths), bool)
    try:
        return np.asarray(
            _Matcher(paths, steps, bool(parsed.state.flags & _IGNORES_CASE)).before(parsed, paths.inside)[0]
        )
    except RecursionError:
        raise Refused(f"the pattern {pattern[:80]!r} has too many nested groups") from None


def shell(pattern: str, paths: Paths, steps: Steps) -> Bools:
    """Where a shell's pattern matches a whole path. [paths] Raises Refused."""
    _check_length(pattern)
    return expression("".join(_translated(pattern)) + r"\Z", paths, steps)


def _translated(pattern: str) -> Iterable[str]:
    """As `fnmatch.translate`, whose own result holds references to groups: sign by sign."""
    for sign in _SIGN.findall(pattern):
        whole = translate(sign)  # (?s:...)\Z
        yield ".*" if sign == "*" else whole[whole.index(":") + 1 : whole.rindex(")")]


@cache
def _parsed(pattern: str) -> Any:
    """The parts of a regular expression, None for what is none. Raises Refused for one that is too long."""
    _check_length(pattern)
    try:
        return _PARSER.parse(pattern)
    except (_NAMES.error, OverflowError, RecursionError):
        return None


def _check_length(pattern: str) -> None:
    if len(pattern) > _LONGEST:
        raise Refused(f"a pattern of {len(pattern):,} characters ({pattern[:40]!r}...), at most {_LONGEST:,}")


def placeholder(digits: int) -> str:
    """What stands in a path for a number of so many digits."""
    return "".join(map(chr, range(digits)))


def _table(holds: Callable[[str], bool]) -> Bools:
    """Whether each code is of a class; the one behind the end is of none. [129]"""
    return np.array([*(bool(holds(chr(code))) for code in range(_ASCII)), False])


class _Matcher:
    def __init__(self, paths: Paths, steps: Steps, ignores_case: bool) -> None:
        self.paths, self.steps, self.ignores_case = paths, steps, ignores_case

    def before(self, parts: Any, after: Bools) -> Bools:
        """Places from which the parts lead to one of `after`. [place, path]"""
        for name, value in reversed(list(parts)):
            if not after.any():
                break
            self.steps.take()
            after = self._part(str(name), value, after)
        return after

    def _part(self, name: str, value: Any, after: Bools) -> Bools:
        if name in _ONE:
            return self._one(self._fits(name, value), after)
        if name == "BRANCH":
            return np.asarray(np.logical_or.reduce([self.before(each, after) for each in value[1]]))
        if name == "SUBPATTERN":
            _, added, removed, inner = value
            outer, self.ignores_case = (
                self.ignores_case,
                (self.ignores_case or bool(added & _IGNORES_CASE)) and not removed & _IGNORES_CASE,
            )
            found = self.before(inner, after)
            self.ignores_case = outer
            return found
        if name in ("MAX_REPEAT", "MIN_REPEAT"):
            return self._repeated(int(value[0]), int(value[1]), value[2], after)
        if name in ("ASSERT", "ASSERT_NOT"):
            holds = self._looked(*value)
            return after & (holds if name == "ASSERT" else ~holds)
        if name == "AT":
            return after & self._at(str(value))
        if name == "FAILURE":
            return np.zeros_like(after)
        raise Refused(f"a pattern with {name.lower().replace('_', ' ')}, which is not matched here")

    def _one(self, fits: Bools, after: Bools) -> Bools:
        """A character that fits, then `after`."""
        found = np.empty_like(after)
        np.logical_and(after[1:], fits, out=found[:-1])
        found[-1] = False
        return found

    def _fits(self, name: str, value: Any) -> Bools:
        """Where the character at a place is one of a class; nowhere behind the end. [place, path]"""
        codes = self.paths.codes
        if name == "IN":
            sets = [(str(kind), each) for kind, each in value]
            found = np.zeros(codes.shape, bool)
            for kind, each in sets:
                if kind != "NEGATE":
                    found |= self._fits(kind, each)
            return ~found & (codes < _ASCII) if sets[0][0] == "NEGATE" else found
        if name == "ANY":
            return codes < _ASCII
        if name == "CATEGORY":
            kind = str(value)
            found = _table(_CLASSES[kind.replace("_NOT", "")])[codes]
            return ~found & (codes < _ASCII) if "_NOT" in kind else found
        low, high = value if name == "RANGE" else (value, value)
        found = (codes >= low) & (codes <= min(high, _ASCII - 1))
        if self.ignores_case:
            found = _table(lambda c: any(low <= ord(each) <= high for each in {c, c.lower(), c.upper()}))[codes]
        return ~found & (codes < _ASCII) if name == "NOT_LITERAL" else found

    def _repeated(self, least: int, most: int, inner: Any, after: Bools) -> Bools:
        """`least` to `most` times what is inside. More often than there are places changes nothing."""
        one = inner[0] if len(inner) == 1 and str(inner[0][0]) in _ONE else None
        if one is not None and most > self.paths.longest:  # of a class, as most are: in one go
            found, fits = after.copy(), self._fits(str(one[0]), one[1])
            for place in range(self.paths.longest - 1, -1, -1):
                found[place] |= fits[place] & found[place + 1]
            most = least
        else:
            found = after
        for _ in range(min(most - least, self.paths.longest + 1)):
            more = found | self.before(inner, found)
            if np.array_equal(more, found):
                break
            found = more
        for _ in range(min(least, self.paths.longest + 1)):
            found = self.before(inner, found)
            if not found.any():
                break
        return found

    def _looked(self, direction: int, inner: Any) -> Bools:
        """Places from which what is inside matches, or to which it does. A look behind has one width."""
        found = self.before(inner, self.paths.inside)
        if direction > 0:
            return found
        width = int(inner.getwidth()[0])
        moved = np.zeros_like(found)
        if width < len(found):
            moved[width:] = found[: len(found) - width]
        return moved

    def _at(self, name: str) -> Bools:
        if name in ("AT_BEGINNING", "AT_BEGINNING_STRING"):
            found = np.zeros_like(self.paths.inside)
            found[0] = True
            return found
        if name in ("AT_END", "AT_END_STRING"):
            return self.paths.end
        return self.paths.edge if name == "AT_BOUNDARY" else ~self.paths.edge
