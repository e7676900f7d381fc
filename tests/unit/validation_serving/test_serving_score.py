"""Scores of served models: what a predictor that knows the truth gets, and what one that is off by a factor gets."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from servingkit import JUDGED, PATH, sample, truth

from simcost import metrics
from simcost.cli.app import run
from simcost.errors import SpecError
from simcost.validation import score as scores
from simcost.validation.serving import bars, page, peer, picture, report, rules, score
from simcost.validation.serving.point import Prediction, ServingPoint
from simcost.validation.serving.score import RATE, TPOT, TTFT, WHAT, Answered


def answered(predict: object) -> list[Answered]:
    return report.answers(sample(), {"it": report.of(predict)})["it"]  # type: ignore[arg-type]


def line(answers: Sequence[Answered], what: str, name: str = "all") -> dict[str, object]:
    return next(row for row in score.table("it", answers, what) if row["rows_of"] == name)


@pytest.mark.parametrize("what", WHAT)
def test_the_truth_has_no_error_and_the_right_order(what: str) -> None:
    found = line(answered(truth()), what)
    assert found["asked"] == JUDGED
    assert found["answered"] == 1.0
    assert found["p90_abs_error"] == pytest.approx(0.0, abs=1e-12)
    assert found["within_fifth"] == 1.0
    assert found["spearman"] == pytest.approx(1.0)
    assert found["sweeps"] == 1
    assert (found["coverage"], found["median_half_width"]) == (
        (None, None) if what == RATE else (1.0, pytest.approx(0.1))
    )


@pytest.mark.parametrize(("factor", "within"), [(1.1, 1.0), (1.3, 0.0), (0.5, 0.0)])
def test_a_factor_is_the_error_of_times_and_its_inverse_that_of_throughput(factor: float, within: float) -> None:
    answers = answered(truth(lambda row: factor))
    for what, off in ((TPOT, factor - 1), (TTFT, factor - 1), (RATE, 1 / factor - 1)):
        found = line(answers, what)
        assert found["bias"] == pytest.approx(off)
        assert found["mean_abs_error"] == pytest.approx(abs(off))
    assert line(answers, TPOT)["within_fifth"] == within
    assert line(answers, TPOT)["coverage"] == line(answers, TTFT)["coverage"] == (1.0 if factor == 1.1 else 0.0)


def test_the_order_is_judged_within_sweeps_of_loads() -> None:
    sweep = max(score.sweeps([one for one in answered(truth()) if one.row.judged]), key=len)
    loads = {one.row.id: one.row.concurrency for one in sweep}
    assert len(loads) == 6
    backwards = answered(truth(lambda row: 1e3 ** -math.log2(row.concurrency) if row.id in loads else 1.0))
    assert line(backwards, TPOT)["spearman"] == pytest.approx(-1.0)


def test_ranks_of_equal_values_are_shared() -> None:
    # 1, 2.5, 2.5, 4 against 1, 3, 2, 4: 4.5 / sqrt(4.5 * 5)
    assert scores.spearman([1, 2, 2, 3], [10, 30, 20, 40]) == pytest.approx(4.5 / math.sqrt(22.5))
    assert scores.spearman([1, 2, 3], [5, 5, 5]) is None


def test_a_loop_keeps_its_requests_in_flight() -> None:
    # 8 requests, each 1 s to the first token and 99 x 10 ms after it
    assert score.loop_rate(8, 100, 1.0, 0.01) == pytest.approx(800 / 1.99)


def test_slices_part_the_judged_rows() -> None:
    answers = answered(truth())
    table = score.table("it", answers, TPOT)
    for dimension in ("family", "engine", "hw", "format"):
        assert sum(row["asked"] for row in table if row["slice"] == dimension) == JUDGED
    asked = {row["rows_of"]: row["asked"] for row in table if row["slice"] in ("rows", "apart")}
    assert asked == {"all": JUDGED, "speculative": 7, "disaggregated": 6, "contradictory": 8, "suspect": 3}
    drafted = {row["rows_of"]: row["asked"] for row in table if row["slice"] == "drafted"}
    assert sum(drafted.values()) == 7
    assert set(drafted) == {"1", "2", "3"}


def test_a_ttft_that_no_running_server_has_is_not_judged() -> None:
    apart = {one.row.id for one in answered(truth()) if one.row.judged and one.row.ttft_apart}
    assert apart
    assert line(answered(truth()), TTFT)["n"] == JUDGED - len(apart) == line(answered(truth()), RATE)["n"]
    assert line(answered(truth()), TPOT)["n"] == JUDGED


def refusing(points: Sequence[ServingPoint]) -> list[Prediction]:
    knows = truth()
    return [
        Prediction(reason="no MLA here") if "deepseek" in str(point.model) else knows([point])[0] for point in points
    ]


def test_refusals_are_counted_with_their_reasons() -> None:
    said = report.answers(sample(), {bars.UNFITTED: report.of(refusing)})
    found = report.result(sample(), said)
    refused = sum("deepseek" in one.row.model for one in said[bars.UNFITTED] if one.row.judged)
    assert found.metrics["refused"] == refused > 0
    assert found.tables["not answered"] == [{"answer": bars.UNFITTED, "reason": "no MLA here", "rows": refused}]
    whole = next(row for row in found.tables[TPOT] if row["rows_of"] == "all")
    assert (whole["n"], whole["answered"]) == (JUDGED - refused, (JUDGED - refused) / JUDGED)


def test_bars_pass_and_fail() -> None:
    def passes(factor: float) -> dict[tuple[str, str], bool]:
        answers = answered(truth(lambda row: factor))
        tables = {what: score.table(bars.UNFITTED, answers, what) for what in WHAT}
        return {(row["rows_of"], row["measure"]): row["passes"] for row in bars.table(tables)}

    assert all(ok for (_, measure), ok in passes(1.05).items() if measure != "coverage")
    assert passes(1.05)["all", "coverage"] is False  # all are covered: wider than 90 % intervals
    missed = passes(1.35)
    assert not missed["all", "median_abs_error"]
    assert not missed["dense", "median_abs_error"]
    assert missed["all", "spearman"]
    fitted = {what: score.table(bars.FITTED_EVENTS, answered(truth(lambda row: 1.25)), what) for what in WHAT}
    found = {row["rows_of"]: row["passes"] for row in bars.table(fitted)}
    assert found == {"vllm": False, "all": True}


def test_bars_stand_beside_other_predictors_of_the_report() -> None:
    said = report.answers(sample(), {bars.UNFITTED: report.of(truth()), "Other 1": report.of(truth(lambda row: 1.5))})
    lines = {
        row["measure"]: row["peers"] for row in report.result(sample(), said).tables["bars"] if row["rows_of"] == "all"
    }
    assert lines["median_abs_error"] == "Other 1: 50.0%"
    assert lines["spearman"] == "Other 1: 1.000"
    alone = report.result(sample(), {bars.UNFITTED: said[bars.UNFITTED]}).tables["bars"]
    assert alone[0]["peers"] == "AIConfigurator 0.12, on a study's rows: 13.3%"


def test_the_report_shows_the_worst_first() -> None:
    worst = next(one.row.id for one in answered(truth()) if one.row.judged)
    said = report.answers(sample(), {bars.UNFITTED: report.of(truth(lambda row: 3.0 if row.id == worst else 1.01))})
    found = report.result(sample(), said)
    first = found.tables["worst"][0]
    assert (first["id"], first["error"]) == (worst, pytest.approx(2.0))
    names = {*found.metrics, *(name for table in found.tables.values() for row in table for name in row)}
    assert [name for name in names if metrics.find(name) is None] == []
    assert {row["kind"] for row in found.tables["rules"]} == set(rules.SECTIONS) - {"peer", "story"}


def test_pages_and_pictures(tmp_path: Path) -> None:
    said = report.answers(sample(), {bars.UNFITTED: report.of(truth()), "AIConfigurator 9": report.of(refusing)})
    page.write(report.result(sample(), said), said, tmp_path)
    text = (tmp_path / "serving.md").read_text(encoding="utf-8")
    assert {path.name for path in tmp_path.iterdir()} == {
        "serving.md",
        "serving-unfitted.png",
        "serving-aiconfigurator-9.png",
    }
    for heading in (
        "# Served models",
        "## Bars",
        "## TPOT",
        "## TTFT",
        "## Worst rows",
        "## Rules",
        "(serving-unfitted.png)",
    ):
        assert heading in text
    assert "None" not in text
    assert "no MLA here" in text
    with pytest.raises(SpecError, match="must end in"):
        picture.draw(said[bars.UNFITTED], tmp_path / "x.txt", "x")


def test_the_command_prints_the_report(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(report, "shipped", lambda python=None, progress=None: {bars.UNFITTED: report.of(truth())})
        assert run(["validate", "serving", str(PATH), "--format", "json", "--plot", str(tmp_path / "a.svg")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["metrics"]["judged"] == JUDGED
    assert next(row for row in found["rows"] if row["table"] == "TPOT")["median_abs_error"] == pytest.approx(
        0.0, abs=1e-12
    )
    assert (tmp_path / "a.svg").stat().st_size > 0
    assert run(["validate", "serving", str(PATH), "--peer", "nowhere"]) == 2
    assert "nowhere has no aiconfigurator" in capsys.readouterr().err
    assert run(["validate", "serving", str(tmp_path / "none.csv")]) == 2


FAKE = """
from types import SimpleNamespace
def cli_estimate(**asked):
    if asked["backend_name"] == "sglang":
        raise ValueError("no tables")
    assert asked["backend_version"] == asked["system_name"] + "-1"
    return SimpleNamespace(ttft=100.0 * asked["tp_size"], tpot=asked["batch_size"])
"""
DATABASE = "def get_latest_database_version(system, backend):\n    return f'{system}-1'\n"


def fake_package(home: Path) -> Path:
    """A Python whose `aiconfigurator` answers by the question's numbers."""
    package = home / "aiconfigurator"
    for name, text in (
        ("__init__", ""),
        ("cli/__init__", ""),
        ("cli/api", FAKE),
        ("sdk/__init__", ""),
        ("sdk/perf_database", DATABASE),
    ):
        path = package / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    info = home / "aiconfigurator-9.9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: aiconfigurator\nVersion: 9.9\n", encoding="utf-8")
    python = home / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{home}" exec "{sys.executable}" "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    return python


def test_the_peer_answers_the_same_rows_and_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer, "kept", SimpleNamespace(folder=lambda: tmp_path / "cache"))
    python = str(fake_package(tmp_path))
    assert peer.version(python) == "9.9"
    assert peer.version(str(tmp_path / "none")) == ""
    asked = [row for row in sample().rows if row.point is not None]
    found = peer.predict(asked, python)
    for row, said in zip(asked, found, strict=True):
        assert row.point is not None
        tp, dp = (row.point.sets.get(f"plan.{key}", 1) for key in ("tp", "dp_attention"))
        if row.mode != "aggregated" or row.speculative or rules.found(rules.shipped(), "peer", row.facts) is None:
            assert "aiconfigurator" not in said.reason
            assert said.reason
        elif row.engine == "sglang":
            assert said.reason == "ValueError: no tables"
        else:
            assert said.ttft_s == pytest.approx(0.1 * tp)
            assert said.tpot_s == pytest.approx(round(row.point.concurrency / dp) * 1e-3)
    monkeypatch.setattr(peer, "_ask", lambda texts, python: pytest.fail("asked again"))
    again = peer.predict(asked, python)
    assert [one.reason for one in again] == [one.reason for one in found]
    assert np.array_equal([one.tpot_s for one in again], [one.tpot_s for one in found], equal_nan=True)


def test_a_peer_that_is_not_there_is_said() -> None:
    with pytest.raises(SpecError, match="aiconfigurator is not installed for nowhere"):
        peer.predict([], "nowhere")
