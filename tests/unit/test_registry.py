"""Plug-ins are found by their file: private modules stay hidden, names come in order, and no list has to be edited."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from simcost.registry import discover


def package(home: Path, name: str, files: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """A package on the import path that goes with the test."""
    folder = home / name
    folder.mkdir()
    for file, text in {"__init__.py": "", **files}.items():
        (folder / file).write_text(text)
    monkeypatch.syspath_prepend(str(home))
    for module in [key for key in sys.modules if key.partition(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    return name


def test_every_module_is_found_by_its_stem_and_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"zebra.py": "WORD = 'z'", "ant.py": "WORD = 'a'", "notes.txt": "no module"}
    found = discover(package(tmp_path, "plug_ordered", files, monkeypatch))
    assert list(found) == ["ant", "zebra"]
    assert [module.WORD for module in found.values()] == ["a", "z"]


def test_a_private_module_is_not_even_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"_hidden.py": "raise RuntimeError('imported')", "seen.py": ""}
    assert list(discover(package(tmp_path, "plug_private", files, monkeypatch))) == ["seen"]


def test_a_folder_with_a_module_inside_is_a_plug_in_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = package(tmp_path, "plug_nested", {"flat.py": ""}, monkeypatch)
    (tmp_path / name / "deep").mkdir()
    (tmp_path / name / "deep" / "__init__.py").write_text("WORD = 'deep'")
    found = discover(name)
    assert list(found) == ["deep", "flat"]
    assert found["deep"].WORD == "deep"


def test_a_plug_in_that_cannot_be_imported_is_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError):
        discover(package(tmp_path, "plug_broken", {"bad.py": "1 / 0"}, monkeypatch))


@pytest.mark.parametrize("room", ["attention", "ffn", "norm", "embed"])
def test_the_files_of_a_room_of_blocks_are_its_plug_ins(room: str) -> None:
    import simcost.blocks

    home = Path(simcost.blocks.__path__[0]) / room
    assert list(discover(f"simcost.blocks.{room}")) == sorted(
        path.stem for path in home.glob("*.py") if not path.stem.startswith("_")
    )
