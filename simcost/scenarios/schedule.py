"""schedule: pipeline schedules from bare durations: time, bubble, what sets it, and what a rank keeps; several side by side.

Most likely to be wrong: durations that change with what runs beside them. Derivation: docs/theory/schedules.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from types import ModuleType
from typing import NamedTuple

from simcost import makespan, schedules
from simcost.errors import SpecError, nearest
from simcost.makespan import PAIR, Timeline, Times
from simcost.num import Num
from simcost.registry import discover
from simcost.result import Result, Row, number
from simcost.schedules._order import (
    BACKWARD,
    FORWARD,
    INPUT,
    WEIGHT,
    Durations,
    Lengths,
    Op,
    Orders,
    Placement,
    few,
    orders_of,
)

Stage = tuple[float, float, float]  # forward, input gradient, weight gradient of a virtual stage [s]
VPP = 2  # virtual stages per rank where a schedule needs them and nobody says how many
_LONGEST = 1e8  # s
_PASSES = {
    FORWARD: "forward", INPUT: "input gradient", WEIGHT: "weight gradient", BACKWARD: "both gradients",
    PAIR: "forward beside both gradients",
}  # fmt: skip


class Question(NamedTuple):
    """What is asked of every schedule. Durations in seconds of one micro-batch through one virtual stage; `stages`: of each virtual stage, in place of them; `pair`: of a forward and a whole backward together."""

    pp: int
    microbatches: int
    forward: float = 1.0
    backward: float = 1.0
    weight: float = 1.0
    hop: float = 0.0
    vpp: int | None = None
    pair: float | None = None
    stages: tuple[Stage, ...] | None = None
    barrier: bool = True


def question(
    pp: int, microbatches: int, forward: float = 1.0, backward: float | None = None, weight: float | None = None, hop: float = 0.0, vpp: int | None = None,
    overlapped: float | None = None, stage_times: Sequence[Sequence[float]] | None = None, barrier: bool = True,
) -> Question:  # fmt: skip
    """Gradients are as long as a forward where they are not stated. Raises SpecError for a duration that is none, and for a table of stages beside durations."""
    durations = {
        "--forward": forward,
        "--backward": forward if backward is None else backward,
        "--weight": forward if weight is None else weight,
    }
    stages: list[Stage] = []
    for row in stage_times or ():
        if len(row) != 3:
            raise SpecError(f"--stage-times: stage {len(stages)} has {len(row)} durations: F, B and W are needed")
        stages.append((float(row[0]), float(row[1]), float(row[2])))
        durations |= {f"--stage-times, stage {len(stages) - 1}, {name}": value for name, value in zip("FBW", stages[-1], strict=True)}  # fmt: skip
    if stage_times is not None and (backward is not None or weight is not None or forward != 1.0):
        raise SpecError("--stage-times and --forward, --backward or --weight cannot be combined: use one or the other")
    for name, value in {**durations, "--hop": hop, **({} if overlapped is None else {"--overlapped": overlapped})}.items():  # fmt: skip
        if not 0.0 <= value <= _LONGEST:
            raise SpecError(f"{name} must be a duration from 0 to {_LONGEST:g} s, not {value:g}")
    if not any(durations.values()):
        raise SpecError("every duration is 0: state --forward, for example 12ms")
    return Question(
        pp, microbatches, forward, durations["--backward"], durations["--weight"], hop, vpp, overlapped, tuple(stages) if stage_times is not None else None, barrier
    )  # fmt: skip


class Drawn(NamedTuple):
    """One schedule that ran."""

    name: str
    module: ModuleType
    placement: Placement
    times: Times
    timeline: Timeline
    question: Question

    @property
    def makespan_s(self) -> float:
        """From the start to the end of the last op; without a barrier the steady period: the longest span of a rank. [s]"""
        return self.timeline.end_s if self.question.barrier else max(self.timeline.span_s())

    @property
    def bubble(self) -> float:
        """Idle share of all ranks over the makespan."""
        busy = self.timeline.busy_s()
        return 1.0 - sum(busy) / (len(busy) * self.makespan_s)


def known() -> dict[str, ModuleType]:
    """Every schedule by its name."""
    return {str(module.NAME): module for module in discover(schedules.__name__).values()}


def check(names: Sequence[str], q: Question) -> None:
    """Raises SpecError for a schedule that is none or comes twice, and for numbers that are none."""
    for at, name in enumerate(names):
        if name not in known():
            raise SpecError(f"unknown schedule '{name}' (one of {', '.join(known())}){nearest(name, known())}")
        if name in names[:at]:
            raise SpecError(f"'{name}' is given twice")
    if not names:
        raise SpecError(f"state a schedule: {', '.join(known())}")
    for option, count in (("--pp", q.pp), ("--microbatches", q.microbatches), ("--vpp", q.vpp or 1)):
        if not 1 <= count <= 100_000:
            raise SpecError(f"{option} must be a whole number from 1 to 100,000, not {count}")
    rule = few(q.pp, q.microbatches, (q.vpp or VPP) * len(names))
    if not rule.holds:
        raise SpecError(f"{', '.join(names)}: {rule.says}")


def run(name: str, q: Question) -> Drawn:
    """One schedule. Raises SpecError where it does not exist for these numbers: the rule, and the nearest that satisfy it."""
    module = known()[name]
    vpp = (q.vpp or VPP) if module.PER_RANK is None else module.PER_RANK
    for rule in module.rules(q.pp, q.microbatches, vpp):
        if not rule.holds:
            raise SpecError(f"{name}: {rule.says}")
    placement = module.placement(q.pp, q.microbatches, vpp)
    times = _times(name, q, placement.stages)
    orders = orders_of(module, q.pp, q.microbatches, vpp, _lengths(times))
    _pairs(name, orders, times)
    return Drawn(name, module, placement, times, makespan.run(orders, placement, times), q)


def _times(name: str, q: Question, stages: int) -> Times:
    if q.stages is None:
        return Times((q.forward,) * stages, (q.backward,) * stages, (q.weight,) * stages, q.pair, q.hop)
    if len(q.stages) != stages:
        raise SpecError(f"{name}: --stage-times has {len(q.stages)} stages, and pp = {q.pp} needs {stages} virtual stages here")  # fmt: skip
    forward, backward, weight = zip(*q.stages, strict=True)
    return Times(forward, backward, weight, q.pair, q.hop)


def _lengths(times: Times) -> Lengths:
    """What a search follows where nothing is known of tensors: all of them wait for the weight gradient."""
    return Lengths(times.forward, times.backward, times.weight, (1.0,) * len(times.forward), times.hop)


def _pairs(name: str, orders: Orders, times: Times) -> None:
    """Raises SpecError where a forward and a backward together would take less than one of them, or more than both."""
    if times.pair is None or callable(times.pair):
        return
    for forward, backward in {(op.stage, op.beside[1]) for ops in orders for op in ops if op.beside}:
        first, second = times.forward[forward], times.backward[backward] + times.weight[backward]
        if not max(first, second) * (1.0 - 1e-9) <= times.pair <= (first + second) * (1.0 + 1e-9):
            raise SpecError(
                f"{name}: --overlapped {times.pair:g} must lie between the longer and the sum of a forward of stage {forward} ({first:g}) and the gradients of "
                f"stage {backward} ({second:g}): from {max(first, second):g} to {first + second:g}"
            )


def lower_bound(d: Drawn) -> float:
    """No order of a schedule's ops can end earlier: over ranks, the earliest arrival of its first forward, its occupied time, and where both gradients run together the way back through the stages before. Without a barrier the
    busiest rank's occupied time. [s]"""
    busy = d.timeline.busy_s()
    if not d.question.barrier:
        return max(busy)
    first = [min((run.op.stage, run.op.microbatch) for run in d.timeline.of_rank(rank)) for rank in range(d.timeline.ranks)]  # fmt: skip
    t = d.times
    found = []
    for rank, (stage, microbatch) in enumerate(first):
        way = [d.placement.rank(s, microbatch) for s in range(stage + 1)]
        hops = t.hop * sum(a != b for a, b in pairwise(way))
        there = sum(t.forward[:stage]) + hops
        back = 0.0 if d.module.SPLITS else sum(t.backward[:stage]) + sum(t.weight[:stage]) + hops
        found.append(there + busy[rank] + back)
    return max(found)


def _row(d: Drawn) -> Row:
    ideal = max(d.timeline.busy_s())
    return {
        "schedule": d.name, "ranks": d.timeline.ranks, "stages": d.timeline.stages, "makespan_s": number(d.makespan_s), "ideal_s": number(ideal),
        "makespan_over_ideal": number(d.makespan_s / ideal), "bubble_fraction": number(d.bubble), "lower_bound_s": number(lower_bound(d)),
        "peak_inflight": max(d.timeline.peaks()), "peak_inflight_to_w": max(d.timeline.peaks(True)),
    }  # fmt: skip


def result(names: Sequence[str], q: Question) -> tuple[Result, list[Drawn]]:
    """The answer, and what pictures draw. Of several schedules one that does not exist for these numbers has a row with its reason; of one it is an error. Raises SpecError."""
    check(names, q)
    drawn: list[Drawn] = []
    refused: list[Row] = []
    for name in names:
        try:
            drawn.append(run(name, q))
        except SpecError as error:
            if len(names) == 1:
                raise
            refused.append({"schedule": name, "feasible": False, "reason": str(error).removeprefix(f"{name}: ")})
    if not drawn:
        raise SpecError("; ".join(f"{row['schedule']}: {row['reason']}" for row in refused))
    drawn.sort(key=lambda d: d.bubble)
    found = _one(drawn[0], q) if len(names) == 1 else _several(drawn, refused, q)
    return found, drawn


def _inputs(names: Sequence[str], q: Question) -> dict[str, object]:
    asked: dict[str, object] = {"schedules": list(names), "pp": q.pp, "microbatches": q.microbatches}
    if q.stages is None:
        asked |= {"forward": q.forward, "backward": q.backward, "weight": q.weight}
    else:
        asked["stage_times"] = [list(stage) for stage in q.stages]
    return {**asked, "hop": q.hop, "vpp": q.vpp, "overlapped": q.pair, "barrier": q.barrier}


def _notes(drawn: Sequence[Drawn], q: Question) -> tuple[str, ...]:
    found = []
    if q.pair is not None and not any(d.module.PAIRS for d in drawn):
        found.append("--overlapped has no effect: no forward runs beside a backward in this schedule")
    if q.vpp is not None and not any(d.module.PER_RANK is None for d in drawn):
        found.append("--vpp has no effect: the schedule fixes how many virtual stages a rank holds")
    elif q.vpp is None and any(d.module.PER_RANK is None for d in drawn):
        found.append(f"vpp = {VPP} virtual stages per rank for schedules that allow any number (--vpp sets it)")
    sizes = {d.timeline.stages for d in drawn}
    if len(sizes) > 1:
        found.append("schedules with more virtual stages per rank do more work at equal durations: compare makespan / ideal")  # fmt: skip
    return tuple(found)


def _verdict(d: Drawn) -> str:
    idle = d.makespan_s - max(d.timeline.busy_s())
    return f"{d.name}: {d.bubble:.1%} idle; {idle:.4g} s of {d.makespan_s:.4g} s beside the busiest rank's work"


def _one(d: Drawn, q: Question) -> Result:
    row = {name: value for name, value in _row(d).items() if name != "schedule"}
    closed = _closed(d, q)
    if closed is not None:
        row["closed_form_s"] = number(closed)
    said = (*_notes([d], q), *([f"closed_form_s: {d.module.EXACT}"] if closed is not None else []))
    tables = {"ranks": _ranks(d), "critical path": _path(d)}
    return Result("schedule", _inputs([d.name], q), row, tables, said, (f"{d.name}: {d.module.SOURCE}",), _verdict(d))


def _several(drawn: Sequence[Drawn], refused: Sequence[Row], q: Question) -> Result:
    rows = [*(_row(d) | {"feasible": True} for d in drawn), *refused]
    names = [str(row["schedule"]) for row in rows]
    metrics = {"best_bubble_fraction": drawn[0].name}
    references = tuple(f"{d.name}: {d.module.SOURCE}" for d in drawn)
    return Result("schedule", _inputs(names, q), metrics, {"schedules": rows}, _notes(drawn, q), references, _verdict(drawn[0]))  # fmt: skip


def _closed(d: Drawn, q: Question) -> Num | None:
    if q.stages is not None or not q.barrier:
        return None
    pair = q.forward + q.backward + q.weight if q.pair is None else q.pair
    found: Num = d.module.closed_form(float(q.pp), float(q.microbatches), float(q.vpp or VPP), Durations(q.forward, q.backward, q.weight, pair, q.hop))  # fmt: skip
    return found


def _ranks(d: Drawn) -> list[Row]:
    busy, peaks, to_weight = d.timeline.busy_s(), d.timeline.peaks(), d.timeline.peaks(True)
    held: list[set[int]] = [set() for _ in busy]
    for each in d.timeline.runs:
        held[each.rank] |= {each.op.stage} | ({each.op.beside[1]} if each.op.beside else set())
    return [
        {
            "rank": rank, "virtual_stages": ", ".join(map(str, sorted(held[rank]))), "busy_s": number(busy[rank]),
            "idle_s": number(d.makespan_s - busy[rank]), "bubble_fraction": number(1.0 - busy[rank] / d.makespan_s),
            "peak_inflight": peaks[rank], "peak_inflight_to_w": to_weight[rank],
        }
        for rank in range(len(busy))
    ]  # fmt: skip


def _path(d: Drawn) -> list[Row]:
    """What the last op waited for, by kind of pass and stage; the times add up to the end of the step."""
    counts, hops = d.timeline.critical_path()
    t = d.times
    found = []
    for (kind, stage, behind), times in sorted(counts.items()):
        op = Op(FORWARD, 0, stage, (0, behind)) if kind == PAIR else Op(kind, 0, stage)
        where = f"{stage} and {behind}" if kind == PAIR else str(stage)
        found.append({"pass": _PASSES[kind], "virtual_stages": where, "times": times, "path_s": number(times * t.of(op))})  # fmt: skip
    if hops:
        found.append({"pass": "hop", "virtual_stages": "", "times": hops, "path_s": number(hops * t.hop)})
    return found
