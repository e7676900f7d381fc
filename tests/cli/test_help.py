"""--help: two examples of every command that work, summaries that are whole, pages as wide as the terminal."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from simcost.cli.app import app, run
from simcost.cli.help.examples import EXAMPLES, SUBJECTS
from simcost.cli.line import parser

GEMM = "batch,m,n,k,x,w,compute,seconds\n" + "".join(
    f"1,{m},{n},4096,bf16,bf16,bf16,{2e-6 + 2 * m * n * 4096 / 6e14}\n" for m in (16, 64, 256, 1024) for n in (1024, 2048, 4096, 8192)
)  # fmt: skip
# Minutes, a device, a package or a log of an engine: these are read by the parser alone. Their commands have tests of their own.
PARSED = {
    "calibrate run", "calibrate memory", "calibrate import aiconfigurator", "calibrate report", "calibrate transfer", "validate blocks", "validate memory", "validate training", "validate serving",
    "validate recipes", "recipe", "calibrate doctor", "validate kernels", "list models", "list engines", "list hardware --format", "trace",
}  # fmt: skip
EVERY = list(dict.fromkeys(line for lines in EXAMPLES.values() for line in lines))


def commands(found: Any = None, path: str = "") -> Iterator[tuple[str, Any]]:
    found = parser.whole(app) if found is None else found
    yield path, found
    for name, each in getattr(found, "commands", {}).items():
        yield from commands(each, f"{path} {name}".strip())


def test_every_command_has_two_examples_and_every_example_a_command() -> None:
    paths = dict(commands())
    assert set(EXAMPLES) == set(paths)
    for path, lines in EXAMPLES.items():
        assert len(set(lines)) == 2, path
        assert all(f"{line} ".startswith(f"{path} ".lstrip()) for line in lines), path
    assert {name for _, names in SUBJECTS for name in names} <= set(paths)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("examples")
    for name, batch in (("a", "1"), ("b", "64")):
        assert run(["decode", "--model", "llama-3.1-8b", "--hw", "h200", "--batch", batch, "-o", str(found / f"{name}.json")]) == 0  # fmt: skip
    (found / "rows.csv").write_text(GEMM, encoding="utf-8")
    return found


@pytest.mark.parametrize("line", [line for line in EVERY if not line.startswith(tuple(PARSED))])
def test_an_example_runs(line: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    monkeypatch.chdir(folder)
    words = shlex.split(line)
    assert run(words) == 0, capsys.readouterr().err
    out = words[words.index("-o") + 1] if "-o" in words else ""
    assert (folder / out).stat().st_size > 100 if out else len(capsys.readouterr().out) > 100


@pytest.mark.parametrize("line", [line for line in EVERY if line.startswith(tuple(PARSED))])
def test_an_example_that_takes_long_is_read(line: str) -> None:
    words = shlex.split(line)
    command = parser.command(app, words)
    context = None
    while hasattr(command, "commands"):
        context = command.make_context(words[0], words[:1], parent=context, resilient_parsing=True)
        command = command.get_command(context, words.pop(0))
    context = command.make_context(command.name, words, parent=context)
    assert context.args == []


@pytest.mark.parametrize("path", EXAMPLES)
def test_a_page_ends_with_its_examples_and_cuts_no_summary(path: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    monkeypatch.setenv("COLUMNS", "80")
    assert run([*path.split(), "--help"]) == 0
    out = capsys.readouterr().out
    for line in EXAMPLES[path]:
        assert f"\n  simcost {line}\n" in out
    commands = out.partition("\nExamples:")[0].rpartition("\n\nOptions:")[2]
    assert "..." not in commands.partition("\n\n")[2] or "=..." in commands or "hw=..." in commands


def test_commands_stand_by_subject_and_pages_are_as_wide_as_the_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    monkeypatch.setenv("COLUMNS", "150")
    assert run(["--help"]) == 0
    out = capsys.readouterr().out
    where = [out.index(f"\n{heading}:\n") for heading, _ in SUBJECTS]
    assert where == sorted(where)
    assert all(out.count(f"\n  {name} ") == 1 for _, names in SUBJECTS for name in names)
    assert run(["decode", "--help"]) == 0
    wide = max(map(len, capsys.readouterr().out.splitlines()))
    assert 110 < wide <= 150
    monkeypatch.setenv("COLUMNS", "80")
    assert run(["validate", "--help"]) == 0
    narrow = capsys.readouterr().out
    assert "predictions and their intervals." in narrow
    assert max(map(len, narrow.splitlines())) <= 80
