"""The numbers that an answer depends on: of the device, the plan, the step and the model, with the values that each may take.

A number of the device is continuous; sizes of a plan are multiplied and divided, as engines take them; other counts go in steps, widths in
steps of whole tiles. Most likely to be wrong: the step of a width, 64 where the width has that factor; kernels may like 128 better.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from simcost import grammar, settings, units
from simcost.errors import SpecError, nearest
from simcost.frozen import frozen
from simcost.hardware import load as hardware
from simcost.hf import canonical, flatten
from simcost.model import keys
from simcost.model.classes.family import implied
from simcost.model.spec import known_keys
from simcost.query import Query, config_of, facts_of
from simcost.workload import Workload

CONTINUOUS, STEPS, FACTORS = "continuous", "steps", "factors"
_TILE = 64  # columns of a width
_CHUNKS = 32.0  # of a prompt, each of which is a step
_WIDTHS = ("_size", "_dim", "_rank", "_width")
_ROUTER = (
    "n_routed_experts",
    "n_group",
    "topk_group",
)  # loads of popular experts are worked out for one router at a time
_FACTORS = ("links.scaleup.domain",)
_PLAN = tuple(key for key in settings.COUNTS if key != "vpp")  # serving has no virtual stages
_SHARES = {
    "dp_attention": "replicas",
    "dp": "copies",
    "etp": "expert_slices",
}  # sizes that follow from others where nobody states them
MODEL_KINDS = (*settings.WHOLE, settings.LIST, "fraction")


@frozen
class Number:
    """One number. `value`: now [SI]; `unit`: dimension of `units.show`; `grid`: CONTINUOUS, STEPS of `grain`, or FACTORS; `least`, `most`: the
    range that is allowed; `alone`: it cannot stand as an array beside other varied numbers, since without it others follow from the rest."""

    path: str
    value: float
    unit: str
    grid: str
    least: float
    most: float
    grain: float = 1.0
    alone: bool = False

    @property
    def whole(self) -> bool:
        """Whether it is a count."""
        return self.grid != CONTINUOUS

    def show(self, value: float) -> str:
        """A value for people."""
        return units.show(value, self.unit) if self.unit != "count" else f"{value:,.0f}"

    def stated(self, value: float) -> Any:
        """A value as --set and the API take it, to the last bit."""
        if not self.path.startswith("hw."):
            return int(value) if self.whole else value
        if self.whole:
            return str(int(value))
        return f"{value!r} {'' if self.unit == 'fraction' else units.symbol(self.unit)}".strip()


def every(query: Query, w: Workload, unset: bool = False) -> list[Number]:
    """All numbers of a question without axes, by root. `w`: its workload; `unset`: also those that only say something where they are set, with the
    value that changes nothing."""
    return [*_device(query), *_plan(w, unset), *_step(query, unset), *_model(query)]


def one(query: Query, w: Workload, path: str) -> Number:
    """The number of a path, by any of its spellings. Raises SpecError for what is no number, or is none of this question."""
    root, key = grammar.split(path)
    name = grammar.full(path) if root != "model" else f"model.{canonical(key)}"
    if root == "engine":
        raise SpecError(
            f"'{path}': settings of an engine cannot be solved for, only numbers of hw, plan, phase and model"
        )
    if root == "phase" and key not in settings.of_step(query.decode):
        command = "decode" if query.decode else "prefill"
        raise SpecError(f"'{path}' does not apply to {command} (it takes {', '.join(settings.of_step(query.decode))})")
    if root == "hw" and hardware.dimension(key, path) == settings.FLAG:
        raise SpecError(f"'{path}' is true or false, not a number")
    known = {each.path: each for each in every(query, w, unset=True)}
    if name not in known:
        mine = [each for each in known if grammar.split(each)[0] == root]
        raise SpecError(
            f"'{path}' is not a number of this question{nearest(name, known)} ({root} has {', '.join(mine)})"
        )
    return known[name]


def _device(query: Query) -> Iterator[Number]:
    facts = dict(facts_of(query))
    if query.usd_per_hour is not None:
        facts["price.usd_per_hour"] = query.usd_per_hour
    for key, value in facts.items():
        kind = hardware.dimension(key, query.hw)
        if kind == settings.FLAG:
            continue
        least, most = units.PLAUSIBLE[kind]
        grid = CONTINUOUS if kind != "count" else FACTORS if key in _FACTORS else STEPS
        unit = "memory" if key == "memory.capacity" else kind
        most = 4096.0 if kind == "count" else most
        yield Number(f"hw.{key}", float(np.asarray(value)), unit, grid, least, most)


def _plan(w: Workload, unset: bool) -> Iterator[Number]:
    for key in _PLAN:
        set_ = getattr(w.plan, key) is not None
        value = getattr(w.plan, key if set_ else _SHARES.get(key, key))
        if value is not None:
            least = float(settings.of("plan")[key].least)
            grid = STEPS if key == "redundant_experts" else FACTORS
            yield Number(f"plan.{key}", float(np.asarray(value)), "count", grid, least, 1024.0, alone=not set_)
    if unset and w.plan.gpus is None:
        yield Number("plan.gpus", float(np.asarray(w.plan.devices)), "count", FACTORS, 1.0, 1024.0, alone=True)
    if w.plan.capacity_factor is not None:
        yield Number("plan.capacity_factor", w.plan.capacity_factor, settings.FACTOR, CONTINUOUS, 0.001, 1000.0)


def _step(query: Query, unset: bool) -> Iterator[Number]:
    for key in settings.of_step(query.decode):
        known = settings.of("phase")[key]
        if known.kind not in settings.WHOLE:
            continue
        stated = query.overrides.phase.get(key)
        if stated is None and key == "chunk":  # the whole prompt
            whole = float(query.overrides.phase["isl"])
            if unset:
                yield Number(key, whole, "count", STEPS, max(whole // _CHUNKS, 1.0), whole)
            continue
        if stated is None and key.startswith("image"):  # a prompt of text alone
            continue
        value = float((1 if key == "batch" else 0) if stated is None else stated)
        alone = key.startswith("prefill_") and value == 0.0
        yield Number(key, value, "count", STEPS, float(known.least), 2.0**24, alone=alone)


def _model(query: Query) -> Iterator[Number]:
    where, config = config_of(query)
    flat = flatten(config, where)
    fixed = implied(str(flat.get("model_type", "")), flat)
    known = settings.of("model")
    own = known_keys() - {
        *known,
        *keys.IRRELEVANT,
        *keys.structural(),
    }  # of plug-ins that stand in no table of settings
    for key in (*known, *sorted(own.intersection(flat))):
        kind, least = (known[key].kind, known[key].least) if key in known else (settings.COUNT, 0)
        stated = (flat.get(key), fixed.get(key))
        value = next((each for each in stated if each is not None), None)
        if kind not in MODEL_KINDS or isinstance(value, bool) or not isinstance(value, (int, float)):
            continue
        if kind == "fraction" or value != int(value):
            yield Number(f"model.{key}", float(value), "fraction", CONTINUOUS, 0.01, 1.0)
        else:
            steps = _most(value), _grain(key, value), key in _ROUTER
            yield Number(f"model.{key}", float(value), "count", STEPS, float(least), *steps)


def _most(value: float) -> float:
    """As far as a design is varied: sixteen times what it has."""
    return max(16.0 * value, 16.0)


def _grain(key: str, value: float) -> float:
    """The step of a count: of a width the largest power of two in it, at most a tile, and at most a quarter of it."""
    if not key.endswith(_WIDTHS) or value < 4 or value != int(value):
        return 1.0
    grain = min(int(value) & -int(value), _TILE)
    while 4 * grain > value:
        grain //= 2
    return float(grain)


def by_path(numbers: list[Number]) -> Mapping[str, Number]:
    """Numbers by their paths."""
    return {number.path: number for number in numbers}
