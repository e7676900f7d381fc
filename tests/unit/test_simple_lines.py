"""A command line that is read at once says what the parser would; whatever is not simple is left to the parser."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from simcost.cli import question
from simcost.cli.app import app
from simcost.cli.declared import Argument
from simcost.cli.help.examples import EXAMPLES
from simcost.cli.line import direct, parser

COMMANDS = dict(app.leaves())
VALUES = {str: "a=b,c", int: "41", float: "2.5", Path: "f/g.json", list[str]: "x"}
ODD = (
    "", "--help", "decod", "decode --help", "decode --model x --hw y --batch", "decode --model x --hw y --batch=", "decode --model x --hw y word", "decode --model x --hw y -- z",
    "decode --model x --hw y --hw z", "decode --model x --hw y --nonsense 1", "decode --model x --hw y --mod 1", "decode --model x --hw --batch 8", "decode --model x --hw y --strict=1", "decode --model x --hw y -ofile",
    "explain --model x", "show memory --hw y", "list", "cite decode --model x", "train --model x --hw y --no-levers", "calibrate report h200 x", "compare a b --hw h", "schedule gpipe --pp x --microbatches 8",
    "list models -o=x.json", "validate blocks -m=a", "recipe deepseek-v3 --ranges/--no-ranges", "schedule gpipe --pp 4 --microbatches 99999999999999999999", "calibrate run -o f --threads 4",
)  # fmt: skip


def asked(words: list[str]) -> dict[str, Any]:
    """What the parser calls a command with, before plans and pictures are taken out; an empty list is none."""
    found, name = parser.command(app, words), "simcost"
    while hasattr(found, "commands"):
        name, *words = words
        found = found.commands[name]
    with found.make_context(name, list(words)) as context:
        return {key: (value or None) if isinstance(value, (list, tuple)) else value for key, value in context.params.items()}  # fmt: skip


def full(name: str) -> list[str]:
    """A line with a value for every option that takes a simple one."""
    words = name.split()
    for one in question.parameters(COMMANDS[name]):
        if isinstance(one.declared, Argument):
            words.append("f.csv")
        elif one.declared.how.keys() <= {"help", "metavar", "autocompletion"} and "/" not in one.declared.names[0]:
            words += [one.declared.names[-1], *([] if one.kind is bool else [VALUES[one.kind]])]
    return words


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "cite"])
def test_every_simple_option_of_every_command_is_read_as_by_the_parser(name: str) -> None:
    mine, other = direct.line(app, full(name)), asked(full(name))
    assert mine is not None
    assert mine.params == other
    assert {key: type(value) for key, value in mine.params.items()} == {key: type(other[key]) for key in other}


def test_examples_of_the_help_are_read_as_by_the_parser() -> None:
    read = 0
    for words in (shlex.split(line) for lines in EXAMPLES.values() for line in lines):
        mine = direct.line(app, words)
        if mine is not None:
            assert mine.params == asked(words), words
            read += 1
    assert read > 60


@pytest.mark.parametrize("words", ODD)
def test_what_is_not_simple_is_left_to_the_parser(words: str) -> None:
    assert direct.line(app, words.split()) is None


def test_only_the_asked_command_is_made() -> None:
    assert list(parser.command(app, ["decode", "--model", "x"]).commands) == ["decode"]
    shown = parser.command(app, ["show", "memory", "x"])
    assert list(shown.commands) == ["show"]
    assert list(shown.commands["show"].commands) == ["memory"]
    assert set(parser.command(app, ["decod"]).commands) == set(parser.whole(app).commands)
    assert len(parser.command(app, ["show", "--help"]).commands["show"].commands) > 2


def test_a_page_of_names_is_the_same_without_the_options_of_its_commands() -> None:
    for words in ([], ["calibrate"]):
        pages = []
        for found in (parser.command(app, [*words, "--help"]), parser.whole(app)):
            context = None
            for name in ("simcost", *words):
                found = found if context is None else found.commands[name]
                context = found.make_context(name, [], parent=context, resilient_parsing=True)
            pages.append(found.get_help(context))
        assert pages[0] == pages[1]


def test_a_value_of_another_kind_is_unread() -> None:
    assert direct.read(int, "0x10", False) is direct.UNREAD
    assert direct.read(int, 3.0, False) is direct.UNREAD
    assert direct.read(float, "1e3", False) == 1000.0
    assert direct.read(Path, "a/b", False) == Path("a/b")
    assert direct.read(list[str], None, True) == ()


def test_a_simple_question_loads_no_parser() -> None:
    code = "import sys; from simcost.cli.app import run; run(['list', 'engines']); print('typer' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False\n")
