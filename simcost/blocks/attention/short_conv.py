"""Short convolution (LFM2): a gate before and a gate behind a causal convolution over the last few tokens of each channel, between two products.

What a sequence keeps are the last `conv_L_cache` - 1 columns of the convolution's input, whatever the context; there is no other state, and no core. Most likely to be wrong: engines that fuse the
gates with the convolution save two passes over the channels. Sources: LFM2 (arXiv 2511.23404); Hugging Face `modeling_lfm2.py`; which matrices are cut: vLLM `model_executor/layers/mamba/short_conv.py`.
"""

from __future__ import annotations

from typing import ClassVar

from simcost.blocks._layer_kinds import CONV, layer_kind
from simcost.dtypes import Dtype, dtype
from simcost.errors import NotModelled
from simcost.frozen import frozen
from simcost.hf import Reader
from simcost.num import Num, every
from simcost.ops.recurrent import CausalConv
from simcost.ops.stream import Stream
from simcost.plan import Check, Plan, divides
from simcost.program import Call, Program, Serial
from simcost.sharding.linear import enter, leave, linear
from simcost.sharding.shard import BESIDE, Plain, View, Weight

HANDLES = ("conv_L_cache", "full_attn_idxs", "short_conv", "conv_dim", "conv_dim_out", "block_dim")
LAYER_TYPES = (CONV,)


@frozen
class ShortConv(Plain):
    """`hidden_size` channels, a convolution over `conv_kernel` tokens; `columns`: format of what a sequence keeps. Channels are cut over tp."""

    hidden_size: Num
    conv_kernel: Num
    columns: Dtype
    bias: bool = False
    kind: ClassVar[str] = "attention"
    source: ClassVar[str] = "arXiv 2511.23404"

    def channels(self, plan: Plan) -> Num:
        """Channels of one rank."""
        return self.hidden_size / plan.tp

    def checks(self, plan: Plan) -> list[Check]:
        """tp divides the channels; a sequence stands on one rank."""
        reason = "a short convolution reads earlier tokens, so a sequence cannot be split over devices (cp must be 1)"
        return [divides(self.hidden_size, plan.tp, "hidden_size"), Check(plan.cp == 1.0, reason)]

    def weights(self, plan: Plan) -> tuple[Weight, ...]:
        """Of the channels of one rank: the projection to both gates and the input, the convolution, the output's; biases, of which that of o_proj is whole on every rank."""
        d, c = self.hidden_size, self.channels(plan)
        found = [
            Weight("in_proj", "attention", 3.0 * c, d),
            Weight("conv1d", "attention", c * (self.conv_kernel + 1.0 * self.bias)),
            Weight("o_proj", "attention", d, c),
        ]
        if self.bias:
            found += [Weight("in_bias", "attention", 3.0 * c), Weight("o_bias", "attention", d)]
        return tuple(found)

    def peak_elements(self, plan: Plan) -> Num:
        """Both gates and the input, the gated input and what leaves the convolution."""
        return 5.0 * self.channels(plan)

    def state_elements(self, context: Num, plan: Plan) -> Num:
        """The columns of the convolution, whatever the context."""
        return self.channels(plan) * (self.conv_kernel - 1.0) + 0.0 * context

    def state_bytes(self, context: Num, plan: Plan, kv: Dtype) -> Num:
        """In their own format; that of the cache of keys and values says nothing of them. [B]"""
        return self.columns.tensor_bytes(self.channels(plan) * (self.conv_kernel - 1.0)) + 0.0 * context

    def program(self, view: View) -> Program:
        """Input projection; gate, convolution and gate of each group of tokens; o_proj; collectives of the plan around them."""
        weight = {w.name: w for w in self.weights(view.plan)}
        parts: list[Program] = [*enter(view, self.hidden_size), linear(view, weight["in_proj"], view.tokens)]
        for index, group in enumerate(view.groups):
            parts += self._mixed(group, BESIDE if index else "")
        parts += [linear(view, weight["o_proj"], view.tokens), leave(view, self.hidden_size)]
        return Serial(tuple(parts), "short_conv")

    def _mixed(self, view: View, whose: str) -> list[Program]:
        """The gates and the convolution of one group of tokens."""
        act, channels = view.activation, self.channels(view.plan)
        times = Stream("activation", view.tokens * channels, 2.0, 1.0, 1.0, act, act)
        conv = CausalConv(view.batch, view.phase.q_len, channels, self.conv_kernel, act, self.columns)
        return [
            Call(times, f"{whose}input gate"),
            Call(conv, f"{whose}causal conv"),
            Call(times, f"{whose}output gate"),
        ]


BY_KEYS = ("conv_L_cache",)


def claims(r: Reader, layer: int, layers: int) -> int:
    """4 for a layer of convolution, else 0."""
    return 4 if layer_kind(r, layer, layers) == CONV else 0


def alike(r: Reader, layer: int, layers: int) -> object:
    """What of a layer `from_hf` reads, so that equal layers are read once: nothing."""
    return None


def from_hf(r: Reader, layer: int, layers: int) -> ShortConv:
    """The block of a layer. Raises SpecError for a missing or wrong key; NotModelled for a convolution of another width than the model."""
    hidden = r.num("hidden_size")
    for key in ("conv_dim", "conv_dim_out", "block_dim"):
        if r.has(key) and not every(r.num(key) == hidden):
            raise NotModelled(f"{r.where}: not modelled: '{key}' other than hidden_size")
    base = dtype((r.text("torch_dtype") or "bf16").removeprefix("torch."), f"{r.where}: 'torch_dtype'")
    return ShortConv(hidden, r.num("conv_L_cache"), base, r.flag("conv_bias"))
