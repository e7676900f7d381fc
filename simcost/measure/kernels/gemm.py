"""x·wᵀ: a linear layer without bias, in every format."""

from __future__ import annotations

from collections.abc import Mapping

from simcost.calibration.families.gemm import numbers
from simcost.measure.kernels.kernel import Kernel
from simcost.measure.kernels.products import context, product, tolerance
from simcost.measure.machine.target import Target
from simcost.measure.points.kernel_class import Numbers, Unit, Wanted, plain
from simcost.measure.points.point import Kind
from simcost.measure.points.rounding import step_of, whole
from simcost.measure.points.sobol import log_between
from simcost.measure.timing.buffers import Bench
from simcost.ops.gemm import Gemm
from simcost.ops.work import Op

STAGES = {"": 0}


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


def kinds(format_: str, target: Target) -> list[Wanted]:
    """Products in every format: of narrow ones more, since their kernels switch more."""
    if format_ == "fp8_row":
        return []
    if format_ == "int4":
        return [({"x": "bf16", "w": "int4", "compute": "bf16"}, 1.0)]
    x = "fp32" if format_ == "tf32" else format_
    return [({"x": x, "w": x, "compute": format_}, 1.0 if plain(format_) else 1.6)]


def draw(kind: Kind, u: Unit, large: bool) -> Mapping[str, float]:
    """Tokens, and widths of models."""
    widest = 20000.0 if large else 6000.0
    m = log_between(u[0], 1.0, 16384.0 if large else 2048.0)
    n, k = log_between(u[1], 128.0, widest), log_between(u[2], 128.0, widest)
    return {"batch": 1.0, "m": m, "n": n, "k": k}


def rounded(kind: Kind, x: Numbers) -> tuple[int, ...]:
    """Whole rows; widths in the multiples that the format wants."""
    step = step_of(kind)
    return whole(x["batch"]), whole(x["m"]), whole(x["n"], step), whole(x["k"], step)
