"""Row files: what a column and a word may be, what is read, what is refused with its place, what is written comes back."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simcost.calibration import rows as tables
from simcost.calibration.columns import SECONDS, Column, Word, first_bad, label_fault
from simcost.calibration.family import families
from simcost.calibration.rows import Rows
from simcost.errors import SpecError

GEMM, STREAM = families()["gemm"], families()["stream"]
HEAD = "batch,m,n,k,seconds"
EXAMPLES = settings(max_examples=80, deadline=None, derandomize=True)


@pytest.mark.parametrize(("column", "good", "bad"), [
    (Column("things", "count"), [1, 2, 1e9], [0, -1, 1.5, math.inf, math.nan, -0.0]),
    (Column("things", "count", zero=True), [0, 1, 7], [-1, 0.5, math.nan, -math.inf]),
    (Column("time", "s", whole=False), [1e-9, 0.5, 3], [0, -1e-9, math.inf, math.nan]),
    (Column("share", "", zero=True, whole=False), [0, 0.25, 3], [-0.25, math.inf, math.nan]),
])  # fmt: skip
def test_a_column_takes_what_it_says(column: Column, good: list[float], bad: list[float]) -> None:
    assert column.bad(np.array(good, float)).tolist() == [False] * len(good)
    assert column.bad(np.array(bad, float)).tolist() == [True] * len(bad)
    assert ("whole number" in column.allowed) is column.whole
    assert ("0 or above" in column.allowed) is column.zero


def test_the_first_bad_row_is_named_and_of_one_row_the_first_column() -> None:
    columns = {"a": Column("", "count"), "b": Column("", "count")}
    table = {"a": np.array([1.0, 1.0, 0.0]), "b": np.array([1.0, -1.0, -1.0])}
    assert first_bad(columns, table) == (1, "b")
    assert first_bad(columns, {**table, "a": np.array([1.0, 0.0, 0.0])}) == (1, "a")
    assert first_bad(columns, {"a": np.ones(3), "b": np.ones(3)}) is None


@pytest.mark.parametrize(("word", "value", "says"), [
    (Word("format"), "bf16", ""), (Word("format"), "bf17", "must be one of"), (Word("format"), "bf17", "did you mean 'bf16'"),
    (Word("which", ("in", "out")), "in", ""), (Word("which", ("in", "out")), "inn", "must be one of in, out"),
    (Word("any", ()), "norm_backward2", ""), (Word("any", ()), "Norm", "lower-case letters"), (Word("any", ()), "", "lower-case letters"),
    (Word("any", ()), "a-b", "lower-case letters"),
])  # fmt: skip
def test_a_word_takes_what_it_says(word: Word, value: str, says: str) -> None:
    assert says in word.fault(value)
    assert bool(word.fault(value)) is bool(says)


def test_the_first_bad_label_is_named() -> None:
    words = {"x": Word("format"), "what": Word("which", ("in", "out"))}
    assert label_fault(words, {"x": "bf16", "what": "out"}) == ""
    assert label_fault(words, {"x": "bf16", "what": "up"}).startswith("what = 'up' must be one of")
    assert label_fault(words, {"x": "b", "what": "up"}).startswith("x = 'b'")


def read(*lines: str, head: str = HEAD) -> Rows:
    return tables.parsed("\n".join([head, *lines]) + "\n", GEMM, "here.csv")


def test_a_file_is_a_header_and_rows() -> None:
    found = read("1,2,3,4,1e-5", "5,6,7,8,0.25")
    assert {name: column.tolist() for name, column in found.numbers.items()} == {
        "batch": [1, 5], "m": [2, 6], "n": [3, 7], "k": [4, 8]
    }  # fmt: skip
    assert found.seconds.tolist() == [1e-5, 0.25]
    assert len(found) == 2
    assert len(read()) == 0


def test_what_a_run_adds_is_checked_and_left_out() -> None:
    head = HEAD + ",p20_s,p80_s,samples,dirty"
    found = read("1,2,3,4,1e-5,1e-5,2e-5,15,0", head=head)
    assert list(found.numbers) == list(GEMM.NUMBERS)
    with pytest.raises(SpecError, match=r"here.csv:2: p80_s = '-1' must be finite, 0 or above"):
        read("1,2,3,4,1e-5,1e-5,-1,15,0", head=head)


@pytest.mark.parametrize(("row", "says"), [
    ("1,2,3,4", "4 cells, the header has 5"), ("1,2,3,4,5,6", "6 cells, the header has 5"), ("", "1 cells"),
    ("1,2,x,4,1e-5", "n = 'x' is not a number"), ("1,2,3,4,", "seconds = '' is not a number"),
    ("1,2,3,4,0", "seconds = '0' must be finite and above 0"), ("1,2.5,3,4,1", "m = '2.5' must be a whole number above 0"),
    ("0,2,3,4,1", "batch = '0'"), ("1,2,3,nan,1", "k = 'nan'"), ("1,2,3,4,inf", "seconds = 'inf'"),
])  # fmt: skip
@pytest.mark.parametrize("before", [0, 3])
def test_a_row_that_is_none_is_named_by_its_line(row: str, says: str, before: int) -> None:
    with pytest.raises(SpecError) as error:
        read(*["1,2,3,4,1e-5"] * before, row, "1,2,3,4,1e-5")
    assert str(error.value).startswith(f"here.csv:{before + 2}: ")
    assert says in str(error.value)


def test_rows_that_are_uneven_together_borrow_no_cells() -> None:
    with pytest.raises(SpecError, match=r"here.csv:2: 4 cells, the header has 5"):
        read("1,2,3,4", "1,1,2,3,4,1e-5")


@pytest.mark.parametrize("head", [
    "batch,m,n,seconds,k", "batch,m,n,k", HEAD + ",colour", "x" + HEAD, HEAD.upper(), HEAD + ",", "batch,m,n,k,seconds\r",
])  # fmt: skip
def test_a_header_of_other_columns_is_refused(head: str) -> None:
    with pytest.raises(SpecError, match="columns must be batch,m,n,k,seconds"):
        read("1,2,3,4,1e-5", head=head)


@pytest.mark.parametrize("tail", ["1,2,3,4,1e-5", "1", HEAD])
def test_a_last_row_without_its_end_is_cut_off(tail: str) -> None:
    with pytest.raises(SpecError, match=r"here.csv:3: the last row is cut off"):
        tables.parsed(f"{HEAD}\n1,2,3,4,1e-5\n{tail}", GEMM, "here.csv")


@pytest.mark.parametrize(("value", "text"), [
    (0.0, "0"), (3.0, "3"), (1e15, "1000000000000000"), (0.5, "0.5"), (1.23456e-5, "1.235e-05"), (2 / 3, "0.6667"),
    (-4.0, "-4"), (2.0**60, "1.153e+18"),
])  # fmt: skip
def test_whole_numbers_are_written_whole_and_others_in_four_digits(value: float, text: str) -> None:
    assert tables.line([value]) == text + "\n"
    assert tables.line([value, 1.0]) == text + ",1\n"


SIDES = st.integers(1, 1 << 40)


@EXAMPLES
@given(st.lists(st.tuples(SIDES, SIDES, SIDES, SIDES, st.floats(1e-9, 1e3)), min_size=1, max_size=8))
def test_what_is_written_comes_back_sorted(listed: list[tuple[int, int, int, int, float]]) -> None:
    columns = [np.array(column, float) for column in zip(*listed, strict=True)]
    text = tables.written(GEMM, Rows(dict(zip(GEMM.NUMBERS, columns, strict=False)), columns[4]))
    back = tables.parsed(text, GEMM, "here.csv")
    got = list(zip(*(back.numbers[name].tolist() for name in GEMM.NUMBERS), strict=True))
    assert got == sorted(row[:4] for row in listed)
    if len(set(got)) == len(got):
        wanted = [row[4] for row in sorted(listed)]
        np.testing.assert_allclose(back.seconds, wanted, rtol=5.1e-4)


def test_some_rows_are_taken_with_their_times() -> None:
    found = read("1,2,3,4,1", "5,6,7,8,2", "9,9,9,9,3").take(np.array([2, 0]))
    assert found.numbers["m"].tolist() == [9, 2]
    assert found.seconds.tolist() == [3, 1]


@pytest.mark.parametrize(("count", "least", "wanted"), [(3, 3, True), (3, 4, False), (0, 0, True), (0, 1, False)])
def test_whether_there_are_enough_rows_is_seen_from_lines(tmp_path: Path, count: int, least: int, wanted: bool) -> None:
    path = tmp_path / "bf16-bf16-bf16.csv"
    path.write_text(HEAD + "\n" + "1,2,3,4,1e-5\n" * count)
    assert tables.enough(path, GEMM, least) is wanted


@pytest.mark.parametrize("text", ["", "batch,m\n1,2\n", HEAD + "\n1,2,3,4,1e-5", HEAD])
def test_a_file_that_is_none_is_refused_before_it_is_read(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bf16-bf16-bf16.csv"
    path.write_text(text)
    with pytest.raises(SpecError, match=str(path)):
        tables.enough(path, GEMM, 1)


def test_a_file_that_is_not_there_or_no_text_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "bf16-bf16-bf16.csv"
    for act in (lambda: tables.read(path, GEMM), lambda: tables.enough(path, GEMM, 1)):
        with pytest.raises(SpecError, match="No such file"):
            act()
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(SpecError, match="not a UTF-8 text file"):
        tables.read(path, GEMM)


def test_rows_that_make_no_kernel_are_found_by_their_features() -> None:
    labels = {"what": "norm", "x": "bf16", "out": "bf16"}
    numbers = {"elements": np.array([8.0, 0.0, 4.0]), "reads": np.ones(3), "writes": np.ones(3), "flops": np.ones(3)}
    assert tables.no_kernel(STREAM, numbers, labels) == 1
    assert tables.no_kernel(STREAM, {**numbers, "elements": np.ones(3)}, labels) is None
    assert tables.shown(numbers, 2) == "elements=4 reads=1 writes=1 flops=1"


@pytest.mark.parametrize(("stem", "says"), [
    ("bf16-fp8-fp8", ""), ("bf16-fp8", "is named x-w-compute.csv"), ("bf16-fp8-fp8-x", "is named x-w-compute.csv"),
    ("bf16-fp9-fp8", "w = 'fp9'"),
])  # fmt: skip
def test_labels_are_read_from_a_file_s_name(tmp_path: Path, stem: str, says: str) -> None:
    path = tmp_path / "gemm" / f"{stem}.csv"
    if not says:
        assert tables.labels_of(path, GEMM) == {"x": "bf16", "w": "fp8", "compute": "fp8"}
        return
    with pytest.raises(SpecError, match=says):
        tables.labels_of(path, GEMM)


def test_a_run_knows_its_files(tmp_path: Path) -> None:
    (tmp_path / "gemm").mkdir()
    for stem in ("fp8-fp8-fp8", "bf16-bf16-bf16"):
        (tmp_path / "gemm" / f"{stem}.csv").write_text(HEAD + "\n")
    run = tables.Run("mine", tmp_path, {"title": "A title"})
    assert run.kinds("gemm") == ["bf16-bf16-bf16", "fp8-fp8-fp8"]
    assert run.kinds("router") == []
    assert run.file("router", "softmax") == tmp_path / "router" / "softmax.csv"
    assert run.title == "A title"
    assert tables.Run("mine", tmp_path, {}).title == "mine"


def test_a_time_is_above_zero() -> None:
    assert SECONDS.bad(np.array([0.0, 1e-12])).tolist() == [True, False]
