"""A question in names and overrides, checked once, and resolved to a workload."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, replace
from functools import lru_cache
from typing import Any

import numpy as np

from simcost import grammar, settings
from simcost.errors import SpecError
from simcost.frozen import frozen
from simcost.hardware import engines
from simcost.hardware import load as hardware
from simcost.hardware.price_use import USE, priced
from simcost.hardware.price_use import stated as price_stated
from simcost.hardware.prices import Price
from simcost.hardware.profile import Device
from simcost.hf import flatten
from simcost.model import load as models
from simcost.model.equal import AT_A_LENGTH, Question
from simcost.model.given import Name, given
from simcost.model.spec import ModelSpec, from_config
from simcost.num import Num, is_scalar
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
        found = self.paid(device)
        return None if found is None else found.usd

    def paid(self, device: Device) -> Price | None:
        """The same with its range, kind and source."""
        return device.price if self.usd_per_hour is None else Price(self.usd_per_hour)


def make(
    model: str | Mapping[str, Any] | Name | None, hw: str | None, decode: bool, phase: Mapping[str, Any], sets: Mapping[str, Any], axes: Mapping[str, list[Any]],
    usd_per_hour: float | str | None,
) -> Query:  # fmt: skip
    """A checked question; `sets` win over `phase`, and `axes` are the values to vary, `model` and `hw` among them. Raises SpecError for a key that the phase
    does not take, for one both set and varied, and for a bad count, engine or price."""
    usd, chosen = price_stated(usd_per_hour)
    (phase, of_phase), (sets, of_sets), (axes, of_axes) = (
        grammar.taken(given) for given in (phase, priced(sets, chosen, axes), axes)
    )
    for key in grammar.NAMES:
        if key in sets:
            raise SpecError(f"--set {key}={sets[key]}: use --{key} {sets[key]}, or --vary {key}=... for several")
    if "model" in axes:
        axes["model"] = [models.spelled(name) for name in axes["model"]]
    name, device = _named("model", model, axes), _named("hw", hw, axes)
    overrides = grammar.Overrides(phase=phase).merged(sets)
    twice = [path for path in axes if path in sets]
    if twice:
        raise SpecError(f"'{twice[0]}' is both set and varied")
    usable = settings.of_step(decode)
    of_inference([*sets, *axes])
    for path in [*sets, *axes]:
        root, key = grammar.split(path)
        if root == "phase" and key not in usable:
            raise SpecError(
                f"'{path}' does not apply to {'decode' if decode else 'prefill'} (it takes {', '.join(usable)})"
            )
    for path, values in axes.items():
        root, key = grammar.split(path)
        if (root == "phase" and key != "routing") or (root == "plan" and key in settings.COUNTS):
            for value in values:
                settings.count(path, value, least_of(root, key))
    if any(goal in AT_A_LENGTH for goal in (sets.get("model.iso"), *axes.get("model.iso", ()))):
        varied = [path for path in axes if path in _LENGTHS]
        if varied:
            raise SpecError(f"iso=flops and iso=kv hold at one length: '{varied[0]}' cannot be varied beside them")
    devices = axes.get("hw", [device])
    said = (*(line for each in devices for line in hardware.reading(each)), *of_phase, *of_sets, *of_axes)
    if "hw" in axes:
        axes["hw"] = [hardware.spelled(each) for each in devices]
    return Query(models.spelled(name), hardware.spelled(device), decode, overrides, axes, usd, said)


def of_inference(paths: Iterable[str]) -> None:
    """Raises SpecError for a setting that a training step alone reads."""
    training = {one.key for one in settings.TRAINING}
    for path in paths:
        root, key = grammar.split(path)
        if root == settings.STACK or (root == "plan" and key in training):
            raise SpecError(f"'{path}' applies to a training step only: use simcost train")


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
            raise SpecError(f"--vary {key}: {value!r} is not a name")
    return axes[key][0]


def least_of(root: str, key: str) -> int:
    """The least value of an axis of counts. A prompt that is not there is no axis."""
    return 1 if key == "prefill_tokens" else settings.of(root)[key].least


def model_of(query: Query, extra: Mapping[str, Any] | None = None) -> ModelSpec:
    """The model of a question with its overrides, "x1.5" resolved, and `extra` ones over them. Raises as `models.load` does."""
    changes = {**query.overrides.model, **(extra or {})}
    question = _question(query) if swapped(changes) else Question()
    plain = all(value is None or isinstance(value, (bool, int, float, str)) for value in (*changes.values(), *question))
    if plain:
        stated = tuple((key, type(value), value) for key, value in changes.items())
        return _built(models.identity(query.model), stated, question)
    return _model(query.model, changes, question)


def _question(query: Query) -> Question:
    """What `iso` reads of a question. Raises SpecError for a goal that holds at one length where none is stated."""
    phase, plan, goal = query.overrides.phase, query.overrides.plan, query.overrides.model.get("iso")
    name = "context" if query.decode else "isl"
    if phase.get(name) is None and goal in AT_A_LENGTH:
        raise SpecError(f"iso={goal} holds at one length: add --{name}")
    cut, length = (_stated(plan, "tp", 1), plan.get("weight_dtype")), _stated(phase, name, 1)
    return Question(1, length - 1, *cut) if query.decode else Question(length, _stated(phase, "past", 0), *cut)


def _stated(settings: Mapping[str, Any], key: str, default: int) -> Any:
    """A number, or an array of them, that is not left out; 0, which is refused later, as the default. Raises SpecError for a text."""
    value = settings.get(key)
    if isinstance(value, str):
        raise SpecError(f"{key} must be a whole number, not {value!r}")
    return default if value is None or (is_scalar(value) and not value) else value


@lru_cache(maxsize=64)
def _built(
    identity: models.Identity, changes: tuple[tuple[str, type, Any], ...], question: Question = _ANY_QUESTION
) -> ModelSpec:
    """A model read once: questions of one program are about few."""
    return _model(identity.name, {key: value for key, _, value in changes}, question)


def _model(name: Name, changes: Mapping[str, Any], question: Question) -> ModelSpec:
    short, where, config = models.load_config(name)
    if not changes:
        return models.load(name)
    from simcost.model import swaps  # a design as it stands asks for none

    wishes, stated = _parted(config, changes, where)
    try:
        before = _built(models.identity(name), ())
    except SpecError:  # keys that are stated may mend what is refused: the first design is then the one with them
        changed = models.overridden(config, stated, where, models.ships(name))
        return (
            swaps.applied(changed, wishes, {}, question, short, where, _by_loss)
            if wishes
            else models.complete(from_config(changed, short, where), changed, where)
        )
    if wishes:
        return swaps.applied(config, wishes, stated, question, short, where, _by_loss)
    return swaps.checked(before, models.overridden(config, stated, where, models.ships(name)), stated, short, where)


def _by_loss(goal: str, before: ModelSpec, built: Callable[[int], ModelSpec], step: int) -> tuple[int, str]:
    """The width of equal loss, and why: of those who ask for it alone are scaling laws read."""
    from simcost.scaling_laws import iso

    return iso.solved(goal, before, built, step)


def _parted(config: Mapping[str, Any], changes: Mapping[str, Any], where: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """(swaps, config keys with "x1.5" resolved) of what is set of a model."""
    wishes = {key: value for key, value in changes.items() if swapped([key])}
    return wishes, {key: _multiple(config, key, value, where) for key, value in changes.items() if key not in wishes}


def config_of(query: Query) -> tuple[str, dict[str, Any]]:
    """(where it came from, the config with the question's overrides and swaps). Raises SpecError for an unknown name or a malformed file."""
    short, where, config = models.load_config(query.model)
    wishes, stated = _parted(config, query.overrides.model, where)
    if not wishes:
        return where, models.overridden(config, stated, where, models.ships(query.model))
    from simcost.model import swaps

    return where, swaps.config_of(config, wishes, stated, _question(query), short, where, _by_loss)[0]


def settled(query: Query) -> Query:
    """The same question with its swaps worked out, once: of the config that they make, whose numbers may then be changed."""
    if not swapped(query.overrides.model):
        return query
    where, config = config_of(query)
    name, _, stated = models.load_config(query.model)
    before = flatten(stated, where)
    asked = sorted(key for key, value in config.items() if value != before.get(key))
    own = {"_name_or_path": name, models.ASKED: asked}
    return replace(query, model=given({**config, **own}), overrides=replace(query.overrides, model={}))


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
    height, width = (0.0 if values.get(key) is None else count(key, None, 1) for key in ("image_height", "image_width"))
    return Phase(
        batch, count("isl", None, 1), count("past", 0, 0), routing=routing, chunk=chunk, images=count("images", 0, 0),
        image_height=height, image_width=width, video_frames=count("video_frames", 0, 0),
    )  # fmt: skip


def _prompt(plan: Plan, tokens: Num, past: Num) -> tuple[Tokens, ...]:
    """A chunk of one prompt on every attention replica, in every micro-batch. Raises SpecError for a past without a chunk."""
    if np.any(np.asarray(tokens) < 1.0):
        if np.any(np.asarray(tokens) > 0.0) or np.any(np.asarray(past) > 0.0):
            raise SpecError("prefill_past counts tokens before a chunk, so it needs prefill_tokens of at least 1")
        return ()
    return (Tokens(plan.replicas * plan.copies * plan.pp, tokens, past),)


def _routing(stated: Any) -> Routing:
    return Routing() if stated is None else parse(str(stated))


def workload(query: Query, timed: bool = True) -> Workload:
    """The workload of a question without axes; `timed`: whether the device must have a rate for every format. Raises SpecError for anything in it that cannot
    be resolved."""
    o = query.overrides
    device = hardware.load(query.hw, o.hw)
    plan = grammar.plan_of(o.plan)
    return build(model_of(query), device, plan, phase_of(query, plan, o.phase), engine_of(o), settings_of(o), timed)


def engine_of(overrides: grammar.Overrides) -> str:
    """The engine that is asked for, as `make` checked it."""
    return str(overrides.engine.get("engine", engines.ANY))


def settings_of(overrides: grammar.Overrides) -> dict[str, Any]:
    """Settings of the engine that the question states, by the engine's own names."""
    return {key: value for key, value in overrides.engine.items() if key != "engine"}


def swapped(keys: Iterable[str]) -> bool:
    """Whether keys of a model ask for a swap, which is worked out for one design at a time."""
    return any(key in settings.of_swaps() for key in keys)


def facts_of(query: Query) -> dict[str, Num]:
    """Every number of the device of a question by its key, its overrides included, in SI."""
    where, tables = hardware.read(query.hw)
    facts = hardware.facts(tables, where)
    for path, stated in query.overrides.hw.items():
        if path not in hardware.CHOICES:
            facts[path] = hardware.override(path, stated, facts, where)
    if USE in query.overrides.hw and (price := hardware.load(query.hw, query.overrides.hw).price) is not None:
        facts["price.usd_per_hour"] = price.usd
    return facts
