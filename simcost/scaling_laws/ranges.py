"""Whether a point lies where a law was fitted, and in words where it does not."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from simcost import units
from simcost.num import Array, Mask, Num, every
from simcost.scaling_laws.law import FITTED, VERIFIED, Law

VARIABLES = {
    "params": "parameters", "total_params": "parameters in all", "tokens": "tokens", "training_flops": "training compute", "experts": "routed experts",
    "active_experts": "routed experts of a token", "shared_experts": "shared experts in the width of a routed one",
    "granularity": "experts of a token, shared ones included", "expansion": "experts over those of a token", "sparsity": "share of experts that a token leaves out",
    "activation": "share of expert width that a token uses", "width_granularity": "2 hidden_size / width of an expert",
}  # fmt: skip
_ROUNDING = 1e-9  # relative: 130e9 tokens are 130 B, however they were computed


def shown(name: str, value: float, flops: bool = False) -> str:
    """A variable's value for people; `flops`: the size of a model is in FLOPs of a token."""
    if name == "training_flops":
        return units.show(value, "training_flops")
    if name == "params" and flops:
        return units.show(value, "flops")
    return units.show(value, "tokens") if name in ("params", "total_params", "tokens") else f"{value:,.4g}"


def span(name: str, bounds: tuple[float, float], flops: bool = False) -> str:
    """A range for people."""
    least, most = (shown(name, each, flops) for each in bounds)
    return least if least == most else f"{least} to {most}"


def checked(
    law: Law, inputs: Mapping[str, Num], extent: str = FITTED, found: tuple[str, ...] = ()
) -> tuple[Mask, list[str]]:
    """(where a law speaks, why it does not elsewhere). `extent`: "fitted", or "published", as far as the source itself used the law. `found`: variables
    that the law itself gave: an extrapolated one is not told. A law that is not verified speaks nowhere."""
    if law.certainty != VERIFIED:
        return np.zeros(np.broadcast_shapes(*(np.shape(each) for each in inputs.values())), bool), [unverified(law)]
    extent = extent if extent in law.ranges else FITTED
    inside: Mask = np.ones((), bool)
    reasons: dict[str, str] = {}
    for name, bounds in law.ranges[extent].bounds.items():
        if name not in inputs:
            continue
        value = np.asarray(inputs[name], np.float64)
        holds = (value >= bounds[0] * (1.0 - _ROUNDING)) & (value <= bounds[1] * (1.0 + _ROUNDING))
        inside = inside & holds
        if not every(holds):
            reasons[name] = _outside(law, name, value, bounds, extent, name in found)
    if law.dense_only and "experts" in reasons:
        return inside, ["fitted on dense models alone"]
    return inside, list(reasons.values())


def _outside(law: Law, name: str, value: Array, bounds: tuple[float, float], extent: str, found: bool) -> str:
    flops = law.params.count == "flops"
    where = f"{extent}: {span(name, bounds, flops)}"
    what = "FLOPs of a token" if name == "params" and flops else VARIABLES[name]
    if found:
        side = "above" if np.any(value > bounds[1]) else "below"
        return f"its {what} would be {side} the range ({where})"
    if value.ndim:
        return f"some points are outside the range of {what} ({where})"
    return f"{what}: {shown(name, float(value), flops)} ({where})"


def unverified(law: Law) -> str:
    """Why a law that is not verified gives no number."""
    return f"not verified ({law.certainty}): {law.source['checked']}"
