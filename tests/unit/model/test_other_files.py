"""Files beside a config: a quantisation is read with it; what is no config is said to be what it is."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from simcost.errors import SpecError
from simcost.model import count, load
from simcost.scenarios.show import show_model

LLAMA = {
    "model_type": "llama", "hidden_size": 512, "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 2,
    "intermediate_size": 1024, "vocab_size": 1000, "torch_dtype": "bfloat16", "tie_word_embeddings": False,
}  # fmt: skip
EVERY = 4 * (512 * 64 * (8 + 2 * 2 + 8) + 3 * 512 * 1024)  # elements of the linear layers
WIDE = 2 * 512 * 1000 + 9 * 512  # of embedding, head and norms


def folder(home: Path, **files: Any) -> Path:
    for name, table in {"config": LLAMA, **files}.items():
        (home / f"{name}.json").write_text(json.dumps(table))
    return home


def weight(home: Path) -> float:
    return float(count.weight_bytes(load.load(str(home))))


@pytest.mark.parametrize(
    ("name", "table", "bits"),
    [
        ("hf_quant_config", {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4", "group_size": 16, "exclude_modules": ["lm_head"]}}, 4.5),
        ("hf_quant_config", {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}}, 8.0),
        ("quantize_config", {"bits": 4, "group_size": 128, "desc_act": False, "sym": True}, 4 + 20 / 128),
        ("quant_config", {"w_bit": 4, "q_group_size": 64, "zero_point": True, "version": "GEMM"}, 4 + 20 / 64),
    ],
)  # fmt: skip
def test_a_quantisation_beside_the_config_is_read_and_named(
    tmp_path: Path, name: str, table: dict[str, Any], bits: float
) -> None:
    home = folder(tmp_path, **{name: table})
    assert weight(home) == pytest.approx(EVERY * bits / 8 + WIDE * 2, rel=1e-3)
    assert any(f"read from {name}.json" in note for note in load.load(str(home)).notes)


def test_the_caches_format_beside_the_config_is_the_default_and_said(tmp_path: Path) -> None:
    home = folder(tmp_path, hf_quant_config={"quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}})
    shown = show_model(str(home), {})
    assert shown.metrics["kv_bytes_per_token"] == 4 * 2 * 2 * 64  # layers, K and V, heads, width; a byte each
    assert "kv_bytes_per_token is in fp8, as the config states" in shown.warnings


def test_the_configs_own_quantisation_wins(tmp_path: Path) -> None:
    own = {**LLAMA, "quantization_config": {"quant_method": "fp8"}}
    home = folder(tmp_path, config=own, quantize_config={"bits": 4, "group_size": 128})
    assert weight(home) == pytest.approx(EVERY + WIDE * 2)


def test_older_files_call_it_compression_config(tmp_path: Path) -> None:
    group = {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "float", "strategy": "tensor"}}
    scheme = {"quant_method": "compressed-tensors", "config_groups": {"group_0": group}, "ignore": ["lm_head"]}
    assert weight(folder(tmp_path, config={**LLAMA, "compression_config": scheme})) == EVERY + WIDE * 2


def test_a_side_file_that_the_config_contradicts_is_said(tmp_path: Path) -> None:
    own = {**LLAMA, "quantization_config": {"quant_method": "modelopt", "quant_algo": "FP8"}}
    home = folder(tmp_path, config=own, hf_quant_config={"quantization": {"quant_algo": "NVFP4"}})
    said = (
        "hf_quant_config.json says quant_algo = 'NVFP4', which is not read: the config's own quantization_config wins"
    )
    assert said in load.load(str(home)).notes
    folder(tmp_path, hf_quant_config={"quantization": {"quant_algo": "FP8"}}, config=own)
    os.utime(home / "hf_quant_config.json", (2e9, 2e9))
    assert said not in load.load(str(home)).notes


def test_two_side_files_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    home = folder(
        tmp_path, quant_config={"w_bit": 4, "q_group_size": 128}, quantize_config={"bits": 8, "group_size": 128}
    )
    with pytest.raises(
        SpecError,
        match=r"config\.json: quantize_config\.json says quant_method = 'gptq' but quant_config\.json says quant_method = 'awq': remove",
    ):
        load.load(str(home))


@pytest.mark.parametrize(("name", "side"), [
    ("acme--m_config.json", "acme--m_hf_quant_config.json"), ("m-config.json", "m-hf_quant_config.json"), ("m.json", "m_hf_quant_config.json"), ("m.json", "m.hf_quant_config.json"),
])  # fmt: skip
def test_a_side_file_goes_by_its_configs_name(tmp_path: Path, name: str, side: str) -> None:
    """As aiconfigurator-core names them: X_config.json with X_hf_quant_config.json."""
    (tmp_path / name).write_text(json.dumps(LLAMA))
    before = float(count.weight_bytes(load.load(str(tmp_path / name))))
    (tmp_path / side).write_text(json.dumps({"quantization": {"quant_algo": "NVFP4"}}))
    (tmp_path / "other_hf_quant_config.json").write_text("{")
    after = float(count.weight_bytes(load.load(str(tmp_path / name))))
    assert before - after == pytest.approx(EVERY * (16 - 4.5) / 8, rel=1e-3)


def test_a_side_file_that_appears_or_changes_is_read(tmp_path: Path) -> None:
    home = folder(tmp_path)
    before = weight(home)
    folder(home, quantize_config={"bits": 4, "group_size": 128})
    after = weight(home)
    folder(home, quantize_config={"bits": 8, "group_size": 128})
    os.utime(home / "quantize_config.json", (2e9, 2e9))
    assert before == 2 * (EVERY + WIDE) > weight(home) > after


@pytest.mark.parametrize(
    ("table", "what"),
    [
        ({"peft_type": "LORA", "base_model_name_or_path": "acme/base-7b", "r": 16}, r"an adapter \(LORA\) of acme/base-7b: pass its base model"),
        ({"metadata": {}, "weight_map": {}}, "index of a checkpoint"),
        ({"producer": {}, "quantization": {}}, "the quantisation of a model: pass the directory"),
        ({"image_processor_type": "X"}, "a processor's config"),
        ({"added_tokens_decoder": {}}, "a tokenizer's config"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_config_is_named(tmp_path: Path, table: dict[str, Any], what: str) -> None:
    file = tmp_path / "passed.json"
    file.write_text(json.dumps(table))
    with pytest.raises(SpecError, match=rf"passed\.json: this is .*{what}"):
        load.load(str(file))


@pytest.mark.parametrize(
    ("name", "start", "what"),
    [
        ("m.safetensors", b"\xff\xfe\x00", "a safetensors file"),
        ("m.bin", b"PK\x03\x04\xff", "a PyTorch checkpoint"),
        ("m.json", b"\xff\xfe", "not a UTF-8 text file"),
    ],
)
def test_weights_in_place_of_a_config_are_named(tmp_path: Path, name: str, start: bytes, what: str) -> None:
    (tmp_path / name).write_bytes(start)
    with pytest.raises(SpecError, match=what):
        load.load(str(tmp_path / name))


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("adapter_config.json", "; it holds adapter_config.json, an adapter"),
        ("pytorch_model.bin", "; it holds a PyTorch checkpoint"),
        ("notes.md", "in this directory$"),
    ],
)
def test_a_directory_without_a_config_says_what_it_holds(tmp_path: Path, name: str, what: str) -> None:
    (tmp_path / name).write_text("{}")
    with pytest.raises(SpecError, match=f"no config.json in this directory{what}|{what}"):
        load.load(str(tmp_path))


def test_a_file_that_is_too_large_for_a_config_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(1 << 33)
    with pytest.raises(SpecError, match=r"config\.json: larger than 128 MiB"):
        load.load(str(tmp_path))


@pytest.mark.parametrize("name", ["", "  "])
def test_an_empty_name_is_no_directory(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError, match="a model has no name"):
        load.find(name)
