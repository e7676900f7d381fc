"""Recurrent cores in plain torch: one step, chunks, and token by token in fp64 as the reference of both.

Sources: Gated DeltaNet (arXiv 2412.06464 §3), Mamba-2 (arXiv 2405.21060 §6), Mamba (arXiv 2312.00752 §3).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

Tensor = torch.Tensor
DELTA = ("gated_delta", "kda")  # what a key already stands for is taken off the value first


@dataclass(slots=True)
class Inputs:
    """Of all tokens [B, T, ...]: q, k [heads of keys, d_k]; v [heads, d_v]; decay, the log of what a state keeps [heads] or [heads, d_k] (KDA); weight, by which a
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
    return out if x.gate is None else out * torch.nn.functional.silu(x.gate[:, 0].to(state.dtype))


def token_by_token(rule: str, x: Inputs, state: Tensor) -> Tensor:
    """Steps one after the other: outputs [B, T, heads, d_v]."""
    return torch.stack([step(rule, x.at(t, t + 1), state) for t in range(x.q.shape[1])], 1)


def chunked(rule: str, x: Inputs, state: Tensor, size: int) -> Tensor:
    """Chunks of `size` tokens as products of matrices, the state from one to the next: outputs [B, T, heads, d_v]; `state` is changed in place."""
    outs = []
    for start in range(0, x.q.shape[1], size):
        outs.append(_chunk(rule, x.at(start, start + size), state))
    return torch.cat(outs, 1).to(x.v.dtype)


def _chunk(rule: str, x: Inputs, state: Tensor) -> Tensor:
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
    state.mul_(last).add_(leaving.transpose(-1, -2) @ value)
    return out.transpose(1, 2)
