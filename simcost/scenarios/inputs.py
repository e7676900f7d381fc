"""What was asked, as an answer repeats it: model, device, phase, engine, plan, settings; and what swaps chose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from simcost.grammar import NAMES
from simcost.model.given import Given
from simcost.model.spec import ModelSpec
from simcost.num import is_scalar
from simcost.plan import Plan
from simcost.query import Query, engine_of, settings_of
from simcost.result import Row, number
from simcost.settings import CHOICES, of
from simcost.workload import Workload

_STEP = (*of("phase"), "engine")


def command(query: Query) -> str:
    """Name of the command that asks a question: "decode" or "prefill"."""
    return "decode" if query.decode else "prefill"


def inputs(query: Query, w: Workload | None) -> dict[str, Any]:
    """All that was asked, defaults included; of a sweep (w is None) what all its points share."""
    o = query.overrides
    found: dict[str, Any] = {
        **{key: stated(getattr(query, key)) for key in NAMES if key not in query.axes},
        **{k: v for k, v in o.phase.items() if v is not None},
    }
    if "engine" not in query.axes:
        found["engine"] = engine_of(o)
    if w is not None:
        found["engine_settings"] = settings(w)
        found["plan"] = {
            **sizes(w.plan),
            **w.formats(),
            **{key: getattr(w.plan, key) for key in CHOICES},
        }
    found["set"] = {
        **_rooted("model", o.model), **_rooted("hw", o.hw), **_rooted("plan", o.plan), **_rooted("engine", settings_of(o)),
    }  # fmt: skip
    if query.axes:
        found["vary"] = {path: [stated(value) for value in values] for path, values in query.axes.items()}
    if query.usd_per_hour is not None:
        found["usd_per_hour"] = query.usd_per_hour
    return found


def stated(value: Any) -> Any:
    """A value as it was stated: a config that was handed over by its content."""
    return value.config if isinstance(value, Given) else value


def settings(w: Workload) -> dict[str, float | int | str | None]:
    """The engine's settings by its own names, defaults included; None where a sweep varies one."""
    values = {
        "share": w.memory.share,
        "tokens": w.memory.tokens,
        "sequences": w.memory.sequences,
        "block": w.memory.block,
    }
    found = {w.memory.names[key]: number(value) if is_scalar(value) else None for key, value in values.items()}
    return {"version": w.memory.version, **found}


def sizes(plan: Plan) -> dict[str, float | int | None]:
    """Every group's size, what follows from the others included; None where a sweep varies it."""
    found = {
        "tp": plan.tp, "cp": plan.cp, "dp_attention": plan.replicas, "pp": plan.pp, "dp": plan.copies, "ep": plan.ep,
        "etp": plan.expert_slices, "redundant_experts": plan.redundant_experts,
    }  # fmt: skip
    return {key: number(value) if is_scalar(value) else None for key, value in found.items()}


def _rooted(root: str, table: dict[str, Any]) -> dict[str, Any]:
    return {f"{root}.{key}": value for key, value in table.items()}


def dimensions(model: ModelSpec, design: str = "") -> tuple[Row, ...]:
    """What swaps chose: every key that a swap or `iso` set or dropped (after: None). `design`: whose, where several stand side by side. The values of `undo`, all together,
    return the first design: added to the command, or set on the changed one."""
    if not model.changes:
        return ()
    from simcost.model import swaps  # only a design that was swapped asks for them

    named = {"design": design} if design else {}
    return tuple(
        {**named, "key": one.key, "before": one.before, "after": one.after, "why": one.why, "undo": swaps.undo(one)}
        for one in model.changes
    )


_SPELLED = {
    "usd_per_hour": "price",
    "batches": "batch",
    "elasticity_of": "metric",
    "range": "step",
    "mtbf_s": "mtbf",
    "restart_s": "restart",
    "checkpoint_interval_s": "checkpoint_interval",
}  # in answers -> in questions
_DERIVED = ("plan", "engine_settings", "limits", "set")  # what the rest says already, or is read apart


def arguments(stated: Mapping[str, Any], takes: Sequence[str]) -> dict[str, Any]:
    """The reverse of `inputs`: by which arguments a function of the API, which `takes` these, asks the same question again."""
    found = {_SPELLED.get(name, name): value for name, value in stated.items() if name not in _DERIVED}
    if stated.get("between_batches"):  # the batches of plans are those from which the search began
        found.pop("batch")
    if "plan.gpus" in stated.get("set", {}):
        found.pop("gpus", None)
    found |= {name.removesuffix("_s"): most for name, most in stated.get("limits", {}).items()}
    if "name" in takes:  # show model, show hardware
        found["name"] = found.get("model", found.get("hw"))
    varied = stated.get("vary", {})
    steps = {name: value for name, value in found.items() if name in _STEP and name not in takes and value is not None}
    mine = {name: value for name, value in found.items() if name in takes and name not in varied}
    return {**mine, "set": {**stated.get("set", {}), **steps}}
