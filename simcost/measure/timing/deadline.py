"""When something must be over: passed down from a command to the loops that take the time, each of which asks it.

No call is cut off in the middle: whoever loops asks between two steps, and starts none that it knows to be too long. Most
likely to be wrong: the first step of a kind, whose length nobody knows. Source: this file.
"""

from __future__ import annotations

import math
import time

from simcost.frozen import frozen


@frozen
class Deadline:
    """`ends`: on the monotonic clock [s]; infinite: never."""

    ends: float = math.inf

    @property
    def left_s(self) -> float:
        """Seconds that are left, at least none."""
        return max(self.ends - time.monotonic(), 0.0)

    @property
    def over(self) -> bool:
        """Whether no time is left."""
        return self.left_s <= 0.0

    def holds(self, seconds: float) -> bool:
        """Whether so many seconds are left."""
        return seconds <= self.left_s

    def part(self, seconds: float) -> Deadline:
        """This deadline, or one so many seconds from now, whichever comes first."""
        return Deadline(min(self.ends, time.monotonic() + seconds))


NEVER = Deadline()


def after(seconds: float | None) -> Deadline:
    """A deadline so many seconds from now; None: never."""
    return NEVER if seconds is None else Deadline(time.monotonic() + seconds)
