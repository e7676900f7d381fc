"""Text from a file drives neither terminal nor page: in every format, wherever it stands."""

from __future__ import annotations

import ast
import csv
import html
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import simcost.report
from simcost.report.text import as_console, as_csv, as_json, as_markdown
from simcost.result import Result

WORDS = {
    "ansi": "a\x1b[31mb", "osc": "a\x1b]0;t\x07b", "c1": "a\x9b2Jb", "nul": "a\0b", "bidi": "a\u202eb\u2066", "zero width": "a\u200bb\ufeffc", "lines": "a\nb\r\nc\u2028d",
    "half": "a\udce9b", "markup": "q[fp8]", "unknown markup": "[nope]x[/nope]", "emoji word": ":smile: x", "html": "<script>alert(1)</script>", "entity": "a&lt;b&#60;",
    "link": "[x](http://e)", "picture": "![x](http://e)", "reference": "[x]: http://e", "pipe": "a|b\\|c", "code": "`a` *b* _c_ ~~d~~ snake_case", "formula": "=1+1",
    "command": "@SUM(1)", "plus": "+1+1", "minus": "-2+3", "wide formula": "＝1+1", "heading": "# a", "list": "1. a", "rule": "---",
}  # fmt: skip


def result(words: str, command: str = "decode") -> Result:
    """One whose every text is from a file."""
    rows = [
        {"design": words, "fits": True, "time_s": 0.5, words: words, "list": [words]},
        {"design": "b", "reason": words},
    ]
    return Result(
        command, {"model": words, "hw": words, "set": {f"model.{words}": words}, "plan": {}, "engine": words}, {"tpot_s": 0.5, words: words},
        {words: rows, "verdicts": rows, "designs": [{**rows[0], "model": words}]}, (words, f"note {words}"), (words,), f"verdict {words}",
    )  # fmt: skip


def lines(text: str) -> Iterator[str]:
    assert text.endswith("\n") or not text
    yield from text.split("\n")


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
@pytest.mark.parametrize("command", ["decode", "compare", "serve", "explain"])
def test_the_terminal_shows_words(words: str, command: str) -> None:
    made = result(words, command)
    if command == "explain":
        made = Result(
            "show model", made.inputs, made.metrics, made.tables, made.warnings, made.references, made.verdict
        )
    text = as_console(made, 200, details=True)
    assert all(line.isprintable() for line in text.split("\n"))
    if words.isprintable():
        assert text.count(words) >= 6  # whole: no markup of it is read


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
def test_json_is_exact_and_drives_nothing(words: str) -> None:
    made = result(words)
    text = as_json(made)
    assert json.loads(text) == made.to_dict()
    assert all(line.isprintable() for line in text.split("\n"))
    text.encode()


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
def test_a_cell_of_csv_is_a_text_to_a_spreadsheet(words: str) -> None:
    text = as_csv(result(words, "x"))
    assert all(line.isprintable() for line in text.split("\n"))
    cells = [cell for row in csv.reader(io.StringIO(text)) for cell in row]
    assert not any(re.match(r"[=+\-@＝＋－＠].", cell) for cell in cells)
    assert ("'" + words in cells) == words.startswith(("=", "@", "+", "-", "＝"))


@pytest.mark.parametrize(("value", "cell"), [
    (-0.5, "-0.5"), ("-0.5", "-0.5"), ("+1e-5", "+1e-5"), ("-", "-"), (-3, "-3"), (None, ""), (True, "True"), ("--set a=1", "'--set a=1"), ("tp=8", "tp=8"), ([1, 2], "[1, 2]"),
])  # fmt: skip
def test_numbers_of_a_csv_stay_numbers(value: Any, cell: str) -> None:
    text = as_csv(Result("x", {}, {}, {"t": [{"a": value, "b": 1}]}))
    assert list(csv.reader(io.StringIO(text)))[1] == [cell, "1"]


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
def test_markdown_is_words_in_the_lines_that_are_there(words: str) -> None:
    (text, _, block), (plain, *_) = (as_markdown(result(each)).partition("\n## Command\n") for each in (words, "x"))
    assert all(line.isprintable() for line in (text + block).split("\n"))
    assert [line for line in block.split("\n") if line.startswith("`")] == (["```", "```"] if block else [])
    assert len(text.split("\n")) == len(plain.split("\n"))
    for line, of in zip(text.split("\n"), plain.split("\n"), strict=True):
        assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) == len(re.findall(r"\|", of))
        assert re.match(r"[#>|*-]*", line)[0] == re.match(r"[#>|*-]*", of)[0]  # type: ignore[index]
        unescaped = re.sub(r"\\[^\w\s]", "", line)
        assert not re.search(r"<|`|\]\(|\]\[|\]:|&\w+;|&#|~~", unescaped)
        assert unescaped.count("*") in (0, 4)  # the verdict's own


def test_words_without_marks_are_the_same_in_markdown() -> None:
    said = "weights fp8_block, kv_cache 1.5 GB < 2, [0, 1] & a#b (2 x 3) ~5 %"
    assert said.replace("<", r"\<") in as_markdown(Result("x", {}, {}, {}, (said,)))


@pytest.mark.parametrize(
    "words", ["a\x1b[31mb", "a$\\frac{x$b", "a$b", "<script>--></script>", "日本 😀", "a\nb", "q[fp8]"]
)
@pytest.mark.parametrize("suffix", [".svg", ".html"])
@pytest.mark.filterwarnings("error")
def test_a_picture_shows_words(words: str, suffix: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from simcost.errors import plain
    from simcost.report import timeline
    from simcost.report.bars import Bar, Chart

    path = tmp_path / f"a{suffix}"
    chart = Chart(plain(words), plain(words), [Bar(0, "F", 0, 0, 0.0, 1.0)], 1)
    timeline.write(path, [chart], Result("schedule", {}, {}, {}, (words,), (), words))
    text = path.read_text()
    assert all(c.isprintable() or c == "\n" for c in text)
    if suffix == ".svg":
        ElementTree.fromstring(text)
    assert text.count("<script>") == (suffix == ".html")  # the page's own, which sorts its tables
    assert suffix == ".svg" or html.escape(plain(words)) in text or "\n" in words


def test_a_trace_is_ascii() -> None:
    from simcost.report.bars import Bar, Chart
    from simcost.report.trace import trace

    json.dumps(trace([Chart("a\x1b\u202e", "t", [Bar(0, "F", 0, 0, 0.0, 1.0)], 1)])).encode("ascii")


def test_pages_are_made_of_words_alone() -> None:
    """Rich's own text and tables, which read markup, are made in one place."""
    for path in Path(simcost.report.__file__).parent.glob("*.py"):
        if path.name != "screen.py":
            names = {
                f"{node.module}.{one.name}" for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.ImportFrom) for one in node.names
            }  # fmt: skip
            assert not names & {"rich.text.Text", "rich.table.Table", "rich.panel.Panel", "rich.markup.escape"}, (
                path.name
            )
