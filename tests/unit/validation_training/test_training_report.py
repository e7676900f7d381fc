"""The report with a predictor that is not simcost's: what is fitted, judged, shown apart, refused and written."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from simcost import metrics
from simcost.cli.app import run
from simcost.errors import Infeasible, SpecError
from simcost.model import load as models
from simcost.model.flops import flops_per_token
from simcost.training import stack as stacks
from simcost.training.question import Prediction, Question
from simcost.validation.training import bars, bubbles, judge, page, report, rows
from simcost.validation.training.split import LEFT_OUT
from simcost.validation.training.write import write

NAMES = ("vtrain-multi", "korthikanti", "zerobubble", "deepseek-v3", "nemo2407")
TRUE = {"kernels": 1.2, "communication": 1.5}


@cache
def _flops(model: str, sets: tuple[tuple[str, object], ...], seq: int) -> float:
    return float(flops_per_token(models.load(model, dict(sets)), seq))


def predict(asked: Question, factors: Mapping[str, float] | None) -> Prediction:
    """A step of kernels at half a petaflop a second, of hops and a fixed part: no model of anything, but one that factors fit."""
    if asked.ep > 1 and asked.hw == "h100":
        raise Infeasible("plan: no experts here")
    sets = tuple((key[6:], value) for key, value in asked.sets.items() if key.startswith("model."))
    given = factors or {}
    work = _flops(asked.model, sets, asked.seq) * asked.seq * asked.global_batch / asked.gpus / 5e14
    terms = {
        "kernels": work * (1.0 + (asked.pp - 1) / asked.micro_batches) * given.get("kernels", 1.0),
        "communication": (0.1 + 0.02 * asked.tp) * work * given.get("communication", 1.0),
        "optimizer": 0.01,
    }
    step = sum(terms.values())
    return Prediction(step, 0.9 * step, 1.1 * step, 4e10, terms, (4e10, 3e10))


def _measured(row: rows.Row, seconds: float) -> rows.Row:
    return replace(row, step_s=seconds)


@pytest.fixture(scope="module")
def shown() -> report.Result:
    return report.result(NAMES, predict)


def test_factors_of_the_machine_come_back() -> None:
    chosen = [rows_of for rows_of in rows.every() if rows_of.source.name == "vtrain-multi"]
    measured = [_measured(row, predict(row.question, TRUE).step_s) for row in chosen]
    scores, fits = judge.scored(measured, predict)
    assert fits[0].factors == pytest.approx(TRUE, rel=0.03)  # a weak pull to 1
    assert (fits[0].n, len(fits[0].split.judged)) == (48, 28)
    assert fits[0].error == pytest.approx(0.0, abs=5e-3)
    judged = [one for one in scores if one.part == judge.JUDGED]
    assert len(judged) == 28
    assert all(one.fitted and one.fitted.step_s == pytest.approx(one.row.step_s, rel=0.01) for one in judged)


def test_a_row_judges_no_factors_that_it_made() -> None:
    """One row of eight is measured ten times too slow: the factors that judge it are those without it."""
    chosen = [row for row in rows.every() if row.source.name == "korthikanti"]
    plain = [_measured(row, predict(row.question, TRUE).step_s) for row in chosen]
    odd = [_measured(row, (row.step_s or 0.0) * (10.0 if row.id == "korth-003" else 1.0)) for row in plain]
    scores, fits = judge.scored(odd, predict)
    assert fits[0].split.kind == LEFT_OUT
    own = next(one for one in scores if one.row.id == "korth-003")
    assert own.fitted is not None
    assert own.fitted.step_s == pytest.approx(own.row.step_s / 10.0, rel=0.02)


def test_the_report_shows_what_counts_and_what_stands_apart(shown: report.Result) -> None:
    lines = {row["rows_of"]: row for row in shown.tables["by source"]}
    assert lines["vtrain-multi"]["cold_n"] == 76
    assert lines["vtrain-multi"]["n"] == 28
    assert lines["korthikanti"]["n"] == 8
    assert lines["deepseek-v3"]["n"] == 1  # by coefficients that stand in for its stack
    apart = {(row["rows_of"], row["group"]): row["n"] for row in shown.tables["apart"]}
    assert apart == {("nemo2407", "fine-tuning"): 6, ("deepseek-v3", "repeat"): 1}
    held = {(row["rows_of"], row["what"], row["measure"]) for row in shown.tables["bars"]}
    assert {
        (bar.name, bar.what, bar.measure)
        for bar in bars.BARS
        if bar.name in ("vtrain-multi", "korthikanti", "deepseek-v3", "zerobubble")
    } <= held
    assert shown.metrics["rows"] == sum(row.source.name in NAMES for row in rows.every())


def test_the_report_prints_known_names(shown: report.Result) -> None:
    names = {*shown.metrics, *(name for table in shown.tables.values() for row in table for name in row)}
    assert [name for name in sorted(names) if metrics.find(name) is None] == []


def test_memory_counts_once_a_plan() -> None:
    scores, _ = judge.scored([row for row in rows.every() if row.source.name in ("zerobubble", "simumax")], predict)
    errors = judge.memory_errors(scores)
    assert sum(one.row.source.name == "zerobubble" for one, _ in errors) == 16
    least = [value for one, value in errors if one.row.id == "simumax-008"]
    assert least == pytest.approx([4e10 / (116738 * 2**20) - 1.0, 3e10 / (72948 * 2**20) - 1.0])


def test_rows_that_are_refused_have_a_reason() -> None:
    found = report.result(("megatron-bridge",), predict)
    assert found.metrics["refused"] == len(found.tables["left out"]) > 0
    assert all(row["reason"] == "plan: no experts here" for row in found.tables["left out"])


def test_bubbles_are_intercepts() -> None:
    """1F1B of p equal stages: a step is (m + p - 1) micro-batches, so the bubble is p - 1 of them."""
    chosen = [row for row in rows.every() if row.source.name == "zerobubble" and row.question.schedule == "1f1b"]
    perfect = {row.id: 0.05 * (row.question.micro_batches + row.question.pp - 1) for row in chosen}
    for line in bubbles.table([_measured(row, perfect[row.id]) for row in chosen], perfect):
        assert line["bubble_micro_batches"] == pytest.approx(line["pp"] - 1)
        assert line["off_micro_batches"] == pytest.approx(0.0, abs=1e-9)
        assert line["passes"]
    late = {id: seconds + 0.05 * 1.5 for id, seconds in perfect.items()}
    passes = {
        line["pp"]: line["passes"] for line in bubbles.table([_measured(row, perfect[row.id]) for row in chosen], late)
    }
    assert passes == {8: False, 16: True, 32: True}


def test_a_bubble_is_known_as_far_as_its_steps_are_printed() -> None:
    """0.76, 0.80 and 0.88 samples a second of 32 GPUs (arXiv 2401.10241, table 4): steps that print so have bubbles six micro-batches apart."""
    chosen = [
        row
        for row in rows.every()
        if row.source.name == "zerobubble" and row.question.pp == 32 and row.question.schedule == "1f1b"
    ]
    low, high = bubbles.printed(chosen) or (0.0, 0.0)
    batches = np.array([row.question.global_batch for row in chosen])
    slope, bubble = bubbles.line(
        [row.question.micro_batches for row in chosen], list(batches / (32 * np.array([0.755, 0.8, 0.885])))
    )
    assert low < 27.4 < high
    assert 5.0 < high - low < 8.0
    assert low <= bubble / slope <= high
    assert bubbles.printed([replace(row, taken="step") for row in chosen]) is None


def test_bars_pass_and_fail_by_their_figures() -> None:
    good = {"n": 30, "median_abs_error": 0.03, "mean_abs_error": 0.05, "coverage": 0.9, "median_half_width": 0.11}
    lines = {(row["what"], row["measure"]): row["passes"] for row in bars.table({("vtrain-multi", bars.STEP): good})}
    assert set(lines.values()) == {True}
    bad = {"n": 30, "median_abs_error": 0.05, "mean_abs_error": 0.09, "coverage": 0.99, "median_half_width": 0.3}
    assert {row["passes"] for row in bars.table({("vtrain-multi", bars.STEP): bad})} == {False}
    one = {"n": 1, "median_abs_error": 0.1, "mean_abs_error": 0.1, "coverage": 1.0, "median_half_width": 0.1}
    assert [row["bar"] for row in bars.table({("deepseek-v3", bars.UNFITTED): one})] == [
        "at most 15.0%",
        "the truth inside",
    ]


def test_the_page_holds_every_table(shown: report.Result) -> None:
    text = page.text(shown)
    for line in (
        "## By source",
        "## Bars",
        "## Bubbles",
        "## Coefficients",
        "## Worst rows",
        "## Rows apart",
        "## Sources",
    ):
        assert line in text
    assert "Calculon 3.65 %" in text
    assert "None" not in text


def test_coefficients_go_into_a_stack_and_come_back(tmp_path: Path) -> None:
    shutil.copytree(stacks.home(), tmp_path / "stacks")
    _, fits = judge.scored([row for row in rows.every() if row.source.name == "vtrain-multi"], predict)
    for _ in range(2):  # a second time replaces the first
        assert write(fits, "simcost validate training vtrain-multi --write", "0.1.0", tmp_path / "stacks") == [
            tmp_path / "stacks" / "megatron-2021.toml"
        ]
    found = stacks.load(str(tmp_path / "stacks" / "megatron-2021.toml"))
    assert found.flags == stacks.load("megatron-2021").flags
    assert found.factors("a100") == pytest.approx(fits[0].factors, abs=1e-4)
    assert (found.fitted["a100"].n, found.fitted["a100"].rows) == (48, fits[0].rows)
    assert found.factors("h100") == {}


def test_two_sources_of_one_stack_are_not_written_together(tmp_path: Path) -> None:
    _, fits = judge.scored([row for row in rows.every() if row.source.name in ("korthikanti", "zerobubble")], predict)
    with pytest.raises(SpecError, match="korthikanti and zerobubble both have coefficients of megatron-2022 on a100"):
        write(fits, "x", "0.1.0", tmp_path)


def test_an_unknown_source_is_named() -> None:
    with pytest.raises(SpecError, match=r"no source 'zerobuble' .*did you mean 'zerobubble'"):
        report.result(("zerobuble",), predict)


def test_the_command_prints_the_report(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "simcost.scenarios.train", SimpleNamespace(predict=predict))
    run(["validate", "training", "korthikanti", "--format", "json"])
    told = json.loads(capsys.readouterr().out)
    tables = {row["table"]: row for row in told["rows"]}
    assert tables["by source"]["rows_of"] == "korthikanti"
    assert tables["coefficients"]["split"] == "leave one out"
