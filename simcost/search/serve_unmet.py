"""What is said where no fleet serves: which limit fails and the nearest value that holds, or how much the GPUs that
there are can take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from simcost.num import Array
from simcost.search.serve_fleets import Fleets, Line, column, words
from simcost.search.serve_load import Limits, per_second
from simcost.search.serve_space import Space
from simcost.units import show


def nearest(lines: Sequence[Line], spaces: Sequence[Space], limits: Limits) -> str:
    """Why no plan keeps the limits even without load. Where no plan can run at all, the reason of the first."""
    devices = ", ".join(each.label for each in spaces)
    if not lines:
        return f"no plan of an instance on {devices} can serve: {_shortest(spaces)}"
    ttft, tpot = (
        np.concatenate([column(getattr(each.found.least, name), len(each.found.most)) for each in lines])
        for name in ("ttft_s", "tpot_s")
    )
    named = [f"{each.space.label}, {words(each.space.sizes(int(i)))}" for each in lines for i in each.space.good]
    for option, values, most in (("--ttft", ttft, limits.ttft_s), ("--tpot", tpot, limits.tpot_s)):
        if values.min() > most:
            return _one(option, values, most, named, devices)
    both = np.flatnonzero(tpot <= limits.tpot_s)
    at = int(both[ttft[both].argmin()])
    if ttft[at] > limits.ttft_s:
        return (
            f"no plan on {devices} meets both --ttft {show(limits.ttft_s, 'seconds')} and "
            f"--tpot {show(limits.tpot_s, 'seconds')}: with this TPOT the nearest TTFT is "
            f"{show(float(ttft[at]), 'seconds')} ({named[at]}), without load"
        )
    return f"no plan on {devices} meets {limits.words} at any load"


def _one(option: str, values: Array, most: float, named: Sequence[str], devices: str) -> str:
    at = int(values.argmin())
    name = option.removeprefix("--").upper()
    return (
        f"{option} {show(most, 'seconds')}: no plan on {devices} meets this limit on {name} even without load; "
        f"the nearest is {show(float(values[at]), 'seconds')} "
        f"({named[at]}): ask for {option} {_rounded(float(values[at]))} or more"
    )


def _rounded(seconds: float) -> str:
    """A little more than a time, as the option takes it."""
    return f"{np.ceil(seconds * 1.05e4) / 10:g}ms" if seconds < 1.0 else f"{np.ceil(seconds * 10.5) / 10:g}s"


def _shortest(spaces: Sequence[Space]) -> str:
    """The reason of the largest instance that was tried."""
    each = spaces[0]
    at = int(each.table[:, :5].prod(axis=1).argmax())
    return f"{words(each.sizes(at))}: {each.why[at]}"


def beyond(rate: float, fleets: Sequence[Fleets], counts: Mapping[str, tuple[int, ...] | None], limits: Limits) -> str:
    """What GPUs that are too few can take, and what waits."""
    best = max(fleets, key=lambda each: each.most[0])
    takes, plan = best.most
    gpus = max(counts[best.label] or (0,))
    within = f" within {limits.words}" if limits.words else ""
    return (
        f"beyond capacity: {per_second(rate)} requests/s arrive, {gpus:,} x {best.label} take at most "
        f"{per_second(takes)}{within} ({plan}); {per_second(rate - takes)} requests/s would wait"
    )
