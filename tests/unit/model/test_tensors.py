"""Tensors without a config are told by their headers; a PyTorch checkpoint by its size, and never opened."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from simcost.errors import SpecError
from simcost.model import load

BYTES = {"BF16": 2, "F8_E4M3": 1, "F32": 4}
TENSORS: dict[str, tuple[str, list[int]]] = {
    "model.embed_tokens.weight": ("BF16", [1000, 64]),
    **{f"model.layers.{i}.mlp.down_proj.weight": ("F8_E4M3", [64, 128]) for i in range(4)},
}
LLAMA = {
    "model_type": "llama", "hidden_size": 512, "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 2,
    "intermediate_size": 1024, "vocab_size": 1000, "torch_dtype": "bfloat16", "tie_word_embeddings": False,
}  # fmt: skip
SIZE = 2 * (4 * (655_360 + 1_572_864) + 1_024_000 + 4_608)  # bytes of its parameters


def safetensors(file: Path, tensors: dict[str, tuple[str, list[int]]]) -> Path:
    at, header = 0, {}
    for name, (kind, shape) in tensors.items():
        size = BYTES[kind]
        for side in shape:
            size *= side
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text)
    return file


def said(path: Path) -> str:
    with pytest.raises(SpecError) as error:
        load.load(str(path))
    return str(error.value)


def test_a_safetensors_file_is_told_by_its_header(tmp_path: Path) -> None:
    told = said(safetensors(tmp_path / "model.safetensors", TENSORS))
    assert "5 tensors of 96,768 elements (BF16 128 kB, F8_E4M3 32.77 kB)" in told
    assert "num_hidden_layers = 4, vocab_size = 1000, hidden_size = 64" in told
    assert "pass the config.json" in told


def test_a_folder_and_an_index_are_told_by_all_their_files(tmp_path: Path) -> None:
    safetensors(tmp_path / "model-00001-of-00002.safetensors", TENSORS)
    second = safetensors(tmp_path / "model-00002-of-00002.safetensors", {"lm_head.weight": ("BF16", [1000, 64])})
    places = {"a": "model-00001-of-00002.safetensors", "b": second.name}
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 288_768}, "weight_map": places}))
    whole = "2 safetensors files: 6 tensors of 160,768 elements (BF16 256 kB, F8_E4M3 32.77 kB)"
    assert whole in said(tmp_path)
    assert whole in said(index)
    second.unlink()
    assert "the index of a checkpoint (2 tensors in 2 files, 288.8 kB): pass the directory" in said(index)


def test_an_adapters_tensors_are_told(tmp_path: Path) -> None:
    lora = {"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": ("F32", [8, 64])}
    assert "an adapter (LoRA): pass its base model" in said(safetensors(tmp_path / "adapter_model.safetensors", lora))


@pytest.mark.parametrize("each", [7, {"dtype": "BF16"}, {"dtype": "BF16", "shape": [-1], "data_offsets": [0, 2]}, {"dtype": "BF16", "shape": [2], "data_offsets": [4, 2]}])  # fmt: skip
def test_a_malformed_header_is_said_in_a_line(tmp_path: Path, each: Any) -> None:
    text = json.dumps({"weight": each}).encode()
    (tmp_path / "m.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    assert "whose tensors are not known" in said(tmp_path / "m.safetensors")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "consolidated.00.pth", "model.pt"])
def test_a_pickle_is_told_by_its_size_and_not_opened(tmp_path: Path, name: str) -> None:
    # A pickle that would end the process were it loaded: `os._exit(9)`.
    (tmp_path / name).write_bytes(b"cos\n_exit\n(I9\ntR." + bytes(3000))
    told = "a PyTorch checkpoint of 3.017 kB, a pickle, which is not opened"
    assert told in said(tmp_path / name)
    assert told in said(tmp_path)


def checked(home: Path) -> str:
    (home / "config.json").write_text(json.dumps(LLAMA))
    (note,) = (
        note for note in load.load(str(home)).notes if "model" in note and ("counted" in note or "check" in note)
    )
    return str(note)


def test_a_pickle_beside_a_config_checks_the_count(tmp_path: Path) -> None:
    with (tmp_path / "pytorch_model.bin").open("wb") as file:
        file.truncate(SIZE + 9000)
    assert "as counted here for the model" in checked(tmp_path)


def test_a_pointer_in_the_place_of_a_pickle_checks_nothing(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"version https://git-lfs.github.com/spec/v1\nsize 9\n")
    assert "is not checked: pytorch_model.bin is a pointer of Git LFS" in checked(tmp_path)


def test_parts_without_an_index_check_the_count_where_all_are_there(tmp_path: Path) -> None:
    half = {"a": ("BF16", [SIZE // 4])}
    safetensors(tmp_path / "model-00001-of-00002.safetensors", half)
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    assert not any("counted here" in note for note in load.load(str(tmp_path)).notes)
    safetensors(tmp_path / "model-00002-of-00002.safetensors", half)
    assert "model-00001-of-00002.safetensors and 1 more" in checked(tmp_path)
    assert "as counted here for the model" in checked(tmp_path)
