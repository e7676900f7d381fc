"""A plan in an engine's own options, or one line that says which part of it the engine has not.

Most likely to be wrong: what an engine does where simcost prices a choice that it has no option for; such a choice is
refused, never dropped. Source: `workloads/engines/options`.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from simcost.errors import Infeasible, SpecError
from simcost.hardware.engine_options import Options
from simcost.hardware.engines import title
from simcost.plan import Plan

_DEFAULTS = {each.name: each.default for each in fields(Plan)}
# Counts of ranks, which `ranks` says, and formats, which `emit` does.
_RANKS = ("tp", "ep", "pp", "dp", "gpus", "dp_attention", "etp", "redundant_experts")
_FORMATS = ("weight_dtype", "kv_dtype", "activation_dtype", "state_dtype")
# What no engine takes: ranks or work that none has an option for as simcost prices it.
_NONE = ("cp", "vpp", "capacity_factor", "compute_dtype")


def counts(plan: Plan) -> dict[str, int]:
    """The sizes of a plan as whole numbers. Raises SpecError for a plan of arrays."""
    if any(np.ndim(getattr(plan, name)) for name in (*_RANKS, *_NONE)):
        raise SpecError("a launch command needs exactly one plan")
    sizes = {
        "tp": plan.tp, "pp": plan.pp, "ep": plan.ep, "replicas": plan.replicas, "stage": plan.stage,
        "copies": plan.copies, "redundant": plan.redundant_experts, "gpus": plan.stage * plan.pp,
    }  # fmt: skip
    return {name: int(np.asarray(size)) for name, size in sizes.items()}


def said(o: Options, plan: Plan, experts: int) -> dict[str, Any]:
    """The options of a plan. `experts`: of a layer, 0 where there are none. Raises Infeasible for what the engine has
    not."""
    return {**_ranks(o, plan, experts), **_choices(o, plan)}


def _ranks(o: Options, plan: Plan, experts: int) -> dict[str, Any]:
    n, whose = counts(plan), f"{title(o.engine)} {o.version}"
    if n["replicas"] > 1 and n["tp"] > 1 and not o.tensor_with_replicas:
        raise Infeasible(
            f"{whose} splits attention by replicas or by tp, not by both: plan.tp = {n['tp']} with {n['replicas']} "
            "replicas"
        )
    if experts:
        _check_experts(o, plan, n, experts, whose)
    found = dict(o.said("tensor", **n))
    for part, size in (("pipeline", n["pp"]), ("replicas", n["replicas"]), ("experts", n["ep"])):
        if size > 1:
            found |= o.said(part, **n)
    if n["redundant"]:
        if "redundant_experts" not in o.says:
            raise Infeasible(f"{whose} has no option for plan.redundant_experts = {n['redundant']}")
        found |= o.said("redundant_experts", **n)
    return found


def _check_experts(o: Options, plan: Plan, n: dict[str, int], experts: int, whose: str) -> None:
    """Raises Infeasible for groups of experts that the engine does not form."""
    ep, stage = n["ep"], n["stage"]
    if plan.all_to_all in o.spanning and ep != stage:
        raise Infeasible(
            f"{whose} spreads experts over all {stage} ranks for all_to_all={plan.all_to_all}: plan.ep = {ep}"
        )
    if o.spread == "all" and ep not in (1, stage):
        raise Infeasible(f"{whose} spreads experts over all {stage} ranks of a stage or over none: plan.ep = {ep}")
    if stage % ep or (plan.etp is not None and int(np.asarray(plan.etp)) != stage // ep):
        raise Infeasible(
            f"{whose} cuts each expert over the ranks that ep leaves: plan.ep = {ep} and plan.etp = "
            f"{int(np.asarray(plan.expert_slices))} of {stage} ranks"
        )
    if (experts + n["redundant"]) % ep:
        raise Infeasible(f"{whose}: {experts + n['redundant']} experts cannot be divided evenly over plan.ep = {ep}")


def _choices(o: Options, plan: Plan) -> dict[str, Any]:
    """Options of the plan's words; what differs from its default and has none is refused."""
    found: dict[str, Any] = {}
    for name, default in _DEFAULTS.items():
        value = getattr(plan, name)
        if name in (*_RANKS, *_FORMATS, "cuda_graph") or _same(value, default):
            continue
        key = f"{name}={value}"
        if name in _NONE or key not in o.says.get("plan", {}):
            shown = value if isinstance(value, str) else f"{float(np.asarray(value)):g}"
            raise Infeasible(f"{title(o.engine)} {o.version} has no option for plan.{name} = {shown}")
        beside = o.needs.get(key, ())
        if beside and not any(
            f"{one.partition('=')[0]}={getattr(plan, one.partition('=')[0])}" == one for one in beside
        ):
            raise Infeasible(f"{title(o.engine)} {o.version} runs plan.{key} beside {' or '.join(beside)} alone")
        found |= o.filled(o.says["plan"][key])
    return found


def _same(value: Any, default: Any) -> bool:
    if value is None or default is None or isinstance(value, str):
        return bool(value == default)
    return float(np.asarray(value)) == float(default)
