"""x·wᵀ: a linear layer without bias, in every format."""

from __future__ import annotations

from simcost.calibration.families.gemm import numbers
from simcost.measure.kernels.kernel import Kernel
from simcost.measure.kernels.products import context, product, tolerance
from simcost.measure.timing.buffers import Bench
from simcost.ops.gemm import Gemm
from simcost.ops.work import Op


def build(op: Op, bench: Bench, copies: int) -> Kernel:
    """A linear layer [m, k] x [n, k]ᵀ whose input is already in the format of the product."""
    assert isinstance(op, Gemm)
    m, n, k = (int(float(numbers(op)[name])) for name in ("m", "n", "k"))
    return products(format_of(op), bench, m, n, k, copies)


def format_of(op: Gemm) -> str:
    """The format that names the kernel: the arithmetic's, or that of narrower weights."""
    return op.w.name if op.w.bits < op.compute.bits else op.compute.name


def products(name: str, bench: Bench, m: int, n: int, k: int, copies: int) -> Kernel:
    """`copies` products [m, k] x [n, k]ᵀ in the format `name`, each on tensors of its own, as a kernel."""
    made = [product(name, bench, m, n, k) for _ in range(copies)]
    return Kernel(
        [one.call for one in made], lambda: made[0].error(m, n), tolerance(name, k), made[0].backend, context(name)
    )  # fmt: skip
