"""Gradients of Q, K and V of one attention core, from a forward pass that was kept. Runs eagerly: autograd chooses its
stream when it goes forward, so a graph cannot hold it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch

from simcost.measure import torch_ops as ops
from simcost.measure.kernels import attention_prefill
from simcost.measure.kernels.attention import Shape, cores, pinned, shape, tensors
from simcost.measure.kernels.attention import rounded as rounded
from simcost.measure.kernels.kernel import Kernel, Unsupported
from simcost.measure.machine.target import Target
from simcost.measure.points.kernel_class import Unit, Wanted
from simcost.measure.points.point import Kind
from simcost.measure.points.sobol import log_between
from simcost.measure.timing.buffers import SPREAD, Bench, error, tolerance
from simcost.ops.attention_core import AttentionCore
from simcost.ops.work import Op

Tensor = torch.Tensor
TRAINING = True


def build(op: Op, bench: Bench, copies: int) -> Kernel:
    """The gradients of q, k and v in one autograd call, eager alone. Raises Unsupported for a continued or windowed prefill."""
    assert isinstance(op, AttentionCore)
    s = shape(op)
    if s.masked:
        raise Unsupported("the backward pass of a continued or windowed prefill has no kernel here")
    with torch.no_grad():
        backend, context = pinned(partial(_forward, s, *tensors(s, bench)), bench)
    sets = []
    with torch.enable_grad(), context():
        for _ in range(copies):
            leaves = tuple(x.detach().requires_grad_() for x in tensors(s, bench))
            out = _forward(s, *leaves)
            sets.append((out, leaves, bench.take(tuple(out.shape), s.name)))

    def wrong() -> float:
        out, leaves, upstream = sets[0]
        got = torch.autograd.grad(out, leaves, upstream, retain_graph=True)
        group = s.heads // s.kv_heads  # one K/V head of the first sequence and all queries that share it
        with torch.enable_grad():
            heads = (group, 1, 1)
            exact = tuple(x[:1, :h].detach().double().requires_grad_() for x, h in zip(leaves, heads, strict=True))
            want = torch.autograd.grad(_exact(s, *exact), exact, upstream[:1, :group].double())
        return max(error(a[:1, :h], b) for a, b, h in zip(got, want, heads, strict=True))

    calls = [partial(torch.autograd.grad, out, leaves, upstream, retain_graph=True) for out, leaves, upstream in sets]
    # Gradients of scores are differences of nearly equal numbers: three times the rounding of a product.
    return Kernel(calls, wrong, 3.0 * tolerance(s.name), f"{backend} backward", context, graph=False)


def _scale(s: Shape) -> float:
    return s.scale * SPREAD  # scores of a tenth: soft enough that no gradient vanishes


def _forward(s: Shape, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return ops.attention(q, k, v, None, s.q_len > 1, _scale(s))


def _exact(s: Shape, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = q @ k.transpose(-2, -1) * _scale(s)
    if s.q_len > 1:
        scores = scores + ops.lower_right(s.q_len, s.keys, q.device, torch.float64)
    return torch.softmax(scores, -1) @ v


def kinds(format_: str, target: Target) -> list[Wanted]:
    """Grouped queries alone."""
    return cores({"gqa": 0.4}, format_, target)


def draw(kind: Kind, u: Unit, large: bool) -> Mapping[str, float]:
    """Prompts of training: shorter, nothing cached."""
    return {
        **attention_prefill.draw(kind, u, large),
        "past": 0.0,
        "q_len": log_between(u[3], 16.0, 8192.0 if large else 1024.0),
    }
