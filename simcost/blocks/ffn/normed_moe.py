"""Experts at a width of their own, between norms (Muse Spark): a norm behind the projection to that width, and one of every expert's output before it is weighed.

Both have one vector, the second the same for all experts. Most likely to be wrong: kernels that fuse the second with the experts' last product save a pass over the copies of tokens. Source: Hugging Face `modeling_muse_spark.py`.
"""

from __future__ import annotations

from dataclasses import fields
from typing import ClassVar

from simcost.blocks.ffn import moe
from simcost.blocks.ffn.moe import MoE
from simcost.dtypes import Dtype
from simcost.frozen import frozen
from simcost.hf import Reader
from simcost.num import Num
from simcost.ops.permute import Permute
from simcost.ops.stream import Stream
from simcost.plan import Plan
from simcost.program import Call, Program, Serial
from simcost.sharding.shard import View, Weight

_ENTERED = 3  # router, top-k and the projection to the experts' width


@frozen
class NormedMoE(MoE):
    """MoE with a `moe_latent_size` and the two norms of that width, whole on every rank."""

    source: ClassVar[str] = "Hugging Face modeling_muse_spark.py"

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """Those of MoE, and the norms."""
        return (*MoE.weights(self, plan), Weight("latent_norms", "norm", 2.0 * self.routed_width))

    def program(self, view: View) -> Program:
        """As MoE, with the first norm behind the projection to the experts' width."""
        found = MoE.program(self, view)
        assert isinstance(found, Serial)
        entered = self._norm(view, view.own_tokens, "latent norm")
        return Serial((*found.parts[:_ENTERED], entered, *found.parts[_ENTERED:]), found.tag)

    def _run(self, view: View, weight: dict[str, Weight], x: Dtype) -> Program:
        """As MoE, and the norm of every copy, beside what is measured as a whole."""
        experts = MoE._run(self, view, weight, x)
        assert isinstance(experts, Serial)
        first = experts.parts[0]
        assert isinstance(first, Call)
        assert isinstance(first.op, Permute)
        return Serial((experts, self._norm(view, first.op.copies, "expert norm")))

    def _norm(self, view: View, rows: Num, tag: str) -> Call:
        act = view.activation
        return Call(Stream("norm", rows * self.routed_width, 1.0, 1.0, 4.0, act, act), tag)


def claims(r: Reader, layer: int, layers: int) -> int:
    """3 for a layer with experts of a family whose class has these norms, else 0."""
    return 3 if r.given("latent_norms") and moe.claims(r, layer, layers) else 0


def alike(r: Reader, layer: int, layers: int) -> object:
    """What of a layer `from_hf` reads, so that equal layers are read once: nothing."""
    return None


def from_hf(r: Reader, layer: int, layers: int) -> NormedMoE:
    """The MoE of a layer. Raises SpecError for a missing or wrong key."""
    r.flag("latent_norms")
    r.num("moe_latent_size")
    plain = moe.from_hf(r, layer, layers)
    return NormedMoE(**{each.name: getattr(plain, each.name) for each in fields(plain)})
