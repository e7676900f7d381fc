"""Packages outside the tree add variants by entry points: an attention variant, and a kernel class that is measured, judged and asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from simcost import registry
from simcost.errors import SimcostError

FAMILY = '''
"""Running sums along the rows of a matrix."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from simcost.calibration.columns import Column, X
from simcost.calibration.family import kernel_terms
from simcost.dtypes import Dtype, dtype
from simcost.ops.work import Work

COLUMNS = {"rows": Column("rows", "count"), "width": Column("elements of a row", "count")}
WORDS = {"x": X}
NUMBERS, LABELS, LENGTHS = tuple(COLUMNS), tuple(WORDS), None
STAND_IN = 0.6


@dataclass(frozen=True, slots=True)
class Scan:
    rows: float
    width: float
    x: Dtype
    family: ClassVar[str] = "scan"
    gradient: ClassVar[str] = ""
    formula: ClassVar[str] = "rows x width additions"
    source: ClassVar[str] = "torch.cumsum"
    peak: ClassVar[str] = "vector"

    def work(self):
        size = self.x.tensor_bytes(self.rows * self.width)
        return Work(self.rows * self.width, size, size)

    def coords(self):
        return {"rows": self.rows, "width": self.width, "dtype": self.x.name}

    def workspace_bytes(self):
        return 2.0 * self.x.tensor_bytes(self.rows * self.width)

    def saved_bytes(self):
        return 0.0

    def input_grad(self):
        return (self,)

    def weight_grad(self, sums=None):
        return ()


def op(numbers, labels):
    return Scan(numbers["rows"], numbers["width"], dtype(labels["x"], "x"))


def labels(op):
    return {"x": op.x.name} if isinstance(op, Scan) else None


def covers(op):
    return True


def relatives(labels):
    return []


def numbers(op):
    return {"rows": op.rows, "width": op.width}


def terms(op, device):
    return kernel_terms(op, device, op.work(), 0.0, ())


def features(op):
    return np.log(op.rows * op.width), np.log(op.width)


def site(op):
    return op.width, np.log(op.rows)
'''
KERNEL = '''
"""torch.cumsum."""

from functools import partial

import torch

from simcost.measure.kernels.kernel import Kernel
from simcost.measure.points.kernel_class import of_a_step
from simcost.measure.points.rounding import whole
from simcost.measure.points.sobol import log_between
from simcost.measure.timing.buffers import error, tolerance


def build(op, bench, copies):
    rows, width = int(op.rows), int(op.width)
    inputs = [bench.take((rows, width), op.x.name) for _ in range(copies)]
    wrong = lambda: error(torch.cumsum(inputs[0], 1)[:8], torch.cumsum(inputs[0][:8].double(), 1))
    return Kernel([partial(torch.cumsum, x, 1) for x in inputs], wrong, 20 * tolerance(op.x.name), "cumsum")


def kinds(format_, target):
    x = of_a_step(format_, target)
    return [] if x is None else [({"x": x}, 1.0)]


def draw(kind, u, large):
    return {"rows": log_between(u[0], 1.0, 4096.0), "width": log_between(u[1], 64.0, 2048.0)}


def rounded(kind, x):
    return whole(x["rows"]), whole(x["width"], 8)
'''
ATTENTION = '''
"""One head of keys and values for configs that say so."""

from dataclasses import dataclass

from simcost.blocks.attention.gqa import GQA, dimensions
from simcost.blocks.swap import Chosen, Swap

HANDLES = ("outside_heads",)
BY_KEYS = ("outside_heads",)
SWAPS = {"outside": Swap(lambda design, text: [Chosen("outside_heads", True, "asked for")], "outside")}


@dataclass(frozen=True, slots=True)
class OutsideHeads(GQA):
    pass


def claims(r, layer, layers):
    return 2 if r.has("outside_heads") else 0


def from_hf(r, layer, layers):
    r.raw("outside_heads")
    return OutsideHeads(**{**dimensions(r), "num_key_value_heads": 1.0})
'''
ENTRIES = """[console_scripts]
other = other:main

[simcost.blocks.attention]
outside_heads = outside_attention

[simcost.calibration.families]
scan = outside_family

[simcost.measure.kernels]
scan = outside_kernel:anything
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder as pip leaves it: modules, and what they declare."""
    home = tmp_path / "site"
    (home / "outside-1.0.dist-info").mkdir(parents=True)
    (home / "outside-1.0.dist-info" / "entry_points.txt").write_text(ENTRIES, encoding="utf-8")
    for name, text in (("family", FAMILY), ("kernel", KERNEL), ("attention", ATTENTION)):
        (home / f"outside_{name}.py").write_text(text, encoding="utf-8")
    return home


def simcost(package: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(package), os.environ.get("PYTHONPATH", "")])}
    return subprocess.run(
        [sys.executable, "-m", "simcost", *words], capture_output=True, text=True, check=False, env=env, timeout=1200
    )


def test_a_kernel_class_is_measured_judged_and_asked(package: Path, tmp_path: Path) -> None:
    """Its two files are all that there is of it: the run draws, rounds and times its points, the curve answers for its op."""
    out = tmp_path / "mine"
    run = simcost(
        package, "calibrate", "run", "-o", str(out), "--family", "scan", "--dtype", "fp32", "--mode", "quick", "--budget", "1h",
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    rows = (out / "measurements" / "isolated" / "scan" / "fp32.csv").read_text(encoding="utf-8").splitlines()
    assert rows[0].startswith("rows,width,seconds")
    assert len(rows) > 20
    profile = str(out)
    report = simcost(package, "calibrate", "report", profile, "--family", "scan", "--format", "json")
    assert report.returncode == 0, report.stderr
    (curve,) = [row for row in json.loads(report.stdout)["rows"] if row["table"] == "curves"]
    assert curve["curve"] == "scan fp32"
    assert curve["median_error"] < 1.0
    asked = f"""
from outside_family import Scan
from simcost.cost import calibrated
from simcost.dtypes import dtype
from simcost.hardware import load
cost = calibrated.model(load.load({profile!r}))(Scan(512.0, 512.0, dtype("fp32")))
print(cost.fitted_s / cost.seconds)
"""
    env = {**os.environ, "PYTHONPATH": str(package)}
    found = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=False, env=env)
    assert found.returncode == 0, found.stderr
    assert float(found.stdout) == pytest.approx(1.0)


def test_an_attention_variant_answers_a_query(package: Path, tmp_path: Path) -> None:
    plain = {
        "model_type": "llama", "hidden_size": 1024, "num_hidden_layers": 4, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 64,
        "intermediate_size": 4096, "vocab_size": 32000, "torch_dtype": "bfloat16", "tie_word_embeddings": False,
    }  # fmt: skip
    file = tmp_path / "variant.json"
    file.write_text(json.dumps({**plain, "outside_heads": True}), encoding="utf-8")
    shown = simcost(package, "show", "model", str(file), "--format", "json")
    assert shown.returncode == 0, shown.stderr
    document = json.loads(shown.stdout)
    assert document["metrics"]["kv_elements_per_token"] == 4 * 2 * 64
    assert "OutsideHeads" in {row.get("block") for row in document["rows"]}
    assert simcost(package, "decode", "--model", str(file), "--hw", "h100").returncode == 0


def test_an_attention_variant_is_a_swap(package: Path) -> None:
    """There and back, and refused by the names of all swaps."""
    words = ("show", "model", "deepseek-v3", "--format", "json", "--set")
    swapped = simcost(package, *words, "model.attention=outside", "--set", "model.head_dim=128")
    assert swapped.returncode == 0, swapped.stderr
    document = json.loads(swapped.stdout)
    assert document["metrics"]["kv_elements_per_token"] == 61 * 2 * 128
    assert {row["key"]: row["after"] for row in document["dimensions"]}["outside_heads"] is True
    unknown = simcost(package, *words, "model.attention=outsid")
    assert unknown.returncode == 2
    assert "did you mean 'outside'?" in unknown.stderr


def test_what_cannot_be_imported_or_is_there_already_is_one_line(package: Path) -> None:
    entries = package / "outside-1.0.dist-info" / "entry_points.txt"
    for text, said in (
        ("gqa = outside_attention", "already has a plug-in 'gqa'"),
        ("nine = no_such_module", "cannot be imported"),
    ):
        entries.write_text(f"[simcost.blocks.attention]\n{text}\n", encoding="utf-8")
        found = simcost(package, "decode", "--model", "llama-3.1-8b", "--hw", "h100")
        assert found.returncode == 2
        assert said in found.stderr
        assert "outside-1.0.dist-info" in found.stderr
        assert found.stderr.count("\n") == 1


def test_folders_that_are_none_are_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path / "none"), *sys.path])
    registry._declared.cache_clear()
    assert "gqa" in registry.discover.__wrapped__("simcost.blocks.attention")
    monkeypatch.setattr(registry, "_declared", lambda: {"simcost.blocks.attention": [("gqa", "x", "y")]})
    with pytest.raises(SimcostError, match="already"):
        registry.discover.__wrapped__("simcost.blocks.attention")
