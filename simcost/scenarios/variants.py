"""Designs of a comparison: models as they stand, and variants of one, each a question of its own.

`attention=gqa:8,ffn=dense` changes the design, `hw=h20,plan.tp=16` where and how it runs, `model=...` whose variant it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from typing import Any

import numpy as np

from simcost import grammar, settings
from simcost.errors import SpecError
from simcost.frozen import frozen
from simcost.hardware import load as hardware
from simcost.model import load as shipped
from simcost.model.given import Name
from simcost.query import Query, engine_of, of_inference
from simcost.result import Row

_PAIR = re.compile(r",(?=\s*[A-Za-z_][\w.]*\s*=)")  # a comma before the next key; others are part of a value
_AS = "write key=value, several with commas, as in attention=gqa:8,ffn=dense"
_NAMES = ("model", "hw")  # of a question, not settings


@frozen
class Design:
    """What stands in one column: its name, and the two questions that it answers."""

    label: str
    decode: Query
    prefill: Query

    def identity(self) -> Row:
        """What tells it from the others: model, device, engine and plan."""
        plan = {key: value for key, value in self.decode.overrides.plan.items() if value is not None}
        return {
            "model": str(self.decode.model), "hw": self.decode.hw, "engine": engine_of(self.decode.overrides),
            "plan": ", ".join(f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}" for key, value in plan.items()),
        }  # fmt: skip


def parsed(variant: str | Mapping[str, Any]) -> dict[str, Any]:
    """{path: value} of "attention=gqa:8,plan.tp=16": bare keys are the model's; `model`, `hw` and `engine` name another one. Raises SpecError for
    what is no pair, and for a key of the step: all designs answer the same one."""
    if not isinstance(variant, (str, Mapping)) or not variant:
        raise SpecError(f"--variant {variant!r}: {_AS}")
    if isinstance(variant, str):
        pairs = [part.partition("=") for part in _PAIR.split(variant)]
    else:
        pairs = [(str(key), "=", value) for key, value in variant.items()]
    found: dict[str, Any] = {}
    for key, equals, value in pairs:
        path = key.strip()
        if not equals or not path or (isinstance(value, str) and not value.strip()):
            raise SpecError(f"--variant {variant}: {_AS}")
        if path not in (*_NAMES, "engine") and "." not in path:
            _of_another_root(path, f"--variant {variant}")
            path = f"model.{path}"
        if path not in _NAMES:
            root, name = grammar.split(path)
            if root == "phase":
                raise SpecError(f"--variant {variant}: '{name}' belongs to the step, which is the same for all designs")
            path = grammar.full(path)
        if path in found:
            raise SpecError(f"--variant {variant}: '{path}' is set twice")
        named = isinstance(value, str) and path not in _NAMES
        found[path] = (
            grammar.parsed(path, value.strip()) if named else value.strip() if isinstance(value, str) else value
        )
    return found


def _of_another_root(key: str, where: str) -> None:
    """Raises SpecError for a bare key that is the plan's or the step's and none of the model's."""
    if key in settings.of("model"):
        return
    if key in settings.of("plan"):
        raise SpecError(f"{where}: '{key}' belongs to the plan: write plan.{key}=...")
    if key in settings.of("phase"):
        raise SpecError(
            f"{where}: '{key}' belongs to the step, which is the same for all designs: write --set {key}=... for all"
        )


def designs(
    models: Sequence[Name], variants: Sequence[str | Mapping[str, Any]], decode: Query, prefill: Query
) -> list[Design]:
    """Each side with the two questions that it answers. Raises SpecError as `sides`, and for a setting that a training step alone reads."""
    found = sides(models, variants, decode.hw)
    for one in found:
        of_inference(one.sets)
    return [Design(one.label, _changed(decode, one), _one_a_replica(_changed(prefill, one))) for one in found]


@frozen
class Side:
    """A design before it is asked anything: its name, and what it changes of the question that all answer. `said`: what was read otherwise than it was written."""

    label: str
    model: Name
    hw: str
    sets: Mapping[str, Any] = field(default_factory=dict)
    said: tuple[str, ...] = ()


def sides(models: Sequence[Name], variants: Sequence[str | Mapping[str, Any]], hw: str) -> list[Side]:
    """The models, then the variants; a variant that names no model is of the first, one without a device on `hw`. Raises SpecError where that makes fewer than two."""
    names = [shipped.spelled(name) for name in models]
    found = [Side(label, name, hw) for name, label in zip(names, labels(names), strict=True)]
    every = [parsed(variant) for variant in variants]
    for i, (variant, sets) in enumerate(zip(variants, every, strict=True)):
        if sets in every[:i]:
            raise SpecError(f"--variant {variant}: it is given twice")
        sets = dict(sets)
        text = variant if isinstance(variant, str) else ",".join(f"{key}={value}" for key, value in variant.items())
        if "model" not in sets and not names:
            raise SpecError(f"--variant {text}: it needs a model: name one before it, or add model=... to it")
        model = shipped.spelled(sets.pop("model", names[0] if names else None))
        device = str(sets.pop("hw", hw))
        own, (sets, read) = hardware.spelled(device), grammar.taken(sets)
        label = text.replace(" ", "") if len(names) < 2 else f"{model}: {text}"
        found.append(Side(label, model, own, sets, (*hardware.reading(device), *read)))
    if len(found) < 2:
        raise SpecError("compare needs two designs: a second model, or --variant attention=gqa:8")
    return _named_apart(found)


def _changed(query: Query, one: Side) -> Query:
    return replace(
        query, model=one.model, hw=one.hw, overrides=query.overrides.merged(one.sets), said=(*query.said, *one.said)
    )


def _named_apart(found: list[Side]) -> list[Side]:
    """Two columns of one name are numbered."""
    seen: list[str] = []
    out = []
    for design in found:
        seen.append(design.label)
        count = seen.count(design.label)
        out.append(design if count == 1 else replace(design, label=f"{design.label} ({count})"))
    return out


def labels(names: Sequence[Name]) -> list[str]:
    """One unique name a design: the model's, where two share it what was typed, where that is the same its number too."""
    found = [shipped.short(name) for name in names]
    found = [str(typed) if found.count(short) > 1 else short for typed, short in zip(names, found, strict=True)]
    seen = [found[: i + 1].count(label) for i, label in enumerate(found)]
    return [label if n == 1 else f"{label} ({n})" for label, n in zip(found, seen, strict=True)]


def _one_a_replica(prefill: Query) -> Query:
    """Without a batch a prefill takes one prompt a replica, so that none is idle."""
    phase = prefill.overrides.phase
    if phase.get("batch") is not None:
        return prefill
    plan = grammar.plan_of(prefill.overrides.plan)
    prompts = int(np.ceil(float(np.asarray(plan.replicas * plan.copies))))
    return replace(prefill, overrides=replace(prefill.overrides, phase={**phase, "batch": prompts}))
