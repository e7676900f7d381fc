"""The Python API: the command line's questions as typed functions that return a Result.

    import simcost
    r = simcost.decode("deepseek-v3", "h200", batch=64, context=4096, set={"plan.tp": 8})
    print(r.metrics["tpot_s"], r.to_frame())

`set` maps paths to values, `vary` maps paths to lists of values (their product is one sweep), `price` is USD per device
and hour, `gpus` or `nodes` the size of the cluster, `engine` whose kernels run (the same as set={"engine": ...}). All functions raise
`simcost.errors.SimcostError` with one clear line for anything a user can get wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from simcost import grammar, settings
from simcost.errors import SpecError
from simcost.hardware import load as hardware
from simcost.query import Query, make
from simcost.result import Result, printers
from simcost.scenarios import phases

Sets = Mapping[str, Any]
Axes = Mapping[str, Sequence[Any]]


def _printed(result: Result) -> str:
    from simcost.report.text import as_console  # a query that prints nothing loads no rich

    return as_console(result)


printers[:] = [_printed]


def _sets(given: Sets | None, engine: str | None = None) -> dict[str, Any]:
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


def _decode(
    model: str, hw: str, batch: Any, context: Any, sets: Sets | None, vary: Axes | None, price: float | None,
    prefill_tokens: Any = None, prefill_past: Any = None,
) -> Query:  # fmt: skip
    phase = {"batch": batch, "context": context, "prefill_tokens": prefill_tokens, "prefill_past": prefill_past}
    return make(model, hw, True, phase, _sets(sets), _axes(vary), price)


def _prefill(
    model: str, hw: str, batch: Any, isl: Any, past: Any, sets: Sets | None, vary: Axes | None, price: float | None
) -> Query:
    phase = {"batch": batch, "isl": isl, "past": past}
    return make(model, hw, False, phase, _sets(sets), _axes(vary), price)


def _check_lengths(
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
            raise SpecError(f"--{name} means nothing to {phase}: leave it out, or say --phase {other}")


_LENGTH = 4096  # tokens of a sequence where nobody says


def _or(value: Any, default: int) -> Any:
    return default if value is None else value


_DOMAIN = "hw.links.scaleup.domain"


def _cluster(
    hw: str, sets: Sets | None, gpus: int | None, nodes: int | None, vary: Axes | None = None
) -> dict[str, Any]:
    """`sets` with the number of GPUs that a cluster has. Raises SpecError when a node's size is not known."""
    found = dict(sets or {})
    if gpus is not None and nodes is not None:
        raise SpecError("say --gpus or --nodes, not both")
    if nodes is not None:
        if _DOMAIN in (vary or {}):
            raise SpecError(f"--nodes needs one size of a node, and '{_DOMAIN}' is varied: say --gpus")
        device = hardware.load(hw, grammar.Overrides().merged(found).hw)
        if device.scaleup is None or device.scaleup.domain is None:
            raise SpecError(f"{device.where}: no 'links.scaleup.domain', so --nodes has no meaning: say --gpus")
        gpus = int(settings.count("--nodes", nodes) * float(np.max(np.asarray(device.scaleup.domain))))
    if gpus is not None:
        if "plan.gpus" in found:
            raise SpecError("'plan.gpus' is set twice: by --set and by --gpus or --nodes")
        found["plan.gpus"] = settings.count("--gpus", gpus)
    return found


def _axes(vary: Axes | None) -> dict[str, list[Any]]:
    axes: dict[str, list[Any]] = {}
    for path, values in _table("vary", vary, "{'batch': [1, 8]}").items():
        grammar.split(path)
        if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
            raise SpecError(f"'{path}' must be varied over a list of values, not {values!r}")
        axes[path] = values.tolist() if isinstance(values, np.ndarray) else list(values)
        if not axes[path]:
            raise SpecError(f"'{path}' is varied over no values")
    return axes


def decode(
    model: str,
    hw: str,
    batch: int = 1,
    context: int = 4096,
    set: Sets | None = None,
    vary: Axes | None = None,
    price: float | None = None,
    gpus: int | None = None,
    nodes: int | None = None,
    engine: str | None = None,
    prefill_tokens: int | None = None,
    prefill_past: int | None = None,
) -> Result:
    """One decode step: `batch` sequences, each attending to `context` tokens with the new one. prefill_tokens: of a prompt that comes in
    beside them on every attention replica, as engines mix them, after `prefill_past` cached ones."""
    sets = _cluster(hw, _sets(set, engine), gpus, nodes, vary)
    return phases.result(_decode(model, hw, batch, context, sets, vary, price, prefill_tokens, prefill_past))


def prefill(
    model: str, hw: str, isl: int = 4096, batch: int = 1, past: int = 0, set: Sets | None = None, vary: Axes | None = None,
    price: float | None = None, gpus: int | None = None, nodes: int | None = None, engine: str | None = None,
) -> Result:  # fmt: skip
    """One prefill step: `isl` new tokens of each of `batch` sequences, after `past` cached ones (chunked prefill)."""
    return phases.result(
        _prefill(model, hw, batch, isl, past, _cluster(hw, _sets(set, engine), gpus, nodes, vary), vary, price)
    )


def compare(
    models: Sequence[str],
    hw: str,
    batch: int = 1,
    context: int = 4096,
    isl: int = 4096,
    set: Sets | None = None,
    price: float | None = None,
    gpus: int | None = None,
    nodes: int | None = None,
    prefill_batch: int | None = None,
    engine: str | None = None,
) -> Result:
    """Designs side by side on one device and plan, then the terms that differ, largest first. `prefill_batch`: prompts at a
    time; default: one a replica of the attention and copy of the model."""
    sets = _cluster(hw, _sets(set, engine), gpus, nodes)
    prompts = None if prefill_batch is None else settings.count("--prefill-batch", prefill_batch)
    prompt = {"batch": prompts, "isl": isl, "past": 0}
    both = {path: value for path, value in sets.items() if grammar.split(path) == ("phase", "routing")}
    only = both | {path: value for path, value in sets.items() if grammar.split(path)[0] != "phase"}
    first = models[0] if models else ""
    question = make(first, hw, True, {"batch": batch, "context": context}, sets, {}, price)
    from simcost.scenarios import compare as scenario

    return scenario.result(list(models), question, make(first, hw, False, prompt, only, {}, price))


def explain(
    model: str, hw: str, phase: str = "decode", batch: int = 1, context: int | None = None, isl: int | None = None,
    past: int | None = None, set: Sets | None = None, price: float | None = None, gpus: int | None = None,
    nodes: int | None = None, engine: str | None = None, prefill_tokens: int | None = None, prefill_past: int | None = None,
) -> Result:  # fmt: skip
    """Every op of one step of `phase`: "decode" takes `context` (default 4096), and a prompt beside it; "prefill" takes `isl` (4096) and
    `past` (0)."""
    _check_lengths(phase, context, isl, past, prefill_tokens, prefill_past)
    from simcost.scenarios import explain as scenario

    sets = _cluster(hw, _sets(set, engine), gpus, nodes)
    if phase == "decode":
        return scenario.result(
            _decode(model, hw, batch, _or(context, _LENGTH), sets, None, price, prefill_tokens, prefill_past)
        )
    return scenario.result(_prefill(model, hw, batch, _or(isl, _LENGTH), _or(past, 0), sets, None, price))


def plans(
    model: str, hw: str | Sequence[str], gpus: int | Sequence[int] | None = None, nodes: int | None = None, phase: str = "decode",
    batch: Sequence[int] | None = None, context: int | None = None, isl: int | None = None, metric: str | None = None,
    tpot: float | str | None = None, ttft: float | str | None = None, cp: bool = False, set: Sets | None = None, price: float | None = None,
    engine: str | None = None,
) -> Result:  # fmt: skip
    """Every plan for `gpus` devices, or for each of several numbers of them, of one device or of several, ranked by `metric` (default: tokens
    a second and GPU) at its best of all batches as far as memory goes, or of those of `batch`; `tpot` and `ttft` are limits ([s], or
    "50ms"); `cp`: split sequences too."""
    _check_lengths(phase, context, isl)
    from simcost.search import objective
    from simcost.search import plans as scenario

    sets = _sets(set, engine)
    devices = _several("--hw", hw)
    clusters = [scenario.Cluster(name, _counts(name, sets, gpus, nodes)) for name in devices]
    sets = {path: value for path, value in sets.items() if grammar.full(path) != "plan.gpus"}
    decode_ = phase == "decode"
    stated = {name: value for name, value in (("tpot", tpot), ("ttft", ttft)) if value is not None}
    found = {name: objective.limit(f"--{name}", value) for name, value in stated.items()}
    wrong = "ttft" if decode_ else "tpot"
    if wrong in found:
        raise SpecError(f"a limit on {wrong} means nothing to {phase}")
    batches = None if batch is None else tuple(settings.count("--batch", value) for value in batch)
    if batches == ():
        raise SpecError("--batch names no batch")
    ranked = metric or f"{'output' if decode_ else 'input'}_tokens_per_s_per_gpu"
    limits = {f"{name}_s": value for name, (value, _) in found.items()}
    wish = objective.Wish(ranked, limits, batches, cp, tuple(note for _, note in found.values()))
    query = (
        _decode(model, devices[0], 1, _or(context, _LENGTH), sets, None, price)
        if decode_
        else _prefill(model, devices[0], 1, _or(isl, _LENGTH), 0, sets, None, price)
    )
    return scenario.result(query, clusters, wish)


def _counts(hw: str, sets: Sets, gpus: int | Sequence[int] | None, nodes: int | None) -> tuple[int, ...]:
    """The numbers of GPUs of one device that plans are asked for."""
    several = _several("--gpus", gpus) if isinstance(gpus, Sequence) and not isinstance(gpus, str) else (gpus,)
    found = [_cluster(hw, sets, count, nodes) for count in several]
    if "plan.gpus" not in found[0]:
        raise SpecError("say how many devices there are: --gpus or --nodes")
    return tuple(int(settings.count("plan.gpus", each["plan.gpus"])) for each in found)


def _several(option: str, given: Any) -> tuple[Any, ...]:
    """One value or several, each once. Raises SpecError for none, and for one that is named twice."""
    found = (given,) if isinstance(given, str) else tuple(given)
    if not found:
        raise SpecError(f"{option} names nothing")
    twice = [value for value in found if found.count(value) > 1]
    if twice:
        raise SpecError(f"{option} names {twice[0]} twice")
    return found


def crossover(model: str, hw: str = "h200", set: Sets | None = None, engine: str | None = None) -> Result:
    """Where attention overtakes the FFN, and where cache reads overtake weight reads."""
    from simcost.scenarios import crossover as scenario

    return scenario.result(_decode(model, hw, 1, 1, _sets(set, engine), None, None))


def show_model(name: str, set: Sets | None = None, isl: int = 4096) -> Result:
    """Exact counts of a model by zoo name, Hugging Face repository, config.json or directory."""
    from simcost.scenarios import show

    return show.show_model(name, _sets(set), settings.count("--isl", isl))


def show_hardware(name: str, set: Sets | None = None) -> Result:
    """Facts and assumptions of a device profile."""
    from simcost.scenarios import show

    return show.show_hardware(name, _sets(set))


def show_memory(
    model: str, hw: str, batch: int = 1, context: int = _LENGTH, set: Sets | None = None, gpus: int | None = None,
    nodes: int | None = None, engine: str | None = None,
) -> Result:  # fmt: skip
    """Memory of a GPU term by term, and what the pool of the cache admits, for `batch` requests of `context` tokens."""
    from simcost.scenarios import memory

    sets = _cluster(hw, _sets(set, engine), gpus, nodes)
    return memory.result(_decode(model, hw, batch, context, sets, None, None))


def keys(*groups: str) -> Result:
    """What may be set: of "model", "plan", "phase", "engine" or "hw", or of all."""
    from simcost.scenarios import keys as scenario

    return scenario.result(groups)


def list_models() -> Result:
    """The zoo."""
    from simcost.scenarios import show

    return show.list_models()


def list_engines() -> Result:
    """Whose kernels may be asked for."""
    from simcost.scenarios import show

    return show.list_engines()


def list_hardware() -> Result:
    """The device profiles."""
    from simcost.scenarios import show

    return show.list_hardware()
