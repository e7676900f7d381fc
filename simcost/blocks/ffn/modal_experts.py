"""Experts by modality (ERNIE 4.5 VL): in each layer one set of experts for tokens of text and another, of another width, for those of images, each with a router of its own.

A step of text runs the first set alone; the second is loaded and costs no time. Shared experts have the width of the first. Most likely to be wrong: images in a prompt, whose
tokens pass the second set; time with images is refused. Source: Hugging Face `modeling_ernie4_5_vl_moe.py`.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import ClassVar

from simcost.blocks.ffn import moe
from simcost.blocks.ffn.moe import MoE
from simcost.frozen import frozen
from simcost.hf import Reader
from simcost.num import Num
from simcost.plan import Check, Plan, divides
from simcost.provenance import Kind
from simcost.sharding.shard import Weight

KEY = "vision_moe_intermediate_size"
HANDLES = (KEY,)
IGNORES = ("moe_capacity",)  # of training


@frozen
class ModalExperts(MoE):
    """MoE of the experts for text, with as many for images of width `vision_width` beside them."""

    vision_width: Num = 1.0
    source: ClassVar[str] = "Hugging Face modeling_ernie4_5_vl_moe.py"

    def checks(self, plan: Plan) -> list[Check]:
        """Those of both sets."""
        return [*MoE.checks(self, plan), divides(self.vision_width, plan.expert_slices, KEY)]

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """Those of the experts for text and the shared ones; a router and experts for images, cut alike, of which no token of text uses any."""
        sizes = {f.name: getattr(self, f.name) for f in fields(MoE)}
        seeing = MoE(**{**sizes, "moe_intermediate_size": self.vision_width, "shared_width": 0.0, "shared_gate": False})
        idle = (replace(w, name=f"vision_{w.name}", active=0.0) for w in seeing.weights(plan))
        return (*MoE.weights(self, plan), *idle)


BY_KEYS = (KEY,)


def claims(r: Reader, layer: int, layers: int) -> int:
    """3 for a layer with experts of a config with a width of experts for images, else 0."""
    return 3 if r.given(KEY) and moe.claims(r, layer, layers) else 0


def alike(r: Reader, layer: int, layers: int) -> object:
    """What of a layer `from_hf` reads, so that equal layers are read once: nothing."""
    return None


def from_hf(r: Reader, layer: int, layers: int) -> ModalExperts:
    """The experts of a layer. Raises SpecError for a missing or wrong key."""
    plain = moe.from_hf(r, layer, layers)
    r.note("experts for images are loaded, and a text passes none of them", Kind.SCOPE)
    return ModalExperts(**{f.name: getattr(plain, f.name) for f in fields(plain)}, vision_width=r.num(KEY))
