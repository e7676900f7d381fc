"""Files and pipes: JSON that reads back, CSV in SI with one header, markdown whose tables stay tables."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import Any

import pytest

from simcost.report.text import as_console, as_csv, as_json, as_markdown
from simcost.result import Result, number

ROWS = [{"op": "gemm", "time_s": 0.5, "share": 0.25}, {"op": "a|b\nc", "time_s": None, "bytes": 1e6}]


def result(**more: Any) -> Result:
    facts: dict[str, Any] = {
        "command": "crossover test", "inputs": {"model": "toy"}, "metrics": {"tpot_s": 0.0125, "gpus": 8},
        "tables": {"rows": ROWS}, "warnings": ("watch out",), "references": ("a paper",), "verdict": "12.5 ms a token",
    }  # fmt: skip
    return Result(**{**facts, **more})


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_json_reads_back_to_the_document() -> None:
    assert json.loads(as_json(result())) == result().to_dict()
    assert as_json(result()).endswith("}\n")
    assert "±" in as_json(result(verdict="", warnings=("±5 %",)))


def test_json_refuses_what_is_no_json() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        as_json(result(metrics={"tpot_s": math.nan}))
    assert json.loads(as_json(result(metrics={"tpot_s": number(math.nan)})))["metrics"] == {"tpot_s": None}


def test_csv_has_every_column_once_and_nothing_where_a_row_has_none() -> None:
    found = read(as_csv(result()))
    assert found == [
        {"op": "gemm", "time_s": "0.5", "share": "0.25", "bytes": ""},
        {"op": "a|b\\nc", "time_s": "", "share": "", "bytes": "1000000.0"},
    ]
    assert as_csv(result()).splitlines()[0] == "op,time_s,share,bytes"


def test_csv_of_a_result_without_rows_is_its_metrics() -> None:
    for tables in ({}, {"rows": []}):
        assert as_csv(result(tables=tables)) == "tpot_s,gpus\n0.0125,8\n"


def test_csv_of_several_tables_names_each() -> None:
    found = read(as_csv(result(tables={"one": [{"op": "x"}], "two": [{"op": "y"}, {"op": "z"}]})))
    assert [(row["table"], row["op"]) for row in found] == [("one", "x"), ("two", "y"), ("two", "z")]


def test_markdown_has_headings_values_notes_and_references() -> None:
    text = as_markdown(result())
    for line in (
        "# simcost crossover test", "**12.5 ms a token**", "| TPOT | 12.5 ms |", "| GPUs | 8 |", "## rows", "## Notes",
        "- watch out", "## Sources", "- a paper", "| op | time | share | bytes |", "| gemm | 500 ms | 25.0 % | - |",
    ):  # fmt: skip
        assert line in text.splitlines(), line
    bare = as_markdown(result(warnings=(), references=(), verdict=""))
    assert "## Notes" not in bare
    assert "**" not in bare


def test_a_cell_of_markdown_breaks_no_table() -> None:
    lines = [line for line in as_markdown(result()).splitlines() if line.startswith("| ")]
    assert r"| a\|b\\nc | - | - | 1 MB |" in lines
    table = lines[-3:]
    assert [line.replace(r"\|", "").count("|") for line in table] == [5, 5, 5]


def test_the_page_for_people_ends_no_line_in_blanks_and_keeps_to_its_width() -> None:
    wide = result(tables={"rows": [{f"column_{i}": "x" * 20 for i in range(12)} for _ in range(9)]})
    for width in (80, 140):
        lines = as_console(wide, width).splitlines()
        assert all(line == line.rstrip() for line in lines)
        assert max(map(len, lines)) <= width
    assert as_console(result()).startswith("simcost crossover test: 12.5 ms a token\n")
