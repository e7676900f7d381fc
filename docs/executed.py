"""Commands that stand in pages of the site: what they print is filled in, and what they draw is kept.

    <!-- run lines=12 -->
    ```console
    $ simcost crossover --model llama-3.1-8b --plot crossover.svg
    ...
    ```

The commands of a page run in order, in one empty folder; each shows its first `lines` lines at 90 columns. With `lines=0` the command stands alone: it
is parsed, and run only for its picture. A picture that a command writes belongs into docs/pictures under the same name: it is drawn where it is missing,
or by `python docs/generate.py --pictures`.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

from simcost.cli.app import app, run
from simcost.cli.line import parser

DOCS = Path(__file__).resolve().parent
PICTURES = DOCS / "pictures"
BLOCK = re.compile(r"(<!-- run lines=(\d+) -->\n```console\n)(.*?)^```$", re.MULTILINE | re.DOTALL)
DRAWN = (".svg", ".png")


def paths() -> list[Path]:
    """Pages with commands to run."""
    return [path for path in sorted(DOCS.rglob("*.md")) if BLOCK.search(path.read_text(encoding="utf-8"))]


def pages(pictures: bool) -> dict[Path, str]:
    """Every page as it should be; pictures are drawn where they are missing, or all of them."""
    kept: dict[tuple[str, ...], list[str]] = {}
    with tempfile.TemporaryDirectory() as folder, inside(Path(folder)):
        found = {path: page(path, kept, pictures) for path in paths()}
        for drawn in sorted(Path(folder).iterdir()):
            place = PICTURES / drawn.name
            if drawn.suffix in DRAWN and (pictures or not place.exists()):
                place.parent.mkdir(exist_ok=True)
                place.write_bytes(drawn.read_bytes())
    return found


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Commands write relative names there, at 90 columns."""
    home, columns = Path.cwd(), os.environ.get("COLUMNS")
    os.chdir(folder)
    os.environ["COLUMNS"] = "90"
    try:
        yield
    finally:
        os.chdir(home)
        os.environ.pop("COLUMNS") if columns is None else os.environ.update(COLUMNS=columns)


def commands(block: str) -> list[str]:
    """Lines after a prompt, with those that a backslash continues."""
    return [match[1].rstrip() for match in re.finditer(r"^\$ ((?:[^\n]*\\\n)*[^\n]*)$", block, re.MULTILINE)]


def page(path: Path, kept: dict[tuple[str, ...], list[str]], pictures: bool) -> str:
    """A page with what its commands print today."""

    def filled(match: re.Match[str]) -> str:
        most, lines = int(match[2]), []
        for command in commands(match[3]):
            said = tuple(words(command, path))
            if said not in kept and not most and not pictures and drawn(said):
                parsed(said, path)
                lines += [f"$ {command}"]
                continue
            if said not in kept:
                kept[said] = answer(said, path)
            printed = kept[said]
            shown = printed[:most]
            while shown and not shown[-1].strip():
                shown.pop()
            lines += [*(["", f"$ {command}"] if lines else [f"$ {command}"]), *shown]
            if most and len(printed) > len(shown):
                lines.append("...")
        return match[1] + "\n".join([*lines, "```"])

    return BLOCK.sub(filled, path.read_text(encoding="utf-8"))


def words(command: str, path: Path) -> list[str]:
    """What stands after the program's name."""
    program, *arguments = shlex.split(command.replace("\\\n", " "))
    if program != "simcost":
        raise SystemExit(f"{path.name}: {command}: only simcost is run")
    return arguments


def drawn(arguments: tuple[str, ...]) -> bool:
    """Are all pictures there that a command writes?"""
    return all((PICTURES / word).exists() for word in arguments if word.endswith(DRAWN))


def parsed(arguments: tuple[str, ...], path: Path) -> None:
    """Every option of a command is one that it has, and takes its value."""
    name, *rest = arguments
    try:
        parser.whole(app).commands[name].make_context(name, rest)
    except Exception as fault:
        raise SystemExit(f"{path.name}: {shlex.join(arguments)}: {fault}") from fault


def answer(arguments: tuple[str, ...], path: Path) -> list[str]:
    """Lines that a command prints."""
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as said, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code = run(list(arguments))
    if code:
        raise SystemExit(f"{path.name}: {shlex.join(arguments)}: exit code {code}: {said.getvalue().strip()[-300:]}")
    return [line.rstrip() for line in out.getvalue().splitlines()]
