"""Products that are a GEMM as an op but another kernel on a device: the input gradient ("input", dY·W, W untransposed), the
weight gradient ("weight", dYᵀ·X, the tokens summed over), and fp8 with a scale a row ("row").

An adjoint is a plain `Gemm`, so `labels` cannot tell it from a forward product and never claims one: training asks by
label. Columns are those of the product as it runs.
"""

from __future__ import annotations

from simcost.calibration.columns import Word
from simcost.calibration.families import gemm
from simcost.calibration.family import Labels, Numbers
from simcost.num import Mask
from simcost.ops.work import Op

COLUMNS = gemm.COLUMNS
WORDS = {"what": Word("which product", ("input", "weight", "row")), **gemm.WORDS}
NUMBERS = gemm.NUMBERS
LABELS = tuple(WORDS)
SIZES = gemm.SIZES
LENGTHS = None

numbers = gemm.numbers
terms = gemm.terms
features = gemm.features
site = gemm.site


def op(numbers: Numbers, labels: Labels) -> Op:
    return gemm.op(numbers, labels)


def labels(op: Op) -> Labels | None:
    return None


def covers(op: Op) -> Mask:
    return False


def relatives(labels: Labels) -> list[Labels]:
    return [{"what": labels["what"], **other} for other in gemm.relatives({n: labels[n] for n in gemm.LABELS})]
