"""Products that are a GEMM as an op but another kernel on a device: the input gradient ("input", dY·W, W untransposed), the
weight gradient ("weight", dYᵀ·X, the tokens summed over), and fp8 with a scale a row ("row"), which is asked for by label.

Columns are those of the product as it runs.
"""

from __future__ import annotations

from dataclasses import replace

from simcost.calibration.columns import Word
from simcost.calibration.families import gemm
from simcost.calibration.family import Labels, Numbers
from simcost.num import Mask
from simcost.ops.fused import Fused
from simcost.ops.gemm import Gemm
from simcost.ops.work import Op

COLUMNS = gemm.COLUMNS
WORDS = {"what": Word("which product", ("input", "weight", "row")), **gemm.WORDS}
NUMBERS = gemm.NUMBERS
LABELS = tuple(WORDS)
SIZES = gemm.SIZES
LENGTHS = None
EFFICIENCY = "gemm_efficiency"  # of the profile, by which another device's rows are carried over

numbers = gemm.numbers
terms = gemm.terms
features = gemm.features
padded = gemm.padded
edge = gemm.edge
beside = gemm.beside
BESIDE = gemm.BESIDE
site = gemm.site


def op(numbers: Numbers, labels: Labels) -> Op:
    """The product of a row: a gradient, or forward with other scales."""
    found = gemm.op(numbers, labels)
    return found if labels["what"] == "row" else _as_gradient(found, labels["what"])


def _as_gradient(op: Op, what: str) -> Op:
    if isinstance(op, Fused):
        return replace(op, parts=tuple(_as_gradient(part, what) for part in op.parts))
    return replace(op, gradient=what) if isinstance(op, Gemm) else op


def labels(op: Op) -> Labels | None:
    """Gradients only: rows of "row" are asked for by label."""
    found = gemm.product(op)
    return None if found is None or not found.gradient else {"what": found.gradient, **gemm.formats(op, found)}


def covers(op: Op) -> Mask:
    """One product, not one a head."""
    found = gemm.product(op)
    return found is not None and bool(found.gradient) and found.batch == 1.0


def relatives(labels: Labels) -> list[Labels]:
    """As in gemm, each of the same `what`: no product stands in for another one."""
    return [{"what": labels["what"], **other} for other in gemm.relatives({n: labels[n] for n in gemm.LABELS})]
