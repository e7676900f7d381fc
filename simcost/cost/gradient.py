"""Gradients of which nobody timed a kernel: which forward kernel lends its time, and how sure it is then.

Most likely to be wrong: a device's library may have a far better, or worse, kernel for a transposed product than for the plain one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, cast

import numpy as np

from simcost.calibration.store import Found, kind_spread
from simcost.num import Num, maximum
from simcost.ops.fused import Fused
from simcost.ops.work import Op
from simcost.provenance import Basis


def forward_of(op: Op) -> Op | None:
    """The forward kernel of a gradient's dimensions; None where the gradient is another kind of op."""
    if isinstance(op, Fused):
        return replace(op, parts=tuple(forward_of(part) or part for part in op.parts))
    known = {field.name for field in fields(cast(Any, op))}
    plain = {name: value for name, value in (("gradient", ""), ("adds", False)) if name in known}
    return cast(Op, replace(cast(Any, op), **plain)) if "gradient" in plain else None


def more_bytes(grads: Sequence[Op], forwards: Sequence[Op]) -> Num:
    """How many times the bytes of their forward kernels gradients move: all bytes, also those that an L2 holds of either."""
    mine, theirs = (sum((one.work().bytes for one in ops), start=0.0) for ops in (grads, forwards))
    return mine / maximum(theirs, 1e-30)


def lent(name: str, found: Found | None) -> Found | None:
    """Curves of a family's forward kernels for a gradient: transferred, as uncertain as another kind of kernel of that family."""
    if found is None:
        return None
    return replace(found, basis=Basis.TRANSFERRED, extra=float(np.hypot(found.extra, kind_spread(name))))
