"""The page of an answer: one file, nothing fetched, every text a text, tables that sort; in headless Chromium where one is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import simcost
from simcost.cli.app import run
from simcost.errors import plain
from simcost.report.cells import cell
from simcost.report.page import page as pages
from simcost.report.page.page import MOST, page
from simcost.result import Columns, Result

VOID = {"meta", "img", "link", "br", "use", "path", "rect", "image", "circle", "stop"}


class Read(HTMLParser):
    """Texts of cells by table, titles, and whether tags close in order."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.titles: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        given = dict(attrs)
        self.links += [str(given[key]) for key in ("src", "href", "xlink:href") if given.get(key)]
        self.titles += [str(given["title"])] if given.get("title") else []
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [str(value) for key, value in attrs if key in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "button"} & set(self.open):
            self.tables[-1][-1][-1] += data


def read(text: str) -> Read:
    found = Read()
    found.feed(text)
    assert found.open == []
    return found


@cache
def explained() -> tuple[Result, str]:
    result = simcost.explain("llama-3.1-8b", "h200", batch=64)
    return result, page(result)


def test_the_answer_comes_first_then_its_figures_then_its_tables() -> None:
    pytest.importorskip("matplotlib")
    result, text = explained()
    order = [
        text.index(plain(result.verdict).replace("'", "&#x27;")),
        text.index(cell("tpot_s", result.metrics["tpot_s"])),
        text.index("<figure>"),
        text.index("<h2>ops</h2>"),
        text.index("<h2>All numbers</h2>"),
    ]
    assert order == sorted(order)
    assert text.count("<svg") == len(simcost.figures.names(result)) == 3
    found = read(text)
    ops = found.tables[0]
    assert [line[ops[0].index("op")] for line in ops[1:]] == [row["op"] for row in result.tables["ops"]]
    assert [line[ops[0].index("step")] for line in ops[1:]] == [
        cell("step_s", row["step_s"]) for row in result.tables["ops"]
    ]
    every = {line[2]: line[1] for line in found.tables[-1][1:]}
    assert every == {name: cell(name, value) for name, value in result.metrics.items()}


def test_intervals_and_sources_stand_under_the_pointer() -> None:
    result, text = explained()
    row = result.tables["ops"][0]
    said = next(
        title for title in read(text).titles if title.startswith("90 % interval") and str(row["formula"]) in title
    )
    assert said.startswith(
        f"90 % interval: {cell('step_s', row['step_low_s'])} to {cell('step_s', row['step_high_s'])}; rests on: {row['basis']}"
    )
    assert f"source: {row['source']}" in said


def test_nothing_is_fetched() -> None:
    _, text = explained()
    found = read(text)
    assert all(link.startswith(("#", "data:")) for link in found.links)
    assert not found.tags & {"link", "iframe", "object", "embed", "form", "base"}
    assert "@import" not in text
    assert "default-src 'none'" in text
    assert len(text.encode()) <= MOST


HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "a&lt;b",
    "</script><b>",
    "a\x1b[31mb",
    "a\u202eb",
    "a\udce9b",
    "a\nb",
    "]]>",
]


def test_every_text_is_a_text() -> None:
    for words in HOSTILE:
        rows = [
            {
                "design": words,
                "time_s": 0.5,
                "low_s": 0.4,
                "high_s": 0.6,
                "basis": words,
                "source": words,
                words: words,
            },
            {"design": "b", "reason": words},
        ]
        result = Result(
            "decode", {"model": words, "hw": words, "set": {f"model.{words}": words}, "plan": {}, "engine": words}, {"tpot_s": 0.5, words: words},
            {words: rows, "designs": rows}, (words, f"note {words}"), (words,), f"verdict {words}",
        )  # fmt: skip
        text = page(result, {})
        assert all(c.isprintable() or c == "\n" for c in text)
        found = read(text)
        assert found.tags <= {"html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "p", "dl", "div", "dt", "dd", "span", "table", "thead", "tbody", "tr", "th", "td", "button", "ul", "li", "pre", "code", "script", "figure"}  # fmt: skip
        assert text.count("<script") == 1
        assert not re.search(r"<[^>]* on\w+=", re.sub(r'"[^"]*"', '""', text))
        shown = plain(words.encode("utf-8", "backslashreplace").decode())
        assert any(shown in " ".join(line) for table in found.tables for line in table)


def test_a_page_of_many_rows_stays_below_its_limit_and_says_what_is_left_out() -> None:
    rows = [{"design": f"design {at} " + "x" * 200, "time_s": 0.5, "why": "y" * 300} for at in range(5000)]
    text = page(Result("plans", {}, {}, {"plans": rows}), {})
    assert len(text.encode()) <= MOST
    kept = int(next(re.finditer(r"([\d,]+) more rows are not shown", text))[1].replace(",", ""))
    assert len(read(text).tables[0]) - 1 == 5000 - kept > 100
    columns = Columns(
        {"batch": list(range(3000))},
        [True] * 3000,
        [""] * 3000,
        {"fits": [True] * 3000, "memory_short_bytes_per_gpu": [0] * 3000, "tpot_s": [0.1] * 3000},
    )
    assert "2,000 more rows are not shown" in page(Result("sweep", {}, {}, {"sweep": columns}), {})


def test_without_matplotlib_a_page_has_its_tables_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result, _ = explained()
    text = page(result)
    assert "<figure>" not in text
    assert "needs matplotlib: pip install &#x27;simcost[plot]&#x27;" in text
    assert len(read(text).tables[0]) - 1 == len(result.tables["ops"])


def test_a_large_picture_is_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(pages, "_PICTURES", 1000)
    text = page(simcost.crossover("llama-3.1-8b"))
    assert "<svg" not in text
    assert 'src="data:image/png;base64,' in text


def test_the_command_line_writes_a_page_of_every_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        ["list", "engines"],
        ["schedule", "1f1b", "--pp", "2", "--microbatches", "4"],
    ):
        target = tmp_path / f"{words[0]}.html"
        assert run([*words, "-o", str(target)]) == 0
        assert capsys.readouterr().out == ""
        read(target.read_text(encoding="utf-8"))


_PROBE = """
<script>addEventListener("load",function(){var t=document.querySelector("table"),heads=[].slice.call(t.querySelectorAll("th"));
var i=heads.findIndex(function(h){return h.textContent==="time"});heads[i].querySelector("button").click();
var first=t.tBodies[0].rows[0].cells[i].textContent;heads[i].querySelector("button").click();
document.title=first+" | "+t.tBodies[0].rows[0].cells[i].textContent+" | "+heads[i].getAttribute("aria-sort")})</script>
"""


def _chromium() -> str:
    """The browser that is installed; without one the test is skipped, and says so."""
    found = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome", "chrome") if (path := shutil.which(name))),
        None,
    )
    if found is None:
        pytest.skip("no Chromium is installed: the page was not opened in a browser")
    return found


def test_a_click_sorts_by_the_numbers_in_a_browser(tmp_path: Path) -> None:
    browser = _chromium()
    rows = [{"design": name, "time_s": seconds} for name, seconds in (("a", 0.002), ("b", 1.5), ("c", 3e-6))]
    text = page(Result("compare", {}, {}, {"designs": rows}), {})
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)  # which lets no other script run
    target = tmp_path / "page.html"
    target.write_text(text.replace("</body>", f"{_PROBE}</body>"), encoding="utf-8")
    words = [
        browser,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--dump-dom",
        target.as_uri(),
    ]
    found: Any = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert "<title>3 us | 1.5 s | descending</title>" in found.stdout, found.stderr[-500:]


def test_the_policy_of_a_page_lets_its_own_script_run(tmp_path: Path) -> None:
    browser = _chromium()
    target = tmp_path / "page.html"
    target.write_text(explained()[1], encoding="utf-8")
    words = [
        browser,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--enable-logging=stderr",
        "--dump-dom",
        target.as_uri(),
    ]
    found = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert found.stdout.count("<tr>") > 20
    assert "CONSOLE" not in found.stderr  # neither an error nor a refusal of the policy
