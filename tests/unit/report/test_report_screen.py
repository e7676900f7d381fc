"""A page without colours is what rich would write, to the byte, and rich is not loaded for it."""

from __future__ import annotations

import random
import re
import subprocess
import sys

import pytest
from rich.cells import cell_len

from simcost.report import screen
from simcost.report.screen import BARE, RULED, Part, Table, Words, text

PIECES = ("a", "tokens/s", "1,466", "x" * 31, "99.3 %", "(90 %)", "–", "≤ 3", "half-\nwidth", "two\n\nlines", "", " lead", "trail  ", "O(N²d)", "tp=4,ep=8,pp=2")  # fmt: skip


def by_rich(parts: list[Part], width: int) -> str:
    return screen._of_rich(parts, width)


def words(draw: random.Random, most: int) -> str:
    return " ".join(draw.choice(PIECES) for _ in range(draw.randint(0, most)))


def table(draw: random.Random) -> Table:
    found = Table(
        draw.choice(("", "title", words(draw, 9).replace("\n", " "))), draw.choice((RULED, RULED, BARE)), draw.random() < 0.7,
        *draw.choice((((1, 1), False), ((1, 2), True))),
    )  # fmt: skip
    columns = draw.randint(1, 5)
    for _ in range(columns):
        how = {"justify": draw.choice(("left", "right"))}
        if draw.random() < 0.5:
            least = draw.randint(1, 20)
            how |= {"min_width": least, "max_width": least + draw.randint(0, 9), "overflow": "fold", "vertical": "top"}
        elif draw.random() < 0.3:
            how |= {"width": draw.randint(4, 40), "no_wrap": True}
        found.add_column(words(draw, 2), **how)
    for _ in range(draw.randint(1, 4)):
        found.add_row(*(words(draw, 3) for _ in range(columns)))
    return found


@pytest.mark.parametrize("seed", range(12))
def test_random_tables_are_written_as_by_rich(seed: int) -> None:
    draw = random.Random(seed)
    own = 0
    for _ in range(25):
        part, width = table(draw), draw.randint(30, 160)
        mine = screen._table(part, width)
        if mine is not None:
            assert [line.rstrip() for line in mine] == by_rich([part], width).splitlines()
            own += 1
    assert own >= 8


@pytest.mark.parametrize("width", [7, 30, 80])
def test_random_lines_are_cut_as_by_rich(width: int) -> None:
    draw = random.Random(width)
    parts: list[Part] = [Words(words(draw, 14), "dim", draw.choice((0, 0, 2))) for _ in range(60)]
    parts[0].append("█" * 40, "blue")  # type: ignore[union-attr]
    assert screen.written(parts, width) == by_rich(parts, width)


def test_what_is_written_here_is_one_column_wide() -> None:
    allowed = [chr(code) for code in range(0x20, 0x3000) if not screen._ODD.search(chr(code))]
    assert len(allowed) > 1000
    assert [one for one in allowed if cell_len(one) != 1] == []


@pytest.mark.parametrize("odd", ["模型", "\u0301", "🙂"])
def test_characters_of_another_width_are_left_to_rich(odd: str) -> None:
    part = Table("t")
    part.add_column("name")
    part.add_row(odd)
    assert screen._table(part, 80) is None
    assert screen.written([part, text("end")], 80) == by_rich([part, text("end")], 80)


def test_a_table_that_is_too_wide_is_left_to_rich() -> None:
    part = Table()
    part.add_column("a")
    part.add_row("word " * 30)
    assert screen._table(part, 80) is None
    assert max(map(len, screen.written([part], 80).splitlines())) <= 80


def test_words_are_never_markup_and_drive_no_terminal() -> None:
    part = Table("[bold]t\x1b[2J")
    part.add_column("[red]")
    part.add_row("\x1b]0;x\x07")
    found = screen.written([part, text("[link]\x1b[31m")], 80)
    assert "\x1b" not in found
    assert {"[bold]", "[red]", "[link]"} <= set(re.findall(r"\[[a-z]+\]", found))


def test_a_page_in_a_pipe_loads_no_rich() -> None:
    code = "import sys; from simcost.cli.app import run; run(['list', 'engines']); print('rich' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False\n")
