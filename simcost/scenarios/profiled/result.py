"""The Result of a trace beside a prediction: totals, kinds of work by how far the two are apart, ops, kernels, and what no rule knows.

Of decode and prefill the sum of all runs of a kind is compared, hidden ones too; of training, whose prediction holds what nothing hides, of links only what no other kernel hides. A rank waits for others inside its collectives: a kernel
that waits is as long as the wait.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from simcost.errors import SpecError, plain
from simcost.frozen import frozen
from simcost.provenance import Kind, Note
from simcost.result import Result, Row, number
from simcost.scenarios.profiled import matched, predicted, spans
from simcost.scenarios.profiled.events import Floats, Trace, Whole, read
from simcost.scenarios.profiled.matched import Match
from simcost.scenarios.profiled.names import GAPS, Rule, Rules, rules
from simcost.scenarios.profiled.predicted import Op
from simcost.scenarios.profiled.titles import short
from simcost.units import show

MOST_KERNELS = 300  # names of a table: files of many steps have some hundred
_NO_RULE = "no rule"
_TRAIN = "train"


@frozen
class Asked:
    """A file, what of it counts (`spans.part`), a file of rules of the user's own, and the prediction: an answer of explain or train."""

    file: Path
    phase: str
    answer: Result
    steps: int | None = None
    within: str = ""
    device: int | None = None
    rules: Path | None = None


@frozen
class _Step:
    """A trace by names: the rule of each, the kernels that count and those of each class, and when what runs."""

    trace: Trace
    part: spans.Part
    rules: Rules
    of: tuple[Rule | None, ...]
    at: Mapping[str, Whole]
    wire: Floats
    work: Floats


def result(q: Asked, heard: Callable[[int], None] = lambda _: None) -> Result:
    """Raises SpecError for a file that is no trace, for rules that are none, and for a part of it that holds nothing."""
    known = rules(q.rules)
    trace = read(q.file, heard)
    part = spans.part(trace, str(q.file), q.steps, q.within, q.device)
    step = _step(trace, part, known)
    training = q.phase == _TRAIN
    ops = (predicted.of_training if training else predicted.of_step)(q.answer, known)
    found = [] if training else _matches(step, ops)
    classes = _classes(step, ops, training)
    values = _metrics(step, q.answer, training)
    tables = {
        "kinds of work": classes, "ops and kernels": _ops(found), "kernels": _kernels(step, found), "without a rule": _unknown(step),
    }  # fmt: skip
    return Result(
        "trace", _inputs(q, part), values, {name: rows for name, rows in tables.items() if rows},
        (*_notes(q, step, ops), *q.answer.warnings), q.answer.references, _verdict(values, classes), q.answer.fits,
    )  # fmt: skip


def _step(trace: Trace, part: spans.Part, known: Rules) -> _Step:
    of = tuple(known.rule(name) for name in trace.names)
    wired = {each.name for each in known.classes if each.wire}
    names = [rule.of if rule else "" for rule in of]
    at = {
        name: np.flatnonzero(
            part.kept & np.isin(trace.name, [place for place, each in enumerate(names) if each == name])
        )
        for name in dict.fromkeys(names)
    }
    on_wire = part.kept & np.isin(trace.name, [place for place, each in enumerate(names) if each in wired])
    return _Step(trace, part, known, of, at, spans.busy(trace, on_wire), spans.busy(trace, part.kept & ~on_wire))


def _matches(step: _Step, ops: Sequence[Op]) -> list[Match]:
    found: list[Match] = []
    for name in dict.fromkeys(op.of for op in ops):
        at = step.at.get(name, np.zeros(0, np.int64))
        if name == GAPS or not len(at):
            continue
        parts = [rule.part if (rule := step.of[place]) else "" for place in step.trace.name[at].tolist()]
        found += matched.matches(
            matched.calls(step.trace, at, parts, step.part.steps), [op for op in ops if op.of == name]
        )
    return found


def _classes(step: _Step, ops: Sequence[Op], training: bool) -> list[Row]:
    """A row a kind of work, the largest difference first; what no rule knows, and what no class takes, are rows too."""
    wired = {each.name for each in step.rules.classes if each.wire}
    exposed = spans.alone(step.wire, step.work) / step.part.steps
    every = length = 0.0
    rows: list[Row] = []
    for name in dict.fromkeys([each.name for each in step.rules.classes] + [op.of for op in ops] + [""]):
        at = step.at.get(name, np.zeros(0, np.int64))
        mine = [op for op in ops if op.of == name]
        seconds = float(step.trace.own[at].sum()) / step.part.steps
        if name in wired and training:  # of links what nothing hides, by how long each kind runs
            every = length or sum(float(step.trace.own[step.at[each]].sum()) for each in wired if each in step.at)
            seconds = exposed * seconds * step.part.steps / every if every else 0.0
        if name == GAPS:
            seconds += _gap(step)
        if seconds or mine:
            rows.append(_row(name or _NO_RULE, seconds, len(at) / step.part.steps, mine))
    whole = sum(abs(row["off_s"]) for row in rows)
    for row in rows:
        row["off_share"] = number(abs(row["off_s"]) / whole) if whole else None
    return sorted(rows, key=lambda row: -abs(row["off_s"]))


def _row(name: str, seconds: float, calls: float, ops: Sequence[Op]) -> Row:
    said = predicted.summed(ops)
    low, high = said["low_s"], said["high_s"]
    return {
        "work": name, "measured_s": number(seconds), **{key: None if value is None else number(value) for key, value in said.items()},
        "off_s": number(seconds - said["predicted_s"]), "error": number(said["predicted_s"] / seconds - 1.0) if seconds and ops else None,
        "covered": None if low is None else bool(low <= seconds <= high), "kernels_per_step": number(calls),
        "predicted_times": number(sum(op.times for op in ops)) if any(op.times for op in ops) else None, "off_share": None,
    }  # fmt: skip


def _ops(found: Sequence[Match]) -> list[Row]:
    rows = [
        {
            "op": one.op.name, "measured_s": number(one.seconds), "predicted_s": number(one.op.seconds),
            "low_s": number(one.op.low), "high_s": number(one.op.high), "off_s": number(one.seconds - one.op.seconds),
            "error": number(one.op.seconds / one.seconds - 1.0) if one.seconds else None,
            "covered": bool(one.op.low <= one.seconds <= one.op.high),
            "kernels_per_step": number(one.times), "predicted_times": number(one.op.times), "found_by": one.how,
            "kernel": short(one.kernel), "part": one.op.part, "basis": one.op.basis, "shape": one.op.shape,
        }
        for one in found
    ]  # fmt: skip
    return sorted(rows, key=lambda row: -abs(row["off_s"]))


def _kernels(step: _Step, found: Sequence[Match]) -> list[Row]:
    """A row a kernel's name, the longest first; the op where it runs one alone."""
    ops: dict[str, list[str]] = {}
    for one in found:
        ops.setdefault(one.kernel, []).append(one.op.name)
    seconds, calls = _per_name(step)
    whole = float(seconds.sum())
    rows = []
    for place in np.argsort(-seconds, kind="stable")[:MOST_KERNELS].tolist():
        if calls[place]:
            rule, name = step.of[place], step.trace.names[place]
            rows.append(
                {
                    "kernel": short(name), "work": rule.of if rule else _NO_RULE, "measured_s": number(seconds[place]),
                    "share": number(seconds[place] / whole) if whole else None, "kernels_per_step": number(calls[place]),
                    "one_run_s": number(seconds[place] / calls[place]), "op": ", ".join(dict.fromkeys(ops.get(name, []))), "kernel_name": plain(name),
                }
            )  # fmt: skip
    return rows


def _unknown(step: _Step) -> list[Row]:
    seconds, calls = _per_name(step)
    return [
        {"kernel": short(step.trace.names[place]), "measured_s": number(seconds[place]), "kernels_per_step": number(calls[place]), "kernel_name": plain(step.trace.names[place])}
        for place in np.argsort(-seconds, kind="stable").tolist()
        if step.of[place] is None and calls[place]
    ]  # fmt: skip


def _per_name(step: _Step) -> tuple[Floats, Floats]:
    """Time [s] and number of every name's kernels in a step."""
    kept, count = step.part.kept, len(step.trace.names)
    of = step.trace.name[kept]
    return np.bincount(of, step.trace.own[kept], count) / step.part.steps, np.bincount(
        of, minlength=count
    ) / step.part.steps


def _busy(step: _Step) -> float:
    """Time of a step in which a kernel runs. [s]"""
    return (spans.length(step.wire) + spans.alone(step.work, step.wire)) / step.part.steps


def _gap(step: _Step) -> float:
    """Time of a step in which none does. [s]"""
    return max(step.part.span / step.part.steps - _busy(step), 0.0)


def _metrics(step: _Step, answer: Result, training: bool) -> dict[str, Any]:
    steps, trace = step.part.steps, step.trace
    seconds, calls = _per_name(step)
    wire, exposed = spans.length(step.wire) / steps, spans.alone(step.wire, step.work) / steps
    unknown = float(sum(seconds[place] for place, rule in enumerate(step.of) if rule is None))
    name = next(
        name for name in ("step", "tpot", "ttft") if f"{name}_s" in answer.metrics and f"{name}_low_s" in answer.metrics
    )
    span = step.part.span / steps
    predicted_s = float(answer.metrics[f"{name}_s"])
    return {
        "measured_step_s": number(span), "predicted_step_s": number(predicted_s),
        "predicted_step_low_s": answer.metrics[f"{name}_low_s"], "predicted_step_high_s": answer.metrics[f"{name}_high_s"],
        "error": number(predicted_s / span - 1.0) if span else None,
        "kernel_s": number(seconds.sum()), "busy_s": number(_busy(step)), "gap_s": number(_gap(step)), "gap_share": number(_gap(step) / span) if span else None,
        "communication_s": number(wire), "exposed_communication_s": number(exposed), "hidden_communication_share": number(1.0 - exposed / wire) if wire else None,
        "unmatched_s": number(unknown), "unmatched_share": number(unknown / seconds.sum()) if seconds.sum() else None,
        "traced_steps": steps, "kernels_per_step": number(calls.sum()), "kernel_names": len(np.unique(trace.name[step.part.kept])),
    }  # fmt: skip


def _inputs(q: Asked, part: spans.Part) -> dict[str, Any]:
    stated = {"within": q.within, "device": q.device, "rules": None if q.rules is None else str(q.rules)}
    return {
        **q.answer.inputs,
        "file": str(q.file),
        "phase": q.phase,
        "steps": part.steps,
        **{k: v for k, v in stated.items() if v not in ("", None)},
    }


def _notes(q: Asked, step: _Step, ops: Sequence[Op]) -> list[Note]:
    trace = step.trace
    of = f", rank {trace.rank}" if trace.rank else ""
    notes = [
        Note(
            f"{step.part.steps} step{'s'[: step.part.steps > 1]} ({step.part.counted}) of {'GPU kernels' if trace.on_gpu else 'operators of a CPU'}{of}: {trace.title or 'the file names no device'}",
            Kind.ORIGIN,
        )
    ]
    hw = str(q.answer.inputs.get("hw", ""))
    family = Path(hw).stem.split("-")[0].lower()
    if trace.title and family and family != "profile" and family not in trace.title.lower().replace(" ", ""):
        notes.append(Note(f"the trace is of {trace.title}, and --hw is {hw}", Kind.CHANGED))
    if not trace.on_gpu:
        notes.append(
            Note(
                "the time of an operator is its own, without what it calls; recording costs a CPU several microseconds an operator",
                Kind.SAID,
            )
        )
    if spans.length(step.wire):
        notes.append(
            Note(
                "the kernel of a collective also waits for other ranks: use the trace of the rank with the shortest collectives",
                Kind.SAID,
            )
        )
    if step.at.get("") is not None and len(step.at[""]):
        notes.append(Note("kernels without a rule are in a row of their own: --rules FILE assigns them", Kind.MISSING))
    others = sorted({op.name for op in ops if op.of == predicted.OTHER})
    if others:
        notes.append(Note(f"predictions without a class: {', '.join(others)}", Kind.MISSING))
    return notes


def _verdict(values: Mapping[str, Any], classes: Sequence[Row]) -> str:
    worst = classes[0]
    side = "longer" if worst["off_s"] > 0 else "shorter"
    return (
        f"a step takes {show(float(values['measured_step_s']), 'seconds')} as measured and {show(float(values['predicted_step_s']), 'seconds')} as predicted; "
        f"the largest difference is of {worst['work']}: {show(float(worst['measured_s']), 'seconds')}, {show(abs(float(worst['off_s'])), 'seconds')} {side} than predicted"
    )


def checked(steps: Any, device: Any) -> None:
    """Raises SpecError for a number of steps, or of a device, that is none."""
    for name, value, least in (("--steps", steps, 1), ("--device", device, 0)):
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int) or not least <= value <= 1_000_000
        ):
            raise SpecError(f"{name} must be a whole number from {least} to 1,000,000, not {value!r}")
