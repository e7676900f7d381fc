"""CUDA graphs, captured so that a failure leaves the process as it was before.

A capture that fails leaves three things behind: torch's capture stream stays the current one (`torch.cuda.graph`
restores it only after a good end), up to torch 2.11 the allocator believes that the capture goes on, after which
`empty_cache` and every later capture fail, and the pool keeps its memory. All three are undone here, and what failed
once is not tried again, until somebody asks to `forget` it. Most likely to be wrong: the undoing itself, which has met no
device; where it does not help, nothing more is captured. Source: pytorch/pytorch 180395 and 190308.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import torch

from simcost.errors import SimcostError

T = TypeVar("T")
_refused: dict[str, str] = {}  # what failed in this process -> why; "": nothing can be captured any longer


class Uncapturable(SimcostError):
    """Work that no graph holds; the message says why in a few words."""


def forget() -> None:
    """What failed may be tried again: refusals of explorations must not make the rows that count eager. Where the
    process still cannot capture, the first try finds out and says so again."""
    _refused.clear()


def captured(act: Callable[[], T], what: str) -> tuple[torch.cuda.CUDAGraph, T]:
    """A graph of the work of `act` on the current device, and what it returned, whose memory is the graph's. `what`
    names work that captures alike: a kind of kernel and the backend that runs it. Raises Uncapturable, for the same
    `what` ever after."""
    why = _refused.get(what) or _refused.get("")
    if why:
        raise Uncapturable(why)
    before, pool = torch.cuda.current_stream(), torch.cuda.graph_pool_handle()
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph, pool=pool):
            result = act()
    except Exception as error:  # capture fails in many ways
        why = f"{type(error).__name__} in capture"
        if what and not isinstance(error, torch.OutOfMemoryError):  # the next point may be smaller
            _refused[what] = why
        _undo(before, pool)
        raise Uncapturable(why) from error
    return graph, result


def _undo(stream: Any, pool: Any) -> None:
    """The stream that was current, and an allocator without a capture; else no capture any more."""
    torch.cuda.set_stream(stream)
    with suppress(RuntimeError, AttributeError):  # from torch 2.12 on a failed end does this itself
        torch._C._cuda_endAllocateToPool(torch.cuda.current_device(), pool)
        torch._C._cuda_releasePool(torch.cuda.current_device(), pool)
    try:
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
    except RuntimeError:
        _refused[""] = "a failed capture before"
