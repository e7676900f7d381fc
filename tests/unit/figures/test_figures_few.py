"""Few measurements are a line each, with their names; and a row of many numbers stays on a narrow page."""

from __future__ import annotations

from typing import Any

from simcost.report.figures import against, style
from simcost.report.text import as_console
from simcost.result import Result

WORK = [
    {"work": "attention", "measured_s": 3e-3, "predicted_s": 6e-3, "low_s": 5e-3, "high_s": 8e-3},
    {"work": "gaps", "measured_s": 5e-4, "predicted_s": 3e-4, "low_s": 1e-4, "high_s": 6e-4},
]
LONG = "parts=2 b=64 q=1 kv=4096 h=16 h_kv=4 d_qk=128 d_v=128 causal " * 2


def test_a_trace_is_drawn_a_line_a_kind_of_work() -> None:
    traced = Result("trace", {}, {}, {"kinds of work": WORK, "ops and kernels": [{"op": "x", **WORK[0]}]})
    drawn: Any = against.draw(traced, style.STYLES["slide"])
    axis = drawn.axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["attention", "gaps"]
    assert [bar.get_width() for bar in axis.patches] == [3.0, 0.5]  # ms
    points = [line.get_xdata()[0] for line in axis.get_lines() if line.get_label() == "predicted"]
    assert points == [6.0, 0.3]
    assert axis.get_xlabel() == "time of a step [ms]"


def test_a_long_text_of_a_turned_table_is_folded() -> None:
    row = {"design": "a", "shape": LONG, **{f"{name}_s": 1.0 for name in "abcdefgh"}}
    page = as_console(Result("compare", {}, {}, {"designs": [row]}), 80)
    assert max(map(len, page.splitlines())) <= 80
    assert page.count("causal") == 2  # no part of it is cut off
