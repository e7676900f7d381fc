"""Who works blocks out: this process alone, or workers elsewhere.

Most likely to be wrong: nothing; one after the other. Source: `simcost.pool`, whose pieces are known beforehand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

Act = Callable[[str], bytes]  # from a task to its answer, both of which travel


class Workers(Protocol):
    """Processes that take tasks."""

    @property
    def count(self) -> int:
        """How many there are now."""
        ...

    def run(self, act: Act, deal: Callable[[], str | None], done: Callable[[bytes], None]) -> None:
        """`act` of every task of `deal`, which answers None at the end; `done`: is told each answer, in any order. Raises what an act raised."""
        ...


class Alone:
    """This process."""

    count = 1

    def run(self, act: Act, deal: Callable[[], str | None], done: Callable[[bytes], None]) -> None:
        """One after the other."""
        while (task := deal()) is not None:
            done(act(task))
