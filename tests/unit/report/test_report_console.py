"""The terminal: what a person sees of a hand-made Result, in which order, and what gives way on a narrow screen."""

from __future__ import annotations

from typing import Any

import pytest

from simcost.report.text import as_console
from simcost.result import Result


def page(command: str = "sweeping", width: int = 120, **more: Any) -> list[str]:
    facts: dict[str, Any] = {"inputs": {}, "metrics": {}, "tables": {}}
    return as_console(Result(command, **{**facts, **more}), width).splitlines()


def cells(lines: list[str], first: str) -> list[str]:
    """The line of a table that begins with a word, cell by cell."""
    line = next(line for line in lines if line.split()[:1] == [first])
    return [part.strip() for part in line.split("  ") if part.strip()]


def test_a_page_is_verdict_metrics_tables_notes_in_this_order() -> None:
    lines = page(
        "decode", inputs={"model": "toy", "hw": "h200"}, verdict="fine", metrics={"tpot_s": 0.5, "gpus": 8},
        tables={"table": [{"op": "gemm", "time_s": 1e-3}]}, warnings=("first", "second"), references=("a", "b"),
    )  # fmt: skip
    where = [lines.index(next(line for line in lines if line.strip().startswith(word))) for word in (
        "simcost decode: fine", "toy on 8 x h200", "tpot", "table", "gemm", "note: first", "note: second", "rests on: a; b",
    )]  # fmt: skip
    assert where == sorted(where)
    assert cells(lines, "tpot") == ["tpot", "500 ms"]


@pytest.mark.parametrize(("command", "metrics", "references"), [
    ("decode", True, True), ("explain", False, True), ("compare", False, True), ("list models", False, False), ("crossing", True, False),
])  # fmt: skip
def test_some_commands_say_their_metrics_in_tables_and_some_need_no_references(
    command: str, metrics: bool, references: bool
) -> None:
    given = {"model": "toy", "models": ["toy"], "hw": "h200"}
    text = "\n".join(page(command, inputs=given, metrics={"mfu": 0.5}, references=("a paper",)))
    assert ("50.0 %" in text) is metrics
    assert ("rests on: a paper" in text) is references


def test_columns_that_do_not_fit_go_from_the_end_with_a_word() -> None:
    row = {"op": "gemm", **{f"column_{i}": "x" * 18 for i in range(9)}}
    lines = page(width=80, tables={"table": [row] * 6})
    said = next(line for line in lines if line.startswith("not shown at this width"))
    shown = [i for i in range(9) if not any(f"column {i}" in line for line in lines[lines.index(said) :])]
    assert shown == list(range(len(shown)))
    assert 0 < len(shown) < 9
    assert not any("not shown" in line for line in page(width=300, tables={"table": [row] * 6}))


def test_a_wide_table_of_few_rows_is_turned_on_its_side() -> None:
    rows = [{"op": name, **{f"column_{i}": i for i in range(9)}, "gone": None} for name in ("left", "right")]
    lines = page(tables={"table": rows})
    assert cells(lines, "left") == ["left", "right"]
    assert cells(lines, "column")[0] == "column 0"
    assert "column 8" in "\n".join(lines)
    assert "gone" not in "\n".join(lines)  # no row has a value
    many = page(tables={"table": rows * 3})
    assert cells(many, "left")[:2] == ["left", "0"]


def test_turned_rows_that_do_not_fit_side_by_side_go_on_below() -> None:
    rows = [{"op": f"op-{i}" + "x" * 20, **{f"c{j}": j for j in range(9)}} for i in range(5)]
    lines = page(width=80, tables={"table": rows})
    assert sum("table (continued)" in line for line in lines) >= 1
    assert all(any(f"op-{i}" in line for line in lines) for i in range(5))


@pytest.mark.parametrize(("name", "most"), [("table", 60), ("plans", 20), ("terms", 16), ("rows", 8)])
def test_a_long_table_ends_with_how_many_more_rows_there_are(name: str, most: int) -> None:
    rows = [{"op": f"row-{i}", "tp": i + 2} for i in range(most + 7)]
    text = "\n".join(page(tables={name: rows}))
    assert "... 7 more rows: --format csv shows them all" in text
    assert f"row-{most - 1}" in text
    assert f"row-{most} " not in text
    assert "more rows" not in "\n".join(page(tables={name: rows[:most]}))


def test_sizes_that_are_one_in_every_plan_are_a_line_and_no_columns() -> None:
    rows = [{"tp": tp, "cp": 1, "pp": 1, "dp": 8 // tp, "feasible": True, "batch": 8} for tp in (1, 2, 4, 8, 4, 2)]
    lines = page(tables={"plans": rows})
    assert "the same in every row: cp=1, pp=1" in lines
    head = next(line for line in lines if "tp" in line.split())
    assert head.split() == ["tp", "dp", "batch"]  # nor one that says that all can run


def test_where_some_cannot_run_the_table_says_which_and_below_it_why() -> None:
    rows = [
        {"plan.tp": 1, "feasible": False, "reason": "short by 3 GiB"},
        {"plan.tp": 2, "feasible": True, "tpot_s": 0.5},
    ]
    lines = page(tables={"sweep": rows})
    assert cells(lines, "1") == ["1", "no", "-"]
    assert cells(lines, "2") == ["2", "yes", "500 ms"]
    assert lines.index("cannot run:") + 1 == lines.index("  plan.tp=1: short by 3 GiB")


def test_a_sweep_shows_its_axes_then_the_headlines() -> None:
    row = {"batch": 8, "feasible": True, "gpus": 4, "share_memory": 0.5, "tpot_s": 0.5, "fits": True}
    head = next(line for line in page(width=200, tables={"sweep": [row] * 6}) if "batch" in line).split()
    assert head[0] == "batch"
    assert head.index("tpot") < head.index("gpus")
    assert head.index("fits") < head.index("gpus")


def test_explain_has_a_table_a_kind_of_layer_with_its_share() -> None:
    ops = [{"part": part, "op": op, "time_s": 1e-3, "share": share, "basis": "60% datasheet, 40% assumed", "formula": "2mnk"} for part, op, share in (
        ("attention", "qkv", 0.25), ("ffn", "up", 0.5), ("attention", "core", 0.125),
    )]  # fmt: skip
    lines = page("explain", inputs={"model": "toy", "hw": "h200"}, tables={"ops": ops})
    found = [line for line in lines if "of the step" in line]
    assert [line.strip() for line in found] == ["attention: 37.5% of the step", "ffn: 50.0% of the step"]
    assert lines.index(found[0]) < next(i for i, line in enumerate(lines) if "core" in line) < lines.index(found[1])
    assert not any("2mnk" in line for line in lines)  # files have it


def test_a_crossover_draws_shares_as_bars() -> None:
    rows = [{"length": 1024, "attention_share": 0.25}, {"length": 65536, "attention_share": 1.0}]
    lines = page("crossover", tables={"prefill FLOPs by length": rows})
    assert "    1,024 " + "█" * 10 + "░" * 30 + " 25%" in lines
    assert "   65,536 " + "█" * 40 + " 100%" in lines
