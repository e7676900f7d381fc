"""-o x.png, --figure, --width and --plot at the command line: what is drawn, and what is refused in a line before the work."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import pytest

from simcost.cli.app import run

LLAMA = ["--model", "llama-3.1-8b", "--hw", "h200"]


@pytest.mark.parametrize(("words", "says"), [
    (["list", "models", "-o", "a.png"], "-o a.png: 'list models' has no figure; these have: calibrate memory, calibrate report, calibrate transfer, compare"),
    (["show", "hardware", "h200", "-o", "a.pdf"], "-o a.pdf: 'show hardware' has no figure; these have:"),
    (["decode", *LLAMA, "--figure", "memory"], "--figure memory applies to a picture only: use -o with a name that ends in .png, .svg, .pdf"),
    (["decode", *LLAMA, "--width", "column", "-o", "a.html"], "--width column applies to a picture only"),
    (["decode", *LLAMA, "--figure", "crossover", "-o", "a.png"], "--figure crossover: an answer of 'decode' may have sweep, designs, pareto, breakdown, memory; crossover is of crossover"),
    (["decode", *LLAMA, "--figure", "sweep", "-o", "a.png"], "--figure sweep: this answer of 'decode' has breakdown, memory; sweep is of"),
    (["decode", *LLAMA, "--figure", "memry", "-o", "a.png"], "--figure must be one of"),
    (["decode", *LLAMA, "--width", "poster", "-o", "a.png"], "--width must be one of slide, column, not 'poster'"),
    (["decode", *LLAMA, "--format", "csv", "-o", "a.svg"], "--format csv contradicts -o a.svg"),
    (["decode", *LLAMA, "--format", "figure"], "--format must be one of console, csv, markdown, json, not 'figure'"),
    (["decode", *LLAMA, "-o", "none/a.png"], "-o none/a.png: No such file or directory"),
    (["decode", *LLAMA, "-o", "a.gif"], "-o a.gif: the suffix .gif is not a known format"),
    (["crossover", "--model", "llama-3.1-8b", "--plot", "a.gif"], "--plot a.gif: the name must end in .png, .svg, .pdf or .html"),
    (["plans", *LLAMA, "--gpus", "1", "--plot", "a.png"], "--plot does not apply to --phase decode: use -o x.png"),
])  # fmt: skip
def test_what_cannot_be_drawn_is_one_line(words: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert run(words) == 2
    said = capsys.readouterr()
    (line,) = (one for one in said.err.splitlines() if "on first use" not in one)  # curves that no cache holds
    assert says in line
    assert said.out == ""
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib_a_picture_is_refused_before_the_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert run(["crossover", "--model", "llama-3.1-8b", "-o", str(tmp_path / "a.png")]) == 2
    assert capsys.readouterr().err.endswith("a.png needs matplotlib: pip install 'simcost[plot]'\n")


def test_a_picture_is_as_wide_as_is_asked(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for width, pixels in (("slide", 9.0 * 150), ("column", 3.3 * 300)):
        target = tmp_path / f"{width}.png"
        assert run(["crossover", "--model", "llama-3.1-8b", "-o", str(target), "--width", width]) == 0
        assert struct.unpack(">I", target.read_bytes()[16:20])[0] == pytest.approx(pixels)


def test_plot_draws_beside_the_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    assert (
        run(["crossover", "--model", "llama-3.1-8b", "--plot", str(tmp_path / "a.svg"), "-o", str(tmp_path / "b.svg")])
        == 0
    )
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert capsys.readouterr().out == ""
