"""A model_type that no table knows is read as Llama's where its keys prove it, is refused with what to state where they do not, and may be insisted on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from simcost.cli.app import run
from simcost.errors import NotModelled, SpecError
from simcost.model import count
from simcost.model.spec import from_config

PROVEN = {
    "model_type": "frob", "hidden_size": 512, "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 2,
    "intermediate_size": 1024, "vocab_size": 1000, "torch_dtype": "bfloat16", "tie_word_embeddings": False, "hidden_act": "silu",
}  # fmt: skip
EXPERTS = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 256, "n_shared_experts": 0}


def total(config: dict[str, Any]) -> float:
    return float(count.parameters(from_config(config, "m", "config.json"))["params_total"])


def without(config: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name != key}


@pytest.mark.parametrize("config", [PROVEN, without(PROVEN, "model_type"), {**PROVEN, **EXPERTS}])
def test_what_its_keys_prove_is_read_as_llama_and_said(config: dict[str, Any]) -> None:
    assert total(config) == total({**config, "model_type": "llama"})
    notes = from_config(config, "m", "config.json").notes
    assert any("read as Llama-style" in note for note in notes)


@pytest.mark.parametrize(
    ("config", "key"),
    [
        (without(PROVEN, "hidden_act"), "gated_ffn"),
        ({**PROVEN, "hidden_act": "gelu"}, "gated_ffn"),
        ({**PROVEN, "hidden_act": "xielu"}, "gated_ffn"),
        (without(PROVEN, "intermediate_size"), "intermediate_size"),
        (without(PROVEN, "tie_word_embeddings"), "tie_word_embeddings"),
        ({**PROVEN, **without(EXPERTS, "moe_intermediate_size")}, "moe_intermediate_size"),
        ({**PROVEN, **without(EXPERTS, "n_shared_experts")}, "n_shared_experts"),
    ],
)
def test_what_they_leave_open_is_refused_and_named(config: dict[str, Any], key: str) -> None:
    for typed in (config, without(config, "model_type")):
        with pytest.raises(
            NotModelled, match=rf"config\.json: model_type .* do not prove .*: state {key} .*--assume-llama"
        ):
            total(typed)


@pytest.mark.parametrize("value", [3, 2.0, True, [0, 1], {"size": 4}])
def test_a_key_that_nothing_reads_may_be_structure(value: object) -> None:
    with pytest.raises(NotModelled, match="unknown keys frob_size"):
        total({**PROVEN, "frob_size": value})


def test_ranks_of_an_attention_that_is_not_mla_are_structure() -> None:
    for key in ("q_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim"):
        with pytest.raises(NotModelled, match=f"unknown keys {key}"):
            total({**PROVEN, key: 64})
        assert total({**PROVEN, key: None}) == total({**PROVEN, key: 64, "use_mla": False}) == total(PROVEN)


@pytest.mark.parametrize("value", [0, 0.5, False, None, "rms", [], {}])
def test_a_key_that_is_off_or_a_text_or_a_fraction_is_none(value: object) -> None:
    assert total({**PROVEN, "frob_size": value}) == total(PROVEN)


def test_heads_that_are_not_as_wide_as_the_model_prove_nothing() -> None:
    assert total({**PROVEN, "head_dim": 64}) == total(PROVEN)
    with pytest.raises(NotModelled, match="num_attention_heads x head_dim is not hidden_size"):
        total({**PROVEN, "head_dim": 128})
    assert total({**PROVEN, "head_dim": 128, "assume_llama": True}) > total(PROVEN)


def test_a_gate_that_is_stated_needs_no_activation() -> None:
    config = without(PROVEN, "hidden_act")
    assert total({**config, "gated_ffn": True}) == total(PROVEN)
    assert total({**config, "gated_ffn": False}) == total(PROVEN) - 4 * 512 * 1024


def test_it_may_be_insisted_on() -> None:
    config = {**without(PROVEN, "hidden_act"), "frob_size": 3}
    assert total({**config, "assume_llama": True}) == total(PROVEN)
    with pytest.raises(SpecError, match="'assume_llama' must be true or false"):
        total({**config, "assume_llama": 1})


def test_a_key_that_the_question_states_mends_a_config_that_is_refused() -> None:
    import simcost

    config = without(PROVEN, "hidden_act")
    first = simcost.decode(config, "h200", set={"model.gated_ffn": True})
    assert first.verdict == simcost.decode(PROVEN, "h200").verdict
    swapped = simcost.decode(config, "h200", set={"model.gated_ffn": True, "model.attention": "mqa"})
    assert swapped.verdict == simcost.decode(PROVEN, "h200", set={"model.attention": "mqa"}).verdict


def test_a_config_without_sizes_says_which_is_missing() -> None:
    with pytest.raises(SpecError, match="missing key 'hidden_size'"):
        total({"model_type": "frob"})


def test_every_command_takes_the_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "frob.json"
    file.write_text(json.dumps(without(PROVEN, "hidden_act")))
    for question in (["show", "model", str(file)], ["decode", "--model", str(file), "--hw", "h200"]):
        assert run(question) == 2
        assert "do not prove" in capsys.readouterr().err
        assert run([*question, "--assume-llama"]) == 0
        assert "read as Llama-style" in capsys.readouterr().out
    assert (
        run(["decode", "--model", str(file), "--hw", "h200", "--assume-llama", "--set", "model.assume_llama=true"]) == 2
    )
    assert "given twice: --assume-llama and" in capsys.readouterr().err
