"""A command line that is read at once says what the parser's own machinery would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer

from simcost.cli import fast_parser
from simcost.cli.app import app

LINES = (
    "decode --model x --hw y", "decode --model x --hw y --batch 12 --price 2.5 --set a=1 --set b=2 -o f.json --strict", "prefill --model x --hw y --isl 7 --vary batch=1,2",
    "show memory x --hw y --gpus 8", "list models", "compare a b c --hw h", "calibrate memory log.txt --hw h100 --model m", "validate memory logs.csv", "plans --model m --hw h --gpus 8",
    "explain --model m --hw h --phase prefill --isl 5", "crossover --model m --hw h --format json",
    "decode --model m --hw h --tp 8 --dp-attention 2 --plan f.toml --context 64k", "plans --model m --hw h --gpus 8 --cp --tp 4",
)  # fmt: skip


def parsed(command: Any, words: list[str]) -> dict[str, Any]:
    """What the command is called with."""
    name = "simcost"
    while words and words[0] in getattr(command, "commands", {}):
        name = words.pop(0)
        command = command.commands[name]
    with command.make_context(name, words) as context:
        return dict(context.params)


@pytest.mark.parametrize("line", LINES)
def test_simple_values_are_those_of_the_parser(line: str) -> None:
    mine, other = (
        parsed(fast_parser.command(app, line.split()), line.split()),
        parsed(typer.main.get_command(app), line.split()),
    )
    assert mine == other
    assert {name: type(value) for name, value in mine.items()} == {name: type(value) for name, value in other.items()}


@pytest.mark.parametrize(
    "words",
    [
        "--batch x",
        "--batch 1.5",
        "--batch 1e3",
        "--price nan-",
        "--nonsense 1",
        "--price 1,5",
        "--batch 99999999999999999999",
    ],
)
def test_what_is_not_simple_is_left_to_the_parser(words: str) -> None:
    line = ["decode", "--model", "x", "--hw", "y", *words.split()]
    said = []
    for command in (fast_parser.command(app, line), typer.main.get_command(app)):
        try:
            said.append(str(parsed(command, list(line))))
        except Exception as error:
            said.append(error.format_message())  # type: ignore[attr-defined]
    assert said[0] == said[1]


def test_only_the_asked_command_is_made() -> None:
    assert list(fast_parser.command(app, ["decode", "--model", "x"]).commands) == ["decode"]
    shown = fast_parser.command(app, ["show", "memory", "x"])
    assert list(shown.commands) == ["show"]
    assert list(shown.commands["show"].commands) == ["memory"]
    assert set(fast_parser.command(app, ["decod"]).commands) == set(typer.main.get_command(app).commands)
    assert len(fast_parser.command(app, ["--help"]).commands) > 5
    assert len(fast_parser.command(app, ["show", "--help"]).commands["show"].commands) > 2


def test_a_value_of_another_kind_is_unread() -> None:
    assert fast_parser._read(int, "0x10", False) is fast_parser._UNREAD
    assert fast_parser._read(int, 3.0, False) is fast_parser._UNREAD
    assert fast_parser._read(float, "1e3", False) == 1000.0
    assert fast_parser._read(Path, "a/b", False) == Path("a/b")
    assert fast_parser._read(list[str], None, True) == ()
