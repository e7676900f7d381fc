"""Gemma 4's FFN: a dense layer, doubled where the layer reads another's keys and values, and in models with experts both side by side.

With `enable_moe_block` the experts see the residual stream through a norm of their own, the router through one without weights; each branch has a norm behind it, and their
sum is normed again. Most likely to be wrong: engines may run both branches at once; here they follow each other. Source: Hugging Face `modeling_gemma4.py`.
"""

from __future__ import annotations

from typing import ClassVar

from simcost.blocks._layer_kinds import is_among_shared
from simcost.blocks.ffn import moe
from simcost.blocks.ffn.dense import Dense
from simcost.blocks.ffn.moe import MoE
from simcost.blocks.norm.norm import Norm
from simcost.errors import SpecError
from simcost.frozen import frozen
from simcost.hf import Reader
from simcost.plan import Plan
from simcost.sharding.shard import Block, Weight

HANDLES = ("enable_moe_block", "use_double_wide_mlp", "dense_beside_experts")


@frozen
class ScaledMoE(MoE):
    """Experts whose router scales its input by element and its weights by expert."""

    source: ClassVar[str] = "Hugging Face modeling_gemma4.py"

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """Those of the experts, and the router's scales, whole on every rank."""
        return (*MoE.weights(self, plan), Weight("router_scale", "router", self.hidden_size + self.n_routed_experts))


BY_KEYS = ("enable_moe_block", "use_double_wide_mlp")
_EXPERTS = ("n_routed_experts", "num_experts_per_tok", "moe_intermediate_size")
BY_FACTS = ("dense_beside_experts",)  # of a class that gives its layers to this block: a swap switches them off


def claims(r: Reader, layer: int, layers: int) -> int:
    """3 for a config that says whether it has experts by `enable_moe_block`, or doubles FFNs, else 0."""
    if r.off("dense_beside_experts"):
        return 0
    return 3 if any(r.has(key) for key in BY_KEYS) else 0


def alike(r: Reader, layer: int, layers: int) -> object:
    """What of a layer `from_hf` reads, so that equal layers are read once: whether it reads another layer's keys and values."""
    return is_among_shared(r, layer, layers)


def from_hf(r: Reader, layer: int, layers: int) -> Block | tuple[Block, ...]:
    """The blocks of a layer: the dense one, or both with the norms between them. Raises SpecError for a missing or wrong key."""
    if not r.layout("num_kv_shared_layers", 0):
        r.ineffective("use_double_wide_mlp", "no layer reads another's keys and values")
    double = r.flag("use_double_wide_mlp") and is_among_shared(r, layer, layers)
    hidden, width = r.num("hidden_size"), r.num("intermediate_size")
    dense = Dense(hidden, width * (2.0 if double else 1.0))
    if not r.flag("enable_moe_block"):
        for key in _EXPERTS:
            r.ineffective(key, "enable_moe_block is false")
        return dense
    missing = next((key for key in _EXPERTS if not r.has(key)), None)
    if missing is not None:
        raise SpecError(f"{r.where}: missing key '{missing}', which enable_moe_block = true needs")
    plain = moe.from_hf(r, layer, layers)
    experts = ScaledMoE(hidden, plain.n_routed_experts, plain.num_experts_per_tok, plain.moe_intermediate_size)
    between = (Norm("post_ffn_norm_1", hidden, 1.0, False), Norm("pre_ffn_norm_2", hidden, 1.0, False))
    return dense, *between, experts, Norm("post_ffn_norm_2", hidden, 1.0)
