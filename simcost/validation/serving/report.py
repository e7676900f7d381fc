"""The report of `simcost validate serving`: predictors beside each other on the silicon sample, by slice, with bars.

Most likely to be wrong: a slice of few rows, which are often one sweep; n stands beside every figure. Source:
`workloads/validation/serving` and the package it reads.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from simcost.errors import SpecError
from simcost.pool import Progress, quiet
from simcost.result import Result
from simcost.result import Row as Cells
from simcost.validation import bar_lines
from simcost.validation.serving import bars, fit, peer, published, published_score, rules, score
from simcost.validation.serving import rows as files
from simcost.validation.serving.answers import BARE, BARE_EVENTS, Every
from simcost.validation.serving.point import Predict, Prediction
from simcost.validation.serving.predict_events import predict_events
from simcost.validation.serving.published_score import Scored
from simcost.validation.serving.rows import Row, Sample
from simcost.validation.serving.score import TPOT, TTFT, WHAT, Answered

Answer = Callable[[Sequence[Row]], list[Prediction]]
WORST = 20
LEAST = 4  # rows of a configuration whose bias is listed
_PLAN = ("tp", "ep", "dp_attention", "pp")


def shipped(python: str | None = None, progress: Progress = quiet) -> dict[str, Answer]:
    """simcost's predictor, and AIConfigurator where `python` (default: this one) has it. Raises SpecError where a named
    Python has none."""
    every = Every(progress)
    found = {
        bars.UNFITTED: of(every.of(bars.UNFITTED)),
        bars.EVENTS: of(every.of(bars.EVENTS)),
        bars.FITTED: fit.held_out(every.of(BARE)),
        bars.FITTED_EVENTS: fit.held_out(every.of(BARE_EVENTS)),
        bars.PROFILES: of(every.of(bars.PROFILES)),
    }
    version = peer.version(python or sys.executable)
    if python and not version:
        raise SpecError(f"{python} has no aiconfigurator: pip install aiconfigurator")
    if version:
        found[f"AIConfigurator {version}"] = lambda rows: peer.predict(rows, python or sys.executable)
    return found


def of(predict: Predict) -> Answer:
    """A predictor of points as one of rows."""
    return lambda rows: predict([row.point for row in rows if row.point is not None])


def answers(sample: Sample, predictors: Mapping[str, Answer]) -> dict[str, list[Answered]]:
    """What every predictor says of the rows that have a point."""
    asked = [row for row in sample.rows if row.point is not None]
    return {
        name: [Answered(row, said) for row, said in zip(asked, answer(asked), strict=True)]
        for name, answer in predictors.items()
    }


def sample_of(path: Path | None) -> Sample:
    """The installed sample, or a file's. Raises SpecError as `rows.read`."""
    return files.shipped() if path is None else files.read(path, rules.shipped())


def result(sample: Sample, said: Mapping[str, list[Answered]], others: Sequence[Scored] = ()) -> Result:
    """The report on what predictors say; the first is judged by the bars. others: figures of published rows."""
    tables: dict[str, list[Cells]] = {
        what: [row for name, own in said.items() for row in score.table(name, own, what)] for what in WHAT
    }
    first = next(iter(said.values()))
    judged = [one for one in first if one.row.judged]
    lines = [*bars.table(tables), *published_score.bars(others)]
    every = {
        "bars": lines,
        **tables,
        "worst": worst(judged),
        "configurations": configurations(judged),
        "not answered": _refused(said),
        "counted": [{"what": what, "rows": n} for what, n in files.counted(sample)],
        "rules": [
            {"kind": rule.section, "rule": rule.name, "rows": n, "why": rule.why}
            for rule, n in rules.counts(rules.shipped(), sample.decided)
            if n
        ],
        **(published_score.tables(others) if others else {}),
    }
    return Result(
        "validate serving",
        {"rows": sample.path.name, "predictors": ", ".join(said)},
        {"rows": len(sample.rows), "judged": len(judged), "refused": sum(not one.answered for one in judged)},
        {name: table for name, table in every.items() if table},
        (),
        (f"{files.SAMPLE} of aiconfigurator-core (ai-dynamo/aiconfigurator, Apache-2.0)",),
        bar_lines.said(lines),
        not bar_lines.missed(lines),
    )


def published_figures() -> list[Scored]:
    """Figures of the published rows that ship beside predictions, runs request by request where a scheduler shapes them."""
    return published_score.scored(published.every(), predict_events)


def published_alone() -> Result:
    """The report on published rows alone."""
    others = published_figures()
    lines = published_score.bars(others)
    judged = [one for one in others if one.row.group == "judged"]
    metrics = {
        "rows": len(published.every()),
        "judged": len(judged),
        "refused": sum(not one.figure.answered for one in judged),
    }
    tables = {"bars": lines, **published_score.tables(others)}
    return Result(
        "validate serving",
        {"rows": "published"},
        metrics,
        tables,
        (),
        (),
        bar_lines.said(lines),
        not bar_lines.missed(lines),
    )


def story(row: Row) -> str:
    """Why predictions miss a row, where somebody found it out."""
    return next((rule.why for rule in rules.stories() if rule.holds(row.facts)), "")


def plan_of(row: Row) -> str:
    """A plan in words: its sizes above 1."""
    sets = row.point.sets if row.point else {}
    return ", ".join(f"{key} {sets[f'plan.{key}']}" for key in _PLAN if sets.get(f"plan.{key}", 1) > 1) or "one GPU"


def _about(row: Row) -> Cells:
    return {
        "model": row.model, "hw": row.hw, "engine": row.engine, "version": row.version or row.image.rpartition(":")[2],
        "format": row.format, "plan": plan_of(row), "isl": row.isl, "osl": row.osl,
    }  # fmt: skip


def worst(judged: Sequence[Answered]) -> list[Cells]:
    """The rows whose TPOT is missed most."""
    found = [(one, both) for one in judged if one.answered and (both := score.pair(one, TPOT))]
    found.sort(key=lambda each: -abs(np.log(each[1][0] / each[1][1])))
    return [
        {
            "id": one.row.id, **_about(one.row), "concurrency": one.row.concurrency, "measured_s": both[1],
            "predicted_s": both[0], "error": both[0] / both[1] - 1.0, "story": story(one.row),
        }
        for one, both in found[:WORST]
    ]  # fmt: skip


def configurations(judged: Sequence[Answered]) -> list[Cells]:
    """Configurations with at least `LEAST` rows whose TPOT is off in the same direction most: model, device, engine,
    build, format and plan, over all lengths and loads."""
    groups: dict[tuple[Any, ...], list[Answered]] = {}
    for one in judged:
        if one.answered:
            about = _about(one.row)
            groups.setdefault(
                tuple(about[key] for key in ("model", "hw", "engine", "version", "format", "plan")), []
            ).append(one)
    lines = []
    for own in groups.values():
        if len(own) >= LEAST:
            figures = score.figures(own, TPOT)
            about = {key: value for key, value in _about(own[0].row).items() if key not in ("isl", "osl")}
            first_tokens = score.figures(own, TTFT)["bias"]
            lines.append({**about, "n": figures["n"], "bias": figures["bias"], "median_abs_error": figures["median_abs_error"], "ttft_bias": first_tokens, "story": story(own[0].row)})  # fmt: skip
    return sorted(lines, key=lambda line: -abs(np.log1p(line["bias"])))[:WORST]


def _refused(said: Mapping[str, Sequence[Answered]]) -> list[Cells]:
    """Reasons for which judged rows have no answer, with counts."""
    found: list[Cells] = []
    for name, own in said.items():
        reasons = Counter(one.said.reason for one in own if one.row.judged and not one.answered)
        found += [{"answer": name, "reason": reason, "rows": n} for reason, n in reasons.most_common(WORST)]
    return found
