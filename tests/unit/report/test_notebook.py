"""What a notebook shows of a Result: all of it is words, intervals stand beside their metrics, and its size is bounded; frames with units; the cells of a
notebook, run as Jupyter runs them."""

from __future__ import annotations

import ast
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import simcost
from simcost.errors import SpecError
from simcost.metrics import groups
from simcost.provenance import Kind, Note
from simcost.report.cells import title
from simcost.report.notebook import as_html
from simcost.result import Result

PAGE = Path(__file__).resolve().parents[3] / "docs" / "howto" / "use-in-a-notebook.md"
VOID = ("br", "hr", "img", "meta", "input")


class Page(HTMLParser):
    """The tags and texts of a fragment; fails on one that is not closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.cells: list[list[str]] = []
        self.words = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert {name for name, _ in attrs} <= {"style", "title", "colspan", "open"}
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.cells.append([])
        if tag in ("td", "th"):
            self.cells[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[-1][-1] += data


def test_a_step_shows_its_answer_first_and_its_metrics_by_group() -> None:
    step = simcost.decode("llama-3.1-8b", "h200", batch=64, context=4096, set={"plan.tp": 2})
    page = Page(step._repr_html_())
    tpot, low, high = re.search(r"TPOT: ([\d.]+) ms \(90 %: ([\d.]+)–([\d.]+) ms\)", page.words).groups()  # type: ignore[union-attr]
    assert float(low) < float(tpot) < float(high)
    assert float(low) == pytest.approx(step.metrics["tpot_low_s"] / 1e-3, rel=0.01)
    assert "rests on: " in page.words
    assert "bound by: " in page.words
    headings = [row[0] for row in page.cells if row[1:2] == [""]]
    assert headings == [name for name in groups.ORDER if name in headings]
    assert {groups.RATE, groups.MEMORY, groups.MONEY} <= set(headings)
    assert [title("output_tokens_per_s"), f"{step.metrics['output_tokens_per_s']:,.0f}"] in page.cells
    assert "llama-3.1-8b on 2 x h200" in page.words
    assert set(page.tags) <= {"div", "strong", "table", "tr", "th", "td", "details", "summary", "ul", "li", "code"}


def test_an_interval_stands_beside_its_metric() -> None:
    found = Result(
        "trace",
        {},
        {
            "predicted_step_s": 0.008,
            "predicted_step_low_s": 0.006,
            "predicted_step_high_s": 0.01,
            "gap_s": None,
            "share_fitted": 0.0,
        },
    )
    rows = {row[0]: row[1:] for row in Page(as_html(found)).cells}
    assert rows["predicted step"] == ["8 ms", "6–10 ms"]
    assert "gap" not in rows


def test_words_of_others_are_words() -> None:
    evil = "<script>alert(1)</script>\x1b[31m\"' onmouseover=x"
    result = Result(
        "decode", {"model": evil}, {evil: 1, "tpot_s": 2.0}, {evil: [{evil: evil, "op": evil}]}, (evil, Note(evil, Kind.ORIGIN)), (evil,), evil,
    )  # fmt: skip
    page = as_html(result)
    assert "<script" not in page
    assert "\x1b" not in page
    assert Page(page).words.count("<script>alert(1)</script>\\x1b[31m") >= 6


def test_a_large_result_is_a_small_page() -> None:
    rows = [{f"column_{i}_s": float(i) for i in range(40)} | {"formula": "x" * 500} for _ in range(5000)]
    tables = {f"table {i}": rows for i in range(50)}
    result = Result(
        "sweep", {}, {f"metric_{i}_s": 1.0 for i in range(30)}, tables, ("a note " * 100,) * 500, ("a source",) * 500
    )
    page = as_html(result)
    assert len(page) < 150_000
    words = Page(page).words
    assert "4,990 rows and 32 columns more" in words
    assert "42 more tables" in words
    assert "480 more" in words


def test_frames_have_units() -> None:
    result = Result(
        "explain",
        {},
        {"tpot_s": 0.5, "fits": True},
        {"ops": [{"op": "a", "time_s": 1.0}], "links": [{"sent_bytes": 3}]},
    )
    ops = result.frame()
    assert list(ops.columns) == [("op", ""), ("time_s", "s")]
    assert ops.columns.names == ["name", "unit"]
    assert ops["time_s", "s"].tolist() == [1.0]
    assert list(result.frame("links").columns) == [("sent_bytes", "B")]
    assert result.frame("metrics")["tpot_s", "s"].tolist() == [0.5]
    assert list(Result("decode", {}, {"gpus": 2}).frame().columns) == [("gpus", "count")]
    with pytest.raises(SpecError, match=r"no table 'link' \(one of metrics, ops, links\).*links"):
        result.frame("link")


def test_terms_of_a_step_are_shown_and_are_a_frame() -> None:
    step = simcost.decode("llama-3.1-8b", "h200", batch=64, context=4096, set={"plan.tp": 2})
    page = Page(step._repr_html_())
    assert f"largest terms ({len(step.terms)} in all)" in page.words
    assert "attention / core" in page.words
    frame = step.frame("terms")
    assert len(frame) == len(step.terms)
    assert ("step_s", "s") in frame.columns


def test_an_empty_table_is_an_empty_frame() -> None:
    frame = Result("sweep", {}, {"points": 0}, {"sweep": []}).frame()
    assert frame.shape == (0, 0)


def test_the_cells_of_the_notebook_show_themselves() -> None:
    """As Jupyter: the last expression of a cell is shown by its `_repr_html_`."""
    space: dict[str, Any] = {}
    shown = []
    for cell in re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        body = ast.parse(cell)
        last = body.body.pop() if isinstance(body.body[-1], ast.Expr) else None
        exec(compile(body, "cell", "exec"), space)
        if isinstance(last, ast.Expr):
            shown.append(eval(compile(ast.Expression(last.value), "cell", "eval"), space))
    step, longest = shown
    assert "(90 %: " in step._repr_html_()
    assert list(longest.columns) == [("op", ""), ("step_s", "s"), ("bound", "")]
    assert "<th" in longest._repr_html_()
