"""What is asked of a training step, as typed values: settings of the line or the API to a job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from simcost import grammar, settings
from simcost.errors import Infeasible, SpecError, nearest
from simcost.hardware import engines
from simcost.hardware import load as hardware
from simcost.hardware.price_use import priced
from simcost.hardware.price_use import stated as price_stated
from simcost.hardware.profile import Device
from simcost.model import load as models
from simcost.model.given import Name
from simcost.model.spec import ModelSpec
from simcost.plan import Plan
from simcost.query import engine_of, make, model_of
from simcost.routing.read import parse as routing
from simcost.sharding.shard import ROLES
from simcost.training import stack as stacks
from simcost.training.balance import balanced
from simcost.training.job import STACK, Job, Recipe, build, known_schedules
from simcost.training.parameters import ALL, KEPT, LINEAR, Trained
from simcost.training.recompute import parse as recompute

DEFAULTS = {"micro_batch": 1, "seq": 4096}
_FORMATS = "training sets formats with plan.precision"
# Settings of a plan that only serving has, and what says it in training.
_OF_SERVING = {
    **dict.fromkeys(("compute_dtype", "kv_dtype", "state_dtype", "activation_dtype", "dequantise"), _FORMATS),
    "weight_dtype": f"{_FORMATS}, and of weights that do not learn with plan.frozen_dtype (QLoRA)",
    "cuda_graph": "training has stack.cuda_graphs", "overlap_p2p_comm": "training has stack.p2p_overlap",
}  # fmt: skip


class Asked(NamedTuple):
    """A question. `said`: what was read otherwise than it was written; `usd_per_hour`: of one GPU, None: the profile's."""

    model: Name
    hw: str
    overrides: grammar.Overrides
    stack: str
    usd_per_hour: float | None
    said: tuple[str, ...]


def asked(
    model: Any, hw: str, phase: Mapping[str, Any], sets: Mapping[str, Any], stack: str | None, price: float | str | None
) -> Asked:
    """A checked question; `phase`: micro_batch, global_batch, seq. Raises SpecError for a key that training does not take, for a value that is none, and for what is said twice."""
    usd, chosen = price_stated(price)
    (phase, of_phase), (sets, of_sets) = grammar.taken(phase), grammar.taken(priced(sets, chosen))
    for path, value in sets.items():
        root, key = grammar.split(path)
        if root == "plan" and key in _OF_SERVING:
            raise SpecError(f"'{path}' applies to serving only: {_OF_SERVING[key]}")
        if root == "engine" and key != root:
            raise SpecError(f"'{path}' applies to serving engines only: training has flags of a stack (stack.<flag>)")
        if root == "phase" and key not in settings.of_training():
            raise SpecError(f"'{path}' does not apply to train (it takes {', '.join(settings.of_training())})")
        if root == "phase" and phase.get(key) is not None:
            raise SpecError(
                f"'{path}' is given twice: --{key.replace('_', '-')} {phase[key]}, and --set {path}={value}"
            )
    stated = {key: value for key, value in phase.items() if value is not None}
    overrides = grammar.Overrides(phase=stated).merged(sets)
    hw = hardware.spelled(hw)
    said = (*hardware.reading(hw), *of_phase, *of_sets)
    return Asked(models.spelled(model), hw, overrides, stack or STACK, usd, said)


def job(q: Asked) -> Job:
    """The job of a question. Raises SpecError and Infeasible for what cannot be."""
    o = q.overrides
    device = hardware.load(q.hw, o.hw)
    changes = {f"model.{key}": value for key, value in o.model.items()}
    cut = (
        {"plan.tp": o.plan["tp"]} if o.plan.get("tp") is not None else {}
    )  # swaps choose widths that every rank can hold
    length = {"batch": 1, "isl": o.phase.get("seq", DEFAULTS["seq"]), "past": 0}  # at which iso=flops holds
    as_prefill = make(q.model, q.hw, False, length, {**changes, **cut}, {}, None)
    return of(model_of(as_prefill), device, grammar.plan_of(o.plan), recipe(q), engine_of(o))


def of(model: ModelSpec, device: Device, plan: Plan, recipe: Recipe, engine: str = engines.ANY) -> Job:
    """The job of resolved parts, and GPUs that the plan fills. Raises SpecError and Infeasible."""
    return balanced(build(model, device, filled(plan), recipe, engine))


def filled(plan: Plan) -> Plan:
    """The plan with copies that fill its GPUs. Raises Infeasible where some would stand idle: a training job has none to spare."""
    if plan.gpus is None:
        return plan
    unit = plan.stage * plan.pp
    if plan.gpus % unit or plan.gpus < unit:
        near = sorted({max(plan.gpus // unit, 1.0) * unit, -(-plan.gpus // unit) * unit})
        raise Infeasible(
            f"plan: {plan.gpus:,.0f} GPUs cannot be divided into copies of tp·cp·dp_attention·pp = {unit:,.0f} GPUs: nearest {' or '.join(f'{one:,.0f}' for one in near)}"
        )
    return plan


def recipe(q: Asked) -> Recipe:
    """The recipe of a question, its counts and words checked."""
    o = q.overrides
    known = settings.of("plan")
    usual = stacks.load(q.stack).defaults

    def plan(key: str, default: Any) -> Any:
        value = o.plan.get(key)
        if value is None:
            value = usual.get(key)
        return default if value is None else settings.checked(known[key], value, f"plan.{key}")

    def phase(key: str) -> int | None:
        value = o.phase.get(key, DEFAULTS.get(key))
        return None if value is None else int(settings.count(key, value))

    rank, group = plan("lora_rank", None), plan("zero_group", None)
    recompute(str(plan("recompute", "none")))
    seq, micro = phase("seq"), phase("micro_batch")
    assert seq is not None
    assert micro is not None
    return Recipe(
        micro, phase("global_batch"), seq, str(plan("schedule", "")), str(plan("recompute", "none")), int(plan("zero_stage", 1)), plan("reshard", "on") == "on",
        str(plan("precision", "bf16")), str(plan("optimizer", "adamw")), q.stack, str(o.plan.get("stages", "even")).strip(), None if group is None else int(group),
        _kept(_trained(plan("frozen", None), rank), plan("frozen_dtype", None), int(plan("zero_stage", 1))), str(plan("ema", "off")), str(plan("loss", "")), {key: _text(value) for key, value in o.stack.items()},
        routing=routing(str(o.phase.get("routing", "random"))),
    )  # fmt: skip


def _kept(trained: Trained, kept: str | None, zero_stage: int) -> Trained:
    """With the format of matrices that do not learn. Raises SpecError where all learn, and where they are shared out."""
    if kept is None:
        return trained
    if trained.lora_rank is None and not set(trained.frozen).intersection(LINEAR):
        raise SpecError(f"plan.frozen_dtype={kept}: no matrix of a layer is frozen: set plan.lora_rank, or plan.frozen")
    if zero_stage == 3:
        raise SpecError(
            f"plan.frozen_dtype={kept} with plan.zero_stage=3: narrow weights are not gathered here; use plan.zero_stage=2"
        )
    return replace(trained, kept=KEPT[kept])


def _trained(frozen: str | None, rank: Any) -> Trained:
    """What learns: of roles that are named all others, of a rank of adapters these alone. Raises SpecError for a role that is none, and for both at once."""
    if rank is not None:
        if frozen is not None:
            raise SpecError(f"plan.frozen={frozen}: plan.lora_rank already freezes all weights of the model")
        return Trained(roles=(), lora_rank=float(rank))
    if frozen is None:
        return ALL
    named = [word.strip() for word in frozen.split("+")]
    able = [role for role in ROLES if role != "tower"]
    for word in named:
        if word not in able:
            raise SpecError(
                f"plan.frozen={frozen}: '{word}' is not one of {', '.join(able)}{nearest(word, able)}; several are joined by +"
            )
    left = tuple(role for role in ROLES if role not in named)
    if not set(left) & set(able):
        raise SpecError(f"plan.frozen={frozen}: nothing is left to train")
    return Trained(roles=left)


def _text(value: Any) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


__all__ = ["Asked", "asked", "filled", "job", "known_schedules", "of", "recipe"]
