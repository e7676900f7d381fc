"""One small product a head: MLA's absorption of K and V into the latent. The input is a strided view."""

from __future__ import annotations

from simcost.calibration.families import gemm
from simcost.calibration.family import Labels
from simcost.num import Mask
from simcost.ops.gemm import Gemm
from simcost.ops.work import Op

COLUMNS = gemm.COLUMNS
WORDS = gemm.WORDS
NUMBERS = gemm.NUMBERS
LABELS = gemm.LABELS
SIZES = gemm.SIZES
LADDERS = gemm.LADDERS
LENGTHS = None
EFFICIENCY = "gemm_efficiency"  # of the profile, by which another device's rows are carried over

op = gemm.op
relatives = gemm.relatives
numbers = gemm.numbers
terms = gemm.terms
features = gemm.features
padded = gemm.padded
edge = gemm.edge
beside = gemm.beside
BESIDE = gemm.BESIDE
site = gemm.site


def labels(op: Op) -> Labels | None:
    """As in gemm, of a product without the quantisation of its input."""
    return gemm.labels(op) if isinstance(op, Gemm) else None


def covers(op: Op) -> Mask:
    """Several products in one call, one a head; gradients are no family's."""
    return isinstance(op, Gemm) and not op.gradient and op.batch != 1.0
