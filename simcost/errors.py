"""What a user can cause. Anything else that is raised is a bug."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from functools import lru_cache


class SimcostError(Exception):
    """One clear line for the user; the command line exits with 2."""


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
        tell(text, about)


def nearest(name: str, known: Iterable[str]) -> str:
    """A suggestion clause for an unknown name: '; nearest: x' or ''."""
    close = _closest(name, frozenset(known))
    return f"; did you mean '{close}'?" if close else ""


@lru_cache(maxsize=256)
def _closest(name: str, known: frozenset[str]) -> str:
    """Kept: designs of one config have the same unknown keys, and a look among a thousand words takes as long as reading a model."""
    return next(iter(difflib.get_close_matches(name, sorted(known - {name}), n=1, cutoff=_ALIKE)), "")


# Share of letters in common: 'fp9' and 'fp8' have 0.67, 'foo_bar' and 'o_bias' 0.62, 'nothing' and 'ring-1t' 0.43. A wrong
# suggestion costs a reader more than none.
_ALIKE = 0.65
