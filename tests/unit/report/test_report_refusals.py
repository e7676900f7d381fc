"""Why rows cannot run: a line a reason, rows named by what they alone share, and no more lines than a reader reads."""

from __future__ import annotations

from typing import Any

from simcost.report import screen
from simcost.report.refusals import said


def shown(name: str, rows: list[dict[str, Any]]) -> list[str]:
    return [line.strip() for line in screen.written(said(name, rows), 200).splitlines() if line.strip()]


def row(reason: str = "", **labels: Any) -> dict[str, Any]:
    return {**labels, "feasible": not reason, **({"reason": reason} if reason else {"tpot_s": 1.0})}


def test_where_all_rows_run_nothing_is_said() -> None:
    assert said("sweep", [row(tp=1), row(tp=2)]) == []
    assert said("ops", [{"op": "gemm"}]) == []


def test_rows_of_one_reason_are_named_by_what_they_alone_share() -> None:
    rows = [row(tp=t, batch=b, reason="too small" if t == 1 else "") for t in (1, 2) for b in (8, 16)]
    assert shown("sweep", rows) == ["cannot run:", "tp=1: too small"]


def test_rows_whose_shared_label_others_have_too_are_named_one_by_one() -> None:
    rows = [row(tp=1, batch=8, reason="late"), row(tp=1, batch=16, reason="late"), row(tp=1, batch=32)]
    assert shown("sweep", rows) == ["cannot run:", "tp=1 batch=8; tp=1 batch=16: late"]


def test_of_many_rows_three_are_named_and_the_rest_counted() -> None:
    rows = [row(tp=2**i, batch=8 * i, reason="late") for i in range(6)] + [row(tp=1, batch=9)]
    assert shown("sweep", rows)[1] == "tp=1 batch=0; tp=2 batch=8; tp=4 batch=16 and 3 more: late"


def test_every_reason_has_a_line_up_to_twelve() -> None:
    rows = [row(tp=i, reason=f"reason {i}") for i in range(15)] + [row(tp=99)]
    lines = shown("sweep", rows)
    assert lines[1:13] == [f"tp={i}: reason {i}" for i in range(12)]
    assert lines[13:] == ["... 3 more reasons: --format csv has them"]
    assert len(shown("sweep", rows[:12])) == 13


def test_a_plan_is_named_without_the_sizes_of_one_and_a_design_by_its_name() -> None:
    plans = [row(tp=8, cp=1, pp=2, reason="short"), row(tp=1, cp=1, pp=1, reason="alone"), row(tp=2, cp=1, pp=1)]
    assert shown("plans", plans)[1:] == ["tp=8 pp=2: short", "tp=1 cp=1 pp=1: alone"]
    assert shown("designs", [row(design="dbrx", reason="no memory"), row(design="toy")])[1:] == ["dbrx: no memory"]


def test_three_rows_are_all_named() -> None:
    rows = [row(tp=2**i, batch=8 * i, reason="late") for i in range(3)] + [row(tp=1, batch=9)]
    assert shown("sweep", rows)[1] == "tp=1 batch=0; tp=2 batch=8; tp=4 batch=16: late"
