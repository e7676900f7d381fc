"""What the `calibrate` commands answer: imports of others' tables, and the report on a profile's curves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from simcost.calibration import rows as tables
from simcost.calibration.family import Labels, families, kind
from simcost.calibration.form import NAMES
from simcost.calibration.imports import ROWS, Chosen, choose, write_run
from simcost.calibration.judge import LEAST, Judgement, judged
from simcost.calibration.rows import Rows, Run
from simcost.calibration.score import Score
from simcost.calibration.store import naming, row_terms
from simcost.calibration.transfer import by_kind, by_sibling
from simcost.errors import SpecError, nearest
from simcost.hardware import load as hardware
from simcost.hardware.profile import Device
from simcost.result import Result, Row, number

_WORST = 5


def import_aiconfigurator(
    system: str, out: Path | None = None, count: int = ROWS, data: Path | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Result:  # fmt: skip
    """Rows of one system into `out` (default: the profile's own measurements folder). `data`: the package's data folder."""
    from simcost.calibration.importers import aiconfigurator
    from simcost.calibration.importers._tables import PACKAGE

    found = list(aiconfigurator.candidates(system, data))
    device = hardware.load(aiconfigurator.SYSTEMS[system])
    version = aiconfigurator.version() if data is None else "0"
    record = {
        "schema": 1, "kind": "imported", "title": f"{PACKAGE} {version}, {system}",
        "package": PACKAGE, "version": version, "system": system, "licence": "Apache-2.0",
        "copyright": "NVIDIA CORPORATION & AFFILIATES, github.com/ai-dynamo/aiconfigurator",
        "method": "CUDA graph of rotated copies, 3 warm-ups, mean of 6 or more replays; no flush of the L2, clocks not locked",
        "note": "small working sets stand in the L2; a kernel's row includes what its engine runs with it (quantisation of the input, write of K and V)",
    }  # fmt: skip
    home = out or Path(device.home).parent / "measurements" / f"aiconfigurator-{version}"
    return _imported(found, device, record, home, count, progress)


def import_csv(path: Path, family: str, hw: str, out: Path, title: str, source: str, count: int = ROWS) -> Result:
    """Anyone's rows of one family into the run folder `out`."""
    from simcost.calibration.importers import table

    device = hardware.load(hw)
    record = {"schema": 1, "kind": "imported", "title": title, "source": source, "device": device.name}
    return _imported(list(table.candidates(path, family)), device, record, out, count, lambda _: None)


def _imported(
    found: list[Any], device: Device, record: dict[str, Any], home: Path, count: int, progress: Callable[[str], None]
) -> Result:
    chosen: list[Chosen] = []
    for candidate in found:
        progress(f"{candidate.family}/{kind(candidate.labels)}")
        chosen.append(choose(candidate, device, count))
    full = write_run(home, record, chosen)
    rows = [{"family": c.candidate.family, "kind": c.kind, **_import_row(c)} for c in chosen]
    kept = sum(int(row["rows"]) for row in rows)
    notes = [
        f"{c.candidate.family}/{c.kind}: {len(c.candidate.seconds)} rows dropped whole: {full['kinds'][f'{c.candidate.family}/{c.kind}']['dropped']}"
        for c in chosen
        if c.kept is None
    ]
    return Result(
        "calibrate import", {"hw": device.name, "output": str(home)}, {"kinds": len(rows), "rows": kept}, {"kinds": rows},
        tuple(notes), (str(record["title"]),), f"{kept:,} rows of {len(rows)} kinds in {home}",
    )  # fmt: skip


def _import_row(chosen: Chosen) -> Row:
    record = chosen.record()
    return {
        "rows_in_table": record["rows_in_table"], "rows": record["rows"], "above_datasheet": record["above_datasheet"],
        "unused_rows": record.get("unused_rows"), "median_error": record.get("unused_median_error"),
        "p90_error": record.get("unused_p90_error"), "coverage": record.get("unused_coverage"),
        "excluded_rows": record.get("excluded_rows"), "with_excluded_median_error": record.get("with_excluded_median_error"),
        "with_excluded_p90_error": record.get("with_excluded_p90_error"), "table": record["table"],
    }  # fmt: skip


def report(hw: str, family: str | None = None) -> Result:
    """Every curve of a profile: how many rows, how far off on held-out ones, how honest its intervals, its parameters."""
    device = hardware.load(hw)
    if not device.measurements:
        raise SpecError(f"{device.where}: no measurements (simcost calibrate run, or calibrate import)")
    if family is not None and family not in families():
        raise SpecError(f"unknown family '{family}' (one of {', '.join(families())}){nearest(family, families())}")
    runs = [tables.load_run(Path(home)) for home in device.measurements]
    rows: list[Row] = []
    worst: list[Row] = []
    thin: list[str] = []
    for run, name, path in _files(runs, family):
        labels, data = tables.kernels(path, families()[name])
        if len(data) < LEAST:
            thin.append(
                f"{run.name} {name}/{path.stem}: {len(data)} rows, fewer than the {LEAST} that a judgement needs"
            )
            continue
        with naming(path):
            verdict = judged(families()[name], data, labels, device)
        rows.append(_report_row(run, name, path.stem, len(data), verdict))
        worst += _worst(name, path.stem, data, labels, verdict)
    if not rows and thin:
        more = f", and {len(thin) - 1} more kinds" if len(thin) > 1 else ""
        raise SpecError(f"{device.where}: nothing to judge: {thin[0]}{more}")
    if not rows:
        raise SpecError(f"{device.where}: no rows{_of(family)} (has {', '.join(_present(runs)) or 'none'})")
    errors = [float(row["median_error"]) for row in rows]
    metrics = {
        "kinds": len(rows),
        "rows": sum(int(row["rows"]) for row in rows),
        "median_error": float(np.median(errors)),
    }
    return Result(
        "calibrate report", {"hw": device.name}, metrics, {"curves": rows, "worst rows": worst},
        (*thin, *_notes(runs)), tuple(run.title for run in runs),
        f"{device.name}: {len(rows)} curves, median of the median held-out errors {metrics['median_error']:.1%}",
    )  # fmt: skip


def points(hw: str, family: str | None = None) -> list[Row]:
    """Held-out rows of every curve as they are drawn: curve, measured_s, predicted_s, light_s, intensity [FLOP/B],
    flops_per_s."""
    device = hardware.load(hw)
    found: list[Row] = []
    runs = [tables.load_run(Path(home)) for home in device.measurements]
    for _, name, path in _files(runs, family):
        kinds, (labels, data) = families()[name], tables.kernels(path, families()[name])
        if len(data) < LEAST:
            continue
        verdict = judged(kinds, data, labels, device)
        tested = data.take(verdict.tested)
        terms, _ = row_terms(kinds, tested, labels, device)
        flops = np.broadcast_to(np.asarray(kinds.op(tested.numbers, labels).work().flops, float), (len(tested),))
        light = np.maximum(terms.compute_s, terms.memory_s) + terms.serial_s
        for i in range(len(tested)):
            found.append(
                {
                    "curve": f"{name} {path.stem}", "measured_s": tested.seconds[i],
                    "predicted_s": verdict.score.predicted[i], "light_s": np.asarray(light)[i],
                    "intensity": flops[i] / max(float(np.asarray(terms.bytes)[i]), 1.0),
                    "flops_per_s": flops[i] / tested.seconds[i],
                }
            )  # fmt: skip
    return found


def _files(runs: list[Run], family: str | None) -> Iterator[tuple[Run, str, Path]]:
    """(run, family, row file) of every kind."""
    for run in runs:
        for name in families() if family is None else [family]:
            yield from ((run, name, run.file(name, which)) for which in run.kinds(name))


def _of(family: str | None) -> str:
    return "" if family is None else f" of family '{family}'"


def _present(runs: list[Run]) -> list[str]:
    return [name for name in families() if any(run.kinds(name) for run in runs)]


def _notes(runs: list[Run]) -> list[str]:
    """What imports left out, and how a measured run went."""
    found = []
    for run in runs:
        kinds: Mapping[str, Any] = run.record.get("kinds", {})
        for name, record in kinds.items():
            found += [f"{run.name} {name}: left out {line}" for line in record.get("left_out", [])]
            if record.get("above_datasheet"):
                found.append(
                    f"{run.name} {name}: left out {record['above_datasheet']} rows above the datasheet's rates"
                )
            if "dropped" in record:
                found.append(f"{run.name} {name}: dropped whole: {record['dropped']}")
        if run.record.get("quality", "good") != "good":
            found.append(f"{run.name}: quality {run.record['quality']}")
    return found


def _report_row(run: Run, name: str, which: str, count: int, verdict: Judgement) -> Row:
    score, beyond, form = verdict.score, verdict.beyond, verdict.curve.form
    sixty, unseen = verdict.sixty, verdict.unseen
    unused: Mapping[str, Any] = run.record.get("kinds", {}).get(f"{name}/{which}", {})
    row: Row = {
        "curve": f"{name} {which}", "rows": count, "tested": len(score.measured), "median_error": number(score.median),
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
        "run": run.name,
    }  # fmt: skip
    for parameter in NAMES:
        row[parameter if parameter == "t0_s" else f"form_{parameter}"] = number(getattr(form, parameter))
    row["form_sizes"] = " ".join(f"{size:.3g}" for size in form.sizes)
    return row


def _worst(name: str, which: str, data: Rows, labels: Labels, verdict: Judgement) -> list[Row]:
    order = np.argsort(-np.abs(np.log(verdict.score.predicted / verdict.score.measured)))[:_WORST]
    found = []
    for place in order:
        index = verdict.tested[place]
        shape = " ".join(f"{column}={values[index]:.6g}" for column, values in data.numbers.items())
        found.append(
            {
                "curve": f"{name} {which}", "shape": shape, "measured_s": number(verdict.score.measured[place]),
                "predicted_s": number(verdict.score.predicted[place]), "error": number(verdict.score.errors[place]),
            }
        )  # fmt: skip
    return found


def transfer(hw: str | None = None, sibling: str | None = None) -> Result:
    """What stand-ins are worth: rows of `hw` by a sibling's curves and by related kinds; every measured pair by default."""
    measured = [name for name in hardware.names() if hardware.load(name).measurements]
    for name in (hw, sibling):
        if name is not None and not hardware.load(name).measurements:
            raise SpecError(
                f"{hardware.load(name).where}: no measurements to judge by (measured: {', '.join(measured)})"
            )
    targets = [hw] if hw is not None else measured
    rows: list[Row] = []
    for target in targets:
        device = hardware.load(target)
        rows += [_transfer_row("related kind", target, target, by_kind(device))]
        for other in [sibling] if sibling is not None else measured:
            if other != target:
                rows.append(_transfer_row("sibling", target, other, by_sibling(device, hardware.load(other))))
    rows = [row for row in rows if row["rows"]]
    if not rows:
        raise SpecError(f"{sibling} has no kind of rows in common with {hw}")
    return Result(
        "calibrate transfer", {"hw": hw, "from": sibling}, {"pairs": len(rows)}, {"stand-ins": rows},
        verdict="a stand-in's spread is its P90 over 1.645",
    )  # fmt: skip


def _transfer_row(what: str, target: str, other: str, found: Iterable[tuple[str, str, Score]]) -> Row:
    errors: dict[str, list[Any]] = {}
    for family, _, score in found:
        errors.setdefault(family, []).append(np.abs(np.log(score.predicted / score.measured)))
    every = np.concatenate([e for es in errors.values() for e in es]) if errors else np.zeros(0)
    row: Row = {"what": what, "hw": target, "by": other, "rows": len(every)}
    if len(every):
        row |= {"median_error": float(np.median(every)), "p90_error": float(np.quantile(every, 0.9))}
    for family, parts in errors.items():
        row[f"{family}_p90_error"] = float(np.quantile(np.concatenate(parts), 0.9))
    return row
