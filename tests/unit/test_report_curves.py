"""The report on a device's curves: which run answers, what its parameters are called, what the terminal shows of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from simcost.calibration import coverage as measured_rows
from simcost.calibration.family import families, sizes
from simcost.cli.output import render
from simcost.hardware import load as hardware
from simcost.report import curves, screen
from simcost.scenarios.calibrate import report as scenario


@pytest.mark.parametrize("name", list(families()))
def test_every_half_saturation_size_has_a_name(name: str) -> None:
    family = families()[name]
    labels = {"x": "bf16", "w": "bf16", "kv": "bf16", "out": "bf16", "compute": "bf16", "layout": "gqa", "scope": "core",
              "what": "norm", "gated": "gated", "scoring": "softmax", "backend": "nccl", "mode": "normal",
              "direction": "dispatch", "reach": "node", "rule": "ssd", "state": "fp32", "keys": "paged"}  # fmt: skip
    if name in ("collective", "gemm_variant", "permute"):
        labels["what"] = {"collective": "all_reduce", "gemm_variant": "input", "permute": "permute"}[name]
    op = family.op(dict.fromkeys(family.NUMBERS, 8.0), {key: labels[key] for key in family.LABELS})
    assert len(family.terms(op, hardware.load("h200")).sizes) == len(sizes(family))


def test_the_report_names_the_run_that_answers_and_leaves_other_families_notes_out(monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")  # without a terminal a report has 80, which hides the last columns
    home = str(Path(__file__).parents[1] / "replay" / "cpu")
    result = scenario.report(home, "gemm")
    rows = {(row["curve"], row["run"]): row for row in result.tables["curves"]}
    assert rows["gemm bf16-bf16-bf16", "in-situ"]["answers"] == "any"
    assert not rows["gemm bf16-bf16-bf16", "isolated"]["answers"]
    assert rows["gemm fp32-fp32-fp32", "isolated"]["answers"]
    assert any("in the order in-situ, isolated" in note for note in result.warnings)
    assert any(note.startswith("a share above 1 (1.08 at most)") for note in result.warnings)
    for row in result.tables["parameters"]:
        assert [part.partition("=")[0] for part in row["half_sizes"].split()] == ["m", "n", "k"]
        assert row["t0_s"] > 0
    text = render(result, "console", None)
    for heading in ("curves of in-situ", "parameters of isolated", "half-saturation sizes"):
        assert heading in text
    left = [note for note in scenario._notes(measured_rows.every(hardware.load("h200")), "gemm") if "left out" in note]
    assert left
    assert all(" gemm/" in note for note in left)


def test_the_report_fits_120_columns() -> None:
    row = dict.fromkeys(curves._ERRORS, 0.99) | {
        "rows": 1300,
        "coverage": 1.0,
        "unseen_shapes_coverage": 1.0,
        "run": "r",
    }
    fitted = {**dict.fromkeys(curves._PARAMETERS, 1.062), "t0_s": 2.9e-6, "half_bytes": 9.055e4, "run": "r",
              "half_sizes": "rows_per_expert=3.49e+03 hidden=3.49e+03 width=3.49e+03"}  # fmt: skip
    name = "attention_prefill bf16-fp8_block-fp8_block-window-write"
    text = screen.written(
        [*curves.errors([row | {"curve": name}]), *curves.parameters([fitted | {"curve": name}])], 120
    )
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 120
    for word in ("beyond", "covered", "99.0 %", "100.0 %", "rows_per_expert=3.49e+03"):
        assert word in text


@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_the_report_keeps_names_and_whole_cells_at_any_width(width: int) -> None:
    row = dict.fromkeys(curves._ERRORS, 0.12345) | {"rows": 1300, "run": "r"}
    name = "attention_prefill bf16-fp8_block-fp8_block-window-write"
    text = screen.written(curves.errors([row | {"curve": name}], width), width)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    column = [line[: line.index("  ", 2)].strip() if "  " in line[2:] else line.strip() for line in text.splitlines()]
    assert name in "".join(part if part.endswith("-") else part + " " for part in column).replace("  ", " ")
    flat = " ".join(text.split())
    assert (flat.count("12.3 %") == 8) != ("not shown at this width" in flat)
    assert "12.3" not in flat.replace("12.3 %", "")
