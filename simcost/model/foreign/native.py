"""params.json of Meta's and Mistral's own checkpoints, as the Hugging Face config of the same model.

Most likely to be wrong: nothing that is not said; a key that is not known here is refused. Sources: meta-llama/llama3 `model.py` (ModelArgs, FeedForward),
mistralai/mistral-inference `args.py`, transformers `convert_llama_weights_to_hf.py` and `convert_mistral_weights_to_hf.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simcost.errors import NotModelled, SpecError

_PLAIN = {
    "dim": "hidden_size", "n_layers": "num_hidden_layers", "n_heads": "num_attention_heads", "n_kv_heads": "num_key_value_heads", "vocab_size": "vocab_size",
    "head_dim": "head_dim", "hidden_dim": "intermediate_size", "rope_theta": "rope_theta", "sliding_window": "sliding_window", "tied_embeddings": "tie_word_embeddings",
    "max_position_embeddings": "max_position_embeddings",
}  # fmt: skip
_READ = {"multiple_of", "ffn_dim_multiplier", "moe"}
_IRRELEVANT = {
    "norm_eps",
    "use_scaled_rope",
    "max_seq_len",
    "max_batch_size",
    "use_biases",
    "causal",
    "model_parallel_size",
    "yarn",
    "lora",
    "version",
    "rope_scaling",
}


def config(table: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The config of a native checkpoint. Raises SpecError for a value that is missing or wrong, NotModelled for a key that is not known."""
    strange = sorted(
        key
        for key, value in table.items()
        if key not in {*_PLAIN, *_READ, *_IRRELEVANT} and value not in (None, False, [], {})
    )
    if strange or table.get("use_biases"):
        raise NotModelled(
            f"{where}: not modelled yet: unknown keys of a native checkpoint: {', '.join(strange or ['use_biases'])[:200]}: pass the config.json of "
            "its Hugging Face repository"
        )
    found = {hf: table[key] for key, hf in _PLAIN.items() if table.get(key) is not None}
    if found.get("vocab_size", -1) == -1:
        raise SpecError(
            f"{where}: 'vocab_size' of this native checkpoint is its tokenizer's: pass the config.json of its Hugging Face repository"
        )
    found |= {"model_type": "llama", "torch_dtype": "bfloat16", "hidden_act": "silu"}
    found.setdefault("tie_word_embeddings", False)
    if "intermediate_size" not in found:
        found["intermediate_size"] = _width(table, where)
    elif "sliding_window" in found:
        found["model_type"] = "mistral"
    moe = table.get("moe")
    if moe is not None:
        if not isinstance(moe, Mapping) or set(moe) != {"num_experts", "num_experts_per_tok"}:
            raise NotModelled(
                f"{where}: not modelled yet: 'moe' of a native checkpoint other than num_experts and num_experts_per_tok: pass the config.json of its repository"
            )
        found |= {
            "model_type": "mixtral",
            "num_local_experts": moe["num_experts"],
            "num_experts_per_tok": moe["num_experts_per_tok"],
        }
    return found


def _width(table: Mapping[str, Any], where: str) -> int:
    """Two thirds of 4 x dim, times a factor, up to a multiple."""
    dim, multiple, factor = table["dim"], table.get("multiple_of", 256), table.get("ffn_dim_multiplier")
    for key, value in (("dim", dim), ("multiple_of", multiple)):
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1 << 24:
            raise SpecError(f"{where}: '{key}' must be a positive integer, not {str(value)[:60]}")
    if factor is not None and (
        isinstance(factor, bool) or not isinstance(factor, (int, float)) or not 0 < factor < 1 << 10
    ):
        raise SpecError(f"{where}: 'ffn_dim_multiplier' must be a positive number, not {str(factor)[:60]}")
    width = int(2 * (4 * dim) / 3)
    width = width if factor is None else int(factor * width)
    return int(multiple * -(-width // multiple))
