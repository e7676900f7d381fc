"""FlashInfer's absorbed MLA over a paged cache, where the package is installed and its kernel runs here.

Compiled at first use, which takes minutes: only where somebody has asked for it (`ask`). Pages of one token, so that a
contiguous latent is a cache. Most likely to be wrong: unverified by us on any GPU; a failed probe falls back to our own kernel.
Source: FlashInfer's documentation of `BatchMLAPagedAttentionWrapper`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch

from simcost.measure.machine.torch import optional
from simcost.measure.timing.cpu import Call

Tensor = torch.Tensor
_WORKSPACE = 134217728  # bytes, as its documentation has it


_asked = False


def ask() -> None:
    """Lets this process measure FlashInfer's kernel, where it is installed; `works` says no without it."""
    global _asked
    _asked = True


def works(device: torch.device) -> bool:
    """Whether it was asked for, runs a small case and is right."""
    return _asked and _right(device)


@cache
def _right(device: torch.device) -> bool:
    if optional("flashinfer") is None:
        return False
    q = torch.randn(2, 1, 16, 576, device=device, dtype=torch.bfloat16).transpose(1, 2)
    latent = torch.randn(2, 64, 576, device=device, dtype=torch.bfloat16)
    try:
        got = calls([(q, latent)], 512, 0.04)[0]()
    except Exception:  # no compiler, no kernel for this device, another version's signature
        return False
    scores = torch.softmax(q.double() @ latent.double().unsqueeze(1).transpose(-2, -1) * 0.04, -1)
    want = scores @ latent.double()[..., :512].unsqueeze(1)
    return bool((got.double() - want).norm() < 0.02 * want.norm())


def calls(sets: list[tuple[Tensor, Tensor]], rank: int, scale: float) -> list[Call]:
    """One call a (q [b, h, t, d], latent [b, s, d]), all of one shape; planned once."""
    q, latent = sets[0]
    b, h, t, d = q.shape
    s, device = latent.shape[1], q.device
    flashinfer: Any = optional("flashinfer")
    wrapper = flashinfer.mla.BatchMLAPagedAttentionWrapper(torch.zeros(_WORKSPACE, dtype=torch.uint8, device=device))
    steps = torch.arange(b + 1, dtype=torch.int32, device=device)
    pages = torch.arange(b * s, dtype=torch.int32, device=device)
    lengths = torch.full((b,), s, dtype=torch.int32, device=device)
    wrapper.plan(steps * t, steps * s, pages, lengths, h, rank, d - rank, 1, t > 1, scale, q.dtype, latent.dtype)
    return [_call(wrapper, one, kv, rank) for one, kv in sets]


def _call(wrapper: Any, q: Tensor, latent: Tensor, rank: int) -> Callable[[], Tensor]:
    b, h, t, d = q.shape
    rows = q.transpose(1, 2).reshape(b * t, h, d)
    cache_ = latent.reshape(-1, 1, d)
    parts = (rows[..., :rank].contiguous(), rows[..., rank:].contiguous())
    pages = (cache_[..., :rank].contiguous(), cache_[..., rank:].contiguous())
    run = partial(wrapper.run, *parts, *pages, return_lse=False)
    return lambda: run().view(b, t, h, rank).transpose(1, 2)
