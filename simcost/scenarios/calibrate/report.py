"""What `calibrate report` answers: how good a profile's curves are, those of its tables and those of its own runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from simcost.calibration import coverage as measured_rows
from simcost.calibration.family import families, family_named, sizes
from simcost.calibration.form import MOST, NAMES
from simcost.calibration.held_out import LEAST, Judgement
from simcost.calibration.report import Judged, judgements
from simcost.calibration.rows import Run
from simcost.calibration.score import Score, joined
from simcost.calibration.speed_of_light import row_light
from simcost.calibration.store import row_terms
from simcost.errors import SpecError
from simcost.hardware import load as hardware
from simcost.pool import Progress, quiet
from simcost.result import Result, Row, number

_WORST = 5
_NAMED = 3  # kinds of a note that could be long


def report(
    hw: str,
    family: str | None = None,
    workers: int = 1,
    progress: Progress = quiet,
    more: Mapping[str, Sequence[Row]] | None = None,
) -> Result:
    """Every curve of a profile: for which engines it answers, how many rows, how far off on held-out ones, how honest its intervals, its
    parameters. `more`: tables of layers above this one (laws over a grid), printed after the curves."""
    device = hardware.load(hw)
    runs = measured_rows.every(device)
    if not runs:
        raise SpecError(measured_rows.none_of_its_own(device))
    if family is not None:
        family_named(family)
    every = judgements(hw, runs, family, workers, progress)
    judged = [(one, one.verdict) for one in every if one.verdict is not None]
    thin = [f"{one.run.name} {one.family}/{one.which}: {_rows(one)}" for one in every if one.verdict is None]
    if not judged:
        nothing = f"nothing to check: {_thin(thin)}" if thin else f"no rows{_of(family)} (has {_present(runs)})"
        raise SpecError(f"{device.where}: {nothing}")
    rows = [
        {**_report_row(*one), "answers": measured_rows.answers(device, one[0].run, one[0].family, one[0].which)}
        for one in judged
    ]
    fitted = [_fitted_row(*one) for one in judged]
    errors = [float(row["median_error"]) for row in rows]
    metrics = {
        "curves": len(rows),
        "kinds": len({row["curve"] for row in rows}),
        "runs": len({row["run"] for row in rows}),
        "rows": sum(int(row["rows"]) for row in rows),
        "median_error": float(np.median(errors)),
    }
    tables = {
        "curves": rows, "families": _families(judged), **(more or {}), "parameters": fitted,
        "worst rows": [row for one in judged for row in _worst(*one)],
    }  # fmt: skip
    return Result(
        "calibrate report", {"hw": hw, **({} if family is None else {"family": family})}, metrics, tables,
        (*([_thin(thin)] if thin else []), *_footnotes(rows, fitted), *_notes(runs, family)), tuple(run.title for run in runs),
        f"{device.name}: {len(rows)} curves, median of the median held-out errors {metrics['median_error']:.1%}",
    )  # fmt: skip


def _rows(one: Judged) -> str:
    return f"{len(one.rows)} rows{'' if len(one.rows) < LEAST else ' of too few shapes'}"


def _thin(kinds: list[str]) -> str:
    """Kinds that are not judged, in one line however many they are."""
    if len(kinds) == 1:
        return f"{kinds[0]}: the report needs {LEAST} rows, of several shapes"
    more = f" and {len(kinds) - _NAMED} more" if len(kinds) > _NAMED else ""
    return f"{len(kinds)} kinds have fewer than the {LEAST} rows, of several shapes, that the report needs: {', '.join(kinds[:_NAMED])}{more}"


def _families(judged: Sequence[tuple[Judged, Judgement]]) -> list[Row]:
    """All held-out rows of a family together: the errors and the honesty of its intervals."""
    scores: dict[str, list[Score]] = {}
    for one, verdict in judged:
        scores.setdefault(one.family, []).append(verdict.score)
    found: list[Row] = []
    for name, parts in scores.items():
        every = joined(parts)
        found.append(
            {
                "family": name, "curves": len(parts), "tested": len(every.measured), "median_error": number(every.median),
                "p90_error": number(every.p90), "coverage": number(every.coverage), "half_width": number(every.width),
                "width_over_error": number(every.width / every.median),
            }
        )  # fmt: skip
    return found


def points(hw: str, family: str | None = None, workers: int = 1, progress: Progress = quiet) -> list[Row]:
    """Held-out rows of every curve as they are drawn: curve, measured_s, predicted_s with low_s and high_s, light_s,
    intensity [FLOP/B], flops_per_s."""
    device = hardware.load(hw)
    found: list[Row] = []
    for one in judgements(hw, measured_rows.every(device), family, workers, progress):
        if one.verdict is None:
            continue
        kinds, labels, verdict = families()[one.family], one.labels, one.verdict
        tested = one.rows.take(verdict.tested)
        terms, _ = row_terms(kinds, tested, labels, device)
        flops = np.broadcast_to(np.asarray(kinds.op(tested.numbers, labels).work().flops, float), (len(tested),))
        light = row_light(one.family, terms)
        for i in range(len(tested)):
            found.append(
                {
                    "curve": f"{one.family} {one.which} ({one.run.name})", "measured_s": tested.seconds[i],
                    "predicted_s": verdict.score.predicted[i], "low_s": verdict.score.low[i], "high_s": verdict.score.high[i], "light_s": np.asarray(light)[i],
                    "intensity": flops[i] / max(float(np.asarray(terms.bytes)[i]), 1.0),
                    "flops_per_s": flops[i] / tested.seconds[i],
                }
            )  # fmt: skip
    return found


def _of(family: str | None) -> str:
    return "" if family is None else f" of family '{family}'"


def _present(runs: list[Run]) -> str:
    """Families that there are rows of."""
    return ", ".join(name for name in families() if any(run.kinds(name) for run in runs)) or "none"


def _footnotes(rows: list[Row], fitted: list[Row]) -> list[str]:
    """How to read what stands in the tables."""
    found = []
    silent = [row for row in rows if not row["answers"]]
    if silent:
        order = ", ".join(dict.fromkeys(str(row["run"]) for row in rows))
        found.append(
            f"{len(silent)} curves are used for no engine: others come before them, in the order {order} "
            "([measurements] use in the profile sets that of runs, picks.csv that of tables)"
        )
    if any(row[name] > 1.0 for row in fitted for name in NAMES if name.endswith("efficiency")):
        found.append(
            f"a share above 1 ({MOST} at most): clocks boost above those of the datasheet's rate "
            "(1980 against 1830 MHz on Hopper), or a cache serves part of the bytes"
        )
    return found


def _notes(runs: list[Run], family: str | None) -> list[str]:
    """What imports left out, of one family or of all, and how a measured run went."""
    found = []
    for run in runs:
        kinds: Mapping[str, Any] = run.record.get("kinds", {})
        for name, record in kinds.items():
            if family not in (None, name.partition("/")[0]):
                continue
            found += [f"{run.name} {name}: left out {line}" for line in record.get("left_out", [])]
            if record.get("above_datasheet"):
                found.append(
                    f"{run.name} {name}: left out {record['above_datasheet']} rows above the datasheet's rates"
                )
            if "dropped" in record:
                found.append(f"{run.name} {name}: all rows dropped: {record['dropped']}")
        if run.record.get("quality", "good") != "good":
            found.append(f"{run.name}: quality {run.record['quality']}")
        if run.record.get("disturbed"):
            found.append(f"{run.name}: {len(run.record['disturbed'])} blocks on a disturbed machine (see its run.toml)")
    return found


def _report_row(one: Judged, verdict: Judgement) -> Row:
    score, beyond = verdict.score, verdict.beyond
    sixty, unseen = verdict.sixty, verdict.unseen
    unused: Mapping[str, Any] = one.run.record.get("kinds", {}).get(f"{one.family}/{one.which}", {})
    return {
        "curve": f"{one.family} {one.which}", "rows": len(one.rows), "tested": len(score.measured), "median_error": number(score.median),
        "p90_error": number(score.p90), "bias": number(score.bias), "coverage": number(score.coverage),
        "half_width": number(score.width),
        "width_over_error": number(score.width / score.median),
        "extrapolated_median_error": None if beyond is None else number(beyond.median),
        "extrapolated_p90_error": None if beyond is None else number(beyond.p90),
        "extrapolated_coverage": None if beyond is None else number(beyond.coverage),
        "sixty_rows_median_error": None if sixty is None else number(sixty.median),
        "sixty_rows_p90_error": None if sixty is None else number(sixty.p90),
        "unseen_shapes_median_error": None if unseen is None else number(unseen.median),
        "unseen_shapes_p90_error": None if unseen is None else number(unseen.p90),
        "unseen_shapes_coverage": None if unseen is None else number(unseen.coverage),
        "unused_rows": unused.get("unused_rows"), "unused_median_error": unused.get("unused_median_error"),
        "unused_p90_error": unused.get("unused_p90_error"), "unused_coverage": unused.get("unused_coverage"),
        "excluded_rows": unused.get("excluded_rows"), "excluded_median_error": unused.get("excluded_median_error"),
        "excluded_p90_error": unused.get("excluded_p90_error"),
        "with_excluded_median_error": unused.get("with_excluded_median_error"),
        "with_excluded_p90_error": unused.get("with_excluded_p90_error"),
        "run": one.run.name, "engine": one.run.record.get("engine"), "version": one.run.record.get("engine_version"),
    }  # fmt: skip


def _fitted_row(one: Judged, verdict: Judgement) -> Row:
    """The parameters of a curve's form; half-saturation sizes by name."""
    form = verdict.curve.form
    halves = zip(sizes(families()[one.family]), form.sizes, strict=True)
    return {
        "curve": f"{one.family} {one.which}", **{name: number(getattr(form, name)) for name in NAMES},
        "half_sizes": " ".join(f"{name}={half:.3g}" for name, half in halves), "run": one.run.name,
    }  # fmt: skip


def _worst(one: Judged, verdict: Judgement) -> list[Row]:
    order = np.argsort(-np.abs(np.log(verdict.score.predicted / verdict.score.measured)))[:_WORST]
    found = []
    for place in order:
        index = verdict.tested[place]
        shape = " ".join(f"{column}={values[index]:.6g}" for column, values in one.rows.numbers.items())
        found.append(
            {
                "curve": f"{one.family} {one.which}", "shape": shape, "measured_s": number(verdict.score.measured[place]),
                "predicted_s": number(verdict.score.predicted[place]), "error": number(verdict.score.errors[place]), "run": one.run.name,
            }
        )  # fmt: skip
    return found
