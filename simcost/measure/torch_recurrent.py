"""Recurrent cores in plain torch: one step, chunks, and token by token in fp64 as the reference of both; and the convolution before them.

Sources: Gated DeltaNet (arXiv 2412.06464 §3), Mamba-2 (arXiv 2405.21060 §6), Mamba (arXiv 2312.00752 §3).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional

Tensor = torch.Tensor
SCAN = "selective_scan"
_SCANNED = 16  # tokens of a selective scan at once: all their states lie in memory
DELTA = ("gated_delta", "kda")  # what a key already stands for is taken off the value first


@dataclass(slots=True)
class Inputs:
    """Of all tokens [B, T, ...]: q, k [heads of keys, d_k]; v [heads, d_v]; decay, the log of what a state keeps [heads] or [heads, d_k] (KDA, selective scan); weight, by which a
    value counts [heads]; gate of the output [heads, d_v], of a selective scan alone."""

    q: Tensor
    k: Tensor
    v: Tensor
    decay: Tensor
    weight: Tensor
    gate: Tensor | None = None

    def each(self, act: Callable[[Tensor], Tensor]) -> Inputs:
        """The same with `act` applied to every tensor."""
        gate = None if self.gate is None else act(self.gate)
        return Inputs(act(self.q), act(self.k), act(self.v), act(self.decay), act(self.weight), gate)

    def at(self, start: int, end: int) -> Inputs:
        """Some tokens."""
        return self.each(lambda x: x[:, start:end])

    def double(self) -> Inputs:
        """In fp64."""
        return self.each(Tensor.double)


def step(rule: str, x: Inputs, state: Tensor) -> Tensor:
    """One token a sequence: the output [B, heads, d_v]; `state` [B, heads, d_k, d_v] is changed in place."""
    groups = state.shape[1] // x.q.shape[2]
    q, k = (y[:, 0].repeat_interleave(groups, 1).to(state.dtype) for y in (x.q, x.k))
    v, weight = x.v[:, 0].to(state.dtype), x.weight[:, 0].to(state.dtype).unsqueeze(-1)
    decay = x.decay[:, 0].to(state.dtype).exp()
    state.mul_(decay.unsqueeze(-1) if decay.dim() == 3 else decay[..., None, None])
    if rule in DELTA:
        v = v - torch.einsum("bhk,bhkv->bhv", k, state)
    state.add_(k.unsqueeze(-1) * (weight * v).unsqueeze(-2))
    out = torch.einsum("bhk,bhkv->bhv", q, state)
    return out if x.gate is None else out * functional.silu(x.gate[:, 0].to(state.dtype))


def token_by_token(rule: str, x: Inputs, state: Tensor) -> Tensor:
    """Steps one after the other: outputs [B, T, heads, d_v]."""
    return torch.stack([step(rule, x.at(t, t + 1), state) for t in range(x.q.shape[1])], 1)


def chunked(rule: str, x: Inputs, state: Tensor, size: int) -> Tensor:
    """Chunks of `size` tokens, the state from one to the next: outputs [B, T, heads, d_v]; `state` is changed in place."""
    out, last = chunks(rule, x, state, size)
    state.copy_(last)
    return out


def chunks(rule: str, x: Inputs, state: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """(outputs [B, T, heads, d_v], the state after the last token [B, heads, d_k, d_v] in fp32), as products of matrices, those of a selective scan elementwise. Leaves `state` as it is, so that gradients can pass."""
    outs, now = [], state.float()
    size = min(size, _SCANNED) if rule == SCAN else size
    for start in range(0, x.q.shape[1], size):
        part = x.at(start, start + size)
        out, now = _scan(part, now) if rule == SCAN else _chunk(rule, part, now)
        outs.append(out)
    return torch.cat(outs, 1).to(x.v.dtype), now


def _chunk(rule: str, x: Inputs, state: Tensor) -> tuple[Tensor, Tensor]:
    """One chunk. Decays of a key's elements go into the keys, those of a head into the scores."""
    groups = state.shape[1] // x.q.shape[2]
    q, k, v = (y.float().transpose(1, 2) for y in (x.q, x.k, x.v))
    kept = x.decay.float().cumsum(1).transpose(1, 2)  # [B, heads, C], or [B, heads, C, d_k]
    weight = x.weight.float().transpose(1, 2).unsqueeze(-1)
    if kept.dim() == 4:
        last, spread = kept[:, :, -1:].exp(), torch.ones((), device=k.device)
        q_state, k_state, k = q * kept.exp(), k * kept.exp(), k * (-kept).exp()
        scores, leaving = q_state @ k.transpose(-1, -2), k * last
        last = last.transpose(-1, -2)
    else:
        last, spread = kept[:, :, -1:, None].exp(), (kept.unsqueeze(-1) - kept.unsqueeze(-2)).tril().exp()
        scores = (q @ k.transpose(-1, -2)).repeat_interleave(groups, 1)  # once for all heads that share a key
        q, k = q.repeat_interleave(groups, 1), k.repeat_interleave(groups, 1)
        since = kept.exp().unsqueeze(-1)
        q_state, k_state, leaving = q * since, k * since, k * (kept[:, :, -1:] - kept).exp().unsqueeze(-1)
    value = weight * v
    if rule in DELTA:
        own = (k_state if kept.dim() == 4 else k) @ k.transpose(-1, -2)
        own = weight * (own * spread).tril(-1)
        solve = own + torch.eye(own.shape[-1], device=own.device)
        value = torch.linalg.solve_triangular(solve, value, upper=False, unitriangular=True)
        seen = torch.linalg.solve_triangular(solve, weight * k_state, upper=False, unitriangular=True)
        value = value - seen @ state
    out = (scores * spread).tril() @ value + q_state @ state
    return out.transpose(1, 2), state * last + leaving.transpose(-1, -2) @ value


def _scan(x: Inputs, state: Tensor) -> tuple[Tensor, Tensor]:
    """One chunk of a selective scan: decays and what they keep of all spans of 1, 2, 4, ... tokens, so that nothing is divided by a decay."""
    groups = state.shape[1] // x.q.shape[2]
    q, k = (y.float().repeat_interleave(groups, 2) for y in (x.q, x.k))
    decay = x.decay.float()
    kept = (decay if decay.dim() == 4 else decay.unsqueeze(-1)).exp().unsqueeze(-1)  # [B, C, heads, d_k, 1]
    held = k.unsqueeze(-1) * (x.weight.unsqueeze(-1) * x.v).float().unsqueeze(-2)
    span, tokens = 1, q.shape[1]
    while span < tokens:
        held = torch.cat((held[:, :span], held[:, span:] + kept[:, span:] * held[:, :-span]), 1)
        kept = torch.cat((kept[:, :span], kept[:, span:] * kept[:, :-span]), 1)
        span *= 2
    states = held + kept * state.unsqueeze(1)
    out = (q.unsqueeze(-1) * states).sum(-2)
    return out if x.gate is None else out * functional.silu(x.gate.float()), states[:, -1]


def convolved(x: Tensor, columns: Tensor, weight: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(x [B, channels, T] convolved with `weight` [channels, width] along its tokens, the last `width` - 1 columns); `columns` [B, channels, width - 1] came before."""
    whole = torch.cat((columns.to(x.dtype), x), -1)
    last = whole[..., whole.shape[-1] - columns.shape[-1] :]
    if x.shape[-1] == 1:
        out = (whole * weight).sum(-1, keepdim=True)
        return out if bias is None else out + bias.unsqueeze(-1), last
    return functional.conv1d(whole, weight.unsqueeze(1), bias, groups=x.shape[1]), last
