"""Data files of precisions and optimizers: what ships is whole, and what is wrong in a file is said in one line with
file and key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simcost.dtypes import dtype
from simcost.errors import SpecError
from simcost.files import folder
from simcost.sharding.shard import Weight
from simcost.training import optimizer, precision

LOAD: dict[str, Callable[[str], Any]] = {"precisions": precision.load, "optimizers": optimizer.load}


def test_what_a_user_may_name() -> None:
    assert precision.names() == [
        "bf16",
        "bf16-pure",
        "fp16",
        "fp32",
        "fp8-block",
        "fp8-row",
        "fp8-tensor",
        "fp8-tensor-ends-bf16",
        "mxfp8",
        "nvfp4",
        "nvfp4-last-bf16",
    ]
    assert optimizer.names() == ["adamw", "adamw-8bit", "adamw-bf16-moments", "muon", "sgd"]
    for kind, names in (("precisions", precision.names()), ("optimizers", optimizer.names())):
        for name in names:
            found = LOAD[kind](name)
            assert (found.name, bool(found.title)) == (name, True)
            assert all(found.sources.values())
            assert len({found, LOAD[kind](name)}) == 1  # it may be part of a key


def written(kind: str, name: str, tmp_path: Path, was: str, now: str) -> str:
    """A shipped file with one change, as a file of the user's."""
    text = (folder("workloads") / kind / f"{name}.toml").read_text(encoding="utf-8")
    assert was in text
    path = tmp_path / f"{name}.toml"
    path.write_text(text.replace(was, now, 1), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("kind", "name", "was", "now", "said"),
    [
        ("precisions", "bf16", "master =", "mastr =", r"bf16.toml: unknown key 'mastr' .*did you mean 'master'"),
        (
            "precisions",
            "bf16",
            'weight = { value = "bf16"',
            'weight = { value = "bf17"',
            r"bf16.toml: 'weight': unknown dtype 'bf17'",
        ),
        (
            "precisions",
            "fp8-block",
            '"attention", ',
            '"atention", ',
            r"'narrow' = 'atention' is not one of .*did you mean 'attention'",
        ),
        ("precisions", "bf16", "value = false", 'value = "no"', r"'loss_scaling' must be true or false, not 'no'"),
        (
            "precisions",
            "fp8-block",
            "value = 12.25",
            "value = 0",
            r"'saved_core_output_bits' must be a number above 0, not 0",
        ),
        ("precisions", "bf16", ', source = "as weight"', "", r"'wide_weight' must be { value, source }"),
        (
            "precisions",
            "bf16",
            'source = "as weight"',
            'source = ""',
            r"'wide_weight': its source or reason must be a text",
        ),
        ("precisions", "bf16", "schema = 1", "schema = 2", r"bf16.toml: needs schema = 1"),
        ("precisions", "bf16", "value = []", 'value = "ffn"', r"'narrow' must be a list, not 'ffn'"),
        (
            "optimizers",
            "adamw",
            "[gradients]",
            "[gradient]",
            r"adamw.toml: unknown key 'gradient' .*did you mean 'gradients'",
        ),
        (
            "optimizers",
            "adamw",
            "states =",
            "state =",
            r"adamw.toml: \[step\]: unknown key 'state' .*did you mean 'states'",
        ),
        ("optimizers", "adamw", "norm = { value = true", "norm = { value = false", r"clip = true needs the norm"),
        (
            "optimizers",
            "muon",
            '"blockwise"',
            '"block-wise"',
            r"'tensor_parallel' = 'block-wise' is not one of blockwise, duplicated",
        ),
        (
            "optimizers",
            "muon",
            "iterations = { value = 5",
            "iterations = { value = -5",
            r"'iterations' must be a number above 0",
        ),
    ],
)
def test_a_faulty_file_is_refused_by_key(kind: str, name: str, was: str, now: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=said):
        LOAD[kind](written(kind, name, tmp_path, was, now))


@pytest.mark.parametrize("kind", sorted(LOAD))
def test_a_file_without_a_key_is_refused(kind: str, tmp_path: Path) -> None:
    """Each line with a term, taken away, is missed by name, unless it may be absent."""
    for path in sorted((folder("workloads") / kind).glob("*.toml")):
        lines = path.read_text(encoding="utf-8").splitlines()
        for at, line in enumerate(lines):
            key = line.partition(" =")[0]
            if "{ value" not in line or key.startswith(("saved_", "tensor_scale", "wide_")):
                continue
            home = tmp_path / f"{path.stem}-{at}"
            home.mkdir()
            other = home / path.name
            other.write_text("\n".join(lines[:at] + lines[at + 1 :]), encoding="utf-8")
            with pytest.raises(SpecError, match=f"has no {key}"):
                LOAD[kind](str(other))


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(SpecError, match=r"unknown precision 'fp8-blok' .*did you mean 'fp8-block'"):
        precision.load("fp8-blok")
    with pytest.raises(SpecError, match=r"unknown optimizer 'adam' .*did you mean 'adamw'"):
        optimizer.load("adam")


def test_a_file_of_a_user_is_a_precision_too(tmp_path: Path) -> None:
    found = precision.load(
        written("precisions", "bf16", tmp_path, 'gradient = { value = "fp32"', 'gradient = { value = "bf16"')
    )
    assert (found.gradient, found.reduced) == (dtype("bf16"), dtype("fp32"))


def test_what_is_assumed_says_so() -> None:
    assert precision.load("fp8-block").sources["weight"].startswith("assumed: ")


def test_deepseek_keeps_what_its_report_names_wide() -> None:
    """arXiv 2412.19437 §3.3.1: embedding, head, MoE gating, normalisation and attention operators."""
    found = precision.load("fp8-block")
    wide = [role for role, kind in found.compute().items() if kind.name == "bf16"]
    assert wide == ["router", "embedding", "head", "norm", "tower"]
    assert found.core.name == "bf16"
    assert [found.storage()[role].name for role in ("experts", "head")] == ["fp8_block", "bf16"]


def test_vectors_stay_wide_whatever_their_role() -> None:
    found = precision.load("fp8-tensor")
    assert [found.kept(Weight("a", "ffn", 8.0, inner)).name for inner in (16.0, None)] == ["fp8", "bf16"]


def test_products_of_rows_cast_what_nobody_keeps() -> None:
    assert [name for name in precision.names() if precision.load(name).casts_weights] == ["fp8-row"]


def test_muon_steps_matrices_of_layers_alone() -> None:
    found = optimizer.load("muon")
    matrix, vector, table = (Weight("a", *rest) for rest in (("ffn", 8.0, 4.0), ("ffn", 8.0), ("embedding", 8.0, 4.0)))
    assert [found.rule_of(each).kernel for each in (matrix, vector, table)] == ["muon", "adamw fused", "adamw fused"]
    assert [found.rule_of(each).state_bytes for each in (matrix, vector, table)] == [4.0, 8.0, 8.0]
    assert not optimizer.load("adamw").is_matrix(matrix)
