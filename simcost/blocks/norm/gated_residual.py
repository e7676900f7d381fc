"""Hyper-connections whose mix is a gate of low rank (Qwen4): `hc_count` residual streams, each element of which has a weight of its own on its way into a sublayer.

Before a sublayer the streams are normed, each by itself, a product of low rank makes a gate of every element, and the mean of the gated streams enters; another product says how much of the sublayer's output each stream gets. No other norm stands
before the sublayer. After the last layer the same mix, without the second product, makes one stream. Most likely to be wrong: the cut over ranks (all is whole on every rank here). Source: Hugging Face `modeling_qwen4_exp.py` (GatedResidual).
"""

from __future__ import annotations

from typing import ClassVar

from simcost.blocks.embed.embed import Head
from simcost.frozen import frozen
from simcost.hf import Reader
from simcost.num import Num
from simcost.ops.stream import Stream
from simcost.plan import Check, Plan
from simcost.program import Call, Program, Serial
from simcost.sharding.linear import linear
from simcost.sharding.shard import Plain, View, Weight

HANDLES = ("hc_count", "hc_lowrank")
BEFORE, AFTER, LAST = "before", "after", "last"


@frozen
class GatedResidual(Plain):
    """A half of a site, `before` a sublayer or `after` it, or the mix behind the `last` layer; the weights stand with the first half. `rank`: of the gate."""

    name: str
    width: Num
    hc_count: float
    rank: Num
    place: str
    kind: ClassVar[str] = "norm"
    source: ClassVar[str] = "Hugging Face modeling_qwen4_exp.py"

    @property
    def _wide(self) -> Num:
        """All streams of a token."""
        return self.hc_count * self.width

    def checks(self, plan: Plan) -> list[Check]:
        """No rules: it is whole on every rank."""
        return []

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """Norms of the streams, the gate's two products and, before a sublayer, the product to the share of each stream."""
        if self.place == AFTER:
            return ()
        found = [
            Weight(f"{self.name}_norm", "norm", self._wide),
            Weight(f"{self.name}_down", "router", self.rank, self._wide),
            Weight(f"{self.name}_up", "router", self._wide, self.rank),
        ]
        if self.place == BEFORE:
            found.append(Weight(f"{self.name}_inject", "router", self.hc_count, self._wide))
        return tuple(found)

    @property
    def carried_elements(self) -> Num:
        """The streams beside the first."""
        return (self.hc_count - 1.0) * self.width

    def peak_elements(self, plan: Plan) -> Num:
        """The streams beside the first; before a sublayer also their norms and gates."""
        return (self.hc_count - 1.0) * self.width + (0.0 if self.place == AFTER else 2.0 * self._wide)

    def program(self, view: View) -> Program:
        """Over the rank's rows. Before: norms, products, gated mean. After: the output is added to each stream by its share."""
        m, rows, act = self.hc_count, view.own_tokens, view.activation
        elements = rows * self.width
        if self.place == AFTER:
            return Call(Stream("hyper connection after", elements, m + 1.0, m, 2.0 * m, act, act), self.name)
        _, down, up, *inject = self.weights(view.plan)
        return Serial(
            (
                Call(Stream("norm", rows * self._wide, 1.0, 1.0, 4.0, act, act), f"{self.name}_norm"),
                linear(view, down, rows),
                Call(Stream("activation", rows * self.rank, 1.0, 1.0, 5.0, act, act), f"{self.name}_silu"),
                linear(view, up, rows),
                *(linear(view, weight, rows) for weight in inject),
                Call(Stream("hyper connection before", elements, 2.0 * m, 1.0, 6.0 * m, act, act), self.name),
            ),
            self.name,
        )


@frozen
class MixedHead(Head):
    """A head behind streams that a gate of `rank` mixes to one, over all tokens; no other norm stands before it."""

    streams: float = 1.0
    rank: Num = 1.0
    source: ClassVar[str] = "Hugging Face modeling_qwen4_exp.py"

    @property
    def carried_elements(self) -> Num:
        """The streams beside the first."""
        return (self.streams - 1.0) * self.hidden_size

    @property
    def _mix(self) -> GatedResidual:
        return GatedResidual("last_mix", self.hidden_size, self.streams, self.rank, LAST)

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """Those of the mix and of a head."""
        return (*self._mix.weights(plan), *Head.weights(self, plan))

    def program(self, view: View) -> Program:
        """The mix, then as a head."""
        head = Head.program(self, view)
        assert isinstance(head, Serial)
        kept = (part for part in head.parts if not (isinstance(part, Call) and part.tag == "final_norm"))
        return Serial((self._mix.program(view), *kept), "head")


def halves(r: Reader, name: str) -> tuple[GatedResidual, GatedResidual]:
    """What stands before and after a sublayer. Raises SpecError for a missing or wrong key."""
    before, after = (_read(r, name, place) for place in (BEFORE, AFTER))
    return before, after


def last(r: Reader) -> GatedResidual:
    """The mix behind a module of multi-token prediction, which has one of its own."""
    return _read(r, "mtp_mix", LAST)


def _read(r: Reader, name: str, place: str) -> GatedResidual:
    return GatedResidual(name, r.num("hidden_size"), float(r.layout("hc_count", least=2)), r.num("hc_lowrank"), place)
