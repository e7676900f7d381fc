"""params.json of native checkpoints: as the Hugging Face config of the same model, or refused by key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from simcost.errors import NotModelled, SpecError
from simcost.model import count, load

# As meta-llama/Meta-Llama-3-8B/original/params.json has it.
LLAMA = {
    "dim": 4096,
    "n_layers": 32,
    "n_heads": 32,
    "n_kv_heads": 8,
    "vocab_size": 128256,
    "multiple_of": 1024,
    "ffn_dim_multiplier": 1.3,
    "norm_eps": 1e-5,
    "rope_theta": 500000.0,
}
# As Mistral's and Mixtral's.
MISTRAL = {
    "dim": 4096,
    "n_layers": 32,
    "head_dim": 128,
    "hidden_dim": 14336,
    "n_heads": 32,
    "n_kv_heads": 8,
    "norm_eps": 1e-5,
    "vocab_size": 32000,
}
MIXTRAL = {**MISTRAL, "moe": {"num_experts_per_tok": 2, "num_experts": 8}}


def total(home: Path, table: dict[str, Any], name: str = "params.json") -> float:
    (home / name).write_text(json.dumps(table))
    return float(count.parameters(load.load(str(home / name)))["params_total"])


@pytest.mark.parametrize(
    ("table", "twin"), [(LLAMA, "llama-3.1-8b"), (MISTRAL, "mistral-7b-v0.1"), (MIXTRAL, "mixtral-8x7b")]
)
def test_a_native_checkpoint_has_its_twins_parameters(tmp_path: Path, table: dict[str, Any], twin: str) -> None:
    assert total(tmp_path, table) == count.parameters(load.load(twin))["params_total"]
    assert load.load(str(tmp_path)).name == tmp_path.name


def test_without_a_factor_the_ffn_is_two_thirds_of_four_widths(tmp_path: Path) -> None:
    """Llama-2-7B: int(2 x 16,384 / 3) = 10,922, up to a multiple of 256: 11,008; its config.json states 6,738,415,616 parameters."""
    table = {"dim": 4096, "multiple_of": 256, "n_heads": 32, "n_layers": 32, "norm_eps": 1e-6, "vocab_size": 32000}
    assert total(tmp_path, table) == 6_738_415_616


@pytest.mark.parametrize(("change", "said", "kind"), [
    ({"vocab_size": -1}, "'vocab_size' of this native checkpoint is its tokenizer's", SpecError), ({"zeta": 3}, "unknown keys of a native checkpoint: zeta", NotModelled),
    ({"vision_encoder": {"dim": 1}}, "unknown keys of a native checkpoint: vision_encoder", NotModelled), ({"use_biases": True}, "use_biases", NotModelled),
    ({"moe": {"num_experts": 8}}, "'moe' of a native checkpoint other than", NotModelled), ({"moe": 8}, "'moe' of a native checkpoint", NotModelled),
    ({"multiple_of": 0}, "'multiple_of' must be a positive integer", SpecError), ({"ffn_dim_multiplier": "x"}, "'ffn_dim_multiplier' must be", SpecError),
    ({"dim": 4096.5}, "'dim' must be a positive integer", SpecError), ({"n_layers": None}, "num_hidden_layers", SpecError),
])  # fmt: skip
def test_what_is_not_known_is_refused(tmp_path: Path, change: dict[str, Any], said: str, kind: type[SpecError]) -> None:
    with pytest.raises(kind) as error:
        total(tmp_path, {**LLAMA, **change})
    assert said in str(error.value)
