"""Writes the pictures of docs/howto/pictures.md beside it: every command of the page that draws one, run as it stands there."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from simcost.cli.app import run

PAGE = Path(__file__).parent / "howto" / "pictures.md"


def commands(text: str) -> list[list[str]]:
    """Words of every command of a page that draws a picture, without "simcost"."""
    lines = (line.strip() for line in text.splitlines() if line.startswith("    simcost "))
    return [words[1:] for words in map(shlex.split, lines) if words[-1].endswith(".png")]


def main() -> int:
    """Exit code: that of the first command that fails."""
    found = commands(PAGE.read_text(encoding="utf-8"))
    os.chdir(PAGE.parent / "pictures")
    return next((code for words in found if (code := run(words))), 0)


if __name__ == "__main__":
    sys.exit(main())
