"""A training step as it is asked: model, device and plan, with every format, flag and count resolved, and every default said aloud.

Most likely to be wrong: a default of a framework that a release changed. Sources: `workloads/precisions`, `workloads/optimizers`, `workloads/stacks`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import field, replace
from types import ModuleType

from simcost import lower, schedules
from simcost.cost import older_attention
from simcost.cost.older_attention import Older
from simcost.cost.tiers import link_checks
from simcost.dtypes import dtype
from simcost.errors import Infeasible, SpecError, nearest
from simcost.frozen import frozen
from simcost.hardware.engines import ANY
from simcost.hardware.profile import Device
from simcost.hardware.siblings import siblings
from simcost.model.spec import ModelSpec
from simcost.num import Z90
from simcost.ops import cross_entropy
from simcost.ops.cross_entropy import FUSED, PLAIN
from simcost.passes.eager import EAGER
from simcost.passes.saved import Keeping
from simcost.passes.training import FLASH_2, UNFUSED
from simcost.plan import Phase, Plan, require
from simcost.provenance import Kind, Note
from simcost.registry import discover
from simcost.routing.router import Routing
from simcost.schedules._order import Placement
from simcost.sharding import placement
from simcost.sharding.shard import ROLES, View
from simcost.training import batch, optimizer, precision, stack, zero
from simcost.training.optimizer import EMA, Average, Optimizer
from simcost.training.parameters import ALL, Trained
from simcost.training.passes import How
from simcost.training.precision import Precision
from simcost.training.recompute import Recompute, parse
from simcost.training.stack import LENT, Fitted, Stack
from simcost.training.zero import Sharding

VPP = 2  # virtual stages per rank where a schedule needs several and nobody says how many
STACK = "megatron-core-te"
_EXCHANGES = {"alltoall": "nccl", "allgather": "nccl", "deepep": "normal", "hybridep": "normal"}


@frozen
class Recipe:
    """What a step asks beside model, device and sizes of the plan. `schedule`: "" for 1f1b, or the one that vpp asks for; `stages`: layers of every virtual stage, as `plan.stages` says them; `group`: ranks that ZeRO shares over
    (None: the stack's); `ema`: of `optimizer.EMA`; `loss`: of `ops/cross_entropy.py`, "" for the stack's; `flags`: of the stack, changed; `factors`: coefficients in place of the stack's own, by name."""

    micro_batch: int = 1
    global_batch: int | None = None
    seq: int = 4096
    schedule: str = ""
    recompute: str = "none"
    zero_stage: int = 1
    reshard: bool = True
    precision: str = "bf16"
    optimizer: str = "adamw"
    stack: str = STACK
    stages: str = "even"
    group: int | None = None
    trained: Trained = ALL
    ema: str = "off"
    loss: str = ""
    flags: Mapping[str, str] = field(default_factory=dict)
    factors: Mapping[str, float] | None = None
    routing: Routing = Routing()


@frozen
class Job:
    """A step with everything resolved. `vpp`: virtual stages a rank of schedules that take any number; `microbatches`: of a replica, of both directions together; `placed`: which rank holds which virtual stage; `layers`: how many stand on each, None: as even as can be."""

    model: ModelSpec
    device: Device
    plan: Plan
    view: View
    how: How
    precision: Precision
    optimizer: Optimizer
    stack: Stack
    sharding: Sharding
    recipe: Recipe
    schedule: ModuleType
    vpp: int
    placed: Placement
    microbatches: int
    global_batch: int
    engine: str = ANY
    layers: tuple[int, ...] | None = None
    notes: tuple[Note, ...] = ()

    @property
    def lent(self) -> tuple[str, str, Fitted] | None:
        """(stack, device, coefficients) that stand in; None where the stack has its own on this device, where coefficients are stated, and where none are related: a device
        whose measurements stand in for this one's, or a part of the same architecture."""
        if self.recipe.factors is not None or self.device.name in self.stack.fitted:
            return None
        related, one = [self.device.name], self.device.sibling
        while one is not None:
            related.append(one.name)
            one = one.sibling
        return self.stack.lent([*related, *(part for name in related for part in siblings(name))])

    @property
    def fitted(self) -> Fitted | None:
        """The record of the coefficients, its own or lent; None where there are none, or where they are stated."""
        if self.recipe.factors is not None:
            return None
        own = self.stack.fitted.get(self.device.name)
        lent = self.lent
        if own is not None or lent is None:
            return own
        half = math.hypot(lent[2].half_width, Z90 * LENT)
        return replace(lent[2], half_width=half)

    @property
    def factors(self) -> Mapping[str, float]:
        """Coefficients by name; {} where there are none."""
        if self.recipe.factors is not None:
            return self.recipe.factors
        return {} if self.fitted is None else self.fitted.factors

    @property
    def older(self) -> Older | None:
        """Attention kernels that are slower than those measured; None for the measured ones."""
        return older_attention.of(self.device) if self.stack.flags["attention"] == FLASH_2 else None

    def view_of(self, key: str) -> View:
        """What a module sees (`lower.Module.key`): a wide layer none but wide formats."""
        if key not in self.precision.wide_keys:
            return self.view
        formats = self.precision.of(key)
        return replace(self.view, storage=formats.storage(), compute=formats.compute())

    def how_of(self, key: str) -> How:
        """How a module is trained: a wide layer keeps its tensors as they are."""
        if key not in self.precision.wide_keys:
            return self.how
        return replace(self.how, keeping=replace(self.how.keeping, core_bits=None, activation=None))

    @property
    def average(self) -> Average | None:
        """The moving average of the weights; None where there is none."""
        return EMA[self.recipe.ema]

    @property
    def pp(self) -> int:
        """Pipeline ranks."""
        return int(self.plan.pp)

    @property
    def replicas(self) -> int:
        """Data-parallel ranks: copies of the attention."""
        return int(self.plan.replicas * self.plan.copies)

    @property
    def tokens(self) -> int:
        """Tokens of a step."""
        return self.global_batch * self.recipe.seq

    @property
    def shares_ends(self) -> bool:
        """Whether the rank of the last virtual stage holds the first one too."""
        rank = self.placed.rank
        last = self.placed.stages - 1
        return last > 0 and any(
            rank(0, m) == rank(last, n) for m in (0, self.microbatches - 1) for n in (0, self.microbatches - 1)
        )


def known_schedules() -> dict[str, ModuleType]:
    """Every pipeline schedule by its name."""
    return {str(module.NAME): module for module in discover(schedules.__name__).values()}


def build(model: ModelSpec, device: Device, plan: Plan, recipe: Recipe, engine: str = ANY) -> Job:
    """Resolves a question. Raises SpecError for an unknown name or a format that the device cannot compute, Infeasible for a plan that breaks a rule, naming the nearest that satisfies it."""
    notes: list[Note] = []
    formats, step = _formats(device, recipe)
    how_stack = stack.load(recipe.stack).changed(recipe.flags)
    flags = how_stack.flags
    model, formats = precision.parted(model, _with_flags(formats, flags))
    plan = _plan(plan, flags, model)
    # Virtual stages have a rule of their own: the first and the last may hold no layer, but the embedding and the head alone.
    require([*lower.checks(model, replace(plan, vpp=1.0)), *link_checks(device, plan.devices)])
    scheduled, vpp = _schedule(recipe, plan, notes)
    sequences, micro = batch.cut(plan, recipe.micro_batch, recipe.global_batch, scheduled, vpp, notes)
    loss = recipe.loss or (FUSED if flags["fused_cross_entropy"] else PLAIN)
    cross_entropy.named(loss)
    phase = Phase(
        float(recipe.micro_batch * plan.replicas * plan.copies), float(recipe.seq), 0.0, float(recipe.seq), routing=recipe.routing, loss=loss
    )  # fmt: skip
    view = View(plan, phase, formats.activation, formats.activation, formats.storage(), formats.compute(), formats.core)
    group = recipe.group or int(flags["zero_group"]) or None
    sharding = Sharding(
        fsdp=recipe.zero_stage == 3 and how_stack.name not in ("deepspeed",),
        every_microbatch=False if flags["no_sync"] and recipe.zero_stage >= 2 else None,
        group=None if group is None else float(group),
    )
    zero.checked(plan, recipe.zero_stage, sharding)
    placed = scheduled.placement(int(plan.pp), micro, vpp)
    job = Job(
        model, device, plan, view, _how(formats, parse(recipe.recompute), flags, _trained(recipe.trained, model)), formats, step, how_stack, sharding, recipe, scheduled, vpp, placed, micro, sequences,
        engine, _layers(recipe, model, placed, plan, notes),
    )  # fmt: skip
    return replace(job, notes=(*_said(job), *notes))


def _formats(device: Device, recipe: Recipe) -> tuple[Precision, Optimizer]:
    formats, step = precision.load(recipe.precision), optimizer.load(recipe.optimizer)
    for kind in (formats.activation, formats.forward, formats.input_gradient, formats.weight_gradient, formats.core):
        if kind.peak not in device.peaks:
            able = [name for name in precision.names() if precision.load(name).forward.peak in device.peaks]
            raise SpecError(
                f"plan.precision={recipe.precision}: {device.where} has no rate for {kind.peak}: use one of {', '.join(able)} (--set plan.precision=...)"
            )
    return formats, step


def _with_flags(formats: Precision, flags: Mapping[str, object]) -> Precision:
    """The precision as a stack runs it: where gradients add up, and how they travel."""
    if flags["main_grads"] == "same" and formats.gradient.bits > formats.activation.bits:
        formats = replace(formats, gradient=formats.activation)
    # Without a wider copy of the weights gradients have their format: PyTorch's have that of their parameter.
    if flags["main_grads"] == "fp32" and formats.gradient.bits < 32 and formats.master is not None:
        formats = replace(formats, gradient=dtype("fp32"), main_gradient=None)
    reduced = formats.activation if flags["reduce_dtype"] == "same" else dtype("fp32")
    return replace(formats, reduced=reduced)


def _how(formats: Precision, again: Recompute, flags: Mapping[str, object], trained: Trained) -> How:
    unfused, dropout = flags["attention"] == UNFUSED, bool(flags["dropout"])
    width = formats.activation.bits / 8.0
    # Of each score the softmax's output stays, and with dropout a mask and what it leaves (arXiv 2205.05198 §4.1: 5 B in 16 bits).
    scores = width + (1.0 + width if dropout else 0.0)
    keeping = Keeping(scores if unfused else 0.0, formats.saved_core_output_bits, formats.saved_activation_input)
    whole = formats.forward.bits < 16 and formats.forward.block[1] == 0  # one scale a tensor
    scans = 2.0 if formats.tensor_scale or (whole and flags["fp8_scaling"] == "current") else 1.0
    return How(
        formats.gradient,
        again,
        str(flags["attention"]),
        keeping,
        dropout,
        scans,
        bool(flags["tp_async_backward"]),
        trained,
        # With a narrow format that an FFN keeps, its activation is a kernel by hand (Transformer Engine).
        flags["elementwise"] == EAGER and formats.saved_activation_input is None,
    )


def _trained(trained: Trained, model: ModelSpec) -> Trained:
    """With the head as the table that it shares, where it has none of its own."""
    if not model.head.tied or ("head" in trained.roles) == ("embedding" in trained.roles):
        return trained
    roles = tuple(role for role in ROLES if role in trained.roles and role != "head")
    return replace(trained, roles=(*roles, "head") if "embedding" in roles else roles)


def _plan(plan: Plan, flags: Mapping[str, object], model: ModelSpec) -> Plan:
    """The plan with what a stack decides and the plan leaves open."""
    changes: dict[str, object] = {"mla_form": "expanded"}  # training never absorbs
    if plan.mla_form == "absorbed":
        raise Infeasible("plan: mla_form=absorbed applies to decode only: training runs MLA expanded")
    if plan.overlap == "two_batch":
        raise Infeasible(
            "plan: overlap=two_batch applies to serving only: training hides exchanges by plan.schedule=dualpipe, or by the stack's flag ep_overlap"
        )
    if plan.all_to_all == "auto":
        changes["all_to_all"] = _EXCHANGES[str(flags["dispatcher"])]
    free = plan.overlap == "none" or (plan.overlap == "shared_experts" and not lower.has_experts(model))
    if free and flags["tp_overlap"] and plan.shards_sequence and plan.tp > 1.0:
        changes["overlap"] = "tensor_parallel"
    return replace(plan, **changes)  # type: ignore[arg-type]


def _schedule(recipe: Recipe, plan: Plan, notes: list[Note]) -> tuple[ModuleType, int]:
    """The schedule, and virtual stages per rank. Raises SpecError for an unknown one."""
    name = recipe.schedule or ("interleaved" if plan.vpp > 1.0 else "1f1b")
    known = known_schedules()
    if name not in known:
        raise SpecError(f"plan.schedule={name} is not one of {', '.join(known)}{nearest(name, known)}")
    module, vpp = known[name], int(plan.vpp)
    if module.PER_RANK is not None:
        if vpp > 1:
            raise Infeasible(
                f"plan: {name} fixes how many virtual stages a rank holds ({module.PER_RANK}): leave plan.vpp out, or set plan.schedule=interleaved"
            )
        return module, int(module.PER_RANK)
    if vpp == 1 and plan.pp > 1.0:
        vpp = VPP
        notes.append(
            Note(f"vpp = {VPP} virtual stages per rank, as {name} needs several (plan.vpp sets it)", Kind.ASSUMED)
        )
    return module, vpp


def _layers(
    recipe: Recipe, model: ModelSpec, placed: Placement, plan: Plan, notes: list[Note]
) -> tuple[int, ...] | None:
    """Layers of every virtual stage; None: as even as can be. Raises Infeasible where there are fewer layers than virtual stages, beside those of the embedding and the head."""
    layers, parts = len(model.order), placed.stages
    if recipe.stages not in (placement.EVEN, placement.TIME):  # those by time wait for times (`balance.py`)
        return placement.parse(recipe.stages, layers, parts, pp=int(plan.pp))
    if parts <= layers:
        return None
    if parts > layers + 2:
        raise Infeasible(
            f"plan: {parts} virtual stages must not exceed the {layers} layers of {model.name}, and two for embedding and head"
        )
    if recipe.stages == placement.EVEN:
        said = f"{parts} virtual stages of {layers} layers: embedding and head each count as a layer"
        notes.append(Note(said, Kind.ASSUMED))
    ends = parts - layers
    return (0 if ends > 1 else 1, *(1,) * (parts - 2), 0)


def _said(job: Job) -> Iterator[Note]:
    """What nobody stated."""
    r = job.recipe
    said = [
        f"precision {job.precision.name}",
        f"optimizer {job.optimizer.name}",
        f"zero_stage {r.zero_stage}",
        f"recompute {r.recompute}",
        f"schedule {job.schedule.NAME}",
        f"stack {job.stack.name}",
    ]
    yield Note("the step is of " + ", ".join(said), Kind.ASSUMED)
    kernel = older_attention.note(job.device) if job.stack.flags["attention"] == FLASH_2 else None
    if kernel is not None:
        yield kernel
    lent = job.lent
    if lent is not None:
        yield Note(
            f"stack {job.stack.name} has no coefficients for {job.device.name}: those of {lent[0]} on {lent[1]} are used", Kind.TRANSFERRED
        )  # fmt: skip
    elif not job.factors:
        yield Note(
            f"stack {job.stack.name} has no coefficients for {job.device.name}: kernels are taken to run as fast in a step as when timed alone", Kind.ASSUMED
        )  # fmt: skip
