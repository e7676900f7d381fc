"""Casts to fp8: one scale for the tensor, or one for every 128 numbers of a row (DeepSeek-V3)."""

from __future__ import annotations

import torch

Tensor = torch.Tensor
GROUP = 128
_MOST = 448.0  # the largest e4m3 number


def cast_tensor(x: Tensor) -> tuple[Tensor, Tensor]:
    """(x in fp8, its one scale, fp32): x is about fp8 times scale."""
    scale = x.abs().amax().float().clamp_min(1e-12) / _MOST
    return (x.float() / scale).to(torch.float8_e4m3fn), scale


def cast_groups(x: Tensor) -> tuple[Tensor, Tensor]:
    """(fp8 [r, c], fp32 scales [r, c/128]): one scale for every 128 numbers of a row. c must be a multiple of 128."""
    parts = x.float().view(*x.shape[:-1], -1, GROUP)
    scale = parts.abs().amax(-1).clamp_min(1e-12) / _MOST
    return (parts / scale.unsqueeze(-1)).flatten(-2).to(torch.float8_e4m3fn), scale
