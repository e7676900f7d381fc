"""The docs site: its tree has every page, and the check of its HTML finds what it is for. `.ci/run` builds the site itself."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS))

import built  # noqa: E402 -- it stands beside the pages
import navigation  # noqa: E402

TASKS = sorted((DOCS / "tasks").glob("*.md"))


def leaves(entries: list[Any]) -> Iterator[str]:
    for entry in entries:
        if isinstance(entry, str):
            yield entry
        else:
            for inner in entry.values():
                yield from leaves(inner)


def test_every_page_stands_once_in_the_navigation() -> None:
    found = list(leaves(tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"]))
    assert len(found) == len(set(found))
    assert sorted(found) == sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))


def test_a_new_page_needs_no_edit() -> None:
    """Pages of plug-ins go by the folder of their module; pages that no group names are kept too."""
    groups = navigation.groups("theory")
    assert "mla" in groups["Attention and mixers"]
    assert "zb_v" in groups["Pipeline schedules"]
    for folder in ("howto", "theory", "validation"):
        placed = [stem for pages in navigation.groups(folder).values() for stem in pages]
        assert sorted(placed) == navigation.stems(folder)


def test_every_picture_is_shown_and_every_shown_picture_is_there() -> None:
    shown = set()
    for page in DOCS.rglob("*.md"):
        for name in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / name).is_file(), f"{page.name} shows {name}"
            shown.add((page.parent / name).resolve())
    assert {path for path in (DOCS / "pictures").iterdir() if path.resolve() not in shown} == set()


@pytest.mark.parametrize("page", TASKS, ids=lambda page: page.stem)
def test_a_task_takes_three_commands_and_ends_in_a_picture(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert 1 <= len(re.findall(r"^\$ simcost ", text, re.MULTILINE)) <= 3
    assert "](../pictures/" in text


def test_pages_load_nothing_from_another_host() -> None:
    for page in DOCS.rglob("*.md"):
        assert not re.findall(r"!\[[^\]]*\]\(https?:|<(?:img|script|link|iframe)\b", page.read_text(encoding="utf-8"))


def site(folder: Path, **pages: str) -> Path:
    for name, text in pages.items():
        (folder / f"{name}.html").write_text(f"<html><body>{text}</body></html>", encoding="utf-8")
    return folder


def test_a_sound_site_has_no_fault(tmp_path: Path) -> None:
    (tmp_path / "style.css").write_text("", encoding="utf-8")
    site(
        tmp_path,
        index='<link rel="stylesheet" href="style.css"><a href="other.html#part">o</a><a href="https://example.org">e</a>',
        other='<h2 id="part">p</h2><a href="index.html">i</a><a href="#part">p</a>',
    )
    assert built.faults(tmp_path) == []


@pytest.mark.parametrize(
    ("pages", "fault"),
    [
        ({"index": '<a href="gone.html">g</a>'}, "index.html links to gone.html, which is not there"),
        (
            {"index": '<a href="other.html#gone">g</a>', "other": "x"},
            "index.html links to other.html#gone, whose anchor is not there",
        ),
        ({"index": "x", "orphan": '<a href="index.html">i</a>'}, "no link leads to orphan.html"),
        (
            {"index": '<script src="https://cdn.example.org/a.js"></script>'},
            "index.html loads https://cdn.example.org/a.js from another host",
        ),
        (
            {"index": '<script src="//cdn.example.org/a.js"></script>'},
            "index.html loads //cdn.example.org/a.js from another host",
        ),
        ({"index": '<img src="gone.svg">'}, "index.html links to gone.svg, which is not there"),
    ],
)
def test_faults_are_found(tmp_path: Path, pages: dict[str, str], fault: str) -> None:
    assert built.faults(site(tmp_path, **pages)) == [fault]


def test_an_empty_folder_is_no_site(tmp_path: Path) -> None:
    assert built.faults(tmp_path) == [f"{tmp_path.name} has no index.html"]
