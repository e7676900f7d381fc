"""The structure of the house: units, names, documented commands, plug-ins."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from simcost.cli.app import app
from simcost.cli.line import parser
from simcost.model import load as models
from simcost.model.classes.family import families
from simcost.registry import discover

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "simcost").rglob("*.py"))
INSIDE = [
    p
    for p in SOURCES
    if p.parts[-2] in ("ops", "cost", "hardware", "routing", "sharding", "passes", "estimate")
    or "blocks" in p.parts
    or p.name in ("program.py", "plan.py", "lower.py")
]


@pytest.mark.parametrize("path", INSIDE, ids=lambda p: p.stem)
def test_inside_names_carry_si_suffixes_only(path):
    assert not re.findall(r"\b\w+_(?:ms|us|gb|gib|mb|tflops)\b", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: "/".join(p.parts[-2:]))
def test_every_module_says_what_it_is(path):
    assert path.read_text(encoding="utf-8").startswith('"""')


def test_files_stay_small():
    long = {str(p): len(p.read_text(encoding="utf-8").splitlines()) for p in SOURCES}
    assert {p: n for p, n in long.items() if n > 350} == {}


def test_conversion_literals_live_in_units():
    # Bounds on input (hf, quant, grammar, question) and the "per million tokens" of a price are not unit conversions.
    allowed = {"units.py", "hf.py", "quant.py", "grammar.py", "price.py", "question.py"}
    for path in SOURCES:
        if path.name not in allowed:
            assert not re.findall(
                r"\b1e(?:3|6|9|12)\b|2\s*\*\*\s*(?:20|30)\b|\b1024\s*\*", path.read_text(encoding="utf-8")
            ), path


@pytest.mark.parametrize("package", ["simcost.blocks.attention", "simcost.blocks.ffn"])
def test_plug_ins_answer_the_reader(package):
    for module in discover(package).values():
        assert callable(module.claims)
        assert callable(module.from_hf)


def test_every_shipped_model_has_a_source_and_a_known_family():
    import csv

    with (ROOT / "workloads" / "models" / "sources.csv").open(encoding="utf-8") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert sorted(rows) == models.names()
    for name in models.names():
        assert rows[name]["config_source"]
        kind = models.load_config(name)[2]
        kind = kind.get("text_config", kind).get("model_type", kind.get("model_type"))
        assert kind in families()


def test_every_command_has_a_page():
    pages = {path.stem for path in (ROOT / "docs" / "cli").glob("*.md")} - {"index"}
    found = [command.split(" ", 1)[1] for command in commands(parser.whole(app), "simcost")]
    assert pages == {name.replace(" ", "-") for name in found}
    for name in found:
        assert (
            (ROOT / "docs" / "cli" / f"{name.replace(' ', '-')}.md")
            .read_text("utf-8")
            .startswith(f"# simcost {name}\n")
        )


def commands(command, path):
    """Every command that answers, groups opened."""
    inner = getattr(command, "commands", {})
    return [found for name, each in inner.items() for found in commands(each, f"{path} {name}")] or [path]
