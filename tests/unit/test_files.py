"""Files and folders stand whole or as they were."""

from __future__ import annotations

from pathlib import Path

import pytest

from simcost.errors import SpecError
from simcost.files import folder_in_place_of, write_whole


def test_a_file_takes_the_place_of_another(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    write_whole(path, "one")
    write_whole(path, "two")
    assert path.read_text() == "two"
    assert [one.name for one in path.parent.iterdir()] == ["a.txt"]
    with pytest.raises(SpecError, match="Is a directory"):
        write_whole(path.parent, "three")
    assert path.read_text() == "two"


def test_a_folder_takes_the_place_of_another_or_leaves_it(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with folder_in_place_of(home) as new:
        (new / "a").write_text("one")
    with pytest.raises(SpecError, match="No such file"), folder_in_place_of(home) as new:
        (new / "missing" / "b").write_text("never")
    assert [one.name for one in home.iterdir()] == ["a"]
    with folder_in_place_of(home) as new:
        (new / "d").write_text("two")
    assert [one.name for one in home.iterdir()] == ["d"]
    assert list(tmp_path.iterdir()) == [home]
