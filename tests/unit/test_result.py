"""Result: numbers that JSON can hold, rows of one or several tables, units by name, and columns that read like rows."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from simcost.result import SCHEMA_VERSION, Columns, Result, number


def columns() -> Columns:
    return Columns(
        {"plan.tp": [1, 2, 4], "batch": [8, 8, 16]},
        [True, False, True],
        ["", "too small", ""],
        {
            "fits": np.array([1.0, 0.0, 0.0]),
            "tpot_s": np.array([0.5, 7.0, math.nan]),
            "gpus": np.array([1.0, 2.0, 4.0]),
            "memory_short_bytes_per_gpu": np.array([0.0, 5.0, 12.3 * 2**30]),
        },
    )


def result(**more: Any) -> Result:
    return Result("decode", {"model": "toy"}, {"tpot_s": 0.5, "gpus": 2}, **more)


@pytest.mark.parametrize(("value", "want"), [
    (3.0, 3), (-2.0, -2), (0.5, 0.5), (np.float32(0.25), 0.25), (np.array(4.0), 4), (math.inf, None), (-math.inf, None),
    (math.nan, None), (2.0**52, 2**52), (True, 1), (0.0, 0),
])  # fmt: skip
def test_a_number_is_what_json_can_hold(value: Any, want: Any) -> None:
    found = number(value)
    assert found == want
    assert type(found) is type(want)
    assert json.loads(json.dumps(found)) == want


@pytest.mark.parametrize("value", [2.0**53, 1e300, -1e20])
def test_a_float_that_counts_no_more_exactly_stays_one(value: float) -> None:
    assert type(number(value)) is float
    assert number(value) == value


def test_columns_read_as_rows() -> None:
    rows = columns()
    assert len(rows) == 3
    assert rows[0] == {
        "plan.tp": 1,
        "batch": 8,
        "feasible": True,
        "fits": True,
        "tpot_s": 0.5,
        "gpus": 1,
        "memory_short_bytes_per_gpu": 0,
    }
    assert rows[1] == {"plan.tp": 2, "batch": 8, "feasible": False, "reason": "too small"}
    assert rows[2]["fits"] is False
    assert rows[2]["feasible"] is True
    assert rows[2]["reason"] == "short by 12.3 GiB per GPU"
    assert "reason" not in rows[0]
    assert rows[2]["tpot_s"] is None
    assert list(rows) == [rows[0], rows[1], rows[2]]


def test_a_slice_of_columns_is_a_list_of_rows() -> None:
    rows = columns()
    assert rows[1:] == [rows[1], rows[2]]
    assert rows[::-1] == [rows[2], rows[1], rows[0]]
    assert rows[-2:-1] == [rows[1]]
    assert rows[5:] == []
    with pytest.raises(IndexError):
        rows[3]


def test_labels_come_first_then_what_tells_whether_it_runs() -> None:
    assert list(columns()[0])[:4] == ["plan.tp", "batch", "feasible", "fits"]


def test_rows_name_their_table_only_where_there_are_several() -> None:
    one = result(tables={"ops": [{"op": "a"}, {"op": "b"}]})
    assert one.rows == [{"op": "a"}, {"op": "b"}]
    two = result(tables={"ops": [{"op": "a"}], "links": [{"op": "b"}]})
    assert two.rows == [{"table": "ops", "op": "a"}, {"table": "links", "op": "b"}]
    assert result().rows == []


def test_the_document_is_whole_and_is_json() -> None:
    found = result(tables={"sweep": columns()}, warnings=("a note",), references=("a paper",)).to_dict()
    assert found["schema_version"] == SCHEMA_VERSION
    assert found["inputs"] == {"model": "toy"}
    assert found["metrics"] == {"tpot_s": 0.5, "gpus": 2}
    assert found["rows"] == list(columns())
    assert (found["warnings"], found["references"]) == (["a note"], ["a paper"])
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_units_are_those_of_metrics_and_of_columns_that_have_one() -> None:
    rows = [{"op": "gemm", "time_s": 1.0, "flops": 2.0}, {"op": "norm", "bytes": 3.0, "intensity": 4.0}]
    found = result(tables={"ops": rows}).to_dict()["units"]
    assert found["tpot_s"] == found["time_s"] == "s"
    assert (found["flops"], found["bytes"], found["gpus"]) == ("FLOP", "B", "count")
    assert not {"op", "intensity"} & set(found)


def test_a_repr_is_one_line_that_counts_what_there_is() -> None:
    shown = repr(result(tables={"ops": [{"op": "a"}]}, warnings=("one", "two"), verdict="0.5 s a token"))
    assert shown == "<simcost decode: 0.5 s a token; 2 metrics; ops (1 rows); 2 notes>"
    assert repr(result()) == "<simcost decode: 2 metrics; 0 notes>"


def test_a_frame_has_the_rows_or_else_the_metrics() -> None:
    pandas = pytest.importorskip("pandas")
    many = result(tables={"ops": [{"op": "a", "x": 1}, {"op": "b"}]}).to_frame()
    assert list(many.columns) == ["op", "x"]
    assert many["op"].tolist() == ["a", "b"]
    assert pandas.isna(many["x"][1])
    assert result().to_frame().to_dict("records") == [{"tpot_s": 0.5, "gpus": 2}]
