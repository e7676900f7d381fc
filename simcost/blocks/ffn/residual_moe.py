"""A dense FFN beside the experts of a layer: every token passes it, and both results are added (Grok-2, Arctic).

It is counted as a shared expert of its own width: the same matrices, and one collective joins both parts, as engines run them. Most likely to be wrong: Arctic's experts read the
layer's input and can run beside attention, which is not counted. Sources: SGLang `models/grok.py` (`moe_with_rmoe`); Snowflake/snowflake-arctic-base
`modeling_arctic.py`.
"""

from __future__ import annotations

from dataclasses import replace

from simcost.blocks.ffn import moe
from simcost.blocks.ffn.moe import MoE
from simcost.blocks.norm.norm import Norm
from simcost.errors import NotModelled, SpecError
from simcost.hf import Reader

HANDLES = ("residual_moe", "use_residual", "parallel_attn_mlp_res", "moe_layer_frequency")
BY_KEYS = ("residual_moe", "use_residual", "parallel_attn_mlp_res")


def claims(r: Reader, layer: int, layers: int) -> int:
    """3 for a layer with experts and a dense FFN beside them, else 0."""
    return 3 if any(r.given(key) for key in BY_KEYS) and moe.claims(r, layer, layers) else 0


def alike(r: Reader, layer: int, layers: int) -> object:
    """What of a layer `from_hf` reads, so that equal layers are read once: nothing."""
    return None


def from_hf(r: Reader, layer: int, layers: int) -> tuple[Norm | MoE, ...]:
    """The experts with the dense FFN: of width intermediate_size (Grok-2), or hidden_size behind a norm of its own (Arctic). Raises SpecError for a missing or wrong key; NotModelled
    beside shared experts."""
    plain = moe.from_hf(r, layer, layers)
    if plain.has_shared:
        raise NotModelled(f"{r.where}: not modelled: a dense FFN beside experts that has shared experts too")
    if r.flag("residual_moe"):
        if not r.has("moe_intermediate_size"):
            raise SpecError(
                f"{r.where}: missing key 'moe_intermediate_size': intermediate_size is the dense FFN's (residual_moe)"
            )
        return (replace(plain, shared_width=r.num("intermediate_size")),)
    before = r.flag("parallel_attn_mlp_res")
    if not before:
        raise NotModelled(
            f"{r.where}: not modelled: use_residual without parallel_attn_mlp_res (DeepSpeed's residual MoE)"
        )
    r.flag("use_residual")
    hidden = r.num("hidden_size")
    return Norm("residual_norm", hidden, 1.0, False), replace(plain, shared_width=hidden)
