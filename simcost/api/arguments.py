"""What the functions of the API take, read the same way by all: models, counts, settings, axes, clusters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from inspect import signature
from typing import Any, ParamSpec, SupportsIndex

import numpy as np

from simcost import grammar, settings, units
from simcost.errors import SpecError
from simcost.hardware import load as hardware
from simcost.num import unboxed
from simcost.query import Query, make
from simcost.result import Result

Sets = Mapping[str, Any]
Axes = Mapping[str, Sequence[Any] | str]  # a text as --vary writes it: "1,8", "1..64:x2"
Model = str | Mapping[str, Any]  # a name, or a config.json as a mapping
Count = SupportsIndex | str  # a whole number, of Python or NumPy, or text: "64k" tokens are 65,536
Quantity = float | str  # SI, or text with a unit
_LARGEST = 1e18
P = ParamSpec("P")


def unboxes(question: Callable[P, Result]) -> Callable[P, Result]:
    """NumPy's numbers are as good as Python's: what is inside compares, hashes and prints the latter. A function that takes `set` also takes the sizes of
    the plan by name, as commands do: tp=8 is set={"plan.tp": 8}."""
    own = signature(question).parameters
    sizes = [name for name in settings.SIZES if name not in own] if "set" in own else []

    @wraps(question)
    def asked(*stated: P.args, **named: P.kwargs) -> Result:
        given: dict[str, Any] = unboxed(named)
        plan = {name: given.pop(name) for name in sizes if name in given}
        if plan:
            given["set"] = _with_sizes(given.get("set"), plan)
        return question(*unboxed(stated), **given)

    return asked


def _with_sizes(given: Sets | None, plan: Mapping[str, Any]) -> dict[str, Any]:
    """`set` with sizes of the plan. Raises SpecError for one that is said twice."""
    found = _table("set", given, "{'plan.tp': 8}")
    known = {grammar.full(path) for path in found}
    for name, value in plan.items():
        if value is None:
            continue
        if f"plan.{name}" in known:
            raise SpecError(f"'plan.{name}' is given twice: {name}={value!r}, and in set")
        found[f"plan.{name}"] = value
    return found


def listed(given: Any) -> list[Any]:
    """One model or variant, or several: a text or a mapping is one."""
    return [given] if isinstance(given, (str, Mapping)) else list(given)


def sets_of(given: Sets | None, engine: str | None = None) -> dict[str, Any]:
    found = _table("set", given, "{'plan.tp': 8}")
    if engine is None:
        return found
    if "engine" in found:
        raise SpecError(f"engine is set twice: engine={engine!r} and set={{'engine': {found['engine']!r}}}")
    return {**found, "engine": engine}


def _table(name: str, given: Any, example: str) -> dict[str, Any]:
    """Raises SpecError for what maps no paths."""
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not all(isinstance(path, str) for path in given):
        raise SpecError(f"{name} must map paths to values, such as {example}, not {given!r}")
    return dict(given)


def decode_query(
    model: Model | None, hw: str | None, batch: Any, context: Any, sets: Sets | None, vary: Axes | None, price: float | str | None,
    prefill_tokens: Any = None, prefill_past: Any = None,
) -> Query:  # fmt: skip
    phase = {"batch": batch, "context": context, "prefill_tokens": prefill_tokens, "prefill_past": prefill_past}
    return _asked(model, hw, True, phase, sets, vary, price)


def prefill_query(
    model: Model | None,
    hw: str | None,
    batch: Any,
    isl: Any,
    past: Any,
    sets: Sets | None,
    vary: Axes | None,
    price: float | str | None,
    images: Any = None,
) -> Query:
    return _asked(model, hw, False, {"batch": batch, "isl": isl, "past": past, "images": images}, sets, vary, price)


def _asked(
    model: Model | None, hw: str | None, decode: bool, phase: Mapping[str, Any], sets: Sets | None, vary: Axes | None, price: float | str | None
) -> Query:  # fmt: skip
    """The question, with the defaults of what nobody states. Raises SpecError for what is said twice: as an argument, and in set or vary."""
    sets, axes = sets_of(sets), axes_of(vary)
    stated = {grammar.full(path) for path in [*sets, *axes]}
    for name, path, value in (*((key, key, value) for key, value in phase.items()), ("price", _PRICE, price)):
        if value is not None and path in stated:
            raise SpecError(f"'{path}' is given twice: {name}={value!r}, and in set or vary")
    return make(
        model, hw, decode, {key: either(value, DEFAULTS.get(key)) for key, value in phase.items()}, sets, axes, price
    )


def check_lengths(
    phase: str, context: Any, isl: Any, past: Any = None, prefill_tokens: Any = None, prefill_past: Any = None
) -> None:
    """Raises SpecError for a length that only the other phase reads, and for a phase that is none."""
    if phase not in ("decode", "prefill"):
        raise SpecError(f"--phase must be decode or prefill, not {phase!r}")
    other, foreign = ("prefill", {"isl": isl, "past": past}) if phase == "decode" else ("decode", {
        "context": context, "prefill-tokens": prefill_tokens, "prefill-past": prefill_past,
    })  # fmt: skip
    for name, value in foreign.items():
        if value is not None:
            raise SpecError(f"--{name} does not apply to {phase}: leave it out, or set --phase {other}")


DEFAULTS = {one.key: int(one.default) for one in settings.PHASE if one.key in ("batch", "context", "isl", "past")}
_PRICE = "hw.price.usd_per_hour"


def either(value: Any, default: Any) -> Any:
    return default if value is None else value


def step_query(
    phase: str, model: Model | None, hw: str | None, batch: Any, context: Any, isl: Any, past: Any, sets: Sets, price: float | str | None, prefill_tokens: Any,
    prefill_past: Any, vary: Axes | None = None,
) -> Query:  # fmt: skip
    """The question of one step of a phase. Raises SpecError as `check_lengths` and `make`."""
    check_lengths(phase, context, isl, past, prefill_tokens, prefill_past)
    if phase == "decode":
        return decode_query(model, hw, batch, context, sets, vary, price, prefill_tokens, prefill_past)
    return prefill_query(model, hw, batch, isl, past, sets, vary, price)


_DOMAIN = "hw.links.scaleup.domain"


def cluster(
    hw: str | None, sets: Sets | None, gpus: Count | None, nodes: Count | None, vary: Axes | None = None
) -> dict[str, Any]:
    """`sets` with the number of GPUs that a cluster has. Raises SpecError when a node's size is not known."""
    found = dict(sets or {})
    if gpus is not None and nodes is not None:
        raise SpecError("state --gpus or --nodes, not both")
    if nodes is not None:
        if hw is None:
            raise SpecError("--nodes needs one size of a node, and 'hw' is varied: use --gpus instead")
        if _DOMAIN in (vary or {}):
            raise SpecError(f"--nodes needs one size of a node, and '{_DOMAIN}' is varied: use --gpus instead")
        device = hardware.load(hw, grammar.Overrides().merged(found).hw)
        if device.scaleup is None or device.scaleup.domain is None:
            raise SpecError(
                f"{device.where}: no 'links.scaleup.domain', so --nodes cannot be counted: use --gpus instead"
            )
        gpus = int(
            settings.count("--nodes", grammar.read("plan.gpus", nodes))
            * float(np.max(np.asarray(device.scaleup.domain)))
        )
    if gpus is not None:
        if "plan.gpus" in found:
            raise SpecError("'plan.gpus' is set twice: by --set and by --gpus or --nodes")
        found["plan.gpus"] = settings.count("--gpus", grammar.read("plan.gpus", gpus))
    return found


def axes_of(vary: Axes | None) -> dict[str, list[Any]]:
    axes: dict[str, list[Any]] = {}
    for path, values in _table("vary", vary, "{'batch': [1, 8]}").items():
        grammar.split(path)
        if isinstance(values, str):  # as --vary writes them
            axes[path] = grammar.axes([f"{path}={values}"])[grammar.full(path)]
            continue
        if isinstance(values, (bytes, Mapping)) or not isinstance(values, Iterable):
            raise SpecError(
                f"'{path}' must be varied over a list of values, or a text such as '1..64:x2', not {values!r}"
            )
        axes[path] = values.tolist() if isinstance(values, np.ndarray) else list(values)
        if not axes[path]:
            raise SpecError(f"'{path}' is varied over an empty list: give at least one value")
    return axes


def count(option: str, value: Any) -> int:
    """A whole number as options take it ("64k"). Raises SpecError naming the option."""
    return int(settings.count(option, grammar.read("phase.batch", value)))


def counts_of(hw: str, sets: Sets, gpus: Count | Sequence[Count] | None, nodes: Count | None) -> tuple[int, ...]:
    """The numbers of GPUs of one device that plans are asked for."""
    counts = several("--gpus", gpus) if isinstance(gpus, Sequence) and not isinstance(gpus, str) else (gpus,)
    found = [cluster(hw, sets, count, nodes) for count in counts]
    if "plan.gpus" not in found[0]:
        raise SpecError("state how many devices there are with --gpus or --nodes")
    return tuple(int(settings.count("plan.gpus", each["plan.gpus"])) for each in found)


def several(option: str, given: Any) -> tuple[Any, ...]:
    """One value or several, each once. Raises SpecError for none, and for one that is named twice."""
    found = (given,) if isinstance(given, str) else tuple(given)
    if not found:
        raise SpecError(f"{option} is empty: give at least one value")
    twice = [value for value in found if found.count(value) > 1]
    if twice:
        raise SpecError(f"{option} names {twice[0]} twice")
    return found


def quantity(option: str, value: Any, dimension: str, zero: bool = False) -> float:
    """A number in SI, or text with a unit of the dimension. Raises SpecError for another kind, and for one that is not above 0 (`zero`: below)."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            value = units.parse(value, dimension, option) if dimension else value
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not (0.0 < value < _LARGEST or (zero and value == 0.0)):
        raise SpecError(f"{option} = {value!r} must be a number {'of at least' if zero else 'above'} 0")
    return float(value)
