"""simcost schedule: what it prints, draws and writes, and what it refuses in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import simcost
from simcost.cli.app import run
from simcost.errors import SpecError

TIMES = "stage,F,B,W\n0,1,1,1\n1,2,2,2\n"


def test_the_metrics_of_one_schedule() -> None:
    found = simcost.schedule("1f1b", 4, 8, backward=1.2, weight=0.8).metrics
    assert found["makespan_s"] == pytest.approx(33.0)
    assert found["closed_form_s"] == pytest.approx(33.0)
    assert found["ideal_s"] == pytest.approx(24.0)
    assert found["bubble_fraction"] == pytest.approx(1.0 - 24.0 / 33.0)
    assert found["lower_bound_s"] == pytest.approx(33.0)
    assert (found["peak_inflight"], found["ranks"], found["stages"]) == (4, 4, 4)


def test_several_are_ranked_and_one_that_does_not_exist_has_a_row_with_its_reason() -> None:
    rows = simcost.schedule(["1f1b", "dualpipe", "interleaved", "zb-h1"], 4, 6).rows
    assert [row["schedule"] for row in rows] == ["zb-h1", "1f1b", "dualpipe", "interleaved"]
    assert rows[2]["reason"] == "--microbatches must be at least 8 (it is 6): nearest 8"
    assert rows[3]["reason"] == "--microbatches = 6 must be a multiple of pp = 4: nearest 4 or 8"


def test_a_pair_counts_once() -> None:
    metrics = simcost.schedule("dualpipe", 4, 8, overlapped=2.0).metrics
    assert metrics["ideal_s"] < 8 * 3.0
    assert simcost.schedule("dualpipe", 4, 8, overlapped=3.0).metrics["ideal_s"] == pytest.approx(8 * 3.0)


def test_without_a_barrier_the_period_is_the_longest_span_of_a_rank() -> None:
    kept, free = (simcost.schedule("zb-h2", 8, 32, barrier=barrier).metrics for barrier in (True, False))
    assert (kept["makespan_s"], free["makespan_s"]) == (103.0, 96.0)
    assert free["bubble_fraction"] == pytest.approx(0.0)


def test_uneven_stages_come_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "times.csv"
    path.write_text(TIMES)
    assert (
        run(["schedule", "1f1b", "--pp", "2", "--microbatches", "3", "--stage-times", str(path), "--format", "json"])
        == 0
    )
    found = json.loads(capsys.readouterr().out)["metrics"]
    assert found["makespan_s"] == 1 + 3 * 6 + 2  # the slow stage is busy from the first forward to its last gradient
    assert "closed_form_s" not in found


@pytest.mark.parametrize(("argv", "says"), [
    (["1f2b", "--pp", "4", "--microbatches", "8"], "unknown schedule '1f2b' (one of dualpipe, dualpipev, gpipe, interleaved, 1f1b"),
    (["1f1b", "1f1b", "--pp", "4", "--microbatches", "8"], "'1f1b' is given twice"),
    (["1f1b", "--pp", "0", "--microbatches", "8"], "--pp must be a whole number from 1 to 100,000, not 0"),
    (["dualpipe", "--pp", "3", "--microbatches", "8"], "dualpipe: --pp = 3 must be a multiple of 2: nearest 2 or 4"),
    (["interleaved", "--pp", "4", "--microbatches", "8", "--vpp", "1"], "interleaved: --vpp must be at least 2"),
    (["1f1b", "--pp", "4", "--microbatches", "8", "--hop", "-1"], "--hop must be a duration from 0 to 1e+08 s, not -1"),
    (["1f1b", "--pp", "4", "--microbatches", "8", "--forward", "nan"], "--forward must be a duration"),
    (["1f1b", "--pp", "4", "--microbatches", "8", "--forward", "3 kg"], "--forward: unit 'kg'"),
    (["dualpipe", "--pp", "4", "--microbatches", "8", "--overlapped", "1.5"], "dualpipe: --overlapped 1.5 must lie between the longer and the sum"),
    (["dualpipe", "--pp", "4", "--microbatches", "8", "--overlapped", "3.5"], "from 2 to 3"),
    (["1f1b", "--pp", "4", "--microbatches", "8", "--forward", "0", "--backward", "0", "--weight", "0"], "every duration is 0: state --forward, for example 12ms"),
    (["1f1b", "--pp", "1000", "--microbatches", "90000"], "are too many to run one by one"),
    (["1f1b", "--pp", "2", "--microbatches", "4", "-o", "/no/such/x.png"], "-o /no/such/x.png: No such file or directory"),
])  # fmt: skip
def test_what_is_wrong_is_one_line(argv: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schedule", *argv]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(("text", "says"), [
    ("stage,F,B\n0,1,1\n", "missing column 'W'"), ("stage,F,B,W,x\n0,1,1,1,1\n", "column 'x' is not one of stage, F, B, W"),
    ("stage,F,B,W\n1,1,1,1\n", "line 2: stage must be 0, in order from 0, not 1"), ("stage,F,B,W\n0,1,one,1\n", "line 2: 'B' must be a number, not 'one'"),
    ("stage,F,B,W\n", "no stages"), ("stage,F,B,W\n0,1,1,1\n", "has 1 stages, and pp = 2 needs 2"), ("stage,F,B,W\n0,1,1,1\n1,1,-1,1\n", "--stage-times, stage 1, B must be a duration"),
])  # fmt: skip
def test_a_wrong_table_names_file_line_and_column(
    text: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "times.csv"
    path.write_text(text)
    assert run(["schedule", "1f1b", "--pp", "2", "--microbatches", "3", "--stage-times", str(path)]) == 2
    assert says in capsys.readouterr().err


def test_a_trace_holds_every_pass_and_times_in_microseconds(tmp_path: Path) -> None:
    path = tmp_path / "x.trace.json"
    simcost.schedule("dualpipe", 4, 8, draw=path)
    events = [event for event in json.loads(path.read_text())["traceEvents"] if event["ph"] == "X"]
    assert sum(event["cat"] == "forward" for event in events) == 4 * 8
    assert max(event["ts"] + event["dur"] for event in events) == pytest.approx(simcost.schedule("dualpipe", 4, 8).metrics["makespan_s"] * 1e6)  # fmt: skip


@pytest.mark.parametrize("suffix", ["png", "svg", "html"])
def test_pictures_are_drawn(suffix: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / f"x.{suffix}"
    simcost.schedule(["1f1b", "dualpipe"], 4, 8, draw=path)
    start = path.read_bytes()[:200]
    assert start.startswith({"png": b"\x89PNG", "svg": b"<?xml", "html": b"<!doctype html>"}[suffix])


def test_notes_say_what_has_no_effect() -> None:
    notes = "\n".join(simcost.schedule("1f1b", 4, 8, vpp=3, overlapped=2.5).warnings)
    assert "--overlapped has no effect" in notes
    assert "--vpp has no effect" in notes
    with pytest.raises(SpecError, match="cannot be combined"):
        simcost.schedule("1f1b", 2, 4, forward=2.0, stage_times=[(1, 1, 1), (1, 1, 1)])
