"""Short causal convolutions of each channel with a residual around them (Inkling): of keys and values before they are cached, and of what a sublayer adds to the residual stream.

Inkling 2 gives keys and values of its full layers taps that every token projects anew, shared inside a head. What a sequence keeps are the last K - 1 columns of each, in fp32. Most
likely to be wrong: an engine that fuses the sum with the convolution. Sources: Hugging Face `modeling_inkling.py`, `modeling_inkling2.py` (ShortConvolution).
"""

from __future__ import annotations

from typing import ClassVar

from simcost.dtypes import Dtype, dtype
from simcost.frozen import frozen
from simcost.hf import Reader
from simcost.num import Num, maximum
from simcost.ops.recurrent import CausalConv
from simcost.plan import Check, Plan
from simcost.program import Call, Program, Serial
from simcost.sharding.linear import linear
from simcost.sharding.shard import BESIDE, Plain, View, Weight

KERNEL = "sconv_kernel_size"  # tokens that a convolution sees
_COLUMNS = dtype("fp32")  # as the class computes and keeps them
_WHOLE = "a short convolution reads earlier tokens, so a sequence cannot be split over devices (cp must be 1)"
_ROWS = "a short convolution of the residual stream needs all tokens of a sequence (sequence_parallel must be off)"


@frozen
class ShortFilter(Plain):
    """A convolution of `channels` over `conv_kernel` tokens. `kv_heads`: heads that the channels are of, which tp cuts as those of keys and values (None: channels of the residual
    stream, whole on every rank); `tap_width`: width of the tokens of which keys and values project taps (None: taps are weights alone)."""

    name: str
    channels: Num
    conv_kernel: Num
    kv_heads: Num | None = None
    tap_width: Num | None = None
    kind: ClassVar[str] = "convolution"
    source: ClassVar[str] = "Hugging Face modeling_inkling.py"

    def _share(self, plan: Plan) -> Num:
        """The part of the channels that one rank has."""
        return 1.0 if self.kv_heads is None else maximum(self.kv_heads / plan.tp, 1.0) / self.kv_heads

    def held(self, plan: Plan) -> Num:
        """Channels of one rank."""
        return self.channels * self._share(plan)

    def checks(self, plan: Plan) -> list[Check]:
        """A sequence stands on one rank; of the residual stream all of its rows do."""
        found = [Check(plan.cp == 1.0, _WHOLE)]
        return found if self.kv_heads is not None else [*found, Check(not plan.shards_sequence, _ROWS)]

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """The taps of the channels of one rank, and the two products to those of keys and of values."""
        taps = Weight(self.name, "attention", self.held(plan) * self.conv_kernel)
        if self.tap_width is None or self.kv_heads is None:
            return (taps,)
        rows = self.kv_heads * self._share(plan) * self.conv_kernel
        return taps, Weight(f"{self.name}_taps", "attention", rows, self.tap_width, 2.0)

    def peak_elements(self, plan: Plan) -> Num:
        """Input and output."""
        return 2.0 * self.held(plan)

    def state_elements(self, context: Num, plan: Plan) -> Num:
        """The columns of the convolution, whatever the context."""
        return self.held(plan) * (self.conv_kernel - 1.0) + 0.0 * context

    def state_bytes(self, context: Num, plan: Plan, kv: Dtype) -> Num:
        """In fp32; the format of the cache of keys and values says nothing of them. [B]"""
        return _COLUMNS.tensor_bytes(self.held(plan) * (self.conv_kernel - 1.0)) + 0.0 * context

    @property
    def state_formula(self) -> str:
        """Columns of the convolution."""
        return f"columns of the convolution: {self.channels:.0f} channels x {self.conv_kernel - 1.0:.0f}"

    def program(self, view: View) -> Program:
        """The taps that tokens project, and the convolution of each group of tokens."""
        parts: list[Program] = [linear(view, w, view.tokens) for w in self.weights(view.plan) if w.inner is not None]
        for index, group in enumerate(view.groups):
            conv = CausalConv(
                group.batch, group.phase.q_len, self.held(view.plan), self.conv_kernel, view.activation, _COLUMNS
            )
            parts.append(Call(conv, f"{BESIDE if index else ''}{self.name}"))
        return Serial(tuple(parts), self.name)


def after(r: Reader, name: str, width: Num) -> tuple[ShortFilter, ...]:
    """The convolution of what a sublayer adds to the residual stream, where the family has one."""
    return (ShortFilter(name, width, r.num(KERNEL)),) if r.flag("filtered_sublayers") else ()
