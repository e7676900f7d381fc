"""Settings of a plan that change nothing for this design or these groups: a note each, with the reason. Never an error.

One table says which field (and value) matters only where something else does. A sweep gets the note where no point of it is
touched. Source: where blocks, `lower.py` and `estimate/stages.py` read the field.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, fields

import numpy as np

from simcost import lower
from simcost.num import every
from simcost.passes.contention import STREAM, in_turn
from simcost.plan import Plan
from simcost.workload import Workload

Why = Callable[[Workload], str]
_DEFAULTS = {field.name: field.default for field in fields(Plan)}


@dataclass(frozen=True, slots=True)
class Setting:
    """A field, its value where only that one is meant, and what stands in its way: "" where nothing does."""

    field: str
    why: Why
    value: str = ""


def _experts(w: Workload) -> str:
    return "" if lower.has_experts(w.model) else f"{w.model.name} has no experts"


def _travels(w: Workload) -> str:
    """Tokens that are the same on all ranks of a stage need no exchange."""
    if no := _experts(w):
        return no
    still = (np.asarray(w.plan.exchanges) == 0.0) | (np.asarray(w.plan.ep) == 1.0)
    return "no token travels to its experts with these tp, cp, dp_attention and ep" if every(still) else ""


def _overlaps(w: Workload) -> str:
    """The exchange of one-rank expert groups is there too: it gathers the tokens for slices of experts."""
    if no := _experts(w):
        return no
    return "all ranks of a stage have the same tokens: nothing travels" if every(w.plan.exchanges == 0.0) else ""


def _shared(w: Workload) -> str:
    """Beside an exchange, or beside the routed experts of few tokens."""
    if not any(block.has_shared for _, block in w.model.blocks()):
        return _experts(w) or f"{w.model.name} has no shared experts"
    reason = f"nothing travels, and engines give shared experts a stream of their own up to {STREAM:.0f} tokens a rank"
    return reason if every(in_turn(w.plan, w.view.tokens)) else ""


def _latent(w: Workload) -> str:
    return "" if any(block.forms for _, block in w.model.blocks()) else f"{w.model.name} has no MLA"


def _packed(w: Workload) -> str:
    narrow = any(w.view.storage[role].bits < w.view.compute[role].bits for role in w.view.storage)
    return "" if narrow else "no weights are narrower than the format they are computed in"


def _split(name: str) -> Why:
    return lambda w: f"plan.{name} is 1" if every(getattr(w.plan, name) == 1.0) else ""


def _gathers(w: Workload) -> str:
    decode = every(np.asarray(w.phase.q_len) == 1.0)
    return _split("cp")(w) or ("decode passes queries on, not keys, as ring does" if decode else "")


TABLE = (
    Setting("capacity_factor", _experts),
    Setting("redundant_experts", _experts),
    Setting("etp", _experts),
    Setting("all_to_all", _travels),
    Setting("overlap", _overlaps, "two_batch"),
    Setting("overlap", _shared, "shared_experts"),
    Setting("overlap", _split("tp"), "tensor_parallel"),
    Setting("sequence_parallel", _split("tp")),
    Setting("cp_method", _gathers, "all_gather"),
    Setting("cp_method", _split("cp"), "ulysses"),
    Setting("overlap_p2p_comm", _split("pp")),
    Setting("mla_form", _latent),
    Setting("dequantise", _packed),
)


def notes(w: Workload, stated: Collection[str]) -> list[str]:
    """One line a setting among those that were `stated` (by field) which has no effect; none for a default."""
    found = []
    for setting in TABLE:
        value = getattr(w.plan, setting.field)
        if setting.field not in stated or every(value == _DEFAULTS[setting.field]):
            continue
        if (not setting.value or setting.value == value) and (why := setting.why(w)):
            shown = f"={setting.value}" if setting.value else ""
            found.append(f"plan.{setting.field}{shown} has no effect: {why}")
    return found
