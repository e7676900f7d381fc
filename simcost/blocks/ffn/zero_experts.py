"""Zero experts (LongCat-Flash): of the experts that a router chooses among, some give a token back as it came, and cost nothing. The MoE is a shortcut beside the dense FFN
of a layer's first half; the second half is attention and a dense FFN alone.

How many real experts a token meets follows from the router's training: taken as uniform over real and zero experts, k·E/(E + Z), which is 8 of 12 in LongCat-Flash
and its report's mean of 27 B active parameters. Most likely to be wrong: that mean for another text; vLLM, which sends picks of zero experts to expert 0 with weight 0.
Sources: LongCat-Flash (arXiv 2509.01322); Hugging Face `modeling_longcat_flash.py`.
"""

from __future__ import annotations

from dataclasses import fields
from typing import ClassVar

import numpy as np

from simcost.blocks.ffn import dense, moe
from simcost.blocks.ffn.dense import Dense
from simcost.blocks.ffn.moe import MoE
from simcost.errors import NotModelled
from simcost.frozen import frozen
from simcost.hf import Reader
from simcost.num import Num, every, where
from simcost.ops.stream import Stream
from simcost.plan import Plan
from simcost.program import Call, Program, Serial
from simcost.provenance import Kind
from simcost.routing.router import Routing
from simcost.sharding.shard import View

HANDLES = ("zero_expert_num", "zero_expert_type")
_IDENTITY = "identity"


@frozen
class ZeroExperts(MoE):
    """MoE of `n_routed_experts` real and `zero_experts` others; a token picks `picks` of both, of which `num_experts_per_tok` are real on average.
    `shortcut`: the result is added after the layer's second half."""

    zero_experts: Num = 0.0
    picks: float = 1.0
    shortcut: bool = True
    source: ClassVar[str] = "arXiv 2509.01322"

    @property
    def choices(self) -> tuple[Num, float]:
        """Real and zero experts, and picks of both."""
        return self.n_routed_experts + self.zero_experts, self.picks

    def expert_elements(self, plan: Plan, routing: Routing, tokens: Num) -> tuple[Num, Num]:
        """As MoE; where no token travels, buffers have rows for every pick."""
        wide, narrow = MoE.expert_elements(self, plan, routing, tokens)
        more = where(plan.exchanges > 0.0, 1.0, self.picks / self.num_experts_per_tok)
        return wide * more, narrow * more

    def program(self, view: View) -> Program:
        """As MoE, then the tokens themselves by the weights of their zero experts, and the shortcut's sum with the layer's second half."""
        act, elements = view.activation, view.tokens * self.hidden_size
        zero = Call(Stream("residual", elements, 2.0, 1.0, 2.0, act, act), "zero experts")
        join = Call(Stream("residual", elements, 2.0, 1.0, 1.0, act, act), "add shortcut")
        after = (*([] if every(self.zero_experts == 0.0) else [zero]), *([join] if self.shortcut else []))
        return Serial((MoE.program(self, view), *after), "zero experts")


BY_KEYS = ("zero_expert_num",)


def claims(r: Reader, layer: int, layers: int) -> int:
    """3 for a layer with experts of a config with zero experts or a shortcut, else 0."""
    return 3 if (r.given("zero_expert_num") or r.flag("shortcut_moe")) and moe.claims(r, layer, layers) else 0


def alike(r: Reader, layer: int, layers: int) -> object:
    """What of a layer `from_hf` reads, so that equal layers are read once: nothing."""
    return None


def from_hf(r: Reader, layer: int, layers: int) -> tuple[ZeroExperts | Dense, ...]:
    """The MoE of a layer, and with a shortcut the dense FFN beside it. Raises SpecError for a missing or wrong key; NotModelled for zero experts that do something, and where a token's mean of
    real experts is not whole."""
    plain, zero, picks = (
        moe.from_hf(r, layer, layers),
        r.num("zero_expert_num", 0, least=0),
        float(r.layout("num_experts_per_tok", least=1)),
    )
    kind = r.text("zero_expert_type", _IDENTITY)
    if kind != _IDENTITY:
        raise NotModelled(f"{r.where}: not modelled: 'zero_expert_type' = {kind!r}: only {_IDENTITY} costs nothing")
    r.scalar |= {"zero_expert_num", "n_routed_experts"}  # they decide how many picks are real
    real = picks * plain.n_routed_experts / (plain.n_routed_experts + zero)
    first = float(np.ravel(np.asarray(real))[0])  # of a sweep: each value is a question of its own
    if not every(real % 1.0 == 0.0):
        raise NotModelled(
            f"{r.where}: not modelled: num_experts_per_tok = {picks:.0f} of n_routed_experts = {float(np.ravel(np.asarray(plain.n_routed_experts))[0]):.0f} with zero_expert_num = {float(np.ravel(np.asarray(zero))[0]):.0f}: a token's mean of real experts, {first:.2f}, "
            "is not whole (--set model.zero_expert_num=... makes it so)"
        )
    if every(zero > 0.0):
        r.note(
            f"a token meets {first:.0f} real experts of its {picks:.0f} picks: taken as uniform over real and zero experts",
            Kind.ASSUMED,
        )
    sizes = {f.name: getattr(plain, f.name) for f in fields(plain)}
    shortcut = r.flag("shortcut_moe")
    experts = ZeroExperts(**{**sizes, "num_experts_per_tok": first}, zero_experts=zero, picks=picks, shortcut=shortcut)
    return (experts, dense.from_hf(r, layer, layers)) if shortcut else (experts,)
