"""A question in names and overrides, resolved to workloads; and a sweep over the product of its axes.

Numeric axes become broadcasting arrays, one dimension each; axes that change the structure (formats, layer counts) are
looped over. A point that cannot be run is a row with its reason.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace
from functools import lru_cache
from typing import Any

import numpy as np

from simcost import grammar, settings
from simcost.errors import SimcostError, SpecError
from simcost.estimate import feasible
from simcost.frozen import frozen
from simcost.hardware import engines
from simcost.hardware import load as hardware
from simcost.hardware.profile import Device
from simcost.model import load as models
from simcost.model.equal import AT_A_LENGTH, Question
from simcost.model.given import Name, given
from simcost.model.spec import ModelSpec, from_config
from simcost.num import Array, Bools, Num, every
from simcost.plan import Phase, Plan, Tokens
from simcost.routing.read import parse
from simcost.routing.router import Routing
from simcost.workload import Workload, build

_ANY_QUESTION = Question()


@frozen
class Query:
    """Names, overrides and the phase. `decode`: one new token after context-1; else isl new tokens after past. `said`: what was read otherwise
    than it was written."""

    model: Name
    hw: str
    decode: bool
    overrides: grammar.Overrides = field(default_factory=grammar.Overrides)
    axes: Mapping[str, list[Any]] = field(default_factory=dict)
    usd_per_hour: float | None = None
    said: tuple[str, ...] = ()

    def at(self, values: Mapping[str, Any]) -> Query:
        """The question with the values of some of its axes, of which `model` and `hw` name another one."""
        names = {key: values[key] for key in grammar.NAMES if key in values}
        return replace(
            self, **names, overrides=self.overrides.merged({k: v for k, v in values.items() if k not in names})
        )

    def price(self, device: Device) -> Num | None:
        """Price of one GPU: the question's, else the profile's; None where neither states one. [USD/h]"""
        return device.usd_per_hour if self.usd_per_hour is None else self.usd_per_hour


def make(
    model: str | Mapping[str, Any] | Name | None, hw: str | None, decode: bool, phase: Mapping[str, Any], sets: Mapping[str, Any], axes: Mapping[str, list[Any]],
    usd_per_hour: float | None,
) -> Query:  # fmt: skip
    """A checked question; `sets` win over `phase`, and `axes` are the values to vary, `model` and `hw` among them. Raises SpecError for a key that the phase
    does not take, for one both set and varied, and for a bad count, engine or price."""
    (phase, of_phase), (sets, of_sets), (axes, of_axes) = (grammar.taken(given) for given in (phase, sets, axes))
    for key in grammar.NAMES:
        if key in sets:
            raise SpecError(f"--set {key}={sets[key]}: say --{key} {sets[key]}, or --vary {key}=... for several")
    if "model" in axes:
        axes["model"] = [models.spelled(name) for name in axes["model"]]
    name, device = _named("model", model, axes), _named("hw", hw, axes)
    overrides = grammar.Overrides(phase=phase).merged(sets)
    twice = [path for path in axes if path in sets]
    if twice:
        raise SpecError(f"'{twice[0]}' is both set and varied")
    usable = settings.of_step(decode)
    for path in [*sets, *axes]:
        root, key = grammar.split(path)
        if root == "phase" and key not in usable:
            raise SpecError(
                f"'{path}' means nothing to {'decode' if decode else 'prefill'} (it takes {', '.join(usable)})"
            )
    for path, values in axes.items():
        root, key = grammar.split(path)
        if (root == "phase" and key != "routing") or (root == "plan" and key in settings.COUNTS):
            for value in values:
                settings.count(path, value, _least(root, key))
    if {sets.get("model.iso"), *axes.get("model.iso", ())} & set(AT_A_LENGTH):
        varied = [path for path in axes if path in _LENGTHS]
        if varied:
            raise SpecError(f"iso=flops and iso=kv hold at one length: '{varied[0]}' cannot be varied beside them")
    if usd_per_hour is not None and not 0 < usd_per_hour < 1e6:
        raise SpecError(f"--price = {usd_per_hour} must be USD per device and hour, above 0")
    devices = axes.get("hw", [device])
    said = (*(line for each in devices for line in hardware.reading(each)), *of_phase, *of_sets, *of_axes)
    if "hw" in axes:
        axes["hw"] = [hardware.spelled(each) for each in devices]
    return Query(models.spelled(name), hardware.spelled(device), decode, overrides, axes, usd_per_hour, said)


_LENGTHS = ("context", "isl", "past")


def _named(key: str, name: Any, axes: Mapping[str, list[Any]]) -> Any:
    """The model, or the device; the first of those that are varied. Raises SpecError where it is said twice, or not at all."""
    if key not in axes:
        if name is None:
            raise SpecError(f"missing --{key} (or --vary {key}=... for several)")
        return name
    if name is not None:
        said = ",".join(map(str, axes[key]))
        raise SpecError(f"'{key}' is both set and varied: --{key} {name} and --vary {key}={said}")
    for value in axes[key]:
        if key == "model":
            models.identity(value)
        elif isinstance(value, str):
            hardware.find(value)
        else:
            raise SpecError(f"--vary {key}: {value!r} is no name")
    return axes[key][0]


def _least(root: str, key: str) -> int:
    """The least value of an axis of counts. A prompt that is not there is no axis."""
    return 1 if key == "prefill_tokens" else settings.of(root)[key].least


def model_of(query: Query, extra: Mapping[str, Any] | None = None) -> ModelSpec:
    """The model of a question with its overrides, "x1.5" resolved, and `extra` ones over them. Raises as `models.load` does."""
    changes = {**query.overrides.model, **(extra or {})}
    question = _question(query) if _swapped(changes) else Question()
    plain = all(value is None or isinstance(value, (bool, int, float, str)) for value in (*changes.values(), *question))
    if plain:
        stated = tuple((key, type(value), value) for key, value in changes.items())
        return _built(models.identity(query.model), stated, question)
    return _model(query.model, changes, question)


def _question(query: Query) -> Question:
    """What `iso` reads of a question."""
    phase, plan = query.overrides.phase, query.overrides.plan
    cut = plan.get("tp") or 1, plan.get("weight_dtype")
    if query.decode:
        return Question(1, (phase.get("context") or 1) - 1, *cut)
    return Question(phase.get("isl") or 1, phase.get("past") or 0, *cut)


@lru_cache(maxsize=64)
def _built(
    identity: models.Identity, changes: tuple[tuple[str, type, Any], ...], question: Question = _ANY_QUESTION
) -> ModelSpec:
    """A model read once: questions of one program are about few."""
    return _model(identity.name, {key: value for key, _, value in changes}, question)


def _model(name: Name, changes: Mapping[str, Any], question: Question) -> ModelSpec:
    short, where, config = models.load_config(name)
    if not changes:
        return from_config(config, short, where)
    from simcost.model import swaps  # a design as it stands asks for none

    wishes, stated = _parted(config, changes, where)
    if wishes:
        return swaps.applied(config, wishes, stated, question, short, where)
    changed = models.overridden(config, stated, where)
    return swaps.checked(_built(models.identity(name), ()), changed, stated, short, where)


def _parted(config: Mapping[str, Any], changes: Mapping[str, Any], where: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """(swaps, config keys with "x1.5" resolved) of what is set of a model."""
    wishes = {key: value for key, value in changes.items() if _swapped([key])}
    return wishes, {key: _multiple(config, key, value, where) for key, value in changes.items() if key not in wishes}


def config_of(query: Query) -> tuple[str, dict[str, Any]]:
    """(where it came from, the config with the question's overrides and swaps). Raises SpecError for an unknown name or a malformed file."""
    short, where, config = models.load_config(query.model)
    wishes, stated = _parted(config, query.overrides.model, where)
    if not wishes:
        return where, models.overridden(config, stated, where)
    from simcost.model import swaps

    return where, swaps.config_of(config, wishes, stated, _question(query), short, where)[0]


def settled(query: Query) -> Query:
    """The same question with its swaps worked out, once: of the config that they make, whose numbers may then be changed."""
    if not _swapped(query.overrides.model):
        return query
    _, config = config_of(query)
    name = models.load_config(query.model)[0]
    return replace(query, model=given({**config, "_name_or_path": name}), overrides=replace(query.overrides, model={}))


def _multiple(config: Mapping[str, Any], key: str, value: Any, where: str) -> Any:
    """x1.5 of the current value."""
    if not isinstance(value, str) or value[:1] not in ("x", "*") or not value[1:2].isdigit():
        return value
    now = models.current(config, key)
    try:
        result = float(now) * float(value[1:])
    except (TypeError, ValueError):
        raise SpecError(f"model.{key}={value}: {where} has no number '{key}' to multiply") from None
    return int(result) if result == int(result) else result


def phase_of(query: Query, plan: Plan, values: Mapping[str, Any]) -> Phase:
    """The phase of a question from `values` (batch, context or isl, past, chunk, routing), arrays where they vary. Raises
    SpecError for one that is missing or no count."""

    def count(key: str, default: float | None, least: int) -> Any:
        value = default if values.get(key) is None else values[key]
        if value is None:
            raise SpecError(f"missing --{key.replace('_', '-')}")
        return value if isinstance(value, np.ndarray) else settings.count(key, value, least)

    batch, routing = count("batch", 1, 1), _routing(values.get("routing"))
    if query.decode:
        # Every pipeline stage works on its own part of the batch.
        beside = _prompt(plan, count("prefill_tokens", 0, 0), count("prefill_past", 0, 0))
        past = count("context", None, 1) - 1.0
        return Phase(batch, 1.0, past, microbatches=plan.pp, routing=routing, decode=True, beside=beside)
    chunk = None if values.get("chunk") is None else count("chunk", None, 1)
    return Phase(batch, count("isl", None, 1), count("past", 0, 0), routing=routing, chunk=chunk)


def _prompt(plan: Plan, tokens: Num, past: Num) -> tuple[Tokens, ...]:
    """A chunk of one prompt on every attention replica, in every micro-batch. Raises SpecError for a past without a chunk."""
    if np.any(np.asarray(tokens) < 1.0):
        if np.any(np.asarray(tokens) > 0.0) or np.any(np.asarray(past) > 0.0):
            raise SpecError("prefill_past says what came before a chunk: it needs prefill_tokens of at least 1")
        return ()
    return (Tokens(plan.replicas * plan.copies * plan.pp, tokens, past),)


def _routing(stated: Any) -> Routing:
    return Routing() if stated is None else parse(str(stated))


def workload(query: Query) -> Workload:
    """The workload of a question without axes. Raises SpecError for anything in it that cannot be resolved."""
    o = query.overrides
    device = hardware.load(query.hw, o.hw)
    plan = grammar.plan_of(o.plan)
    return build(model_of(query), device, plan, phase_of(query, plan, o.phase), engine_of(o), settings_of(o))


def engine_of(overrides: grammar.Overrides) -> str:
    """The engine that is asked for, as `make` checked it."""
    return str(overrides.engine.get("engine", engines.ANY))


def settings_of(overrides: grammar.Overrides) -> dict[str, Any]:
    """Settings of the engine that the question states, by the engine's own names."""
    return {key: value for key, value in overrides.engine.items() if key != "engine"}


@frozen
class Point:
    """One structure of a sweep: its fixed values, the workload (arrays inside) or why there is none."""

    fixed: dict[str, Any]
    workload: Workload | None
    reason: str = ""


def sweep(query: Query) -> tuple[list[str], list[Point]]:
    """(array axes in dimension order, one Point per combination of the structural axes)."""
    base = _first(query)
    swapped = _swapped([*query.overrides.model, *(path.removeprefix("model.") for path in query.axes)])
    vector = [
        path for path, values in query.axes.items()
        if _is_vector(path, values, base) and not (swapped and path.startswith("model."))
    ]  # fmt: skip
    fixed = [path for path in query.axes if path not in vector]
    try:
        return vector, _points(query, fixed, vector, base)
    except SpecError:
        # Some value of a model axis is invalid: one structure a value, so that only its own row says so.
        vector = [path for path in vector if not path.startswith("model.")]
        fixed = [path for path in query.axes if path not in vector]
        return vector, _points(query, fixed, vector, base, tolerate=True)


def _first(query: Query) -> ModelSpec:
    return model_of(query)


def _is_vector(path: str, values: list[Any], model: ModelSpec) -> bool:
    root, key = grammar.split(path)
    if path in grammar.NAMES:
        return False
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)
    if root == "hw":
        return key != "measurements"
    if root == "model":
        return numbers and key not in model.scalar_keys and all(v > 0 and v == int(v) for v in values)
    return numbers and ((root == "phase" and key != "routing") or key in settings.COUNTS)


def _points(query: Query, fixed: list[str], vector: list[str], base: ModelSpec, tolerate: bool = False) -> list[Point]:
    points = []
    for combination in itertools.product(*(query.axes[path] for path in fixed)):
        values = dict(zip(fixed, combination, strict=True))
        try:
            points.append(Point(values, _arrays(query, values, vector, base)))
        except SimcostError as error:
            if not tolerate and any(path.startswith("model.") for path in vector):
                raise
            points.append(Point(values, None, str(error)))
    return points


def part(query: Query, point: Point, vector: list[str], cut: Sequence[slice]) -> Workload:
    """The workload of a block of a structure's points: `cut` of the values of every array axis of `vector`."""
    assert point.workload is not None
    axes = {**query.axes, **{path: query.axes[path][each] for path, each in zip(vector, cut, strict=True)}}
    varied = any(path.startswith("model.") for path in query.axes)
    return _arrays(replace(query, axes=axes), point.fixed, vector, None if varied else point.workload.model)


def _arrays(query: Query, values: Mapping[str, Any], vector: list[str], base: ModelSpec | None = None) -> Workload:
    """`base`: the model of the query, where it is read already."""
    at = query.at(values)
    o = at.overrides
    tables: dict[str, dict[str, Any]] = {root: {} for root in ("model", "hw", "plan", "phase")}
    for position, path in enumerate(vector):
        root, key = grammar.split(path)
        tables[root][key] = _axis(at, root, key, query.axes[path], position, len(vector))
    same = at.model == query.model and o.model == query.overrides.model and not _swapped(o.model)
    return with_arrays(at, tables, base if same else None)


def with_arrays(query: Query, tables: Mapping[str, Mapping[str, Any]], base: ModelSpec | None = None) -> Workload:
    """The workload of a question with numbers over its own that may be arrays in SI: by root ("model", "hw", "plan", "phase") and key. `base`:
    the model of the question, where it is read already. Raises SpecError where a model cannot be built at any point."""
    o = query.overrides
    device = hardware.load(query.hw, {**o.hw, **tables.get("hw", {})})
    model = model_of(query, tables.get("model")) if tables.get("model") or base is None else base
    plan = grammar.plan_of({**o.plan, **tables.get("plan", {})})
    phase = phase_of(query, plan, {**o.phase, **tables.get("phase", {})})
    return build(model, device, plan, phase, engine_of(o), settings_of(o))


def _swapped(keys: Iterable[str]) -> bool:
    """Whether keys of a model ask for a swap, which is worked out for one design at a time."""
    return any(key in settings.of_swaps() for key in keys)


def _axis(query: Query, root: str, key: str, values: list[Any], position: int, dimensions: int) -> Array:
    if root == "hw":
        loaded = [_hw_value(query, key, value) for value in values]
    elif root == "model":
        loaded = [float(v) for v in values]
    else:
        loaded = [settings.count(key, value, _least(root, key)) for value in values]
    shape = [1] * dimensions
    shape[position] = len(loaded)
    return np.asarray(loaded, np.float64).reshape(shape)


def _hw_value(query: Query, key: str, value: Any) -> float:
    return float(hardware.override(key, value, facts_of(query), hardware.read(query.hw)[0]))


def facts_of(query: Query) -> dict[str, Num]:
    """Every number of the device of a question by its key, its overrides included, in SI."""
    where, tables = hardware.read(query.hw)
    facts = hardware.facts(tables, where)
    for path, stated in query.overrides.hw.items():
        if path != "measurements":
            facts[path] = hardware.override(path, stated, facts, where)
    return facts


def reason(query: Query, values: Mapping[str, Any], advise: bool) -> str:
    """The first rule that one point of a sweep breaks, with its numbers, which arrays do not show; "" where none. `advise`: with
    the nearest plans that hold."""
    try:
        w = _arrays(query, values, [])
    except SimcostError as error:
        return str(error)
    return feasible.broken(w, advise)


def reasons(w: Workload, shape: tuple[int, ...]) -> tuple[Bools, Any]:
    """(whether it can run, the first broken rule or "") of every point of the array axes. [shape]"""
    good = np.ones(shape, bool)
    why = np.zeros(shape, np.intp)  # index into `said`
    said = [""]
    for check in feasible.of(w):
        if every(check.ok):
            continue
        bad = good & ~np.broadcast_to(np.asarray(check.ok, bool), shape)
        if bad.any():
            said.append(check.reason)
            why[bad] = len(said) - 1
            good &= ~bad
    return good, np.asarray(np.asarray(said, dtype=object)[why], dtype=object)
