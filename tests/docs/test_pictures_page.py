"""docs/howto/pictures.md: every kind of figure has its command, which is one, and its picture."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from simcost.cli.app import run
from simcost.cli.pictures.pictured import NAMES
from simcost.report.figures import kinds

HOWTO = Path(__file__).parents[2] / "docs" / "howto"
TEXT = (HOWTO / "pictures.md").read_text(encoding="utf-8")
_spec = importlib.util.spec_from_file_location("pictures", HOWTO.parent / "pictures.py")
assert _spec is not None
assert _spec.loader is not None
pictures = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(pictures)
COMMANDS = {words[-1].removesuffix(".png"): words for words in pictures.commands(TEXT)}


def test_every_kind_has_a_command_and_a_picture() -> None:
    assert set(COMMANDS) == set(kinds.KINDS) == set(NAMES)
    for name, words in COMMANDS.items():
        picture = HOWTO / "pictures" / f"{name}.png"
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert picture.stat().st_size <= 100_000
        assert re.search(rf"!\[[^\]]+\]\(pictures/{name}\.png\)", TEXT)
        command = " ".join(words[: 2 if words[0] in ("show", "validate", "calibrate") else 1])
        assert name in kinds.commands()[command]


@pytest.mark.parametrize("name", ["crossover", "memory", "timeline"])  # which need no curves
def test_the_commands_draw(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    assert run(COMMANDS[name]) == 0
    assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
