"""What the torch sections of a block share: sizes, names of values, and how linear layers are called.

A section is a function of (w, s): w holds the weights, caches and tables of one copy of the layer, s the values of this
run. It reads some values of s and writes new ones, so that it can be run again alone. Most likely to be wrong: nothing
that is timed; the house rule "one section, one call of the program" is what the tests hold. Source: this file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

import torch
from torch.nn import functional as F

from simcost.errors import SpecError
from simcost.estimate.layer import BlockSpec
from simcost.frozen import frozen
from simcost.measure import torch_ops as ops
from simcost.num import Num, is_scalar
from simcost.ops.attention_core import Mask
from simcost.sharding.shard import Block, View, Weight

Tensor = torch.Tensor
Tensors = dict[str, Tensor]
Weights = Mapping[str, Tensor]
Run = Callable[[Weights, Tensors], None]
SDPA, LATENT_CPU = "sdpa", "sdpa flash (CPU) on the latent"
PICKED = "torch products over picked keys"
SINKS = "torch products with sinks"  # where torch's kernel does not serve: on a device, and where gradients are wanted
_TOP = 448.0  # the largest number of fp8
Tables = dict[str, tuple[int, Callable[[], Tensor]]]  # elements, and how to make it once they are known to fit


class Cache(NamedTuple):
    """What a sequence keeps between steps, or another layer holds: its size, the format where it is not that of the layer, how random numbers fill it, and whether a training step gives it a gradient."""

    size: tuple[int, ...]
    dtype: torch.dtype | None = None
    sigma: float = 1.0
    mean: float = 0.0
    learns: bool = False


@frozen
class Section:
    """One call of simcost's program. `splits`: its backward tells the input's gradient from the weight's."""

    name: str
    run: Run
    splits: bool = False


def whole(value: Num, what: str) -> int:
    """A dimension as an integer; `what` names it in the error. Raises SpecError for arrays and fractions."""
    if not is_scalar(value) or float(value) != int(value):
        raise SpecError(f"a block needs one whole number for {what}, not {value}")
    return int(value)


@dataclass(slots=True)
class Kit:
    """Products with a weight. With `stamp` set their backward calls it, with the section's name, between the two gradients."""

    stamp: Callable[[str], None] | None = None
    core: str = ""  # what runs the attention core, SDPA for torch's, whose backend whoever runs the block pins
    recurrent: str = ""  # what runs a recurrent core

    def attention(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        mask: Tensor | None,
        causal: bool,
        scale: float,
        sinks: Tensor | None = None,
    ) -> Tensor:
        """`torch_ops.attention`; notes what has run."""
        self.core = self.core or (SDPA if sinks is None or ops.takes_sinks(q) else SINKS)
        return ops.attention(q, k, v, mask, causal, scale, sinks)

    def linear(self, name: str, x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
        """x [rows, k] times w [n, k]ᵀ, plus the bias -> [rows, n]; `name`: of the section."""
        stamp = self.stamp
        if stamp is None:
            return F.linear(x, w, bias)
        out: Tensor = ops.SplitLinear.apply(x, w, lambda: stamp(name))  # type: ignore[no-untyped-call]
        return out if bias is None else out + bias

    def grouped(self, name: str, x: Tensor, w: Tensor, ends: Tensor) -> Tensor:
        """Rows of every expert times its weight, as `torch_ops.grouped`; the loop form never stamps."""
        stamp = self.stamp
        if stamp is None or not ops.takes_groups(x, w):
            return ops.grouped(x, w, ends)
        out: Tensor = ops.SplitGrouped.apply(x, w, ends, lambda: stamp(name))  # type: ignore[no-untyped-call]
        return out


@dataclass(slots=True)
class Flow:
    """Names of the values that pass from block to block: the residual stream, branch outputs that wait to be added to it,
    and what the next block reads."""

    residual: str = "in.residual"
    pending: list[str] = field(default_factory=lambda: ["in.branch"])
    normed: str = "in.branch"
    routing: str = ""  # what a router reads where it is not what its experts read
    entering: str = ""  # what a norm before a sublayer reads where it is not the residual stream
    streams: int = 1  # vectors of a token in the residual stream; where there are several, a layer begins with all branches added to it
    aside: int = 0  # copies of the stream that earlier layers put aside
    halves: dict[str, str] = field(default_factory=dict)  # of a block in two halves by its name: where the first stands

    def opens(self, streams: int) -> None:
        """Several residual streams come in, and no branch beside them."""
        self.streams, self.pending = streams, [name for name in self.pending if name != "in.branch"]


@dataclass(slots=True)
class Site:
    """Where a block stands: `prefix` of its weights' names, its sizes, the shared kit, tables that all copies share."""

    spec: BlockSpec
    prefix: str
    kit: Kit
    flow: Flow
    device: torch.device
    dtype: torch.dtype
    shared: Tables
    caches: dict[str, Cache] = field(default_factory=dict)
    path: str = ""  # what the names of its sections begin with
    masking: tuple[str, bool] = ("", False)  # key of an additive mask, whether torch's causal mask serves

    @property
    def view(self) -> View:
        """What the block sees of plan, phase and formats."""
        return self.spec.view

    @property
    def batch(self) -> int:
        """Sequences. Raises SpecError where it is no whole number."""
        return whole(self.view.batch, "batch")

    @property
    def q_len(self) -> int:
        """New tokens of a sequence. Raises SpecError where it is no whole number."""
        return whole(self.view.phase.q_len, "q_len")

    @property
    def past(self) -> int:
        """Cached tokens of a sequence. Raises SpecError where it is no whole number."""
        return whole(self.view.phase.past, "past")

    @property
    def rows(self) -> int:
        """Rows of the residual stream: new tokens of all sequences."""
        return self.batch * self.q_len

    @property
    def training(self) -> bool:
        """Whether a training step is measured."""
        return self.spec.backward

    def neighbour(self, step: int) -> Block | None:
        """The block so many places further on in the layer, where there is one."""
        place = int(self.prefix) + step
        return self.spec.layer[place] if 0 <= place < len(self.spec.layer) else None

    def key(self, name: str) -> str:
        """Key of a weight or value of this block, apart from those of other blocks of the layer."""
        return f"{self.prefix}.{name}"

    def rope(self, width: int) -> tuple[str, str]:
        """Keys of the cosine and sine tables of the rows' positions."""
        names = f"cos.{width}", f"sin.{width}"

        def table(which: int) -> Tensor:
            both = ops.rope_tables(self.past + self.q_len, width, self.device, self.dtype)
            return both[which][self.past :].repeat(self.batch, 1, 1)

        for which, name in enumerate(names):
            self.shared.setdefault(name, (self.rows * width, partial(table, which)))
        return names

    def left(self, name: str, *size: int) -> str:
        """Key of random numbers that another layer would have left: a table that all copies share."""

        def draw() -> Tensor:
            return torch.randn(size, generator=torch.Generator().manual_seed(0)).to(self.device, self.dtype)

        self.shared.setdefault(name, (math.prod(size), draw))
        return name

    def keys(self, mask: Mask) -> int:
        """Keys of a sequence that the new tokens see, with themselves; what is picked may stand anywhere, so all of it is kept."""
        return whole(replace(mask, picked=None).keys(float(self.q_len), self.view.phase.past), "keys")

    def hides(self, mask: Mask) -> None:
        """Decide how the keys, the last of them new, are hidden: not at all, by torch's own causal mask, or by a table."""
        keys = self.keys(mask)
        window, chunk = (0 if n is None else whole(n, "window") for n in (mask.window, mask.chunk))
        bounded = (0 < window < keys) or (0 < chunk < keys)
        if self.q_len == 1:
            self.masking = "", False
        elif keys == self.q_len and not bounded:
            self.masking = "", True
        else:
            name = f"mask.{keys}.{window}.{chunk}"
            make = partial(ops.lower_right, self.q_len, keys, self.device, self.dtype, window, chunk)
            self.shared.setdefault(name, (self.q_len * keys, make))
            self.masking = name, False


def inference(at: Site) -> None:
    """Raises SpecError for a training step of a layer that picks keys."""
    if at.training:
        raise SpecError(
            f"{at.spec.name}: no torch block for a training step of layers that pick keys yet: a choice has no gradient, "
            "and the loss of its own by which an indexer learns is not in the block"
        )


def narrow(x: Tensor) -> tuple[Tensor, Tensor]:
    """(fp8, one fp32 scale) of each row of x [..., d]."""
    scale = x.float().abs().amax(-1) / _TOP
    return (x.float() / scale.unsqueeze(-1)).to(torch.float8_e4m3fn), scale


def linear(
    at: Site, section: str, weight: str, source: str, out: str, bias: str = "", part: slice = slice(None)
) -> Section:
    """A section that writes out = source x weightᵀ, plus `part` of a bias vector. Names of weight and bias are the block's;
    source and out are keys of values."""
    kit, matrix, vector, section = at.kit, at.key(weight), at.key(bias), f"{at.path}{section}"

    def run(w: Weights, s: Tensors) -> None:
        s[out] = kit.linear(section, s[source], w[matrix], w[vector][part] if bias else None)

    return Section(section, run, True)


def by_gate(out: Tensor, gate: Tensor, heads: int) -> Tensor:
    """[rows, heads x d] times the sigmoid of a gate of one number an element, or one a head."""
    parts = torch.unflatten(out, -1, (heads, -1)) * torch.unflatten(torch.sigmoid(gate), -1, (heads, -1))
    return parts.flatten(1)


def o_proj(at: Site, source: str, bias: str = "", part: slice = slice(None)) -> Section:
    """The last product of an attention, whose output waits to be added to the residual stream."""
    at.flow.pending.append(at.key("out"))
    return linear(at, "attention/o_proj", "o_proj", source, at.key("out"), bias, part)


def norm_of(at: Site, weight: str, source: str, part: slice, out: str, name: str = "") -> Section:
    """A section that writes the RMSNorm of some columns of a value."""
    gain = at.key(weight)

    def run(w: Weights, s: Tensors) -> None:
        s[out] = ops.norm(s[source][:, part], w[gain], None, False)

    return Section(name or f"attention/{weight}", run)


def shape(weight: Weight, what: str) -> tuple[int, ...]:
    """[out, inner], [out], or with the copies in front where there may be several."""
    out = whole(weight.out, what)
    inner = () if weight.inner is None else (whole(weight.inner, what),)
    several = (whole(weight.copies, what),) if weight.role == "experts" or float(weight.copies) != 1.0 else ()
    return (*several, out, *inner)
