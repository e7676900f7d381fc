"""Manifold-constrained hyper-connections (mHC): `hc_mult` residual streams in place of one, mixed before and after every sublayer.

Before: weights from all streams (one small product, 20 rounds of normalisation), their sum enters the sublayer. After: its output and the mixed streams become the new ones. Most likely to be
wrong: streams that an engine keeps in fp32. Sources: mHC (arXiv 2512.24880); Hugging Face `modeling_deepseek_v4.py`, `modeling_glm5_next.py` (HyperConnection).
"""

from __future__ import annotations

from typing import ClassVar

from simcost.frozen import frozen
from simcost.num import Num
from simcost.ops.stream import Stream
from simcost.plan import Check, Plan
from simcost.program import Call, Program
from simcost.sharding.shard import Plain, View, Weight

HANDLES = ("hc_mult",)
IGNORES = ("hc_sinkhorn_iters", "hc_eps", "hc_magnitude")


@frozen
class HyperConnection(Plain):
    """One half of a site: `before` a sublayer, or after it; the weights stand with the first. `mixes_streams` False: each stream keeps its own residual (Hunyuan 4)."""

    name: str
    width: Num
    hc_mult: float
    before: bool
    mixes_streams: bool = True
    kind: ClassVar[str] = "norm"
    source: ClassVar[str] = "arXiv 2512.24880"

    @property
    def _mixes(self) -> float:
        """Numbers that a token's mix is made of: to the sublayer, from it, and between streams."""
        return 2.0 * self.hc_mult + (self.hc_mult**2 if self.mixes_streams else 0.0)

    def checks(self, plan: Plan) -> list[Check]:
        """No rules: it is whole on every rank."""
        return []

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """The product from all streams to the mix, its bias and a scale of each kind of weight: inside the kernel, and never quantised."""
        if not self.before:
            return ()
        return (
            Weight(f"{self.name}_fn", "router", self._mixes * self.hc_mult * self.width),
            Weight(f"{self.name}_base", "router", self._mixes + (3.0 if self.mixes_streams else 2.0)),
        )

    @property
    def carried_elements(self) -> Num:
        """The streams beside the first."""
        return (self.hc_mult - 1.0) * self.width

    def peak_elements(self, plan: Plan) -> Num:
        """The streams beside the first."""
        return (self.hc_mult - 1.0) * self.width

    def program(self, view: View) -> Program:
        """One kernel over the rank's rows: before, all streams are read and one is written; after, one and all are read and all written."""
        m, act = self.hc_mult, view.activation
        elements = view.own_tokens * self.width
        if self.before:
            return Call(
                Stream("hyper connection before", elements, m, 1.0, 2.0 * m * (self._mixes + 1.0), act, act), self.name
            )
        flops = 2.0 * m * (m + 1.0 if self.mixes_streams else 1.0)
        return Call(Stream("hyper connection after", elements, m + 1.0, m, flops, act, act), f"{self.name} after")
