"""What a package index and a citation manager read: one version everywhere, files that exist, and a description without links that lead nowhere."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

import simcost

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LINK = re.compile(r"\]\((?![a-z]+:|#)[^)]+\)")


def test_the_metadata_are_complete() -> None:
    project = PROJECT["project"]
    assert project["version"] == simcost.__version__
    for key in ("description", "authors", "keywords", "classifiers", "license", "license-files", "requires-python"):
        assert project[key], key
    oldest = project["requires-python"].removeprefix(">=")
    assert f"Programming Language :: Python :: {oldest}" in project["classifiers"]
    assert not any(
        each.startswith("License ::") for each in project["classifiers"]
    )  # refused beside a licence expression (PEP 639)
    assert not [url for url in project.get("urls", {}).values() if not url.startswith("https://")]


def test_the_source_distribution_holds_what_it_names() -> None:
    named = PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert [name for name in named if not (ROOT / name).exists()] == []
    assert {"tests", "docs", "CITATION.cff", *PROJECT["project"]["license-files"]} <= set(named)


def test_the_description_of_the_package_has_no_link_into_the_repository() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(LINK.findall(text)) > 5
    hook = PROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    assert PROJECT["project"]["dynamic"] == ["readme"]
    assert [each["path"] for each in hook["fragments"]] == ["README.md"]
    shown = text
    for each in hook["substitutions"]:
        shown = re.sub(each["pattern"], each["replacement"], shown)
    assert LINK.findall(shown) == []
    targets = set(re.findall(r"(?<!\!)\[[^\]]+\]\((?![a-z]+:|#)([^)]+)\)", text))
    assert [target for target in targets if target not in shown] == []  # each is still named
    assert len(shown) > 0.95 * len(text)
    captions = re.findall(r"^!\[.*\n\n(\*.*\*)$", text, re.MULTILINE)
    assert captions
    assert [words for words in captions if words[:60] in shown] == []  # without its picture a caption says nothing


def test_the_citation_is_of_this_version() -> None:
    """Keys that version 1.2.0 of the Citation File Format asks for, and what stands in pyproject.toml too."""
    found = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert found["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= found.keys()
    assert found["type"] == "software"
    assert str(found["version"]) == simcost.__version__
    assert found["license"] == PROJECT["project"]["license"]
    assert [each["name"] for each in found["authors"]] == [each["name"] for each in PROJECT["project"]["authors"]]
