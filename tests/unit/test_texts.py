"""Text of a user's files is a value that all else can compute with, or one line."""

from __future__ import annotations

import errno
import json
import math
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest

from simcost import texts
from simcost.errors import SpecError

LONG = "9" * 5000
LISTS = "[" * 3000 + "]" * 3000


def file(tmp_path: Path, found: str | bytes, name: str = "f") -> Path:
    path = tmp_path / name
    path.write_bytes(found if isinstance(found, bytes) else found.encode())
    return path


@pytest.mark.parametrize("found", ["a é\n", "\ufeffa é\n".encode(), "a é\n".encode("utf-8-sig")])
def test_text_is_utf8_with_or_without_its_mark(tmp_path: Path, found: str | bytes) -> None:
    assert texts.text(file(tmp_path, found)) == "a é\n"


@pytest.mark.parametrize(("found", "says"), [
    ("a".encode("utf-16"), r"not a UTF-8 text file \(it is UTF-16: save it as UTF-8\)"), (b"\xe9", "not a UTF-8 text file"),
])  # fmt: skip
def test_what_is_no_text_is_one_line(tmp_path: Path, found: bytes, says: str) -> None:
    with pytest.raises(SpecError, match=f"/f: {says}$"):
        texts.text(file(tmp_path, found))
    with pytest.raises(SpecError, match=f"--plan f: {says}$"):
        texts.text(file(tmp_path, found), "--plan f")


@pytest.mark.parametrize(("path", "says"), [
    ("gone", "gone: No such file"), (".", r"\.: Is a directory"), ("a\0b", "a zero byte"), ("n" * 300, "too long"), ("/dev/zero", "larger than 128 MiB"),
])  # fmt: skip
def test_what_is_no_file_is_one_line(path: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match=says):
        texts.text(Path(path))
    assert texts.exists(path) == (path in (".", "/dev/zero"))


def test_a_closed_folder_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(path: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "stat", closed)
    with pytest.raises(SpecError, match=r"reading closed/f: Permission denied"):
        texts.exists("closed/f")


@pytest.mark.parametrize(("found", "value"), [
    ("[1, -2.5, true, null]", [1, -2.5, True, None]), ("1" + "0" * 299, 10**299), ("[" * 60 + "]" * 60, None), ('"\\u001b"', "\x1b"),
])  # fmt: skip
def test_json_is_what_it_says(found: str, value: Any) -> None:
    assert texts.json_value(found, "f") == (json.loads(found) if value is None else value)


REFUSED = {
    LONG: "more than 300 digits", "1" + "0" * 400: "more than 300 digits", "-" + LONG: "more than 300 digits", "1e400": "finite, not 1e400",
    "-1e400": "finite, not -1e400", LISTS: "nested too deeply", "[" * 65 + "]" * 65: "nested too deeply", '{"a":' * 3000 + "1" + "}" * 3000: "nested too deeply",
    '{"b": 1, "a": 1, "a": 2}': "'a' is stated twice", '{"x": [{"a": 1, "a": 1}]}': "'a' is stated twice",
}  # fmt: skip


@pytest.mark.parametrize("found", REFUSED, ids=[text[:12] for text in REFUSED])
def test_json_that_nothing_could_compute_with_is_refused(found: str) -> None:
    for whole in (found, f'{{"key": [{found}]}}'):
        with pytest.raises(SpecError, match=f"^f: .*{REFUSED[found]}") as error:
            texts.json_value(whole, "f")
        assert not isinstance(error.value, texts.NoJSON)


@pytest.mark.parametrize("found", ["NaN", "[Infinity]", '{"a": -Infinity}'])
def test_numbers_that_json_does_not_have_are_taken_where_python_writes_them(found: str) -> None:
    with pytest.raises(SpecError, match="must be finite"):
        texts.json_value(found, "f")
    assert str(texts.json_value(found, "f", finite=False)) == str(json.loads(found))


@pytest.mark.parametrize("found", ["", "a", "[1", "{'a': 1}", "[1] 2", '"\x1b"', b"\xff\xff"])
def test_what_is_no_json_is_told_from_what_is_refused(found: str | bytes) -> None:
    with pytest.raises(texts.NoJSON, match=r"^f: not valid JSON"):
        texts.json_value(found, "f")


@pytest.mark.parametrize(("found", "says"), [
    (f"a = {LONG}", "more than 300 digits"), (f"a = 0x{'f' * 5000}", "more than 300 digits"), ("a = nan", "finite"), ("a = [-inf]", "finite"), ("a = 1e400", "finite"),
    (".".join(["a"] * 3000) + " = 1", "nested too deeply"), (f"[{'.'.join(['a'] * 3000)}]\nb = 1", "nested too deeply"), (f"a = {LISTS}", "nested too deeply"),
    ("a = " + "{a = " * 500 + "1" + "}" * 500, "nested too deeply"), ("a = 1\na = 2", "not valid TOML"), ("a", "not valid TOML"), ('a = "\x1b"', "not valid TOML"),
])  # fmt: skip
def test_toml_that_nothing_could_compute_with_is_refused(tmp_path: Path, found: str, says: str) -> None:
    with pytest.raises(SpecError, match=f"/f: .*{says}"):
        texts.toml_table(file(tmp_path, found))


def test_toml_is_what_it_says(tmp_path: Path) -> None:
    assert texts.toml_table(file(tmp_path, "\ufeffa = 1\r\n[b.c]\r\nd = [1e300, 'x']\r\n")) == {
        "a": 1,
        "b": {"c": {"d": [1e300, "x"]}},
    }


@pytest.mark.parametrize("words", ["", 'a"b\\c', "\x1b[2J\n\t\x7f\x00", "\u202e\u200b\U000e0041", "é 日本 😀"])
def test_a_text_of_toml_reads_back_and_drives_nothing(words: str) -> None:
    written = texts.toml_text(words)
    assert tomllib.loads(f"a = {written}") == {"a": words}
    assert written.isprintable()


def test_half_a_character_is_its_number_in_toml() -> None:
    assert tomllib.loads("a = " + texts.toml_text("a\udce9")) == {"a": "a\\udce9"}


@pytest.mark.parametrize(("found", "says"), [
    ("x" * 131_073, "f:1: not a CSV text file: field larger"), ('a\n"x', "f:2: not a CSV text file: unexpected end"), ("a,b\n1\n", r"f:2: not as many cells as the header \(1, not 2\)"),
    ("a,b\n1,2\n\n1,2,3\n", "f:4: not as many cells"), ("a,b,a\n", "f: column 'a' appears twice"),
])  # fmt: skip
def test_a_csv_that_is_cut_or_crooked_is_refused(found: str, says: str) -> None:
    with pytest.raises(SpecError, match=says):
        texts.csv_dicts(found, "f")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_rows_of_a_csv_are_named_by_their_last_line(end: str) -> None:
    found = end.join(["a,b", "1,", "", '"x', 'y",\u2028', ""])
    assert texts.csv_dicts(found, "f") == (
        ["a", "b"],
        [(2, {"a": "1", "b": ""}), (5, {"a": f"x{end}y", "b": "\u2028"})],
    )
    assert texts.csv_dicts("", "f") == ([], [])


@pytest.mark.parametrize(("found", "says"), [
    ("a,c\n", "columns must be a,b"), ("a,b\n1,2\n3\n", ":3: not as many cells"), ("a,b\n1,2,3\n", ":2: not as many cells"),
])  # fmt: skip
def test_what_is_wrong_with_a_table_is_one_line(tmp_path: Path, found: str, says: str) -> None:
    with pytest.raises(SpecError, match=says):
        texts.csv_table(file(tmp_path, found), ("a", "b"))
    assert texts.csv_table(file(tmp_path, "a,b\n1,\n"), ("a", "b")) == [{"a": "1", "b": ""}]


@pytest.mark.parametrize(
    ("cell", "value"), [("1", 1.0), ("-1e-5", -1e-5), ("inf", math.inf), ("1_024", None), ("", None), ("1 000", None)]
)
def test_a_number_is_as_people_write_it(cell: str, value: float | None) -> None:
    if value is None:
        with pytest.raises(ValueError, match=r"number|float"):
            texts.number(cell)
    else:
        assert texts.number(cell) == value


@pytest.mark.parametrize(
    ("digits", "count"),
    [("007", 7), ("9" * 300, int("9" * 300)), (LONG, None), ("-1", None), ("1.0", None), ("²", None), ("", None)],
)
def test_a_count_is_digits_alone(digits: str, count: int | None) -> None:
    assert texts.whole(digits) == count
