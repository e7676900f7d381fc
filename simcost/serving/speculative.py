"""Speculative decoding: how many tokens a sequence makes in a step that verifies drafts.

Most likely to be wrong: one chance of acceptance for every position of a draft; real ones fall with the position and differ by task. Source: Leviathan, Kalman and
Matias 2023, arXiv 2211.17192, equation 1.
"""

from __future__ import annotations

from simcost.num import Num


def emitted(drafts: int, acceptance: Num) -> Num:
    """Tokens of a step on average: the drafts up to the first that is refused, and one of the model's own. `acceptance`: chance of each draft once those
    before it are taken, in [0, 1]."""
    total: Num = 1.0
    chance: Num = 1.0
    for _ in range(drafts):
        chance = chance * acceptance
        total = total + chance
    return total
