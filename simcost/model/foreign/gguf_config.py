"""A GGUF file as the Hugging Face config of its model: llama.cpp's keys translated, the formats of its tensors by kind of weight.

An architecture is taken for a family only where the tensors prove it: what the config makes must have their elements. Most likely to be wrong: structure that changes
no element, such as which layers slide. Sources: llama.cpp, gguf-py (constants.py, tensor_mapping.py), convert_hf_to_gguf.py, src/llama-arch.cpp.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simcost.errors import NotModelled, SpecError
from simcost.frozen import frozen
from simcost.model.foreign import gguf_header
from simcost.model.foreign.gguf_header import Header, Tensor

# llama.cpp's architecture -> model_type of transformers.
_FAMILIES = {
    "llama": "llama", "qwen2": "qwen2", "qwen2moe": "qwen2_moe", "qwen3": "qwen3", "qwen3moe": "qwen3_moe", "gemma": "gemma", "gemma2": "gemma2", "gemma3": "gemma3_text",
    "phi3": "phi3", "deepseek2": "deepseek_v2", "gpt-oss": "gpt_oss", "starcoder2": "starcoder2", "olmo2": "olmo2", "olmoe": "olmoe", "command-r": "cohere",
    "cohere2": "cohere2", "granite": "granite", "granitemoe": "granitemoe", "glm4": "glm4", "glm4moe": "glm4_moe", "smollm3": "smollm3", "seed_oss": "seed_oss",
    "ernie4_5": "ernie4_5", "arcee": "arcee", "internlm2": "internlm2", "minimax-m2": "minimax_m2",
}  # fmt: skip
_PLAIN = {
    "embedding_length": "hidden_size", "context_length": "max_position_embeddings", "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads", "feed_forward_length": "intermediate_size", "rope.freq_base": "rope_theta",
    "nextn_predict_layers": "num_nextn_predict_layers", "expert_used_count": "num_experts_per_tok", "expert_group_count": "n_group",
    "expert_group_used_count": "topk_group", "leading_dense_block_count": "first_k_dense_replace", "attention.q_lora_rank": "q_lora_rank",
    "attention.kv_lora_rank": "kv_lora_rank",
}  # fmt: skip
_EXPERTS = {
    "mixtral": "num_local_experts", "granitemoe": "num_local_experts", "gpt_oss": "num_local_experts", "minimax_m2": "num_local_experts",
    "deepseek_v2": "n_routed_experts", "deepseek_v3": "n_routed_experts", "glm4_moe": "n_routed_experts",
}  # fmt: skip
_SLIDING = (
    "gemma2",
    "gemma3_text",
    "gpt_oss",
    "cohere2",
    "phi3",
)  # families of which the class fixes which layers slide
# Read below, or of no effect on what is counted here.
_KNOWN = re.compile(
    r"block_count|vocab_size|tensor_data_layout|use_parallel_residual|rope\..*|.*epsilon|.*softcapping|.*_scale|.*scale|attention\.(?:key|value)_length(?:_mla)?|"
    r"expert_count|expert_shared_count|expert_(?:shared_)?feed_forward_length|expert_weights_norm|expert_gating_func|attention\.sliding_window|attention\.causal|"
    r"attention\.temperature_(?:length|scale)|attention\.clamp_kqv|swiglu_clamp_\w+"
)
_LAYER = re.compile(r"blk\.(\d{1,6})\.(.+)")
_NO_WEIGHT = re.compile(r"rope_freqs|rope_factors_\w+|.*\.rope_(?:freqs|factors_\w+)")
_COPY = re.compile(r"blk\.\d+\.nextn\.(?:embed_tokens|shared_head_head)\.weight")  # of the model's own tables
_ROLES = (
    ("ffn_gate_inp", "router"), ("exp_probs", "router"), ("_exps", "experts"), ("_shexp", "shared_experts"), ("ffn_", "ffn"), ("attn_", "attention"),
)  # fmt: skip


@frozen
class Gguf:
    """config: as transformers would write it; elements: of all tensors that are weights, copies of tables apart; name: the architecture."""

    config: Mapping[str, Any]
    elements: int
    name: str


def read(path: Path) -> Gguf:
    """The model of a GGUF file. Raises SpecError for a file that cannot be read, NotModelled for an architecture that is not translated."""
    header = gguf_header.read(path)
    name = header.metadata.get("general.architecture")
    family = _FAMILIES.get(name) if isinstance(name, str) else None
    if family is None:
        known = ", ".join(sorted(_FAMILIES))
        raise NotModelled(
            f"{path}: not modelled yet: a GGUF file of architecture {str(name)[:60]!r} (those of {known} are read): pass the config.json of the model that it holds"
        )
    weights = [tensor for tensor in header.tensors if not _NO_WEIGHT.match(tensor.name)]
    if not weights:
        raise SpecError(f"{path}: a GGUF file without tensors: pass the one that has the weights")
    config = _config(header, str(name), family, {tensor.name: tensor for tensor in weights}, path)
    formats = _formats(weights, config["num_hidden_layers"])
    base = {"bf16": "bfloat16", "fp32": "float32"}
    kinds = {kind for kind, _ in formats.values()} - {"fp32"}
    config["torch_dtype"] = base.get(min(kinds, default="fp32"), "float16") if len(kinds) <= 1 else "float16"
    config["quantization_config"] = {"quant_method": "gguf", "tensors": formats}
    return Gguf(config, sum(tensor.elements for tensor in weights if not _COPY.fullmatch(tensor.name)), str(name))


def _config(header: Header, name: str, family: str, tensors: Mapping[str, Tensor], path: Path) -> dict[str, Any]:
    stated = {
        key.removeprefix(f"{name}."): value for key, value in header.metadata.items() if key.startswith(f"{name}.")
    }
    strange = sorted(key for key in stated if key not in _PLAIN and not _KNOWN.fullmatch(key))
    if strange:
        raise NotModelled(
            f"{path}: not modelled yet: unknown GGUF keys: {', '.join(strange)[:200]}: pass the config.json of the model"
        )
    config: dict[str, Any] = {
        hf: _whole(stated[key], f"{name}.{key}", path) for key, hf in _PLAIN.items() if key in stated
    }
    if "token_embd.weight" not in tensors or len(tensors["token_embd.weight"].shape) != 2:
        raise SpecError(f"{path}: a GGUF file without token_embd.weight")
    layers = _whole(stated.get("block_count"), f"{name}.block_count", path) - config.get("num_nextn_predict_layers", 0)
    config |= {
        "num_hidden_layers": layers, "vocab_size": tensors["token_embd.weight"].shape[1], "tie_word_embeddings": "output.weight" not in tensors,
        "model_type": family,
    }  # fmt: skip
    if "attention.sliding_window" in stated:
        if family not in _SLIDING:
            raise NotModelled(
                f"{path}: not modelled yet: {name}.attention.sliding_window: pass the config.json of the model"
            )
        config["sliding_window"] = _whole(stated["attention.sliding_window"], f"{name}.attention.sliding_window", path)
    _heads(config, stated, name, path)
    _biases(config, tensors)
    if stated.get("expert_count"):
        _experts(config, stated, name, path)
    return config


def _whole(value: Any, key: str, path: Path) -> Any:
    """A number, or the one of a list that states it for every layer alike. Raises SpecError for anything else, NotModelled for layers that differ."""
    if isinstance(value, list) and value:
        if any(each != value[0] for each in value):
            raise NotModelled(
                f"{path}: not modelled yet: {key} that differs by layer: pass the config.json of the model"
            )
        value = value[0]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1 << 40:
        raise SpecError(f"{path}: '{key}' must be a number, not {str(value)[:60]}")
    return value


def _heads(config: dict[str, Any], stated: Mapping[str, Any], name: str, path: Path) -> None:
    """Widths of heads; those of latent attention from its own keys."""

    def of(key: str) -> Any:
        return _whole(stated[key], f"{name}.{key}", path) if key in stated else None

    key, value, rotary = of("attention.key_length"), of("attention.value_length"), of("rope.dimension_count")
    if "kv_lora_rank" in config:
        # Later files state one head of the latent, and the widths of the others apart.
        key, value = of("attention.key_length_mla") or key, of("attention.value_length_mla") or value
        if None in (key, value, rotary):
            raise SpecError(
                f"{path}: latent attention without {name}.attention.key_length, value_length and rope.dimension_count"
            )
        config |= {
            "qk_rope_head_dim": rotary,
            "qk_nope_head_dim": key - rotary,
            "v_head_dim": value,
            "num_key_value_heads": config.get("num_attention_heads"),
        }
        config.setdefault("q_lora_rank", None)
        return
    if key is not None:
        config["head_dim"] = key
    if value is not None and value != key:
        raise NotModelled(
            f"{path}: not modelled yet: {name}.attention.value_length other than key_length: pass the config.json of the model"
        )


def _biases(config: dict[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """What has a bias, where the family leaves it to the config."""
    if config["model_type"] in ("llama", "mixtral", "glm4", "glm4_moe", "granite", "seed_oss", "smollm3", "olmo2"):
        config["attention_bias"] = "blk.0.attn_q.bias" in tensors
    if config["model_type"] == "seed_oss":
        config["attention_out_bias"] = "blk.0.attn_output.bias" in tensors
    if config["model_type"] in ("glm4_moe",):
        config["use_qk_norm"] = "blk.0.attn_q_norm.weight" in tensors
    if config["model_type"] in ("llama", "granite", "smollm3", "arcee"):
        config["mlp_bias"] = "blk.0.ffn_up.bias" in tensors


def _experts(config: dict[str, Any], stated: Mapping[str, Any], name: str, path: Path) -> None:
    """Experts under the family's own keys; a llama with experts is a Mixtral, deepseek2 with a sigmoid router DeepSeek-V3."""
    if config["model_type"] == "llama":
        config["model_type"] = "mixtral"
    if stated.get("expert_gating_func") == 2 and config["model_type"] == "deepseek_v2":
        config |= {"model_type": "deepseek_v3", "scoring_func": "sigmoid"}
    family = config["model_type"]
    config[_EXPERTS.get(family, "num_experts")] = _whole(stated["expert_count"], f"{name}.expert_count", path)
    for key, hf in (
        ("expert_feed_forward_length", "moe_intermediate_size"),
        ("expert_shared_feed_forward_length", "shared_expert_intermediate_size"),
    ):
        if key in stated:
            config[hf] = _whole(stated[key], f"{name}.{key}", path)
    if stated.get("expert_shared_count"):
        config["n_shared_experts"] = _whole(stated["expert_shared_count"], f"{name}.expert_shared_count", path)
    if family in ("mixtral", "granitemoe", "gpt_oss", "minimax_m2", "olmoe") and "moe_intermediate_size" in config:
        config["intermediate_size"] = config.pop("moe_intermediate_size")


def _formats(tensors: list[Tensor], layers: int) -> dict[str, list[Any]]:
    """Role -> [the type that most of its elements have, bits of an element]; multi-token prediction is left out."""
    size: Counter[str] = Counter()
    elements: Counter[str] = Counter()
    kinds: dict[str, Counter[str]] = {}
    for tensor in tensors:
        role = _role(tensor, layers)
        if role is None:
            continue
        size[role] += tensor.size  # type: ignore[assignment]  # bytes may be a fraction of a block
        elements[role] += tensor.elements
        kinds.setdefault(role, Counter())[tensor.kind] += tensor.elements
    found = {role: [kinds[role].most_common(1)[0][0], 8.0 * size[role] / elements[role]] for role in size}
    return {"head": found["embedding"], **found} if "embedding" in found else found


def _role(tensor: Tensor, layers: int) -> str | None:
    if len(tensor.shape) == 1 or tensor.name.endswith(".bias"):
        return "norm"  # vectors, also those of experts
    found = _LAYER.fullmatch(tensor.name)
    if found is None:
        return {"token_embd.weight": "embedding", "output.weight": "head", "position_embd.weight": "embedding"}.get(
            tensor.name, "norm"
        )
    if int(found[1]) >= layers:
        return None
    return next((role for sign, role in _ROLES if sign in found[2]), "attention")
