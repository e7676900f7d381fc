"""What one question found that others of the same answer need too: step times, plans, passes, rollouts.

A lever changes one side of a step; the other side is then the same question again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from simcost.scenarios.rl.question import Asked

T = TypeVar("T")
Known = dict[tuple[Any, ...], Any]


def once(known: Known, of: tuple[Any, ...], made: Callable[[], T]) -> T:
    """What stands there, or is made now."""
    if of not in known:
        known[of] = made()
    found: T = known[of]
    return found


def key(q: Asked, *names: str) -> tuple[str, ...]:
    """Parts of a question as something that can be looked up."""
    return tuple(repr(getattr(q, name)) for name in names)
