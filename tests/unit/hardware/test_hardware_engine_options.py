"""Tables of options: what a file must hold, and what an option takes."""

from __future__ import annotations

from typing import Any

import pytest

from simcost.errors import SpecError
from simcost.files import folder
from simcost.hardware import engine_file, engine_options, engines
from simcost.hardware.engine_options import load
from simcost.texts import toml_table


@pytest.mark.parametrize("engine", engines.names())
def test_every_engine_has_a_table_that_says_every_part(engine: str) -> None:
    found = load(engine)
    parts = {
        "tensor",
        "pipeline",
        "replicas",
        "experts",
        "length",
        "tokens",
        "sequences",
        "share",
        "mtp",
        "draft_model",
        "prefill",
        "decode",
    }
    assert parts <= set(found.says)
    assert found.version
    assert engines.title(engine) in found.source


@pytest.mark.parametrize("engine", engines.names())
def test_every_setting_of_an_engine_has_its_option(engine: str) -> None:
    both = [engine_file.setting_names(engine, part) for part in engine_file.SETTINGS]
    resolved = {both[0][setting] for setting in ("share", "tokens", "sequences")}
    named = {name for names in both for name in names.values()} - resolved - set(engine_file.OWN)
    assert set(load(engine).says["settings"]) == named


@pytest.mark.parametrize(
    ("name", "value", "printed"),
    [
        ("--tensor-parallel-size", "8", 8),
        ("--tensor-parallel-size", 8.0, 8),
        ("--gpu-memory-utilization", 0.91478, 0.914),
        ("--enforce-eager", True, True),
        ("--eplb-config", '{"num_redundant_experts":8}', '{"num_redundant_experts": 8}'),
        ("--kv-cache-dtype", "fp8", "fp8"),
        ("--master-addr", "10.0.0.1", "10.0.0.1"),
    ],
)
def test_an_option_takes_its_kind(name: str, value: Any, printed: Any) -> None:
    assert load("vllm").checked(name, value) == printed


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("--tensor-paralel-size", 8, "did you mean '--tensor-parallel-size'"),
        ("--max-num-seqs", 1.5, "must be a whole number"),
        ("--max-num-seqs", -1, "a number of at least 0"),
        ("--max-num-seqs", True, "a number of at least 0"),
        ("--max-num-seqs", float("inf"), "a number of at least 0"),
        ("--gpu-memory-utilization", 0, r"\(0, 1\]"),
        ("--enforce-eager", "yes", "true or false"),
        ("--eplb-config", "{", "must be JSON"),
        ("--master-addr", "-x", "an address"),
        ("--kv-cache-dtype", "int3", "must be one of bfloat16"),
    ],
)
def test_an_option_refuses_what_it_does_not_take(name: str, value: Any, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        load("vllm").checked(name, value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"option": {}}, "'option' is unknown; did you mean 'options'"),
        ({"version": ""}, "needs 'version'"),
        ({"schema": 2}, "needs schema = 1"),
        ({"options": {"--x": "size"}}, "takes one of count"),
        ({"ranks": {"experts": "some"}}, r"\[ranks\] needs"),
        ({"formats": {"weights": {}}}, r"\[formats\] needs"),
        ({"says": {"tensor": {"--tp": "$tp"}}}, "is used but is not in"),
        ({"nodes": {"each": {"--nnode": 1}}}, "'--nnode' is used but is not in"),
    ],
)
def test_a_broken_table_is_named(change: dict[str, Any], said: str) -> None:
    table = toml_table(folder("workloads") / "engines" / "options" / "vllm.toml") | change
    with pytest.raises(SpecError, match=said):
        engine_options._options("vllm", table, "options/vllm.toml")
