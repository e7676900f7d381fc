"""A snapshot of the hub: found at any level of the cache, and its checkpoint's size against the count."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from simcost.errors import SpecError
from simcost.model import load

LLAMA = {
    "model_type": "llama", "hidden_size": 512, "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 2,
    "intermediate_size": 1024, "vocab_size": 1000, "torch_dtype": "bfloat16", "tie_word_embeddings": False,
}  # fmt: skip
# Linear layers, two tables and nine norms: 4 x (512 x 64 x 20 + 3 x 512 x 1,024) + 2 x 512,000 + 9 x 512.
PARAMETERS = 4 * (655_360 + 1_572_864) + 1_024_000 + 4_608
SIZE = 2 * PARAMETERS


def cache(
    home: Path, commits: tuple[str, ...] = ("0a1b",), main: str | None = "0a1b", name: str = "models--acme--small-1b"
) -> Path:
    repository = home / "hub" / name
    for commit in commits:
        (repository / "snapshots" / commit).mkdir(parents=True)
        (repository / "snapshots" / commit / "config.json").write_text(json.dumps(LLAMA))
    if main is not None:
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(main)
    return repository


def said(home: Path) -> str:
    (note,) = (note for note in load.load(str(home)).notes if "safetensors" in note)
    return str(note)


@pytest.mark.parametrize(
    "level",
    [
        "",
        "hub",
        "hub/models--acme--small-1b",
        "hub/models--acme--small-1b/snapshots",
        "hub/models--acme--small-1b/snapshots/0a1b",
    ],
)
def test_a_cache_given_at_any_level_is_its_current_snapshot(tmp_path: Path, level: str) -> None:
    cache(tmp_path, ("0a1b", "ffff"))
    assert load.load(str(tmp_path / level)).name == "small-1b"
    assert load.find(str(tmp_path / level))[1].parent.name == "0a1b"


@pytest.mark.parametrize(("commits", "main", "what"), [
    (("aa", "bb"), None, "2 snapshots and no refs/main: pass the folder of one: aa, bb"), (("aa",), "cc", "names the snapshot 'cc', which is not in it"),
    (("aa",), "../../..", "names the snapshot '../../..'"), (("aa",), "x" * 4000, "names the snapshot"),
])  # fmt: skip
def test_a_cache_that_may_be_several_snapshots_is_refused(
    tmp_path: Path, commits: tuple[str, ...], main: str | None, what: str
) -> None:
    with pytest.raises(SpecError) as error:
        load.load(str(cache(tmp_path, commits, main)))
    assert what in str(error.value)


def test_a_cache_of_several_models_names_them(tmp_path: Path) -> None:
    cache(tmp_path)
    cache(tmp_path, name="models--acme--other-2b")
    with pytest.raises(
        SpecError, match="it holds 2 models: pass one of models--acme--other-2b, models--acme--small-1b"
    ):
        load.load(str(tmp_path))


def test_one_snapshot_needs_no_branch(tmp_path: Path) -> None:
    assert load.load(str(cache(tmp_path, main=None))).name == "small-1b"


def model(home: Path, **changes: Any) -> Path:
    (home / "config.json").write_text(json.dumps({**LLAMA, **changes}))
    return home


def index(home: Path, metadata: Any) -> None:
    (home / "model.safetensors.index.json").write_text(json.dumps({"metadata": metadata, "weight_map": {}}))


def test_an_index_that_agrees_is_said(tmp_path: Path) -> None:
    index(model(tmp_path), {"total_size": SIZE})
    assert said(tmp_path) == "model.safetensors.index.json: 19.88 MB, as counted here for the model (within 0.00%)"
    index(tmp_path, {"total_size": int(SIZE * 1.004)})
    assert "for the model (within 0.40%)" in said(tmp_path)
    index(tmp_path, {"total_parameters": PARAMETERS})
    assert "9,941,504 parameters, as counted here for the model" in said(tmp_path)


def test_an_index_of_pytorch_is_one_too(tmp_path: Path) -> None:
    (model(tmp_path) / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {"total_size": SIZE}}))
    (note,) = (note for note in load.load(str(tmp_path)).notes if "index" in note)
    assert note == "pytorch_model.bin.index.json: 19.88 MB, as counted here for the model (within 0.00%)"


@pytest.mark.parametrize("factor", [0.5, 1.006, 3.0])
def test_a_checkpoint_of_another_size_is_said_with_both(tmp_path: Path, factor: float) -> None:
    index(model(tmp_path), {"total_size": SIZE * factor})
    assert (
        "but 19.88 MB are counted here for the model: the config belongs to another checkpoint, or parts of the checkpoint are not counted"
        in said(tmp_path)
    )


def test_what_a_checkpoint_may_hold_besides_is_named(tmp_path: Path) -> None:
    tied = model(tmp_path, tie_word_embeddings=True)
    index(tied, {"total_size": SIZE})  # the table of a tied head, stored twice
    assert "for the model + a copy of the tied table" in said(tied)
    index(tied, {"total_size": SIZE - 2 * 512_000})
    assert "for the model (within" in said(tied)
    # One layer more, three norms and the join of 512 x 1,024; and with it, as DeepSeek-V3 stores them, both tables.
    mtp = 2 * (655_360 + 1_572_864 + 2 * 512 + 3 * 512 + 512 * 1024)
    drafts = model(tmp_path, num_nextn_predict_layers=1)
    index(drafts, {"total_size": SIZE + mtp})
    assert "for the model + MTP (within 0.00%)" in said(drafts)
    index(drafts, {"total_size": SIZE + mtp + 4 * 512_000})
    assert "for the model + MTP + embedding and head of MTP" in said(drafts)
    index(model(tmp_path), {"total_size": 2 * SIZE})
    assert "the checkpoint is in fp32, counted here in bf16 as torch_dtype says" in said(tmp_path)


def safetensors(home: Path, header: Any, length: int | None = None) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    (home / "model.safetensors").write_bytes(struct.pack("<Q", len(text) if length is None else length) + text)


def test_a_single_file_is_checked_by_its_header(tmp_path: Path) -> None:
    safetensors(model(tmp_path), {"__metadata__": {"format": "pt"}, "a": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]},
                                  "b": {"dtype": "BF16", "shape": [1], "data_offsets": [2, SIZE]}})  # fmt: skip
    assert said(tmp_path) == "model.safetensors: 19.88 MB, as counted here for the model (within 0.00%)"


@pytest.mark.parametrize(("header", "length"), [
    (b"version https://git-lfs.github.com/spec/v1", 7_599_651_239_447_651_702), ({}, 1 << 40), (b"{", None), (b"[1]", None), (b"[" * 5000, None),
    ({"a": {"data_offsets": [3, 1]}}, None), ({"a": {"data_offsets": [0, 1 << 70]}}, None), ({"a": 3}, None), ({"a": {"data_offsets": ["0", 1]}}, None), (b"", 5),
])  # fmt: skip
def test_a_header_that_says_nothing_is_no_check(tmp_path: Path, header: Any, length: int | None) -> None:
    safetensors(model(tmp_path), header, length)
    assert said(tmp_path).startswith("the size of the checkpoint is not checked: model.safetensors")


@pytest.mark.parametrize("metadata", [None, {}, {"total_size": "7"}, {"total_size": -1}, {"total_size": True}, [3]])
def test_an_index_without_a_size_is_no_check(tmp_path: Path, metadata: Any) -> None:
    index(model(tmp_path), metadata)
    assert (
        said(tmp_path)
        == "the size of the checkpoint is not checked: model.safetensors.index.json has no metadata.total_size"
    )


def test_a_question_that_changes_the_design_is_not_compared(tmp_path: Path) -> None:
    index(model(tmp_path), {"total_size": SIZE})
    assert not [note for note in load.load(str(tmp_path), {"num_hidden_layers": 2}).notes if "safetensors" in note]
