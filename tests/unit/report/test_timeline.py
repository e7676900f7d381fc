"""The timeline of a training step: its bars are the step, its memory the answer's, files stay small, and colours differ for everybody."""

from __future__ import annotations

import html
import itertools
import json
import sys
from functools import cache
from pathlib import Path
from xml.dom import minidom

import numpy as np
import pytest

import simcost
from simcost.cli.app import run
from simcost.errors import SpecError, plain
from simcost.report import timeline
from simcost.report.bars import Chart
from simcost.report.figures import gantt
from simcost.report.trace import trace
from simcost.report.training_timeline import charts
from simcost.result import Result
from simcost.scenarios.train.question import asked
from simcost.scenarios.train.result import result
from simcost.training.step import TrainStep

CASES = {
    "pp1": ({"plan.tp": 2, "plan.gpus": 8}, {"global_batch": 16}),
    "interleaved": ({"plan.tp": 2, "plan.pp": 4, "plan.vpp": 2, "plan.gpus": 16}, {"global_batch": 32}),
    "blocking": ({"plan.pp": 4, "plan.gpus": 8, "stack.p2p_overlap": "off"}, {"global_batch": 16}),
    "zb-v": ({"plan.pp": 4, "plan.gpus": 8, "plan.schedule": "zb-v"}, {"global_batch": 16}),
    "fsdp": ({"plan.zero_stage": 3, "plan.gpus": 8}, {"global_batch": 16}),
    "dualpipe": ({"plan.pp": 4, "plan.gpus": 8, "plan.schedule": "dualpipe"}, {"global_batch": 16}),
}


@cache
def priced(case: str) -> tuple[Result, TrainStep]:
    sets, phase = CASES[case]
    return result(asked("llama-3.1-8b", "h100", phase, sets, None, None), with_levers=False)


@cache
def drawn(case: str) -> Chart:
    (one,) = charts(priced(case)[1])
    return one


@pytest.mark.parametrize("case", CASES)
def test_bars_of_a_rank_follow_each_other_and_end_with_the_step(case: str) -> None:
    chart, (answer, step) = drawn(case), priced(case)
    for rank in range(chart.ranks):
        mine = sorted((bar for bar in chart.bars if bar.rank == rank and bar.half < 2), key=lambda bar: bar.start)
        for one, other in itertools.pairwise(mine):
            assert one.end <= other.start + 1e-12
    assert max(bar.end for bar in chart.bars) == pytest.approx(answer.metrics["step_s"])
    passes = [bar for bar in chart.bars if bar.half < 2 and bar.microbatch >= 0 and bar.end <= step.timeline.end_s * (1 + 1e-12)]  # fmt: skip
    assert sum(bar.end - bar.start for bar in passes) == pytest.approx(sum(step.timeline.busy_s()))


@pytest.mark.parametrize("case", CASES)
def test_what_is_coloured_as_communication_is_what_the_table_of_the_busiest_rank_says(case: str) -> None:
    answer, step = priced(case)
    busy = step.timeline.busy_s()
    rank = max(range(len(busy)), key=lambda each: busy[each])
    found: dict[str, float] = {}
    for bar in drawn(case).bars:
        if bar.rank == rank and bar.half < 2:
            for name, seconds in (*bar.wires, *([(gantt.kind_of(bar.kind), bar.end - bar.start)])):
                found[name] = found.get(name, 0.0) + seconds
    table = {row["part"]: row["time_s"] for row in answer.tables["where the step goes"]}
    for name in ("tensor parallel", "pipeline hops", "data parallel", "optimizer"):
        assert found.get(name, 0.0) == pytest.approx(table.get(name, 0.0), rel=1e-6, abs=1e-9 * answer.metrics["step_s"])  # fmt: skip
    assert sum(table.values()) == pytest.approx(answer.metrics["step_s"], rel=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_memory_peaks_where_the_answer_says(case: str) -> None:
    chart, (answer, _) = drawn(case), priced(case)
    assert max(levels.peak for levels in chart.memory) == pytest.approx(answer.metrics["memory_peak_bytes"])
    assert chart.capacity == answer.metrics["memory_capacity_bytes"]
    for levels in chart.memory:
        assert levels.activations[-1][1] == pytest.approx(0.0, abs=1.0)  # all is let go at the end
        assert min(levels.state, levels.other) > 0.0


def test_a_trace_has_a_process_a_rank_bubbles_exposed_communication_and_memory() -> None:
    chart = drawn("interleaved")
    events = trace([chart])["traceEvents"]
    names = [event["args"]["name"] for event in events if event["name"] == "process_name"]
    assert names == [f"pipeline rank {rank}: {chart.holds[rank]}" for rank in range(4)]
    assert "embedding" in names[0]
    for rank in range(4):
        mine = [event for event in events if event["pid"] == rank]
        counters = [sum(event["args"].values()) for event in mine if event["ph"] == "C"]
        assert max(counters) == pytest.approx(chart.memory[rank].peak, rel=1e-6)
        slices = [event for event in mine if event["ph"] == "X"]
        # With its bubbles a rank's thread has no gap; what is exposed lies inside its pass.
        whole = [one for one in slices if one["cat"] != "exposed communication"]
        assert sum(one["dur"] for one in whole) == pytest.approx(1e6 * max(bar.end for bar in chart.bars if bar.rank == rank), rel=1e-4)  # fmt: skip
        for one in slices:
            if one["cat"] == "exposed communication":
                assert any(each["ts"] - 0.01 <= one["ts"] and one["ts"] + one["dur"] <= each["ts"] + each["dur"] + 0.01 for each in whole)  # fmt: skip
    assert {"exposed tensor parallel", "bubble", "optimizer"} <= {event["name"] for event in events}


@pytest.mark.parametrize("suffix", ["svg", "html"])
def test_sixteen_ranks_of_120_micro_batches_stay_below_a_megabyte(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"step.{suffix}"
    simcost.train(
        "deepseek-v3", "h800", 2048, global_batch=15360, stack="hai-llm", levers=False, timeline=file,
        set={"plan.pp": 16, "plan.ep": 64, "plan.schedule": "dualpipe"},
    )  # fmt: skip
    text = file.read_text(encoding="utf-8")
    assert len(text) <= 1e6
    minidom.parseString(text[text.index("<svg") : text.index("</svg>") + 6])
    for words in ("exposed exchange of tokens", "bubble", "capacity"):
        assert words in text


def test_passes_beyond_what_a_file_holds_are_one_image_in_it(tmp_path: Path) -> None:
    simcost.schedule("1f1b", 32, 512, draw=tmp_path / "many.svg")
    text = (tmp_path / "many.svg").read_text(encoding="utf-8")
    assert len(text) <= 1e6
    assert text.count("<image") == 1
    simcost.schedule("1f1b", 4, 16, draw=tmp_path / "few.svg")
    assert "<image" not in (tmp_path / "few.svg").read_text(encoding="utf-8")


def test_a_timeline_as_html_is_the_page_of_the_answer(tmp_path: Path) -> None:
    file = tmp_path / "few.html"
    result = simcost.schedule("1f1b", 2, 4, forward=1.0, backward=1.2, weight=0.8, draw=file)
    text = file.read_text(encoding="utf-8")
    assert "default-src 'none'" in text  # nothing is fetched
    assert len(text) <= 1e6
    assert text.index("<figure>") < text.index("<h2>All numbers</h2>")  # as every page of an answer
    assert html.escape(plain(result.verdict)) in text
    assert text.count("<title>rank 1: forward of micro-batch ") == 4  # what each pass is, under the pointer
    assert "<title>rank 0: forward of micro-batch 0, 1 s, from 0 s to 1 s</title>" in text
    simcost.schedule("1f1b", 8, 64, draw=tmp_path / "many.svg")
    text = (tmp_path / "many.svg").read_text(encoding="utf-8")
    assert "<title>forward: 512 times, 512 s on all ranks</title>" in text  # of many passes each colour


# Machado, Oliveira and Fernandes 2009 (IEEE TVCG 15, 1291), table of severity 1.0, on linear RGB.
SEEN_BY = {
    "everybody": np.eye(3),
    "protanopes": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
    "deuteranopes": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]),
    "tritanopes": np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]),
}  # fmt: skip


def lab(colour: str, seen: np.ndarray) -> np.ndarray:
    """CIE L*a*b* (D65) of a colour as somebody sees it."""
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255.0
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ np.clip(seen @ linear, 0.0, 1.0)  # fmt: skip
    f = np.cbrt(xyz / np.array([0.9505, 1.0, 1.089]))
    return np.array([116.0 * f[1] - 16.0, 500.0 * (f[0] - f[1]), 200.0 * (f[1] - f[2])])


@pytest.mark.parametrize("who", SEEN_BY)
def test_no_two_colours_look_alike(who: str) -> None:
    """A distance of 10 in L*a*b* is seen at a glance."""
    seen = {name: lab(colour, SEEN_BY[who]) for name, colour in gantt.COLOURS.items()}
    for one, other in itertools.combinations(seen, 2):
        assert np.linalg.norm(seen[one] - seen[other]) > 10.0, (one, other)


def test_a_file_that_is_no_picture_is_refused_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["train", "--model", "llama-3.1-8b", "--hw", "h100", "--timeline", str(tmp_path / "x.gif")]
    assert run(line) == 2
    assert capsys.readouterr().err == f"simcost: --timeline {tmp_path / 'x.gif'}: the name must end in .png, .svg, .pdf, .html or .trace.json\n"  # fmt: skip
    with pytest.raises(SpecError, match="no such folder"):
        timeline.checked(tmp_path / "none" / "x.svg", "--timeline")


def test_without_matplotlib_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for suffix in ("png", "svg", "html"):
        file = tmp_path / f"x.{suffix}"
        with pytest.raises(SpecError) as refused:
            simcost.train("llama-3.1-8b", "h100", 8, timeline=file)
        assert str(refused.value) == f"--timeline {file} needs matplotlib: pip install 'simcost[plot]'"
    simcost.train("llama-3.1-8b", "h100", 8, levers=False, timeline=tmp_path / "x.trace.json")  # a trace needs none
    assert json.loads((tmp_path / "x.trace.json").read_text())["traceEvents"]
