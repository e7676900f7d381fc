"""What a time becomes where its rows do not stand: on another device, in another format, without what was timed around it.

Most likely to be wrong: a kernel that another device bounds otherwise. `calibrate transfer` measures what this is worth.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from simcost.calibration.form import Terms
from simcost.calibration.speed_of_light import row_light
from simcost.calibration.store import Found
from simcost.cost.combine import Heard
from simcost.num import Num, absolute, exp, log, minimum, plain, where

_HALF = 0.5  # of the log of what the form takes off a kernel that was timed with others
_NONE = 1e-30  # s: two kernels without any work are alike


def without_rest(part: Heard, whole: Heard) -> Heard:
    """A kernel whose rows hold more than it: of what was taken off by the form, half may be wrong."""
    taken = _HALF * absolute(log(whole.seconds / part.seconds))
    return replace(part, sigma=plain(np.hypot(part.sigma, taken)), measured=taken < 0.0)


def carried(found: Found, mine: Terms, theirs: Terms, name: str, start: Num) -> Num:
    """What a time becomes on another device, or in another format. What is no start follows the ratio of the two lights: wrong where
    bytes bound the light and not the kernel. Or all follows the form, part by part: wrong where few rows fill no tile and the form calls
    that arithmetic. Between devices the answer that changes less counts, and none where they disagree which way; between formats the
    first does (docs/validation/stand-ins.md has both)."""
    here, there = (row_light(name, terms) + _NONE for terms in (mine, theirs))
    by_light = log(start + (1.0 - start) * here / there)
    if found.like is not None:
        return exp(by_light)
    forms = [voice.curve.form for voice in found.voices]
    by_form = sum(log(form.seconds(mine) / form.seconds(theirs)) for form in forms) / len(forms)
    less = minimum(absolute(by_light), absolute(by_form)) * plain(np.sign(by_light))
    return exp(where(by_light * by_form > 0.0, less, 0.0))
