"""Attention that a search chose layer by layer (Nemotron-NAS): GQA with so many query heads for each KV head, or none.

Most likely to be wrong: nothing of its own; a layer without attention has no norm before it either. Source: nvidia/Llama-3_3-Nemotron-Super-49B-v1 `modeling_decilm.py`;
Puzzle (arXiv 2411.19146).
"""

from __future__ import annotations

from simcost.blocks import _block_configs as block_configs
from simcost.blocks.attention.gqa import GQA, dimensions
from simcost.hf import Reader

HANDLES = (block_configs.KEY,)
BY_KEYS = (block_configs.KEY,)


def claims(r: Reader, layer: int, layers: int) -> int:
    """5 for each layer of a config that lists them, else 0."""
    return 5 if block_configs.given(r) else 0


def alike(r: Reader, layer: int, layers: int) -> object:
    """What of a layer `from_hf` reads, so that equal layers are read once: its heads in a group."""
    return block_configs.part(r, layer, layers, "attention")


def from_hf(r: Reader, layer: int, layers: int) -> GQA | None:
    """GQA, or None where the layer has no attention. Raises SpecError for a missing or wrong key, and for a group that does not divide the heads."""
    group = block_configs.part(r, layer, layers, "attention")
    if group is None:
        return None
    heads = r.num("num_attention_heads")
    r.divisible(heads, group, f"layer {layer}: num_attention_heads must be a multiple of n_heads_in_group")
    r.implied.setdefault("num_key_value_heads", r.raw("num_attention_heads"))  # of no layer: each states its own
    return GQA(**{**dimensions(r), "num_key_value_heads": heads / group})  # type: ignore[arg-type]
