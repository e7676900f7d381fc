"""A message is one line that drives no terminal, and echoes no more than a line's worth of a value."""

from __future__ import annotations

import pytest

from simcost import errors
from simcost.errors import SpecError, line, plain, prose
from simcost.provenance import Kind, Note
from simcost.result import Result

HOSTILE = {
    "ansi": "a\x1b[31mb", "osc": "\x1b]0;title\x07", "c1": "\x9b31m", "nul": "a\0b", "bidi": "\u202eabc\u2066", "zero width": "a\u200bb\ufeff", "arabic mark": "a\u061cb",
    "tag": "\U000e0041", "half": "\udce9", "line ends": "a\u2028b\x85c", "unassigned": "\u0378", "private": "\ue000",
}  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_what_drives_a_terminal_is_written_out(text: str) -> None:
    assert plain(text).isprintable()
    assert plain(text) != text
    assert plain(text).encode("ascii").decode("unicode_escape") == text  # nothing is lost
    for said in (
        str(SpecError(text)),
        str(SpecError(f"f: {text!r} is none")),
        prose(text),
        *Result("x", {}, {}, {}, (text,), (text,), text).warnings,
    ):
        assert said.isprintable()


@pytest.mark.parametrize("text", ["", "a b", "é ü 日本語 😀 ±5 %", "model_type 'x' is not known"])
def test_words_stay_as_they_are(text: str) -> None:
    assert plain(text) == prose(text) == line(text) == str(SpecError(text)) == text


def test_spaces_of_all_kinds_are_a_space() -> None:
    assert plain("1\u00a0%\u3000x") == "1 % x"
    assert line("a\n b\t\r\nc") == "a b c"


@pytest.mark.parametrize(
    "value",
    [
        "m" * 100_000,
        "m m " * 30_000,
        list(range(5000)),
        {str(i): [i] for i in range(5000)},
        "'" * 5000,
        "[" * 5000,
        "\"'" * 3000,
        "9" * 4000,
    ],
)
def test_a_value_is_echoed_up_to_eighty_characters(value: object) -> None:
    said = str(SpecError(f"config.json: 'hidden_size' must be an integer, not {value!r} (one of a, b)"))
    assert said.startswith("config.json: 'hidden_size' must be an integer, not ")
    assert said.endswith(" (one of a, b)")
    assert len(said) < 80 + 80 + 10
    assert line(said) == said


def test_a_short_value_a_path_and_the_models_words_are_whole() -> None:
    path = "/".join(["folder"] * 30)
    said = f"{path}: the model's key 'a' = [1, 2] is not one of 'b', {', '.join(map(repr, range(60)))}; readers' choice"
    assert line(said) == said


def test_a_message_has_an_end() -> None:
    assert len(line("a " * 100_000)) == 2000
    assert len(line("x" * 100_000)) == 300


def test_listeners_hear_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []
    monkeypatch.setattr(errors, "listeners", [lambda text, about: heard.append(text)])
    errors.say("a\n\x1b[2J")
    assert heard == ["a \\x1b[2J"]


def test_a_note_keeps_its_kind() -> None:
    note = Result("x", {}, {}, warnings=(Note("a\x1b", Kind.MISSING, ("key",)), "b\n")).warnings
    assert note == ("a\\x1b", "b")
    assert isinstance(note[0], Note)
    assert (note[0].kind, note[0].about) == (Kind.MISSING, ("key",))
