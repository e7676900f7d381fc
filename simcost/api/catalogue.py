"""What ships and what is known of it before any question is asked: models, devices, engines, keys, scaling laws."""

from __future__ import annotations

from typing import Any

from simcost import grammar, settings
from simcost.api.arguments import (
    DEFAULTS,
    Count,
    Model,
    Sets,
    cluster,
    decode_query,
    either,
    sets_of,
    unboxes,
)
from simcost.errors import SpecError
from simcost.result import Result


@unboxes
def show_model(name: Model, set: Sets | None = None, isl: Count | None = None) -> Result:
    """Exact counts of a model by zoo name, Hugging Face repository, config.json or directory, or of a config as a mapping."""
    from simcost.scenarios import show

    return show.show_model(
        name, sets_of(set), settings.count("--isl", grammar.read("isl", either(isl, DEFAULTS["isl"])))
    )


@unboxes
def show_hardware(name: str, set: Sets | None = None) -> Result:
    """Facts and assumptions of a device profile, each with its source or reason."""
    from simcost.scenarios import show

    return show.show_hardware(name, sets_of(set))


@unboxes
def show_memory(
    model: Model, hw: str, batch: Count | None = None, context: Count | None = None, set: Sets | None = None, gpus: Count | None = None,
    nodes: Count | None = None, engine: str | None = None,
) -> Result:  # fmt: skip
    """Memory of a GPU term by term, and what the pool of the cache admits, for `batch` requests of `context` tokens."""
    from simcost.scenarios import memory

    sets = cluster(hw, sets_of(set, engine), gpus, nodes)
    return memory.result(decode_query(model, hw, batch, context, sets, None, None))


def loss(
    model: str | None = None, tokens: float | str | None = None, training_flops: float | str | None = None, isl: Count | None = None, range: str = "fitted",
    set: Sets | None = None,
) -> Result:  # fmt: skip
    """What published scaling laws expect of a model trained on `tokens` (1.4e12, or "1.4T"), or of `training_flops` alone. `range`: "fitted", or "published", as
    far as the sources themselves used their laws. `isl`: tokens of a training sequence, where a law counts FLOPs of attention."""
    from simcost.scenarios.scaling_laws import loss as scenario

    if (model is None) != (tokens is None) or (model is None) == (training_flops is None) or (set and model is None):
        raise SpecError("loss needs either --model with --tokens, or --training-flops alone")
    if model is None:
        return scenario.of_compute(_quantity("--training-flops", training_flops, "training_flops"), range)
    length = settings.count("--isl", grammar.read("isl", either(isl, DEFAULTS["isl"])))
    return scenario.of_model(model, _quantity("--tokens", tokens, "tokens"), length, range, sets_of(set))


def _quantity(name: str, given: Any, dimension: str) -> float:
    """An SI number from "1.4T" or a plain one. Raises SpecError outside of what can be meant."""
    from simcost import units

    value, (low, high) = units.parse(str(given), dimension, name), units.PLAUSIBLE[dimension]
    if not low <= value <= high:
        raise SpecError(f"{name} = {given} is outside {units.show(low, dimension)} to {units.show(high, dimension)}")
    return value


def list_scaling_laws() -> Result:
    """Published scaling laws that ship."""
    from simcost.scenarios.scaling_laws import show

    return show.listed()


def show_scaling_law(name: str) -> Result:
    """Coefficients, ranges, errors and source of a scaling law, by name or file."""
    from simcost.scenarios.scaling_laws import show

    return show.shown(name)


def keys(*groups: str) -> Result:
    """Keys that can be set: of "model", "plan", "phase", "engine" or "hw", or all."""
    from simcost.scenarios import keys as scenario

    return scenario.result(groups)


def list_models() -> Result:
    """Models that ship, with their counts."""
    from simcost.scenarios import show

    return show.list_models()


def list_engines() -> Result:
    """Engines whose kernels can be chosen, with their versions and devices."""
    from simcost.scenarios import show

    return show.list_engines()


def list_hardware() -> Result:
    """Device profiles that ship."""
    from simcost.scenarios import show

    return show.list_hardware()
