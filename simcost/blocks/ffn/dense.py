"""The dense feed-forward layer: gated (SwiGLU, three matrices) or plain (two), with or without biases.

Most likely to be wrong: fused gate-and-activation kernels save one pass over the intermediate. Source: arXiv 2002.05202.
"""

from __future__ import annotations

from typing import ClassVar

from simcost.blocks.norm.norm import inner, inner_vectors
from simcost.blocks.swap import Chosen, Design, Swap
from simcost.errors import NotModelled, SpecError
from simcost.frozen import frozen, remembered
from simcost.hf import Reader
from simcost.num import Num, ceil, floor
from simcost.ops.stream import Stream
from simcost.plan import Check, Plan, divides
from simcost.program import Call, Program, Serial
from simcost.sharding.linear import enter, leave, linear
from simcost.sharding.shard import Plain, View, Weight


@frozen
class Dense(Plain):
    """A layer of width `intermediate_size`; `gated`: with a gate beside the up projection; `bias`: on both products;
    `activation_scalars`: parameters of its activation, whole on every rank (xIELU has two); `inner_norm`: vectors of a norm before down_proj (0: none)."""

    hidden_size: Num
    intermediate_size: Num
    gated: bool = True
    bias: bool = False
    activation_scalars: float = 0.0
    inner_norm: float = 0.0
    kind: ClassVar[str] = "ffn"
    source: ClassVar[str] = "arXiv 2002.05202"

    def checks(self, plan: Plan) -> list[Check]:
        """tp divides intermediate_size."""
        return [divides(self.intermediate_size, plan.tp, "intermediate_size")]

    @remembered
    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """The up projection (with the gate) cut by its outputs, down_proj cut by its inputs; the bias of down_proj is whole on every rank."""
        f = self.intermediate_size / plan.tp
        up, name = (2.0 * f, "gate_up_proj") if self.gated else (f, "up_proj")
        found = [
            Weight(name, "ffn", up, self.hidden_size, parts=(f, f) if self.gated else ()),
            Weight("down_proj", "ffn", self.hidden_size, f),
        ]
        if self.bias:
            found += [Weight("up_bias", "ffn", up), Weight("down_bias", "ffn", self.hidden_size)]
        if self.activation_scalars:
            found.append(Weight("activation", "ffn", self.activation_scalars))
        if self.inner_norm:
            found.append(Weight("inner_norm", "ffn", self.inner_norm * f))
        return tuple(found)

    def peak_elements(self, plan: Plan) -> Num:
        """Gate, up and their product, cut by tp; without a gate up and its activation."""
        return self.intermediate_size / plan.tp * (3.0 if self.gated else 2.0)

    def program(self, view: View) -> Program:
        """Up projection, activation, down projection; collectives of the plan around them."""
        up, down = self.weights(view.plan)[:2]
        rows, width = view.tokens, self.intermediate_size / view.plan.tp
        return Serial(
            (
                *enter(view, self.hidden_size),
                linear(view, up, rows),
                activation(view, rows * width, self.gated),
                *inner(view, self.inner_norm, rows * width),
                linear(view, down, rows),
                leave(view, self.hidden_size),
            ),
            "ffn",
        )


def activation(view: View, elements: Num, gated: bool) -> Call:
    """silu(gate)*up, or the activation alone: five operations for the sigmoid and products."""
    act = view.activation
    return Call(Stream("activation", elements, 2.0 if gated else 1.0, 1.0, 5.0, act, act), "activation")


def _dense(design: Design, text: str) -> list[Chosen]:
    """One width for all layers: intermediate_size, for which `iso` solves unless it is set."""
    if text:
        raise SpecError(
            f"model.ffn=dense:{text}: dense takes no number: set model.intermediate_size, or --iso solves for it"
        )
    other = "intermediate_size_mlp"
    return [Chosen(other, None, "all layers have one width")] if other in design.config else []


HANDLES = (
    "scaled_ffn",
    "block_auto_adjust_ff_dim",
    "block_ffn_dim_multiplier",
    "block_multiple_of",
    "block_use_swiglu",
)
BY_KEYS: tuple[str, ...] = ()  # no key gives a layer to this block: it takes those that no other claims
LAYER_TYPE = "dense"  # in mlp_layer_types
SWAPS = {"dense": Swap(_dense, "dense", width_key="intermediate_size")}


def claims(r: Reader, layer: int, layers: int) -> int:
    """1: any layer that nothing more specific claims."""
    return 1


def alike(r: Reader, layer: int, layers: int) -> object:
    """What of a layer `from_hf` reads, so that equal layers are read once: nothing."""
    return None


def from_hf(r: Reader, layer: int, layers: int) -> Dense:
    """The dense block of a layer. Raises SpecError for a missing or wrong key."""
    # Llama 4 gives its dense layers a width of their own.
    wide = "intermediate_size_mlp" if r.has("intermediate_size_mlp") else "intermediate_size"
    if r.has("dense_intermediate_size"):
        wide = "dense_intermediate_size"  # MiniMax-M3: intermediate_size is that of its experts
    if r.has("n_routed_experts") and not r.given("n_routed_experts") and r.has("shared_intermediate_size"):
        wide = "shared_intermediate_size"  # Granite 4 without experts: what would be its shared expert is its FFN
    hidden = r.num("hidden_size")
    width = r.num("ffn_multiple") * hidden if not r.has(wide) and r.has("ffn_multiple") else r.num(wide)
    if r.flag("block_auto_adjust_ff_dim"):
        width = _adjusted(r, width)
    bias = r.flag("mlp_bias") or r.flag("ffn_bias") or r.biased()
    if r.flag("gate_in_intermediate_size"):
        r.divisible(width, 2.0, "gate_in_intermediate_size")
        width = width / 2.0
    act = r.config.get("hidden_act") or r.implied.get("hidden_act")  # it stays one that nothing reads: a swap keeps it
    scalars = (2.0 if act == "xielu" else 0.0) + 1.0 * r.flag("scaled_ffn")  # Inkling scales the output
    return Dense(hidden, width, r.flag("gated_ffn", True), bias, scalars, inner_vectors(r, "ffn_inner_norm"))


def _adjusted(r: Reader, width: Num) -> Num:
    """LFM2's width: two thirds of the one stated, times a factor, up to the next multiple. Raises SpecError for a factor that is no number, NotModelled without a gate."""
    factor = r.raw("block_ffn_dim_multiplier", 1.0)
    if isinstance(factor, bool) or not isinstance(factor, (int, float)) or not 0.0 < factor <= 1000.0:
        raise SpecError(f"{r.where}: 'block_ffn_dim_multiplier' must be a number from 0 to 1000, not {factor!r}")
    if not r.flag("block_use_swiglu", True):
        raise NotModelled(f"{r.where}: not modelled: 'block_use_swiglu' = False")
    step = r.num("block_multiple_of", 256)
    return ceil(floor(factor * floor(2.0 * width / 3.0)) / step) * step
