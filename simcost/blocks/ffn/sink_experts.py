"""Shared experts as sinks (Inkling): the router scores them beside the routed ones, a token passes all of them, and their weights are normalised together with those of its picks.

Work is that of shared experts; the router has a row for each of them, and a learned scale of its weights. Most likely to be wrong: nothing of size. Source: Hugging Face
`modeling_inkling.py` (TopkRouter, SharedExperts).
"""

from __future__ import annotations

from dataclasses import fields
from typing import ClassVar

from simcost.blocks.ffn import moe
from simcost.blocks.ffn.moe import MoE
from simcost.frozen import frozen
from simcost.hf import Reader
from simcost.num import Num
from simcost.plan import Plan
from simcost.sharding.shard import Weight

HANDLES = ("shared_expert_sinks",)
IGNORES = ("shared_expert_sink",)  # its class scores them whatever the key says


@frozen
class SinkExperts(MoE):
    """MoE whose router scores `sinks` shared experts too."""

    sinks: Num = 0.0
    source: ClassVar[str] = "Hugging Face modeling_inkling.py"

    @property
    def choices(self) -> tuple[Num, float]:
        """Routed and shared experts, and picks of the routed ones."""
        return self.n_routed_experts + self.sinks, self.num_experts_per_tok

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """As MoE, the correction bias of routed experts alone; the scale of the router's weights, whole on every rank."""
        kept = tuple(w for w in MoE.weights(self, plan) if w.name != "correction_bias")
        bias = Weight("correction_bias", "router", self.n_routed_experts)
        return *kept, bias, Weight("router_scale", "router", 1.0)


BY_KEYS: tuple[str, ...] = ()


def claims(r: Reader, layer: int, layers: int) -> int:
    """3 for a layer with experts of a family whose router scores shared ones, else 0."""
    return 3 if r.flag("shared_expert_sinks") and moe.claims(r, layer, layers) else 0


def alike(r: Reader, layer: int, layers: int) -> object:
    """What of a layer `from_hf` reads, so that equal layers are read once: nothing."""
    return None


def from_hf(r: Reader, layer: int, layers: int) -> SinkExperts:
    """The experts of a layer. Raises SpecError for a missing or wrong key."""
    plain = moe.from_hf(r, layer, layers)
    return SinkExperts(
        **{f.name: getattr(plain, f.name) for f in fields(plain)}, sinks=r.num("n_shared_experts", 0, least=0)
    )
