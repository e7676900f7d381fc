"""What two factors on a framework's phases would do, fitted on families of models that they do not judge.

A factor multiplies the time of all phases of its kind; pools that run at once stay beside each other. Each family is
predicted with the factors of all others, which make the mean of |log(predicted / measured)| of their steps and printed
phases least. Transfers of weights have none: a third factor made DeepSeek-V3's steps twice too slow (99 %), as small
models wait for the host and large ones for links. Nothing of this goes into `workloads/rl-stacks`: it says how much of
the error has one sign. Most likely to be wrong: factors for what is not proportional, such as the host's time of a
decode step or of a layer. Source: docs/validation/recipes.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from simcost.learning import phases
from simcost.learning.phases import ALL, CPU, ROLLOUT, TRAINER
from simcost.num import Array
from simcost.result import Row as Cells
from simcost.validation import score as figures
from simcost.validation.recipes.score import Scored, printed, steps

KINDS: Mapping[str, tuple[str, ...]] = {
    "rollout": (phases.GENERATE,),
    "trainer": (phases.OLD, phases.REFERENCE, phases.UPDATE),
}
_COLUMNS = {"gen_s": "rollout", "old_logprob_s": "trainer", "update_s": "trainer"}
LEAST = 3  # families, of which two make factors for the third
_TRIED = np.exp(np.linspace(np.log(0.5), np.log(8.0), 57))  # factors, 5 % apart
_ROUNDS = 6  # of the search, one factor at a time
_HOLD = 0.1  # weight of a prior at 1, so that a factor that rows say nothing of stays there


def seconds(one: Scored, factors: Mapping[str, float]) -> float:
    """A step with factors. [s]"""
    kind = {name: factors[key] for key, names in KINDS.items() for name in names}
    times = [(pool, kind.get(name, 1.0) * time) for name, pool, time in one.parts]

    def sum_(*pools: str) -> float:
        return float(sum(time for pool, time in times if pool in pools))

    if not one.at_once:
        return float(sum(time for _, time in times))
    return float(max(sum_(ROLLOUT, CPU), sum_(TRAINER)) + sum_(ALL))


def fitted(rows: Sequence[Scored]) -> dict[str, float]:
    """Factors of rows, one after the other on a grid, by steps and by printed phases alike."""
    factors = dict.fromkeys(KINDS, 1.0)

    def off(changed: Mapping[str, float]) -> float:
        both = [(seconds(one, changed), one.row.numbers["step_s"]) for one in rows]
        both += [
            (one.phases[column] * changed[kind], one.row.numbers[column])
            for one in rows
            for column in printed(one.row)
            if one.phases[column] > 0.0 and (kind := _COLUMNS.get(column))
        ]
        found: Array = np.abs(np.log(np.asarray([said / measured for said, measured in both])))
        return float(np.mean(found) + _HOLD * np.mean(np.abs(np.log(list(changed.values())))))

    for _ in range(_ROUNDS):
        for key in KINDS:
            factors[key] = min((float(x) for x in _TRIED), key=lambda x: off({**factors, key: x}))
    return factors


def table(all_: Sequence[Scored], framework: str) -> list[Cells]:
    """A line a family that is left out: its factors and both errors; then all of them together. Empty with few
    families."""
    rows = [one for one in steps(all_) if one.answered and one.row.cells["framework"] == framework]
    families = sorted({one.row.cells["model"] for one in rows})
    if len(families) < LEAST:
        return []
    lines: list[Cells] = []
    cold: list[float] = []
    left: list[float] = []
    for family in families:
        own = [one for one in rows if one.row.cells["model"] == family]
        factors = fitted([one for one in rows if one.row.cells["model"] != family])
        before, after = errors(own, dict.fromkeys(KINDS, 1.0)), errors(own, factors)
        cold, left = [*cold, *before], [*left, *after]
        lines.append(_line(framework, family, before, after, factors))
    return [*lines, _line(framework, "all, each left out", cold, left, {})]


def errors(rows: Sequence[Scored], factors: Mapping[str, float]) -> list[float]:
    """Relative errors of steps."""
    return [figures.error(seconds(one, factors), one.row.numbers["step_s"]) for one in rows]


def _line(
    framework: str, family: str, before: Sequence[float], after: Sequence[float], factors: Mapping[str, float]
) -> Cells:
    return {
        "rows_of": framework,
        "left_out_family": family,
        "n": len(before),
        "cold_median_abs_error": float(np.median(np.abs(before))),
        "error_left_out": float(np.median(np.abs(after))),
        "bias": float(np.median(after)),
        "factors": ", ".join(f"{key} {value:.2f}" for key, value in factors.items()),
    }
