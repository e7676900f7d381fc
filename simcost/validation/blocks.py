"""Whole decoder layers, measured here and now, against what simcost predicts for them, with its interval.

Composition shows in three figures: sections timed alone against the same inside the block, sections inside against the
whole, and the prediction against the whole. Most likely to be wrong: plain torch layers stand for an engine's. Source: the
method of docs/theory/calibration.md, "From kernels to a block".
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from simcost.cost.cost import basis
from simcost.errors import SpecError
from simcost.estimate.layer import BlockSpec, of_model, random_blocks
from simcost.frozen import frozen
from simcost.hardware import load as hardware
from simcost.hardware.profile import Device
from simcost.measure.session.event import Event
from simcost.measure.timing.deadline import after
from simcost.measure.torch_layers.times import BlockTime
from simcost.model import load as models
from simcost.plan import Phase
from simcost.result import Result, Row
from simcost.validation import device as devices
from simcost.validation.predict import Prediction, predict
from simcost.validation.score import COVERAGE, error, grouped, summary

Measure = Callable[[BlockSpec], list[BlockTime]]
_NOISY = 0.3  # share of disturbed samples above which a timing stays out of the headline
_WRITES = ("/kv write", "/q rope", "/latent rope + write")


@frozen
class OpPair:
    """An op of the prediction beside what was measured of it inside the block."""

    name: str
    measured_s: float
    predicted_s: float

    @property
    def gap_s(self) -> float:
        """Predicted less measured time. [s]"""
        return self.predicted_s - self.measured_s


@frozen
class Case:
    """One direction of one block."""

    measured: BlockTime
    predicted: Prediction
    ops: tuple[OpPair, ...]

    @property
    def covered(self) -> bool:
        """Whether the measured time lies inside the 90 % interval."""
        low, high = self.predicted.interval
        return low <= self.measured.seconds <= high

    @property
    def worst(self) -> OpPair | None:
        """The op with the largest gap, either way; None without ops."""
        return max(self.ops, key=lambda op: abs(op.gap_s), default=None)


def design(
    names: Sequence[str] = (),
    count: int = 30,
    seed: int = 1,
    dtype: str = "bf16",
    backward: bool = True,
    batch: int = 8,
    context: int = 1024,
    isl: int = 512,
    tp: int = 1,
) -> tuple[BlockSpec, ...]:
    """Layers of the models named, one of each kind: decode, prefill and, where asked for, a training step; without names
    `count` random designs. Calibration draws seed 0: another one is held out."""
    if not names:
        return random_blocks(count, seed, dtype, backward)
    decode, prompt = Phase(float(batch), 1.0, float(context - 1)), Phase(1.0, float(isl), 0.0)
    found: list[BlockSpec] = []
    for model in (models.load(name) for name in names):
        found += of_model(model, prompt, dtype, tp=tp) + of_model(model, decode, dtype, tp=tp)
        found += of_model(model, prompt, dtype, True, tp) if backward else ()
    return tuple(found)


def validate(
    hw: str,
    blocks: Sequence[BlockSpec],
    device: str = "cpu",
    seconds: float = 2.0,
    threads: int | None = None,
    limit: float | None = None,
    budget_s: float | None = None,
    measure: Measure | None = None,
    progress: Callable[[Event], None] = lambda _: None,
) -> Result:
    """Build, measure and predict each block. `hw`: a profile by name or path, of the device that is measured; `seconds` a
    block; `threads` of a CPU, by default those of the profile's rows; `limit` [B] of memory; blocks that cannot be built
    here are warnings.

    Raises SpecError when no block is left or the profile is of another device, SimcostError without torch."""
    profile = hardware.load(hw)
    devices.refuse_another(profile, device)
    count = devices.threads(profile, device, threads)
    notes: list[str] = []
    until = after(budget_s)
    if measure is None:
        from simcost.measure.machine.environment import device_name
        from simcost.measure.sampling.target import find
        from simcost.measure.session.layers import measure_block

        target = find(device, count if device == "cpu" else None)

        def measure(spec: BlockSpec) -> list[BlockTime]:
            at = next(i for i, block in enumerate(blocks) if block is spec)

            def say(what: str) -> None:
                progress(Event(at, len(blocks), "block", what))

            return measure_block(spec, device, seconds, count, limit, until=until, say=say)

        notes += devices.another_part(profile, device_name(target.name))

    cases: list[Case] = []
    for found, note in _measured(profile, blocks, measure, budget_s, progress):
        cases += found
        notes += [note] if note else []
    if not cases:
        raise SpecError(notes[0] if notes else "no blocks to validate")
    return result(profile, device, cases, notes, {"threads": count, "seconds_a_block": seconds})


def _measured(
    profile: Device,
    blocks: Sequence[BlockSpec],
    measure: Measure,
    budget_s: float | None,
    progress: Callable[[Event], None],
) -> Iterator[tuple[list[Case], str]]:
    """(the cases of a block, what to say of it)."""
    start = time.monotonic()
    for index, spec in enumerate(blocks):
        spent = time.monotonic() - start
        if budget_s is not None and index and spent + spent / index > budget_s:
            yield [], f"budget spent after {index} of {len(blocks)} blocks"
            return
        try:
            yield [case(one, profile) for one in measure(spec)], ""
        except SpecError as problem:
            yield [], f"left out: {problem}"
        left = (time.monotonic() - start) / (index + 1) * (len(blocks) - index - 1)
        progress(Event(index + 1, len(blocks), "block", spec.name, left))


def case(measured: BlockTime, profile: Device) -> Case:
    """A measured block beside its prediction."""
    predicted = predict(measured.spec, profile, measured.direction)
    return Case(measured, predicted, tuple(_pairs(measured, predicted)))


def _pairs(measured: BlockTime, predicted: Prediction) -> Iterator[OpPair]:
    """A class that is priced as a whole meets all its sections; a section whose gradients were not told apart meets both; where
    the write of the cache is priced with the core, the measured core takes it too."""
    times = {op.name: op.time.seconds for op in measured.ops}
    together = {op.name for op in measured.ops if op.variant == "both"}
    names = {part.name for part in predicted.parts}
    for before in [name for name in times if name not in names and name.endswith(_WRITES)]:
        times["attention/core"] = times.get("attention/core", 0.0) + times.pop(before)
    parts: dict[str, float] = {}
    for part in predicted.parts:
        section = part.name.partition(":")[0]
        name = section if section in together else part.name
        parts[name] = parts.get(name, 0.0) + float(part.cost.seconds)
    for name, seconds in parts.items():
        inside = [value for key, value in times.items() if key == name or key.startswith(name + "/")]
        if inside:
            yield OpPair(name, sum(inside), seconds)


def row(one: Case) -> Row:
    """A case as a line of the report; times are of the whole direction."""
    m, p, worst = one.measured, one.predicted, one.worst
    low, high = p.interval
    alone, inside = m.isolated_s, m.in_situ_s
    return {
        "block": m.spec.name, "kind": m.spec.kind, "stage": m.spec.stage, "direction": m.direction,
        "dtype": m.spec.dtype, "measured_s": m.seconds, "predicted_s": p.seconds, "low_s": low, "high_s": high,
        "error": error(p.seconds, m.seconds), "covered": one.covered,
        "worst_op": "" if worst is None else worst.name,
        "worst_op_measured_s": None if worst is None else worst.measured_s,
        "worst_op_predicted_s": None if worst is None else worst.predicted_s,
        "in_situ_s": inside, "isolated_s": alone,
        "in_situ_error": None if inside is None else error(inside, m.whole.seconds),
        "composition_error": None if alone is None or not inside else error(alone, inside),
        "eager_s": m.whole.seconds, "graph_s": m.graph_s,
        "basis": basis(p.cost), "samples": m.whole.samples, "dirty": m.whole.dirty, "disturbed": m.whole.dirty > _NOISY,
    }  # fmt: skip


def result(profile: Device, device: str, cases: Sequence[Case], notes: Sequence[str], inputs: dict[str, Any]) -> Result:
    """The report of cases; figures are of those that nobody disturbed, unless all were."""
    calm = [one for one in cases if one.measured.whole.dirty <= _NOISY]
    counted = calm or list(cases)
    scored = [row(one) for one in counted]
    found = summary(scored)
    kinds = grouped(scored, lambda r: (r["kind"], r["stage"], r["direction"]), ("kind", "stage", "direction"))
    metrics = {"blocks": found.pop("n"), "disturbed_blocks": len(cases) - len(calm), **found, **_composition(scored)}
    return Result(
        "validate blocks",
        {"hw": profile.name, "device": device, "measurements": [_run(home) for home in profile.measurements], **inputs},
        metrics, {"blocks": [row(one) for one in cases], "kinds": kinds, "ops": _ops(counted)},
        (*notes, *_disturbed(cases, calm)), (f"hardware: {profile.title}, {profile.where}",),
        _verdict(metrics) + ("" if calm else "; ALL DISTURBED: the machine was busy, these figures say little"),
    )  # fmt: skip


def _disturbed(cases: Sequence[Case], calm: Sequence[Case]) -> tuple[str, ...]:
    """What was left out of the figures, in one line."""
    names = dict.fromkeys(one.measured.spec.name for one in cases if one.measured.whole.dirty > _NOISY)
    if not names or not calm:
        return ()
    return (
        f"{len(cases) - len(calm)} of {len(cases)} timings had more than {_NOISY:.0%} disturbed samples (busy machine) "
        f"and are in no figure, only in the rows: {', '.join(names)}",
    )


def _run(home: str) -> str:
    return home.rstrip("/").rpartition("/")[2]


def _composition(rows: Sequence[Row]) -> dict[str, Any]:
    """Sections alone against inside, and inside against the whole."""
    found: dict[str, Any] = {}
    for name in ("composition_error", "in_situ_error"):
        values = np.array([r[name] for r in rows if r[name] is not None], np.float64)
        stem = name.removesuffix("_error")
        found[f"{stem}_bias"] = float(np.median(values)) if len(values) else None
        found[f"{stem}_median_abs_error"] = float(np.median(np.abs(values))) if len(values) else None
        found[f"{stem}_p90_abs_error"] = float(np.quantile(np.abs(values), 0.9)) if len(values) else None
    return found


def _ops(cases: Sequence[Case]) -> list[Row]:
    """By op: how far its prediction is off, and its part of all seconds that are missing or too many."""
    pairs: dict[tuple[str, str], list[OpPair]] = {}
    for one in cases:
        for pair in one.ops:
            pairs.setdefault((one.measured.direction, pair.name), []).append(pair)
    whole = sum(one.measured.seconds for one in cases)
    found = []
    for (direction, name), members in pairs.items():
        errors = np.array([error(pair.predicted_s, pair.measured_s) for pair in members])
        found.append({
            "direction": direction, "op": name, "n": len(members),
            "median_abs_error": float(np.median(np.abs(errors))), "p90_abs_error": float(np.quantile(np.abs(errors), 0.9)),
            "bias": float(np.median(errors)),
            "share_of_time": sum(pair.measured_s for pair in members) / whole,
            "gap_of_time": sum(pair.gap_s for pair in members) / whole,
        })  # fmt: skip
    return sorted(found, key=lambda r: -abs(float(r["gap_of_time"])))


def _verdict(metrics: dict[str, Any]) -> str:
    return (
        f"{metrics['blocks']} timings: |error| median {metrics['median_abs_error']:.1%}, P90 "
        f"{metrics['p90_abs_error']:.1%}, bias {metrics['bias']:+.1%}; {COVERAGE:.0%} intervals cover {metrics['coverage']:.0%}"
    )
