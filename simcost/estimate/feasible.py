"""Whether a plan can be run; where it cannot, the values next to the asked one with which it could.

All values of one field are tried at once as an array, with everything else as given. Most likely to be wrong: a plan for which two
fields must change; nothing is said then. Source: the checks of the blocks, the plan, the device.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np

from simcost import lower
from simcost.cost.tiers import exchange_checks, link_checks
from simcost.errors import Infeasible
from simcost.num import Array, Bools, every, is_scalar, maximum
from simcost.ops.collective import RING
from simcost.passes.contention import HELD
from simcost.plan import Check, Plan
from simcost.program import most_held
from simcost.workload import Workload

_SIZES = ("tp", "ep", "pp", "cp", "dp", "dp_attention", "etp", "redundant_experts")
_MOST = 1024  # values tried from the least on, and to either side of what was asked for
_DEFAULTS = {field.name: field.default for field in fields(Plan)}


def rules_of(w: Workload) -> list[Check]:
    """What must hold for this plan to run: shardings of the blocks, links and multiprocessors of the device."""
    chunks = Check(w.plan.vpp == 1.0, "vpp applies to training schedules only: leave it at 1 for serving")
    hops = Check(
        not (w.phase.decode and w.plan.overlap_p2p_comm == "on"),
        "overlap_p2p_comm hides nothing in decode, where every token waits for its own hops: leave it out",
    )
    # Whole copies have nothing to say to each other.
    links = link_checks(w.device, w.plan.stage * w.plan.pp)
    return [*lower.checks(w.model, w.plan), chunks, hops, *links, *_multiprocessors(w)]


def _multiprocessors(w: Workload) -> list[Check]:
    """An overlap whose kernels copy with multiprocessors must leave some to compute with."""
    there = w.device.multiprocessors
    if every(there > HELD):  # no kernel holds more, so there is no need to look which ones run
        return []
    apart, staged = w.plan.stage > 1.0, (w.plan.pp > 1.0) & (w.plan.overlap_p2p_comm == "on")
    held = maximum(most_held(lower.step(w.model, w.view)) * apart, RING * staged)
    few = f"{there:g}" if is_scalar(there) else "few"
    reason = (
        f"{w.device.where}: the communication that the plan overlaps takes all of {few} multiprocessors (compute.sm_count), "
        "and leaves none to compute with: set plan.overlap=none"
    )
    return [Check(there > held, reason)]


def of(w: Workload) -> list[Check]:
    """Every rule of a workload, those of kernels included."""
    return [*rules_of(w), *_kernels(w)]


def _kernels(w: Workload) -> list[Check]:
    return [*lower.kernel_checks(w.model, w.plan, w.phase), *exchange_checks(w.device, w.plan)]


def broken(w: Workload, advise: bool = True) -> str:
    """The first rule that one point breaks, with the way out; "" where it can be run. Rules of kernels name theirs."""
    if said := _first(rules_of(w)):
        return said + nearest(w) if advise else said
    return _first(_kernels(w))


def _first(checks: list[Check]) -> str:
    return next((check.reason for check in checks if not every(check.ok)), "")


def require(w: Workload) -> None:
    """Raises Infeasible with the first rule that a plan breaks and the nearest plans that do not."""
    if said := broken(w):
        raise Infeasible(f"plan: {said}")


def nearest(w: Workload) -> str:
    """The next smaller and larger value of each field that was stated, such that all rules hold; "" where none does."""
    found = [words for name in _SIZES if getattr(w.plan, name) != _DEFAULTS[name] and (words := _around(w, name))]
    return f" (nearest valid: {', or '.join(found)})" if found else ""


def _around(w: Workload, name: str) -> str:
    spare = name == "redundant_experts"  # slots, not devices
    most = _MOST if w.plan.gpus is None or spare else float(np.asarray(w.plan.gpus))
    now = float(np.asarray(getattr(w.plan, name)))
    values = np.unique([*np.arange(0.0 if spare else 1.0, _MOST + 1.0), *np.arange(-_MOST, _MOST + 1.0) + now])
    values = values[(values >= (0.0 if spare else 1.0)) & (values <= most)]
    good = values[_holds(w, name, values)]
    near = [*good[good < now][-1:], *good[good > now][:1]]
    return f"plan.{name} = {' or '.join(f'{value:.0f}' for value in near)}" if near else ""


def _holds(w: Workload, name: str, values: Array) -> Bools:
    """Where all rules hold with these values of a field."""
    sizes: dict[str, Any] = {name: values}
    plan = replace(w.plan, **sizes)
    good = np.ones(len(values), bool)
    with np.errstate(all="ignore"):
        for check in of(replace(w, plan=plan, view=replace(w.view, plan=plan))):
            good &= np.asarray(check.ok, bool)
    return good
