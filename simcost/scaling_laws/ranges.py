"""Whether a point lies where a law was fitted, and in words where it does not."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from simcost import units
from simcost.num import Array, Mask, Num, every
from simcost.scaling_laws.law import FITTED, VERIFIED, Law

VARIABLES = {
    "params": "parameters as the law counts them", "tokens": "tokens", "training_flops": "training compute", "experts": "routed experts of a layer",
    "active_experts": "routed experts of a token", "shared_experts": "shared experts in the width of a routed one",
    "granularity": "experts of a token, shared ones included", "expansion": "experts over those of a token", "sparsity": "share of experts that a token does not use",
    "activation": "share of expert width that a token uses", "width_granularity": "2 hidden_size / width of an expert",
}  # fmt: skip
_KINDS = {"params": "parameters", "tokens": "tokens", "training_flops": "training_flops"}
_ROUNDING = 1e-9  # relative: 130e9 tokens are 130 B, however they were computed


def shown(name: str, value: float, flops: bool = False) -> str:
    """A variable's value for people; `flops`: the size of a model in FLOPs of a token."""
    if flops and name == "params":
        return units.show(value, "flops")
    return units.show(value, _KINDS[name]) if name in _KINDS else f"{value:,.4g}"


def checked(law: Law, inputs: Mapping[str, Num], extent: str = FITTED) -> tuple[Mask, list[str]]:
    """(where a law speaks, why it does not elsewhere). `extent`: "fitted", or "published", as far as the source itself used the law. A law that
    is not verified speaks nowhere."""
    if law.certainty != VERIFIED:
        return np.zeros(np.broadcast_shapes(*(np.shape(each) for each in inputs.values())), bool), [unverified(law)]
    limits = law.ranges.get(extent, law.ranges[FITTED])
    inside: Mask = np.ones((), bool)
    reasons = []
    for name, (least, most) in limits.bounds.items():
        if name not in inputs:
            continue
        value = np.asarray(inputs[name], np.float64)
        low, high = value >= least * (1.0 - _ROUNDING), value <= most * (1.0 + _ROUNDING)
        inside = inside & low & high
        if not every(low & high):
            reasons.append(_outside(law, name, value, (least, most), extent if extent in law.ranges else FITTED))
    return inside, reasons


def _outside(law: Law, name: str, value: Array, limits: tuple[float, float], extent: str) -> str:
    flops = law.params.count == "flops"
    least, most = (shown(name, each, flops) for each in limits)
    where = f"only {least}" if least == most else f"{least} to {most}"
    if value.ndim:
        return f"{VARIABLES[name]}: some points lie outside the {extent} range, {where}"
    return f"{VARIABLES[name]}: {shown(name, float(value), flops)} is outside the {extent} range, {where}"


def unverified(law: Law) -> str:
    """Why a law that is not verified gives no number."""
    return f"not verified ({law.certainty}): {law.source['checked']}"
