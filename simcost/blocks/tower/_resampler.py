"""A resampler: a few latents attend to the patches of an image, and to each other, and become its tokens (Idefics 2).

Queries are the latents', keys and values those of patches and latents, made anew in each layer. Most likely to be wrong: engines that keep the resampler whole on every rank. Source: Hugging Face
`modeling_idefics2.py` (Idefics2PerceiverResampler).
"""

from __future__ import annotations

from dataclasses import replace

from simcost.blocks.tower.tower import ALL, ROLE
from simcost.frozen import frozen
from simcost.num import Num
from simcost.ops.attention_core import AttentionCore
from simcost.ops.collective import Collective
from simcost.ops.stream import Stream
from simcost.plan import Check, Plan, divides
from simcost.program import Call, Program, Serial
from simcost.sharding.linear import linear
from simcost.sharding.shard import View, Weight


@frozen
class Resampler:
    """`layers` of cross-attention by `latents`, of `heads` over `kv_heads`, and a gated FFN of width `inner`; `vectors`: parameters of a layer's norms."""

    layers: float
    width: Num
    heads: Num
    kv_heads: Num
    head_dim: Num
    inner: Num
    latents: Num
    vectors: Num

    def layer(self, plan: Plan) -> tuple[Weight, ...]:
        """The matrices of one layer, cut over tp."""
        d, tp = self.width, plan.tp
        return (
            Weight("q_proj", ROLE, self.heads * self.head_dim / tp, d),
            Weight("kv_proj", ROLE, 2.0 * self.kv_heads * self.head_dim / tp, d),
            Weight("o_proj", ROLE, d, self.heads * self.head_dim / tp),
            Weight("gate_up_proj", ROLE, 2.0 * self.inner / tp, d),
            Weight("down_proj", ROLE, d, self.inner / tp),
        )

    def checks(self, plan: Plan, name: str) -> list[Check]:
        """tp divides the heads, those of keys and values too, and the width of the FFN; `name`: of the tower."""
        parts = (("heads", self.heads), ("heads of keys", self.kv_heads), ("width of the FFN", self.inner))
        return [divides(size, plan.tp, f"{name}: {what} of the resampler") for what, size in parts]

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """Those of all layers; norms are whole on every rank."""
        held = tuple(replace(weight, name=f"resampler_{weight.name}", copies=self.layers) for weight in self.layer(plan))  # fmt: skip
        return (*held, Weight("resampler_vectors", ROLE, self.layers * self.vectors))

    def flops(self, patches: Num) -> Num:
        """Of an image of so many patches, norms and activations left out. [FLOP]"""
        keys = patches + self.latents
        products = sum(
            (2.0 * weight.count * (keys if weight.name == "kv_proj" else self.latents) for weight in self.layer(Plan())), 0.0
        )  # fmt: skip
        return self.layers * (products + 4.0 * self.latents * keys * self.heads * self.head_dim)

    def program(self, view: View, images: Num, patches: Num) -> Program:
        """All layers: norms of latents and patches, keys and values of both, the core, and the FFN of the latents."""
        q, kv, o, up, down = self.layer(view.plan)
        act, tp = view.activation, view.plan.tp
        rows, keys = images * self.latents, images * (self.latents + patches)
        norm = Call(Stream("norm", rows * self.width, 2.0, 2.0, 5.0, act, act), "norm")
        both = Call(Stream("norm", keys * self.width, 1.0, 1.0, 4.0, act, act), "norms of latents and patches")
        core = AttentionCore(
            images, self.latents, patches, self.heads / tp, self.kv_heads / tp, self.head_dim, self.head_dim, ALL, act, act, act
        )  # fmt: skip
        gate = Stream("activation", rows * self.inner / tp, 2.0, 1.0, 5.0, act, act)
        join = Call(Collective("all_reduce", act.tensor_bytes(rows * self.width), tp), "all-reduce")
        attention = (both, linear(view, q, rows), linear(view, kv, keys), Call(core, "core"), linear(view, o, rows), join)  # fmt: skip
        ffn = norm, linear(view, up, rows), Call(gate, "activation"), linear(view, down, rows), join
        return Serial((Serial((*attention, *ffn), "layers", self.layers),), "resampler")
