"""The report of `simcost validate training`: by source, cold and fitted; bars with peers; memory, bubbles, worst
rows, and rows apart.

Most likely to be wrong: a median over few rows; `n` stands beside every figure. Source:
`workloads/validation/training`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from simcost import lower
from simcost.errors import SpecError, nearest
from simcost.model import load as models
from simcost.provenance import VERSION
from simcost.result import Result
from simcost.result import Row as Cells
from simcost.training.question import Prediction, Predictor, Question
from simcost.validation import bar_lines
from simcost.validation.training import bars, bubbles, parts, rows, score, trace
from simcost.validation.training import write as into
from simcost.validation.training.judge import APART, COUNTING, JUDGED, Fit, Scored, memory_errors, scored, shipped

WORST = 15
SIMULATED = "simulated"


def result(
    names: Sequence[str] = (),
    predict: Predictor | None = None,
    folder: Path | None = None,
    write: bool = False,
) -> Result:
    """The report on the sources of these names, all by default, of the shipped rows or a folder's; `write`:
    coefficients go into the stacks. Raises SpecError for a source that is not there, for a malformed file, and as
    `write.write`."""
    every = rows.every() if folder is None else tuple(rows.read(folder))
    known = dict.fromkeys(row.source.name for row in every)
    for name in names:
        if name not in known:
            raise SpecError(f"no source '{name}' (sources: {', '.join(known)}){nearest(name, known)}")
    chosen = [row for row in every if not names or row.source.name in names]
    scores, fits = scored(chosen, predict or shipped())
    stacks = {row.question.stack for row in chosen}
    fits = [*fits, *(trace.fitted(one) for one in trace.every() if one.stack in stacks)]
    written = into.write(fits, f"simcost validate training {' '.join(names)} --write", VERSION) if write else []
    figures = of_names(scores)
    tables = _tables(scores, fits, figures)
    counted = [one for one in scores if one.row.group in COUNTING]
    return Result(
        "validate training",
        {"sources": ", ".join(names) or "all"},
        {"rows": len(chosen), "judged": len(counted), "refused": sum(one.cold is None for one in scores)},
        {name: table for name, table in tables.items() if table},
        tuple(f"{path.name}: coefficients written" for path in written),
        tuple(dict.fromkeys(row.source.reference for row in chosen)),
        bar_lines.said(tables["bars"]),
        not bar_lines.missed(tables["bars"]),
    )


def _tables(
    scores: Sequence[Scored], fits: Sequence[Fit], figures: Mapping[tuple[str, str], Mapping[str, Any]]
) -> dict[str, list[Cells]]:
    steps = {one.row.id: said.step_s for one in scores if (said := one.fitted or one.cold)}
    return {
        "by source": by_source(scores),
        "bars": bars.table(figures),
        "memory": _memory(scores),
        "bubbles": bubbles.table([one.row for one in scores if one.row.source.name == "zerobubble"], steps),
        "parts": parts.table(scores),
        "coefficients": [_coefficients(one) for one in fits],
        "worst": _worst(scores),
        "apart": _apart(scores),
        "left out": [{"id": one.row.id, "model": one.row.model, "reason": one.reason} for one in scores if one.reason],
    }


def name_of(one: Scored) -> str:
    """Of the rows that a row is fitted with, else of its source."""
    return one.row.source.fit or one.row.source.name


def counting(scores: Sequence[Scored]) -> list[Scored]:
    """Rows with a time that judge: `judged` ones, or `reported` ones of a name and device without any."""
    timed = [one for one in scores if one.row.step_s is not None and one.cold is not None and one.row.group in COUNTING]
    strict = {(name_of(one), one.row.question.hw) for one in timed if one.row.group == "judged"}
    return [one for one in timed if one.row.group == "judged" or (name_of(one), one.row.question.hw) not in strict]


def of_names(scores: Sequence[Scored]) -> dict[tuple[str, str], dict[str, Any]]:
    """Summaries by name and what a bar is of: fitted steps of rows that made no coefficient (of the name's judged
    rows, where it has any), dense ones among them, cold steps, and memory."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    barred = {name_of(one) for one in scores if one.row.group == "judged"}
    steps = [one for one in counting(scores) if one.row.group == "judged" or name_of(one) not in barred]
    single = {name: (name,) for name in dict.fromkeys(map(name_of, steps))}
    joint = {name: each for name, each in bars.JOINT.items() if set(each) <= set(single)}
    for name, names in {**single, **joint}.items():
        own = [one for one in steps if name_of(one) in names]
        fitted = [one for one in own if one.fitted and one.part == JUDGED]
        found[name, bars.STEP] = _summary(fitted, _fitted)
        found[name, bars.DENSE] = _summary([one for one in fitted if not has_experts(one.row.question)], _fitted)
        found[name, bars.UNFITTED] = _summary(own, lambda one: one.fitted or one.cold)
    for name, errors in _by(memory_errors(scores)).items():
        found[name, bars.MEMORY] = _plain(errors)
    return found


def by_source(scores: Sequence[Scored]) -> list[Cells]:
    """A line for each name and device: cold figures of all its counting rows, fitted ones of those that made no
    coefficient."""
    groups: dict[tuple[str, str], list[Scored]] = {}
    for one in counting(scores):
        groups.setdefault((name_of(one), one.row.question.hw), []).append(one)
    found = []
    for (name, hw), own in groups.items():
        cold, fitted = (
            _summary(own, _cold),
            _summary([one for one in own if one.fitted and one.part == JUDGED], _fitted),
        )
        found.append(
            {"rows_of": name, "hw": hw, "group": own[0].row.group}
            | {f"cold_{key}": cold[key] for key in ("n", "median_abs_error", "mean_abs_error", "p90_abs_error", "bias")}
            | fitted
        )
    return found


def _summary(scores: Sequence[Scored], which: Callable[[Scored], Prediction | None]) -> dict[str, Any]:
    return score.summary(
        [score.judged(said, one.row.step_s) for one in scores if (said := which(one)) and one.row.step_s]
    )


def _cold(one: Scored) -> Prediction | None:
    return one.cold


def _fitted(one: Scored) -> Prediction | None:
    return one.fitted


@cache
def _experts(model: str, sets: tuple[tuple[str, Any], ...]) -> bool:
    return lower.has_experts(models.load(model, dict(sets)))


def has_experts(asked: Question) -> bool:
    """Whether the model of a question has routed experts."""
    return _experts(
        asked.model, tuple((key[6:], value) for key, value in asked.sets.items() if key.startswith("model."))
    )


def _by(errors: Sequence[tuple[Scored, float]]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for one, value in errors:
        found.setdefault(name_of(one), []).append(value)
    return found


def _plain(errors: Sequence[float]) -> dict[str, Any]:
    size = np.abs(errors)
    return {
        "n": len(errors),
        "median_abs_error": float(np.median(size)),
        "mean_abs_error": float(np.mean(size)),
        "p90_abs_error": float(np.quantile(size, 0.9)),
        "bias": float(np.median(errors)),
    }


def _memory(scores: Sequence[Scored]) -> list[Cells]:
    return [{"rows_of": name, **_plain(errors)} for name, errors in _by(memory_errors(scores)).items()]


def _coefficients(one: Fit) -> Cells:
    return {
        "rows_of": one.name,
        "hw": one.hw,
        "stack": one.stack,
        "split": one.split.kind,
        "n_fitted": one.n,
        "n_judged": len(one.split.judged),
        "factors": ", ".join(f"{name} {factor:.3g}" for name, factor in one.factors.items()) or "none",
        "error_left_out": one.error,
        "hash": one.rows,
    }


def _worst(scores: Sequence[Scored]) -> list[Cells]:
    judged = [one for one in counting(scores) if one.part == JUDGED and one.row.group == "judged"]
    lines: list[Cells] = [
        {
            "id": one.row.id,
            "model": one.row.model,
            "hw": one.row.question.hw,
            "gpus": one.row.question.gpus,
            "step_s": one.row.step_s,
            "predicted_s": said.step_s,
            "error": said.step_s / one.row.step_s - 1.0,
            "story": one.row.why,
        }
        for one in judged
        if (said := one.fitted or one.cold) and one.row.step_s
    ]
    return sorted(lines, key=lambda line: -abs(line["error"]))[:WORST]


def _apart(scores: Sequence[Scored]) -> list[Cells]:
    """Rows that judge nothing, by source and group."""
    groups: dict[tuple[str, str], list[Scored]] = {}
    for one in scores:
        if one.part == APART and one.row.step_s is not None and one.cold is not None:
            groups.setdefault((one.row.source.name, one.row.group), []).append(one)
    return [
        {"rows_of": name, "group": group}
        | {
            key: value
            for key, value in _summary(own, lambda one: one.fitted or one.cold).items()
            if key not in ("coverage", "median_half_width")
        }
        for (name, group), own in groups.items()
    ]
