"""A model_type that no table knows: whether its own keys prove that it is Llama-style.

Llama-style: RMSNorm, gated FFN, no biases beyond the keys given, no structure beyond those keys. A class may fix or default any of that in code, so a config
that leaves it open is refused. Most likely to be wrong: a class with `silu` and no gate, or with a norm or a bias that no key names (below 0.1 % of weights).
"""

from __future__ import annotations

from collections.abc import Collection

from simcost.errors import NotModelled
from simcost.hf import Reader
from simcost.model.keys import on
from simcost.num import every
from simcost.provenance import Kind

GATED = (
    "silu",
    "swish",
    "swiglu",
    "geglu",
    "reglu",
)  # activations that decoders use with a gate; gelu comes with and without
ASSUME = "assume_llama"


def check(r: Reader, known: Collection[str]) -> None:
    """Notes that a config of a model_type that is not known is read as Llama's. Raises NotModelled for one that leaves open what counts, naming each
    key to state, unless it is insisted on."""
    for size in ("hidden_size", "num_hidden_layers"):
        r.num(size)  # what is no model's config lacks them: that is to be said first
    family = r.config.get("model_type")
    named = "model_type is absent" if family is None else f"model_type {family!r} is not known"
    if not r.flag(ASSUME):
        _refuse(r, named, known)
    r.note(
        f"{named}: read as Llama-style (RMSNorm, gated FFN, no biases beyond the keys given); what else its class implies is not counted",
        Kind.ASSUMED,
    )


def _refuse(r: Reader, named: str, known: Collection[str]) -> None:
    missing = _open(r)
    strange = [key for key, value in sorted(r.config.items()) if key not in known and key not in r.used and on(value)]
    mla = r.has("kv_lora_rank")
    if not mla and r.flag("use_mla", True):  # ranks and parts of heads of an attention that is not MLA
        strange += [key for key in ("q_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim") if on(r.config.get(key))]
    wide = (
        not mla
        and r.has("head_dim")
        and not every(r.num("head_dim") * r.num("num_attention_heads") == r.num("hidden_size"))
    )
    if not missing and not strange and not wide:
        return
    why = [f"state {', '.join(missing)}"] if missing else []
    why += [f"unknown keys {', '.join(strange)}"] if strange else []
    why += ["num_attention_heads x head_dim is not hidden_size, which model classes treat differently"] if wide else []
    raise NotModelled(
        f"{r.where}: {named}, and its keys do not prove that it is Llama-style: {'; '.join(why)} (--assume-llama insists: norms, gate, ties and "
        "experts are then Llama's)"
    )


def _open(r: Reader) -> list[str]:
    """Keys to state, each with what it decides."""
    found = []
    if not r.has("gated_ffn") and str(r.config.get("hidden_act", "")).lower() not in GATED:
        found.append("gated_ffn (a gate beside the up-projection)")
    if not r.has("intermediate_size") and not r.has("moe_intermediate_size"):
        found.append("intermediate_size (width of the FFN)")
    if not r.has("tie_word_embeddings"):
        found.append("tie_word_embeddings (whether the head has weights of its own)")
    if r.has("n_routed_experts") and not every(r.num("n_routed_experts", least=0) <= 1):
        if not r.has("moe_intermediate_size"):
            found.append("moe_intermediate_size (width of an expert)")
        if not any(
            r.has(key) for key in ("n_shared_experts", "shared_expert_intermediate_size", "shared_intermediate_size")
        ):
            found.append("n_shared_experts (experts that every token passes, 0 for none)")
    return found
