"""What a measuring run tells whoever draws its progress."""

from __future__ import annotations

from simcost.frozen import frozen


@frozen
class Event:
    """`done` of `total` visits; what was just measured, or a note of one line; `eta_s` None while nobody can say."""

    done: int
    total: int
    family: str
    what: str
    eta_s: float | None = None
    note: str = ""
