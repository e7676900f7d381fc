"""The pages of docs/theory, docs/howto and docs/tasks are programs: every python block runs, in order, one namespace a page.

The how-tos' other blocks are files to add: each is written to a scratch folder and loaded as the page says.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from simcost.hardware import load as hardware
from simcost.model import count, flops
from simcost.model import load as models
from simcost.model.spec import from_config

ROOT = Path(__file__).resolve().parents[2]
THEORY, HOWTO = ROOT / "docs" / "theory", ROOT / "docs" / "howto"
GLOSSARY = ROOT / "docs" / "glossary.md"
DOCS = ROOT / "docs"
PAGES = sorted(
    [*THEORY.glob("*.md"), *HOWTO.glob("*.md"), *(DOCS / "tasks").glob("*.md"), DOCS / "start.md", DOCS / "gallery.md"]
)
CONTENTS = "index.md"  # of a section: written by docs/navigation.py


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def plugins() -> list[str]:
    """File stems of every block module, found as the package finds them."""
    found = []
    home = importlib.import_module("simcost.blocks")
    for kind in pkgutil.iter_modules(home.__path__):
        if kind.ispkg:
            package = importlib.import_module(f"simcost.blocks.{kind.name}")
            found += [m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_")]
    return sorted(found)


@pytest.mark.parametrize("page", PAGES, ids=[f"{p.parent.name}/{p.stem}" for p in PAGES])
def test_python_blocks_run(page: Path) -> None:
    # A real module name: dataclasses with slots look their module up while they are made.
    name = f"docs_{page.parent.name}_{page.stem.replace('-', '_')}"
    module = type(sys)(name)
    sys.modules[name] = module
    try:
        for number, source in enumerate(blocks(page, "python"), 1):
            if "simcost.scheduler(" in source:
                pytest.importorskip("distributed")
            exec(compile(source, f"{page.name}, block {number}", "exec"), module.__dict__)
    finally:
        del sys.modules[name]


@pytest.mark.parametrize("page", sorted({*THEORY.glob("*.md")} - {THEORY / CONTENTS}), ids=lambda p: p.stem)
def test_every_theory_page_asserts_numbers(page: Path) -> None:
    assert any("assert " in block for block in blocks(page, "python")), f"{page.name} has no worked example"


@pytest.mark.parametrize("stem", plugins())
def test_every_block_has_a_theory_page(stem: str) -> None:
    assert (THEORY / f"{stem}.md").is_file(), f"simcost/blocks/**/{stem}.py needs docs/theory/{stem}.md"


def test_howto_model_file_loads(tmp_path: Path) -> None:
    (text,) = blocks(HOWTO / "add-a-model.md", "json")
    path = tmp_path / "example-1b.json"
    path.write_text(text, encoding="utf-8")
    short, where, config = models.load_config(str(path))
    model = from_config(config, short, where)
    assert short == "example-1b"
    assert count.parameters(model)["params_total"] == 1_235_814_400


def test_howto_profile_loads(tmp_path: Path) -> None:
    (text,) = blocks(HOWTO / "add-a-gpu.md", "toml")
    path = tmp_path / "profile.toml"
    path.write_text(text, encoding="utf-8")
    device = hardware.load(str(path))
    assert device.bandwidth == 2e12
    assert device.peak("bf16") == 400e12
    assert device.tdp is None


def test_howto_plugin_is_found(tmp_path: Path) -> None:
    """The module of the page, dropped into a copy of the package, claims its layers; nothing else is edited."""
    source = blocks(HOWTO / "add-an-attention-variant.md", "python")[0]
    shutil.copytree(ROOT / "simcost", tmp_path / "simcost", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "simcost" / "blocks" / "attention" / "single_kv.py").write_text(source, encoding="utf-8")
    (tmp_path / "hwprofiles").symlink_to(ROOT / "hwprofiles")
    (tmp_path / "workloads").symlink_to(ROOT / "workloads")
    script = """
from simcost.model import load, count
from simcost.model.spec import from_config
from simcost import query
from simcost.scenarios import phases
import pathlib, json
_, _, config = load.load_config("llama-3.1-8b")
path = pathlib.Path("variant.json")
path.write_text(json.dumps({**config, "single_kv_head": True}))
model = from_config(*[load.load_config(str(path))[i] for i in (2, 0, 1)])
assert {type(b).__name__ for _, b in model.blocks() if b.kind == "attention"} == {"SingleKV"}
assert count.kv_elements(model)["kv_elements_per_token"] == 32 * 256
result = phases.result(query.make(str(path), "h200", True, {"batch": 8, "context": 4096}, {}, {}, None))
assert result.metrics["tpot_s"] > 0
plain = from_config(config, "llama-3.1-8b", "plain")
assert count.kv_elements(plain)["kv_elements_per_token"] == 65536
"""
    run = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr


def test_howto_schedule_is_found(tmp_path: Path) -> None:
    """The file of the page, dropped into a copy of the package, is drawn and trains; nothing else is edited."""
    source = blocks(HOWTO / "add-a-schedule.md", "python")[0]
    shutil.copytree(ROOT / "simcost", tmp_path / "simcost", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "simcost" / "schedules" / "flushed.py").write_text(source, encoding="utf-8")
    (tmp_path / "hwprofiles").symlink_to(ROOT / "hwprofiles")
    (tmp_path / "workloads").symlink_to(ROOT / "workloads")
    script = """
import simcost
found = simcost.schedule(["flushed", "1f1b"], pp=4, microbatches=16)
assert found.rows[-1]["schedule"] == "flushed", found.rows
plan = {"plan.tp": 2, "plan.pp": 4, "plan.schedule": "flushed"}
step = simcost.train("llama-3-8b", "h200", gpus=8, set=plan, levers=False)
assert step.inputs["plan"]["schedule"] == "flushed"
assert step.metrics["bubble_fraction"] > 0.4
"""
    run = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr


def test_glossary_training_flops() -> None:
    """The table of conventions shows what the function says."""
    _, _, config = models.load_config("deepseek-v3")
    model = from_config(config, "deepseek-v3", "deepseek-v3.json")
    shown = dict(
        re.findall(r"^\| `([\w-]+)` \| [^|]+ \| ([0-9.]+) \|", GLOSSARY.read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert len(shown) == 7
    assert shown == {name: f"{flops.flops_per_token(model, 4096.0, name) / 1e9:.1f}" for name in shown}


def test_links_between_pages() -> None:
    pages = [*ROOT.glob("docs/**/*.md"), *ROOT.glob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
