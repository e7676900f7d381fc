"""What docs/structure.md shows stays within its bars."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs"))

import structure  # noqa: E402 -- it stands beside the page that it writes


def test_what_is_public_says_what_it_is() -> None:
    rooms = structure.rooms()
    public, silent = (sum(len(getattr(room, name)) for room in rooms) for name in ("public", "silent"))
    assert 1.0 - silent / public >= structure.BAR_DOCSTRINGS


def test_functions_stay_small() -> None:
    found = {name: lines for room in structure.rooms() for name, lines in room.functions.items()}
    assert {name: lines for name, lines in found.items() if lines > structure.BAR_FUNCTION} == {}
