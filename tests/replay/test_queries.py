"""Five hundred recorded questions are answered as they were (`queries/record.py`): nothing moves unseen."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "queries"))

import record  # the script that writes the answers also compares them

PARTS = 10


@pytest.fixture(scope="module")
def kept() -> list[dict[str, object]]:
    return record.lines()


@pytest.mark.parametrize("part", range(PARTS))
def test_questions_are_answered_as_recorded(part: int, kept: list[dict[str, object]]) -> None:
    moved = {
        f"{line['command']} {line['asked']}": found
        for line in kept[part::PARTS]
        if (found := record.differences(line, record.NEAR))
    }
    assert not moved, (
        f"{len(moved)} of {len(kept[part::PARTS])} moved; if on purpose, run tests/replay/queries/record.py"
    )


def test_questions_are_of_every_command_and_most_are_answered(kept: list[dict[str, object]]) -> None:
    assert Counter(line["command"] for line in kept) == Counter(record.COUNTS)
    assert sum("refused" not in line["answer"] for line in kept) > 0.8 * len(kept)


def test_what_moved_is_told_by_name(kept: list[dict[str, object]]) -> None:
    line = json.loads(
        json.dumps(next(line for line in kept if line["command"] == "decode" and "refused" not in line["answer"]))
    )
    name, value = next((k, v) for k, v in line["answer"]["metrics"].items() if isinstance(v, float) and v)
    line["answer"]["metrics"][name] = 1.001 * value
    assert [text.split(":")[0] for text in record.differences(line, record.NEAR)] == [f"metrics.{name}"]
