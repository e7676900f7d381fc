"""A layer's experts from chosen experts to summed outputs: order, permute, gate and up, activation, down, combine.

The choice (experts of every token) is given; putting the copies in expert order is part of the time, as in engines' fused
kernels. With fp8 block scales the rows are cast before each product. Most likely to be wrong: engines fuse the passes between
the products; here each is a kernel of its own, as in plain torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch

from simcost.calibration.families import experts as family
from simcost.measure import torch_ops as ops
from simcost.measure.kernels import grouped
from simcost.measure.kernels.kernel import Kernel
from simcost.measure.kernels.quantise import cast_groups
from simcost.measure.machine.target import Target
from simcost.measure.points.kernel_class import Numbers, Unit, Wanted, by_blocks, of_a_step
from simcost.measure.points.point import Kind
from simcost.measure.points.rounding import loaded, step_of, whole
from simcost.measure.points.sobol import SKEWS, log_between, one_of
from simcost.measure.timing.buffers import Bench, error, rows_of, tolerance
from simcost.ops.work import Op

Tensor = torch.Tensor
_TOKENS = 8  # what a check looks at
STAGES = {"": 1}


def build(op: Op, bench: Bench, copies: int) -> Kernel:
    """All steps of a layer's experts from given expert ids, each a kernel of its own; with fp8 block scales rows are cast before
    each product."""
    x = family.numbers(op)
    tokens, rows, touched, held, hidden, width = (int(float(x[name])) for name in family.NUMBERS[:6])
    labels = family.labels(op)
    assert labels is not None
    gated = labels["gated"] == "gated"
    up = width * (2 if gated else 1)
    layers = []
    for _ in range(copies):
        w_up = grouped.weights(labels["w"], bench, held, up, hidden)
        w_down = grouped.weights(labels["w"], bench, held, hidden, width)
        counts = grouped.counts_of(rows, touched, held, float(x["load"]), tokens, bench)
        layers.append(
            _Layer(w_up, w_down, chosen(counts, tokens, bench), held, gated, labels["compute"] == "fp8_block")
        )
    inputs = [(bench.take((tokens, hidden), labels["x"]), _gates(tokens, rows // tokens, bench)) for _ in range(copies)]
    calls = [partial(layer, *given) for layer, given in zip(layers, inputs, strict=True)]
    return Kernel(
        calls, lambda: layers[0].error(*inputs[0]), 3.0 * tolerance(labels["x"]), layers[0].up.backend,
        expects=grouped.FAST if grouped.fast(bench.device, labels["w"]) else "",
        graph=grouped.capturable(bench.device, labels["w"]),
    )  # fmt: skip


def chosen(counts: Tensor, tokens: int, bench: Bench) -> Tensor:
    """Experts of every token [tokens, top_k] that give each expert its count; no token has one twice."""
    ids = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
    return ids.view(-1, tokens).t()[bench.shuffled(tokens)].contiguous()


def _gates(tokens: int, top_k: int, bench: Bench) -> Tensor:
    gates = bench.uniform((tokens, top_k))
    return gates / gates.sum(-1, keepdim=True)


class _Layer:
    """One copy of the experts; called with rows and gate weights."""

    def __init__(
        self, up: grouped.Weights, down: grouped.Weights, ids: Tensor, held: int, gated: bool, narrow: bool
    ) -> None:
        self.up, self.down, self.ids, self.held, self.gated, self.narrow = up, down, ids, held, gated, narrow

    def __call__(self, x: Tensor, gates: Tensor) -> Tensor:
        order, back, ends = ops.expert_order(self.ids, self.held)
        rows = torch.div(order, self.ids.shape[1], rounding_mode="floor")
        if self.narrow:
            q, scale = cast_groups(x)
            h = self.up.apply((rows_of(q, rows), scale.index_select(0, rows)), ends)
            a = ops.activation(h, self.gated)
            y = self.down.apply(cast_groups(a), ends)
        else:
            h = self.up.apply(x.index_select(0, rows), ends)
            y = self.down.apply(ops.activation(h, self.gated), ends)
        return ops.unpermute(y, back, gates)

    def error(self, x: Tensor, gates: Tensor) -> float:
        """Of the first tokens, in fp64."""
        out = self(x, gates)[:_TOKENS]
        want = torch.zeros_like(out, dtype=torch.float64)
        for token in range(len(out)):
            for slot, e in enumerate(self.ids[token].tolist()):
                h = x[token].double() @ self.up.expert(e).t()
                a = ops.activation(h.unsqueeze(0), self.gated)
                want[token] += gates[token, slot].double() * (a @ self.down.expert(e).t())[0]
        return error(out, want)


def kinds(format_: str, target: Target) -> list[Wanted]:
    """Gated experts in the formats of a step, and in fp8 with block scales by our own kernel."""
    x = of_a_step(format_, target)
    found: list[Wanted] = [] if x is None else [({"x": x, "w": x, "compute": x, "gated": "gated"}, 1.0)]
    if by_blocks(format_, target):
        found.append(({"x": "bf16", "w": "fp8_block", "compute": "fp8_block", "gated": "gated"}, 1.6))
    return found


def draw(kind: Kind, u: Unit, large: bool) -> Mapping[str, float]:
    """Layers of 8 to 256 experts at four skews."""
    tokens = log_between(u[0], 1.0, 8192.0 if large else 1024.0)
    experts = round(log_between(u[1], 8.0, 256.0 if large else 64.0))
    top_k = round(log_between(u[2], 1.0, 8.0))
    drawn = 1.0 - (1.0 - min(top_k / experts, 1.0)) ** max(round(tokens), 1)
    touched = max(drawn * experts, 1.0)
    return {
        "tokens": tokens, "copies": round(tokens) * top_k, "experts": experts, "touched": touched,
        "hidden": log_between(u[3], 512.0, 8192.0 if large else 2048.0),
        "width": log_between(u[4], 128.0, 8192.0 if large else 1024.0), "load": one_of(u[5], SKEWS) * experts / touched,
    }  # fmt: skip


def rounded(kind: Kind, x: Numbers) -> tuple[float, ...] | None:
    """Whole tokens and experts; the load that so many rows give."""
    tokens, experts = whole(x["tokens"]), whole(x["experts"])
    top_k = min(whole(x["copies"] / tokens), experts)
    copies = tokens * top_k
    touched = min(max(whole(x["touched"]), top_k), experts, copies)
    counts = loaded(copies, touched, experts, x["load"], tokens)
    step = step_of(kind)
    return (
        tokens, copies, touched, experts, whole(x["hidden"], step), whole(x["width"], step),
        max(counts) * experts / copies,
    )  # fmt: skip
