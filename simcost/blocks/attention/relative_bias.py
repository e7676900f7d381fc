"""Attention whose scores get a learned bias by distance (Inkling): no positions rotate, and keys and values pass a short convolution before they are cached.

A token projects a few numbers a head, which mix a bank of profiles over the last `rel_extent` distances into one bias a distance; window layers have one a token of the window. Inkling 2
bounds the length of heads in place of a norm, gates the output, adds a sink that every token projects, and gives queries, keys and values of full layers an input of their own. Most likely
to be wrong: the biases are written and read again, as SGLang does; a kernel that mixes them on chip moves less. Sources: Hugging Face `modeling_inkling.py`, `modeling_inkling2.py`.
"""

from __future__ import annotations

from dataclasses import fields
from typing import ClassVar

from simcost.blocks import _by_layer as by_layer
from simcost.blocks._filter import KERNEL, ShortFilter
from simcost.blocks._layer_kinds import FULL, SLIDING, layer_kind
from simcost.blocks.attention.gqa import GQA, dimensions
from simcost.frozen import frozen
from simcost.hf import Reader
from simcost.num import Num
from simcost.ops.attention_core import Mask
from simcost.ops.stream import Stream
from simcost.plan import Plan
from simcost.program import Call, Program, Serial
from simcost.sharding.linear import enter, leave, linear
from simcost.sharding.shard import BESIDE, View, Weight

HANDLES = ("relative_bias", "clipped_heads", "filtered_sublayers", KERNEL, "d_rel", "rel_extent")
IGNORES = ("number_of_conv_states", "mtp_hidden_states_first")
LAYER_TYPES = (FULL, SLIDING)


@frozen
class RelativeBias(GQA):
    """GQA with `d_rel` numbers a head that mix `rel_extent` biases; `window` [tokens], None for a full layer. `clipped`: heads are scaled and bounded in length, and have a sink a token
    (Inkling 2); `apart`: queries, keys and values have an input each."""

    d_rel: Num = 16.0
    rel_extent: Num = 1024.0
    window: Num | None = None
    clipped: bool = False
    apart: bool = False
    source: ClassVar[str] = "Hugging Face modeling_inkling.py"

    @property
    def mask(self) -> Mask:
        """Causal, bounded by `window` where there is one."""
        return Mask(window=self.window)

    def peak_elements(self, plan: Plan) -> Num:
        """Those of GQA, and the biases of every head."""
        h, _ = self.heads(plan)
        return GQA.peak_elements(self, plan) + h * (self.d_rel + self.rel_extent)

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """Projections of the heads of one rank; the bank of profiles, which a token passes once a head, is whole on every rank and never quantised, as a router."""
        h, kv = self.heads(plan)
        d, width = self.hidden_size, self.head_dim
        queries = h * (width + self._gate)
        found = [Weight("qkv_proj", "attention", queries + 2.0 * kv * width, d)]
        if self.apart:
            found = [Weight("q_proj", "attention", queries, d), Weight("kv_proj", "attention", kv * width, d, 2.0)]
        found += [
            Weight("o_proj", "attention", d, h * width),
            Weight("r_proj", "attention", h * self.d_rel, d),
            Weight("rel_logits_proj", "router", self.rel_extent, self.d_rel, uses=h),
        ]
        if self.clipped:
            found.append(Weight("sink_proj", "attention", h, d))
            return (*found, Weight("head_scales", "attention", h * (width + self.d_rel)))
        return (*found, Weight("qk_norm", "attention", 2.0 * width)) if self.qk_norm == "head" else tuple(found)

    def program(self, view: View) -> Program:
        """Projections, norm of heads, biases, cache write and core of each group of tokens, gate and o_proj; collectives of the plan around them."""
        h, kv = self.heads(view.plan)
        rows, act = view.tokens, view.activation
        norm = Stream("norm", rows * (h + kv) * self.head_dim, 1.0, 1.0, 4.0, act, act)
        names: tuple[str, ...] = ("q_proj", "kv_proj") if self.apart else ("qkv_proj",)
        names += ("r_proj", "sink_proj") if self.clipped else ("r_proj",)
        parts: list[Program] = [*enter(view, self.hidden_size)]
        parts += [linear(view, self._weight(view, name), rows) for name in names]
        parts += [Call(norm, "qk_norm"), linear(view, self._weight(view, "rel_logits_proj"), rows * h)]
        for index, group in enumerate(view.groups):
            whose = BESIDE if index else ""
            parts += [self._biases(group, whose), self._core(group, whose)]
        parts += [*self._gated(view), linear(view, self._weight(view, "o_proj"), rows), leave(view, self.hidden_size)]
        return Serial(tuple(parts), "attention")

    def _biases(self, view: View, whose: str) -> Call:
        """The bias of every pair inside the extent is read and added to its score."""
        h, _ = self.heads(view.plan)
        pairs = Mask(window=self.rel_extent).pairs(view.phase.q_len, view.phase.past)
        read = Stream("relative bias", view.batch * h * pairs, 1.0, 0.0, 1.0, view.activation, view.activation)
        return Call(read, f"{whose}relative bias")


def claims(r: Reader, layer: int, layers: int) -> int:
    """4 for a layer of attention of a family whose scores have a relative bias, else 0."""
    return 4 if r.flag("relative_bias") and layer_kind(r, layer, layers) in LAYER_TYPES else 0


def alike(r: Reader, layer: int, layers: int) -> object:
    """What of a layer `from_hf` reads, so that equal layers are read once: its kind."""
    return layer_kind(r, layer, layers)


def from_hf(r: Reader, layer: int, layers: int) -> tuple[ShortFilter | RelativeBias, ...]:
    """The convolution of keys and values, and the attention that caches them; window layers have heads of their own. Raises SpecError for a missing or wrong key."""
    slides = layer_kind(r, layer, layers) == SLIDING
    shape = GQA(**dimensions(r, by_layer.window_prefix(r, layers) if slides else ""))  # type: ignore[arg-type]
    clipped = r.flag("clipped_heads")
    sizes = {f.name: getattr(shape, f.name) for f in fields(shape)} | {"rotary": 0.0}
    window = r.num("sliding_window") if slides else None
    extent = r.num("rel_extent") if window is None else window
    attention = RelativeBias(
        **sizes, d_rel=r.num("d_rel"), rel_extent=extent, window=window, clipped=clipped, apart=clipped and not slides
    )
    kv = shape.num_key_value_heads
    taps = shape.hidden_size if attention.apart else None
    return ShortFilter("kv_conv", 2.0 * kv * shape.head_dim, r.num(KERNEL), kv, taps), attention
