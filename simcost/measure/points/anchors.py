"""Anchored points: the kernels of the models that the user names, at seven token counts.

A curve is best where a layer was measured itself: 3-4 % median with seven token counts a layer. The programs of a prefill
and of decode steps are walked and every op that a family covers becomes a point. Most likely to be wrong: tensor-parallel
slices of a layer are other shapes; they are measured only with `shards`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from simcost import lower
from simcost.calibration.family import Labels, families
from simcost.dtypes import dtype
from simcost.errors import Infeasible, NotModelled
from simcost.measure.points.point import Kind, Point, unique
from simcost.measure.points.rounding import realised
from simcost.measure.points.sobol import SKEWS
from simcost.model import load as models
from simcost.model.quant import CONVERTED
from simcost.model.spec import ModelSpec
from simcost.num import every
from simcost.ops.fused import Fused
from simcost.ops.work import Op
from simcost.plan import Phase, Plan
from simcost.program import Call, Choice, Program, Serial, calls
from simcost.sharding.shard import ROLES, View

TOKENS = (1, 16, 64, 256, 1024, 4096, 8192)
CONTEXTS = (512, 2048, 8192, 32768)
BATCHES = (1, 8, 32, 128)  # decode attention: a grid of batch and context a layer
_TRAINED = 256.0  # tokens of the smallest micro-batch worth a gradient
_SKEWED_TOKENS = (16, 64, 256, 1024, 4096)


def load(names: Sequence[str]) -> list[ModelSpec]:
    """Models by name, file or folder. Raises SpecError for one that is unknown."""
    return [models.load(name) for name in names]


def view(format_: str, phase: Phase, plan: Plan) -> View:
    """What a model's layers see when all is in one format. A format below 16 bits is that of the converted weights; the rest
    stays bf16."""
    named = dtype("fp8" if format_ == "fp8_row" else format_)
    if named.bits >= 16:
        act = dtype("fp32") if format_ == "tf32" else named
        return View(plan, phase, act, act, dict.fromkeys(ROLES, act), dict.fromkeys(ROLES, named))
    act = dtype("bf16")
    compute = named if named.peak else act
    storage = dict.fromkeys(ROLES, act) | dict.fromkeys(CONVERTED, named)
    return View(plan, phase, act, act, storage, dict.fromkeys(ROLES, act) | dict.fromkeys(CONVERTED, compute))


def phases() -> Iterator[tuple[Phase, bool]]:
    """Phases at which a model's layers are measured: (prefill of one sequence, or decode step of many, False), then (decode step
    of the grid of batch and context, for attention alone, True)."""
    for tokens in TOKENS:
        yield Phase(1.0, float(tokens), 0.0), False
        yield Phase(float(tokens), 1.0, float(CONTEXTS[1] - 1)), False
    for batch in BATCHES:
        for context in CONTEXTS:
            yield Phase(float(batch), 1.0, float(context - 1)), True


def kernels(program: Program) -> Iterator[Op]:
    """Every op, and every group of ops that a family times as one."""
    for call in calls(program):
        yield call.op
    yield from _groups(program)


def _groups(program: Program) -> Iterator[Op]:
    if isinstance(program, Call):
        return
    if isinstance(program, Serial) and program.kernel == "experts":
        yield Fused(program.kernel, tuple(call.op for call in calls(program)))
    parts = [option for _, option in program.options] if isinstance(program, Choice) else program.parts
    for part in parts:
        yield from _groups(part)


def anchors(
    specs: Sequence[ModelSpec], wanted: Collection[Kind], formats: Sequence[str], shards: Sequence[float] = (1.0,)
) -> list[Point]:
    """All distinct points of the models' layers among the wanted kinds. `formats`: of weights and arithmetic; `shards`: sizes of
    tp."""
    return unique(_points(specs, set(wanted), formats, shards))


def _points(
    specs: Sequence[ModelSpec], wanted: set[Kind], formats: Sequence[str], shards: Sequence[float]
) -> Iterator[Point]:
    for spec in specs:
        for tp in shards:
            plan = Plan(tp=tp)
            if not all(every(check.ok) for check in lower.checks(spec, plan)):
                continue
            for format_ in formats:
                for phase, grid in phases():
                    for op in _ops(spec, view(format_, phase, plan)):
                        if grid == (op.family == "attention" and phase.q_len == 1.0):
                            yield from _claimed(op, spec.name, wanted)
                            yield from _variants(op, spec.name, wanted, format_)


def _ops(spec: ModelSpec, at: View) -> Iterator[Op]:
    """Kernels of one step; none where the design has no such step."""
    try:
        program = lower.step(spec, at)
    except (NotModelled, Infeasible):
        return
    yield from kernels(program)


def _claimed(op: Op, origin: str, wanted: set[Kind]) -> Iterator[Point]:
    for name, family in families().items():
        labels = family.labels(op)
        if labels is None or not every(family.covers(op)):
            continue
        kind = Kind(name, tuple(labels.items()))
        if kind in wanted:
            numbers = {key: float(value) for key, value in family.numbers(op).items()}
            yield from _realised(kind, numbers, origin)
            yield from _skewed(kind, numbers, origin)


def _realised(kind: Kind, numbers: dict[str, float], origin: str) -> Iterator[Point]:
    found = realised(kind, numbers)
    if found is not None:
        yield Point(kind, found, origin)


def _skewed(kind: Kind, numbers: dict[str, float], origin: str) -> Iterator[Point]:
    """A layer of experts at three skews besides the load that its router is expected to give."""
    if kind.family == "experts" and numbers["tokens"] in _SKEWED_TOKENS:
        for skew in SKEWS[1:]:
            load_ = skew * numbers["experts"] / numbers["touched"]
            yield from _realised(kind, {**numbers, "load": load_}, origin)


def _variants(op: Op, origin: str, wanted: set[Kind], format_: str) -> Iterator[Point]:
    """Products that are the op of another kind: gradients of linear layers, and row-wise scaled fp8."""
    gemm = families()["gemm"]
    labels = gemm.labels(op)
    if not {kind for kind in wanted if kind.family == "gemm_variant"}:
        return
    if labels is None or isinstance(op, Fused) or not every(gemm.covers(op)):
        return
    rows = float(gemm.numbers(op)["m"])
    variant = families()["gemm_variant"]
    if format_ == "fp8_row":
        forms: list[tuple[Op, Labels]] = [(op, {"what": "row", **labels})]
    else:
        gradients = (*op.input_grad(), *op.weight_grad()) if rows >= _TRAINED else ()
        forms = [(grad, own) for grad in gradients if (own := variant.labels(grad)) is not None]
    for form, own in forms:
        kind = Kind("gemm_variant", tuple(own.items()))
        if kind in wanted:
            yield from _realised(kind, {k: float(v) for k, v in gemm.numbers(form).items()}, origin)


def attention_gradients(points: Sequence[Point], wanted: Collection[Kind]) -> list[Point]:
    """The backward pass of every anchored prefill of which a kind is wanted."""
    found = []
    for point in points:
        kind = Kind("attention_backward", point.kind.labels)
        if point.kind.family == "attention_prefill" and kind in wanted and point.numbers[2] == 0.0:
            found.append(Point(kind, point.numbers, point.origin))
    return found
