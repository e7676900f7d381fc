"""How a design is split and in which formats it runs; and what one step processes.

First form: `tp` splits attention and dense layers, `ep` splits experts, as engines do.
ep <= tp: the experts of one tensor-parallel group are spread over ep of its parts, each expert cut in tp/ep slices; tokens
are replicated, so no All2All, the all-reduce joins the parts. ep > tp: ep/tp attention replicas (data-parallel
attention) each serve their own sequences; tokens reach their experts by All2All. GPUs = max(tp, ep).
"""

from __future__ import annotations

from dataclasses import dataclass

from simcost.errors import SpecError
from simcost.num import Mask, Num, ceil, every, floor, is_scalar, maximum

FORMS = ("auto", "expanded", "absorbed")
DEQUANTISE = ("fused", "separate")


@dataclass(frozen=True, slots=True)
class Plan:
    """tp, ep [devices]; formats by name, None = the default that the workload resolves and prints."""

    tp: Num = 1.0
    ep: Num = 1.0
    weight_dtype: str | None = None
    compute_dtype: str | None = None
    kv_dtype: str | None = None
    activation_dtype: str | None = None
    mla_form: str = "auto"
    dequantise: str = "fused"

    @property
    def devices(self) -> Num:
        return maximum(self.tp, self.ep)

    @property
    def replicas(self) -> Num:
        """Attention replicas (data-parallel attention)."""
        return maximum(self.ep / self.tp, 1.0)

    @property
    def expert_slices(self) -> Num:
        """Parts that each expert's width is cut into."""
        return maximum(self.tp / self.ep, 1.0)


@dataclass(frozen=True, slots=True)
class Phase:
    """One step: `batch` sequences in all, each with `q_len` new tokens after `past` cached ones. Prefill, chunked prefill
    and decode are this with other numbers. `logits` rows a sequence need the head."""

    batch: Num
    q_len: Num
    past: Num
    logits: Num = 1.0

    @property
    def context(self) -> Num:
        """Tokens in the cache when the step is done."""
        return self.past + self.q_len


@dataclass(frozen=True, slots=True)
class Check:
    """A rule of a sharding: `ok` elementwise, and why it fails."""

    ok: Mask
    reason: str


def divides(size: Num, parts: Num, what: str) -> Check:
    """`parts` must cut `size` evenly."""
    ratio = size / parts
    shown = f"{size:.0f}" if is_scalar(size) else "size"
    by = f"{parts:.0f}" if is_scalar(parts) else "that many"
    return Check(ratio == floor(ratio), f"{what} = {shown} cannot be cut into {by} equal parts")


def require(checks: list[Check]) -> None:
    """Raise the first broken rule; for a single query."""
    for check in checks:
        if not every(check.ok):
            raise SpecError(f"plan: {check.reason}")


def busiest(batch: Num, parts: Num) -> Num:
    """Sequences on the busiest of `parts` replicas."""
    return ceil(batch / parts)
