"""GGUF files: the header makes the model, its tensors prove it, and every byte counts by the type of its tensor."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import simcost
from simcost import lower
from simcost.errors import NotModelled, SpecError
from simcost.model import count, load
from simcost.plan import Plan

F32, F16, Q4_K, Q6_K, BF16 = 0, 1, 12, 14, 30  # ggml's numbers of types
Tensors = Sequence[tuple[str, tuple[int, ...], int]]


def text(word: str) -> bytes:
    return struct.pack("<Q", len(word)) + word.encode()


def value(one: Any) -> bytes:
    """A value with its type, as ggml's docs/gguf.md lays it out."""
    if isinstance(one, bool):
        return struct.pack("<I?", 7, one)
    if isinstance(one, int):
        return struct.pack("<II", 4, one)
    if isinstance(one, float):
        return struct.pack("<If", 6, one)
    if isinstance(one, str):
        return struct.pack("<I", 8) + text(one)
    if one and isinstance(one[0], str):
        return struct.pack("<IIQ", 9, 8, len(one)) + b"".join(text(word) for word in one)
    return struct.pack("<IIQ", 9, 4, len(one)) + b"".join(struct.pack("<I", each) for each in one)


def packed(metadata: Mapping[str, Any], tensors: Tensors) -> bytes:
    found = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(metadata))]
    found += [text(key) + value(one) for key, one in metadata.items()]
    for name, shape, kind in tensors:
        found.append(text(name) + struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", side) for side in shape))
        found.append(struct.pack("<IQ", kind, 0))
    return b"".join(found)


LLAMA = {
    "general.architecture": "llama", "llama.block_count": 2, "llama.embedding_length": 512, "llama.feed_forward_length": 1024, "llama.context_length": 4096,
    "llama.attention.head_count": 8, "llama.attention.head_count_kv": 2, "llama.rope.freq_base": 10000.0, "llama.attention.layer_norm_rms_epsilon": 1e-5,
    "llama.vocab_size": 1000, "llama.rope.dimension_count": 64, "tokenizer.ggml.tokens": ["a"] * 1000, "tokenizer.chat_template": "x" * 70_000,
}  # fmt: skip


def layer(number: int, narrow: int = Q4_K, wide: int = Q6_K) -> list[tuple[str, tuple[int, ...], int]]:
    """Of llama.cpp's names; the contiguous side is first."""
    at = f"blk.{number}."
    return [
        (at + "attn_q.weight", (512, 512), narrow), (at + "attn_k.weight", (512, 128), narrow), (at + "attn_v.weight", (512, 128), narrow),
        (at + "attn_output.weight", (512, 512), narrow), (at + "ffn_gate.weight", (512, 1024), narrow), (at + "ffn_up.weight", (512, 1024), narrow),
        (at + "ffn_down.weight", (1024, 512), wide), (at + "attn_norm.weight", (512,), F32), (at + "ffn_norm.weight", (512,), F32),
    ]  # fmt: skip


ENDS = [
    ("token_embd.weight", (512, 1000), Q6_K),
    ("output.weight", (512, 1000), Q6_K),
    ("output_norm.weight", (512,), F32),
    ("rope_freqs.weight", (32,), F32),
]
TENSORS = [*ENDS, *layer(0), *layer(1)]


def file(
    home: Path, metadata: Mapping[str, Any] | None = None, tensors: Tensors = TENSORS, name: str = "small-Q4_K_M.gguf"
) -> str:
    (home / name).write_bytes(packed(LLAMA if metadata is None else metadata, tensors))
    return str(home / name)


def test_every_tensor_counts_in_its_own_type(tmp_path: Path) -> None:
    model = load.load(file(tmp_path))
    # 655,360 elements of attention, 1,572,864 of the FFN a layer, two tables of 512,000, five norms.
    assert count.parameters(model)["params_total"] == 2 * (655_360 + 1_572_864) + 2 * 512_000 + 5 * 512
    # Blocks of 256 elements: Q4_K has 144 bytes, Q6_K 210 (ggml-common.h).
    assert (
        float(count.weight_bytes(model))
        == 2 * ((655_360 + 1_048_576) * 144 / 256 + 524_288 * 210 / 256) + 2 * 512_000 * 210 / 256 + 5 * 512 * 4
    )
    assert (model.name, model.family, model.max_positions) == ("small-Q4_K_M", "llama", 4096.0)
    assert any("no kernel for q4_k, q6_k was measured" in note for note in model.notes)


def test_a_file_answers_questions(tmp_path: Path) -> None:
    found = simcost.decode(file(tmp_path), "h100")
    assert found.metrics["tpot_s"] > 0
    assert found.metrics["weight_bytes_per_gpu"] >= 3_627_328


def test_a_format_of_the_plan_takes_the_place_of_narrow_ones_alone(tmp_path: Path) -> None:
    formats = lower.storage(load.load(file(tmp_path)), Plan(weight_dtype="fp8"))
    assert {role: formats[role].name for role in ("attention", "head", "norm")} == {
        "attention": "fp8",
        "head": "fp8",
        "norm": "fp32",
    }


def test_a_file_without_an_output_table_is_tied(tmp_path: Path) -> None:
    model = load.load(file(tmp_path, tensors=[each for each in TENSORS if each[0] != "output.weight"]))
    assert model.head.tied
    assert model.storage["head"].name == "q6_k"


def test_plain_files_are_of_their_own_format(tmp_path: Path) -> None:
    plain = [(name, shape, BF16 if len(shape) > 1 else F32) for name, shape, _ in TENSORS]
    model = load.load(file(tmp_path, tensors=plain))
    assert (model.base.name, model.storage["attention"].name) == ("bf16", "bf16")
    assert not any("kernel" in note for note in model.notes)


def test_experts_make_a_mixtral(tmp_path: Path) -> None:
    at = [[each for each in layer(number) if "ffn_" not in each[0] or "norm" in each[0]] for number in (0, 1)]
    experts = [
        (f"blk.{number}.ffn_{part}_exps.weight", (1024, 512, 8) if part == "down" else (512, 1024, 8), Q4_K) for number in (0, 1) for part in ("gate", "up", "down")
    ]  # fmt: skip
    routers = [(f"blk.{number}.ffn_gate_inp.weight", (512, 8), F32) for number in (0, 1)]
    model = load.load(
        file(
            tmp_path,
            {**LLAMA, "llama.expert_count": 8, "llama.expert_used_count": 2},
            [*ENDS, *at[0], *at[1], *experts, *routers],
        )
    )
    assert model.family == "mixtral"
    assert (model.storage["router"].name, model.storage["experts"].name, model.storage["experts"].bits) == (
        "fp32",
        "q4_k",
        4.5,
    )


def test_multi_token_prediction_is_apart_and_its_tables_are_copies(tmp_path: Path) -> None:
    at = "blk.2.nextn."
    drafts = [
        *layer(2),
        (at + "eh_proj.weight", (1024, 512), Q4_K),
        *((at + name + ".weight", (512,), F32) for name in ("enorm", "hnorm", "shared_head_norm")),
    ]
    copies = [(at + "embed_tokens.weight", (512, 1000), Q4_K), (at + "shared_head_head.weight", (512, 1000), Q4_K)]
    stated = {**LLAMA, "llama.block_count": 3, "llama.nextn_predict_layers": 1}
    alone = count.parameters(load.load(file(tmp_path)))["params_total"]
    for name, more in (("with", [*drafts, *copies]), ("whole", drafts), ("without", [])):
        found = count.parameters(load.load(file(tmp_path, stated, [*TENSORS, *more], f"{name}.gguf")))
        # A layer of 2,228,224 elements with two norms, the join of 1,024 x 512 and three norms.
        assert (found["params_total"], found["params_mtp"]) == (alone, 2_228_224 + 2 * 512 + 1024 * 512 + 3 * 512)


def test_parts_of_a_file_are_read_together(tmp_path: Path) -> None:
    whole = float(count.weight_bytes(load.load(file(tmp_path, name="whole.gguf"))))
    (tmp_path / "whole.gguf").unlink()
    file(tmp_path, {**LLAMA, "split.count": 2}, TENSORS[:9], "big-00001-of-00002.gguf")
    with pytest.raises(
        SpecError, match=r"it is one of 2 parts, and big-00002-of-00002\.gguf is not in the same folder"
    ):
        load.load(str(tmp_path))
    file(tmp_path, {"split.count": 2}, TENSORS[9:], "big-00002-of-00002.gguf")
    assert float(count.weight_bytes(load.load(str(tmp_path)))) == whole


def test_a_folder_of_one_file_is_that_file(tmp_path: Path) -> None:
    file(tmp_path)
    (tmp_path / "mmproj-f16.gguf").write_bytes(b"GGUF")
    assert load.load(str(tmp_path)).name == "small-Q4_K_M"
    file(tmp_path, name="small-Q8_0.gguf")
    with pytest.raises(SpecError, match=r"it holds 2 GGUF files: pass one of small-Q4_K_M\.gguf, small-Q8_0\.gguf"):
        load.load(str(tmp_path))


@pytest.mark.parametrize(("change", "said"), [
    ({"general.architecture": "rwkv7"}, "architecture 'rwkv7' (those of"), ({"general.architecture": 7}, "architecture '7'"),
    ({"llama.ssm.state_size": 16}, "unknown GGUF keys: ssm.state_size"), ({"llama.attention.sliding_window": 512}, "llama.attention.sliding_window"),
    ({"llama.attention.head_count": [8, 4]}, "attention.head_count that differs by layer"), ({"llama.feed_forward_length": 2048}, "elements are not the"),
    ({"llama.block_count": 3}, "elements are not the"), ({"llama.attention.key_length": 64, "llama.attention.value_length": 128}, "value_length other than key_length"),
])  # fmt: skip
def test_what_the_tensors_do_not_prove_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(NotModelled) as error:
        load.load(file(tmp_path, {**LLAMA, **change}))
    assert said in str(error.value)
    assert "config.json" in str(error.value)


def test_a_list_that_states_one_number_for_all_layers_is_that_number(tmp_path: Path) -> None:
    assert load.load(file(tmp_path, {**LLAMA, "llama.attention.head_count_kv": [2, 2]})).name == "small-Q4_K_M"


HEAD = b"GGUF" + struct.pack("<I", 3)
BROKEN = [
    (b"GGUF", "it is cut off"), (packed(LLAMA, TENSORS)[:-5], "it is cut off"), (packed(LLAMA, TENSORS)[:40], "it is cut off"),
    (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "version 50331648"), (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version 1"),
    (HEAD + struct.pack("<QQ", 1 << 60, 0), f"{1 << 60} tensors"), (HEAD + struct.pack("<QQ", 0, 1 << 60), f"{1 << 60} keys"),
    (HEAD + struct.pack("<QQQ", 0, 1, 1 << 62), "bytes of a name"), (HEAD + struct.pack("<QQ", 0, 1) + text("a") + struct.pack("<I", 99), "a value of type 99"),
    (HEAD + struct.pack("<QQ", 0, 1) + text("a") + struct.pack("<IIQ", 9, 8, 1 << 50), "a list of"),
    (HEAD + struct.pack("<QQ", 0, 1) + text("a") + struct.pack("<IIQ", 9, 4, 1 << 50), "it is cut off"),
    (HEAD + struct.pack("<QQ", 0, 1) + text("a") + struct.pack("<IIQ", 9, 9, 1), "a list of 1 values of type 9"),
    (HEAD + struct.pack("<QQ", 0, 1) + text("a") + struct.pack("<IQ", 8, 1 << 62), "it is cut off"),
    (packed(LLAMA, [("token_embd.weight", (100, 7), Q4_K)]), "has the shape (100, 7)"), (packed(LLAMA, [("a", (1,), 99)]), "type 99, which is not known here"),
    (packed(LLAMA, [("a", (0, 5), F32)]), "has the shape (0, 5)"), (packed(LLAMA, [("a", (1, 1, 1, 1, 1), F32)]), "5 dimensions"),
    (packed(LLAMA, []), "without tensors"), (packed(LLAMA, [("a.weight", (512, 512), F32)]), "without token_embd.weight"),
    (packed({**LLAMA, "llama.block_count": "x"}, TENSORS), "'llama.block_count' must be a number"), (packed({**LLAMA, "split.count": 3}, TENSORS), "one of 3 parts"),
]  # fmt: skip


@pytest.mark.parametrize(("blob", "said"), BROKEN, ids=range(len(BROKEN)))
def test_a_hostile_file_is_one_line(tmp_path: Path, blob: bytes, said: str) -> None:
    (tmp_path / "m.gguf").write_bytes(blob)
    with pytest.raises(SpecError) as error:
        load.load(str(tmp_path / "m.gguf"))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_long_vocabulary_is_not_kept(tmp_path: Path) -> None:
    """A list of words of 8 GiB would be: its words are counted before they are read."""
    path = tmp_path / "m.gguf"
    path.write_bytes(HEAD + struct.pack("<QQ", 0, 1) + text("a") + struct.pack("<IIQ", 9, 8, (1 << 21) + 1))
    with path.open("ab") as opened:
        opened.truncate(1 << 33)
    with pytest.raises(SpecError, match="a list of 2097153 values"):
        load.load(str(path))
