"""How good predicted steps are: the step and its phases against printed ones, and the order of phases.

The order of a row is right where each two of its printed phases that differ by more than `TIED` stand in the same order
in the prediction. Two phases whose predictions are tied, as `compare` ties answers (`cost.tied`), are said to be in no
order: that figure stands beside, as neither right nor wrong. Most likely to be wrong: what a framework counts into a phase. Source: definitions in
docs/glossary.md; rules.toml.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from itertools import combinations

from simcost.cost.cost import Cost, interval, ratio_deviation
from simcost.errors import SimcostError
from simcost.frozen import frozen
from simcost.learning import phases
from simcost.learning import stack as frameworks
from simcost.learning.stack import Framework
from simcost.num import Z90
from simcost.result import Row as Cells
from simcost.validation import score
from simcost.validation.recipes import rules as files
from simcost.validation.recipes import terms
from simcost.validation.recipes.ask import question
from simcost.validation.recipes.rows import PHASES, Row, every
from simcost.validation.recipes.rules import HELD, NOTHING, STEP
from simcost.validation.recipes.terms import Bare

TIED = 0.1  # printed phases that differ by less have no order: averages of a few steps differ as much
_NAMES = {
    "gen_s": phases.GENERATE, "reward_s": phases.REWARD, "old_logprob_s": phases.OLD, "reference_s": phases.REFERENCE,
    "update_s": phases.UPDATE, "sync_s": phases.SYNC,
}  # fmt: skip
_NONE: tuple[tuple[float, float, float], Mapping[str, Cost]] = ((math.nan,) * 3, {})


@frozen
class Scored:
    """A row beside its prediction. step: (estimate, low, high) [s]; costs: by printed column; bare: the step without
    fitted terms of its host; framework: whose terms are in it; columns: phases that each printed column holds; reason: why
    there is no prediction."""

    row: Row
    judges: str
    step: tuple[float, float, float]
    costs: Mapping[str, Cost]
    bare: Bare | None = None
    framework: Framework | None = None
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    reason: str = ""

    @property
    def answered(self) -> bool:
        """Whether there is a prediction."""
        return not self.reason

    @property
    def phases(self) -> dict[str, float]:
        """Seconds by printed column."""
        return {column: float(cost.seconds) for column, cost in self.costs.items()}

    @property
    def figure(self) -> Cells:
        """error, covered and half_width of the step."""
        seconds, low, high = self.step
        measured = self.row.numbers["step_s"]
        return {
            "error": score.error(seconds, measured),
            "covered": bool(low <= measured <= high),
            "half_width": (high - low) / 2.0 / seconds,
        }


def asked() -> list[Row]:
    """Rows that judge something, in an order in which those of one device follow each other."""
    rows = [row for row in every() if files.shipped().of(row).judges != NOTHING]
    return sorted(rows, key=lambda row: (row.cells["hw"], row.id))


def answer(row: Row) -> Scored:
    """A row beside what rl says of it."""
    rules = files.shipped()
    judges = rules.of(row).judges
    try:
        found = question(row, rules)
        bare = terms.bare(found.asked)
    except SimcostError as refused:
        return Scored(row, judges, *_NONE, reason=str(refused))
    columns = {column: (_NAMES[column], *found.holds.get(column, ())) for column in PHASES}
    return under(Scored(row, judges, *_NONE, bare=bare, columns=columns), found.asked.framework)


def under(one: Scored, framework: Framework) -> Scored:
    """A row's prediction with a framework's terms."""
    assert one.bare is not None
    cost, costs = terms.priced(one.bare, framework)
    low, high = (float(end) for end in interval(cost))
    held = {
        column: sum((costs[name] for name in names if name in costs), Cost()) for column, names in one.columns.items()
    }
    return replace(one, step=(float(cost.seconds), low, high), costs=held, framework=framework)


def renewed(one: Scored) -> Scored:
    """A row's prediction with the terms that its framework's file has now."""
    return one if one.bare is None or one.framework is None else under(one, frameworks.load(one.framework.name))


def unasked(row: Row) -> Scored:
    """A row that judges nothing."""
    return Scored(row, NOTHING, *_NONE)


def log_error(one: Scored) -> float:
    """log(predicted / measured) of a step, which is as far for twice as for half."""
    return math.log(one.step[0] / one.row.numbers["step_s"])


def printed(row: Row) -> list[str]:
    """The phases that a row prints."""
    return [name for name in PHASES if row.numbers.get(name, 0.0) > 0.0]


@frozen
class Pair:
    """Two printed phases that differ, the longer one first: their printed ratio, and the predicted one as (estimate,
    low, high), by the error that both share as `cost.tied` has it."""

    longer: str
    shorter: str
    printed: float
    predicted: tuple[float, float, float]

    @property
    def right(self) -> bool:
        """Whether the prediction has their order."""
        return self.predicted[0] > 1.0

    @property
    def tied(self) -> bool:
        """Whether the prediction's interval leaves their order open."""
        return self.predicted[1] <= 1.0 <= self.predicted[2]


def pairs(one: Scored) -> list[Pair]:
    """Each two printed phases that differ by more than TIED."""
    found = []
    for a, b in combinations(printed(one.row), 2):
        first, second = one.row.numbers[a], one.row.numbers[b]
        if abs(first - second) > TIED * max(first, second):
            longer, shorter = (a, b) if first > second else (b, a)
            ratio = one.row.numbers[longer] / one.row.numbers[shorter]
            found.append(Pair(longer, shorter, ratio, _ratio(one.costs[longer], one.costs[shorter])))
    return found


def _ratio(a: Cost, b: Cost) -> tuple[float, float, float]:
    """(estimate, low, high) of the ratio of two times; of a phase that is not predicted at all there is no interval."""
    first, second = float(a.seconds), float(b.seconds)
    if not first or not second:
        found = 1.0 if first == second else math.inf if first else 0.0
        return found, found, found
    ratio, width = first / second, math.exp(Z90 * float(ratio_deviation(a, b)))
    return ratio, ratio / width, ratio * width


def ordered(all_: Sequence[Scored]) -> list[tuple[Scored, bool, bool | None]]:
    """Rows whose phases have an order: whether the prediction has all of it, and whether all of it that the prediction's
    intervals do not leave open; None where they leave all open."""
    rows = [(one, pairs(one)) for one in all_ if one.answered and one.judges != NOTHING]
    return [(one, all(each.right for each in found), _told(found)) for one, found in rows if found]


def _told(found: Sequence[Pair]) -> bool | None:
    told = [each.right for each in found if not each.tied]
    return all(told) if told else None


def steps(all_: Sequence[Scored]) -> list[Scored]:
    """Rows that judge the step."""
    return [one for one in all_ if one.judges == STEP]


def held(all_: Sequence[Scored]) -> list[Scored]:
    """Rows that judge the step and make no term, ever."""
    return [one for one in all_ if one.judges == HELD]


def summary(rows: Sequence[Scored]) -> Cells:
    """Rows, the share answered, and `score.full` of those."""
    known = [one for one in rows if one.answered]
    return {
        "rows": len(rows),
        "answered": len(known) / len(rows) if rows else None,
        **score.full([one.figure for one in known]),
    }


def slices(all_: Sequence[Scored]) -> Iterator[tuple[str, str, list[Scored]]]:
    """(dimension, name, rows that judge the step)."""
    judged = steps(all_)
    yield "rows", "all", judged
    parts: Mapping[str, Callable[[Mapping[str, str]], str]] = {
        "framework": lambda cells: cells["framework"],
        "placement": lambda cells: f"{cells['framework']}, {cells['placement'] or 'not printed'}",
        "hw": lambda cells: f"{cells['framework']}, {cells['placement'] or 'not printed'}, {cells['hw']}",
        "model": lambda cells: cells["model"],
        "version": lambda cells: f"{cells['framework']} {cells['version']}",
        "format": lambda cells: cells["format"] or "not printed",
    }
    for dimension, of in parts.items():
        for name in sorted({of(one.row.cells) for one in judged}):
            yield dimension, name, [one for one in judged if of(one.row.cells) == name]


def phase_errors(cold: Sequence[Scored], all_: Sequence[Scored]) -> list[Cells]:
    """A line a printed phase of rows that judge the step; `cold`: the same rows without fitted terms."""
    found: list[Cells] = []
    for column in PHASES:
        before, after = (
            [
                {"error": score.error(one.phases[column], one.row.numbers[column]), "covered": False, "half_width": 0.0}
                for one in steps(rows)
                if one.answered and column in printed(one.row) and one.phases[column] > 0.0
            ]
            for rows in (cold, all_)
        )
        if after:
            full = score.full(after)
            old = {"cold_median_abs_error": score.full(before)["median_abs_error"]}
            found.append({"phase": column.removesuffix("_s"), **old, **{key: full[key] for key in score.FULL[:5]}})
    return found


def order_rows(all_: Sequence[Scored]) -> list[Cells]:
    """A line per row whose phases have an order: printed and predicted, longest first."""
    return [
        {
            "id": one.row.id,
            "judges": one.judges,
            "printed_phases": _said(printed(one.row), one.row.numbers),
            "predicted_phases": _said(printed(one.row), one.phases),
            "order_right": right,
            "order_told": told,
            "wrong_pairs": "; ".join(_wrong(each) for each in pairs(one) if not each.right),
            "story": "" if right else files.shipped().told(one.row),
        }
        for one, right, told in ordered(all_)
    ]


def _wrong(pair: Pair) -> str:
    estimate, low, high = pair.predicted
    names = f"{pair.longer.removesuffix('_s')} / {pair.shorter.removesuffix('_s')}"
    return (
        f"{names}: printed {pair.printed:.2f}, predicted {estimate:.2f} ({low:.2f} to {high:.2f}"
        f"{', open' if pair.tied else ''})"
    )


def _said(names: Sequence[str], times: Mapping[str, float]) -> str:
    order = sorted(names, key=lambda name: -times[name])
    return ", ".join(f"{name.removesuffix('_s')} {times[name]:.3g}" for name in order)
