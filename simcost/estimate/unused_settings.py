"""Settings of a plan that change nothing for this design or these groups: a note each, with the reason. Never an error.

`simcost/settings` says which key (and value) needs what; here stands whether a workload has it. A sweep gets the note where no point of it is
touched. Source: where blocks, `lower.py` and `estimate/stages.py` read the field.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import fields
from typing import Protocol

import numpy as np

from simcost import lower, settings
from simcost.model.spec import ModelSpec
from simcost.num import Mask, every
from simcost.passes.contention import STREAM, in_turn
from simcost.plan import Phase, Plan
from simcost.provenance import Kind, Note
from simcost.sharding.shard import View


class Asked(Protocol):
    """What is looked at: a workload, or a training step."""

    @property
    def model(self) -> ModelSpec: ...

    @property
    def plan(self) -> Plan: ...

    @property
    def view(self) -> View: ...

    @property
    def phase(self) -> Phase: ...


Why = Callable[[Asked], str]
_DEFAULTS = {field.name: field.default for field in fields(Plan)}


def _experts(w: Asked) -> str:
    return "" if lower.has_experts(w.model) else f"{w.model.name} has no experts"


def _travels(w: Asked) -> str:
    """Tokens that are the same on all ranks of a stage need no exchange."""
    if no := _experts(w):
        return no
    still = (np.asarray(w.plan.exchanges) == 0.0) | (np.asarray(w.plan.ep) == 1.0)
    return "with these tp, cp, dp_attention and ep no token is sent to another rank" if every(still) else ""


def _exchanges(w: Asked) -> str:
    """The exchange of one-rank expert groups is there too: it gathers the tokens for slices of experts."""
    if no := _experts(w):
        return no
    return "all ranks of a stage have the same tokens: nothing is sent" if every(w.plan.exchanges == 0.0) else ""


def _shared(w: Asked) -> str:
    """Beside an exchange, or beside the routed experts of few tokens."""
    if not any(block.has_shared for _, block in w.model.blocks()):
        return _experts(w) or f"{w.model.name} has no shared experts"
    reason = f"nothing is sent, and engines run shared experts in a stream of their own only up to {STREAM:.0f} tokens per rank"
    return reason if every(in_turn(w.plan, w.view.tokens)) else ""


def _mla(w: Asked) -> str:
    return "" if any(block.forms for _, block in w.model.blocks()) else f"{w.model.name} has no MLA"


def _recurrent(w: Asked) -> str:
    kept = [block for _, block in w.model.blocks() if block.mask is None]
    held = any(np.any(np.asarray(block.state_elements(1.0, w.plan)) > 0.0) for block in kept)
    return "" if held else f"{w.model.name} has no recurrent states"


def _packed(w: Asked) -> str:
    narrow = any(w.view.storage[role].bits < w.view.compute[role].bits for role in w.view.storage)
    return "" if narrow else "no weights are stored in a narrower format than they are computed in"


def _split(name: str) -> Why:
    return lambda w: f"plan.{name} is 1" if every(getattr(w.plan, name) == 1.0) else ""


def _gathers(w: Asked) -> str:
    decode = every(np.asarray(w.phase.q_len) == 1.0)
    return _split("cp")(w) or ("in decode ranks send queries, while ring sends keys" if decode else "")


_REASONS: dict[str, Why] = {
    "experts": _experts, "travels": _travels, "exchanges": _exchanges, "shared": _shared, "mla": _mla, "recurrent": _recurrent, "packed": _packed, "tp": _split("tp"), "cp": _split("cp"),
    "cp_prefill": _gathers, "pp": _split("pp"),
}  # fmt: skip


# Where a need holds, elementwise.
_HOLDS: dict[str, Callable[[Asked], Mask]] = {
    "exchanges": lambda w: lower.has_experts(w.model) & (np.asarray(w.plan.exchanges) > 0.0),
    "shared": lambda w: (
        any(block.has_shared for _, block in w.model.blocks()) & ~np.asarray(in_turn(w.plan, w.view.tokens))
    ),
    "tp": lambda w: np.asarray(w.plan.tp) > 1.0,
}


def has_needs(w: Asked, key: str, value: str) -> Mask:
    """Where a workload has what a value of a plan's choice needs to change anything, elementwise; True for what needs nothing."""
    found: Mask = True
    for only, need in settings.of("plan")[key].needs:
        if only in ("", value):
            found = found & np.asarray(_HOLDS[need](w), bool)
    return found


def notes(w: Asked, stated: Collection[str]) -> list[Note]:
    """One line a setting among those that were `stated` (by key) which has no effect; none for a default."""
    found = []
    for one in settings.PLAN:
        value = getattr(w.plan, one.key)
        if one.key not in stated or every(value == _DEFAULTS[one.key]):
            continue
        for only, need in one.needs:
            if only in ("", value) and (why := _REASONS[need](w)):
                found.append(Note(f"plan.{one.key}{f'={only}' if only else ''} has no effect: {why}", Kind.NO_EFFECT))
    return found
