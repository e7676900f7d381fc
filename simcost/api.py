"""The Python API: the command line's questions as typed functions that return a Result.

    import simcost
    r = simcost.decode("deepseek-v3", "h200", batch=64, context=4096, set={"plan.tp": 8})
    print(r.metrics["tpot_s"], r.to_frame())

`set` maps paths to values, `vary` maps paths to lists of values (their product is one sweep), `price` is USD per device
and hour, `gpus` or `nodes` the size of the cluster, `engine` whose kernels run (the same as set={"engine": ...}). A model is a name or a
config as a mapping; numbers may be NumPy's. `ask(result.command, result.inputs)` asks a question again. All functions raise
`simcost.errors.SimcostError` with one clear line for anything a user can get wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from inspect import signature
from typing import Any, ParamSpec, SupportsIndex

import numpy as np

from simcost import grammar, settings
from simcost.errors import SpecError, nearest
from simcost.hardware import load as hardware
from simcost.model import load as zoo
from simcost.num import unboxed
from simcost.query import Query, make
from simcost.result import Result, printers
from simcost.scenarios import phases

Sets = Mapping[str, Any]
Axes = Mapping[str, Sequence[Any]]
Model = str | Mapping[str, Any]  # a name, or a config.json as a mapping
Count = SupportsIndex | str  # a whole number, of Python or NumPy, or text: "64k" tokens are 65,536
P = ParamSpec("P")


def _unboxed(question: Callable[P, Result]) -> Callable[P, Result]:
    """NumPy's numbers are as good as Python's: what is inside compares, hashes and prints the latter."""

    @wraps(question)
    def asked(*stated: P.args, **named: P.kwargs) -> Result:
        return question(*unboxed(stated), **unboxed(named))

    return asked


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
    model: Model | None, hw: str | None, batch: Any, context: Any, sets: Sets | None, vary: Axes | None, price: float | None,
    prefill_tokens: Any = None, prefill_past: Any = None,
) -> Query:  # fmt: skip
    phase = {"batch": batch, "context": context, "prefill_tokens": prefill_tokens, "prefill_past": prefill_past}
    return _asked(model, hw, True, phase, sets, vary, price)


def _prefill(
    model: Model | None,
    hw: str | None,
    batch: Any,
    isl: Any,
    past: Any,
    sets: Sets | None,
    vary: Axes | None,
    price: float | None,
) -> Query:
    return _asked(model, hw, False, {"batch": batch, "isl": isl, "past": past}, sets, vary, price)


def _asked(
    model: Model | None, hw: str | None, decode: bool, phase: Mapping[str, Any], sets: Sets | None, vary: Axes | None, price: float | None
) -> Query:  # fmt: skip
    """The question, with the defaults of what nobody states. Raises SpecError for what is said twice: as an argument, and in set or vary."""
    sets, axes = _sets(sets), _axes(vary)
    stated = {grammar.full(path) for path in [*sets, *axes]}
    for name, path, value in (*((key, key, value) for key, value in phase.items()), ("price", _PRICE, price)):
        if value is not None and path in stated:
            raise SpecError(f"'{path}' is given twice: {name}={value!r}, and in set or vary")
    return make(
        model, hw, decode, {key: _or(value, _DEFAULTS.get(key)) for key, value in phase.items()}, sets, axes, price
    )


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


_DEFAULTS = {one.key: int(one.default) for one in settings.PHASE if one.key in ("batch", "context", "isl", "past")}
_PRICE = "hw.price.usd_per_hour"


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value


def _step(
    phase: str, model: Model | None, hw: str | None, batch: Any, context: Any, isl: Any, past: Any, sets: Sets, price: float | None, prefill_tokens: Any,
    prefill_past: Any,
) -> Query:  # fmt: skip
    """The question of one step of a phase. Raises SpecError as `_check_lengths` and `make`."""
    _check_lengths(phase, context, isl, past, prefill_tokens, prefill_past)
    if phase == "decode":
        return _decode(model, hw, batch, context, sets, None, price, prefill_tokens, prefill_past)
    return _prefill(model, hw, batch, isl, past, sets, None, price)


_DOMAIN = "hw.links.scaleup.domain"


def _cluster(
    hw: str | None, sets: Sets | None, gpus: Count | None, nodes: Count | None, vary: Axes | None = None
) -> dict[str, Any]:
    """`sets` with the number of GPUs that a cluster has. Raises SpecError when a node's size is not known."""
    found = dict(sets or {})
    if gpus is not None and nodes is not None:
        raise SpecError("say --gpus or --nodes, not both")
    if nodes is not None:
        if hw is None:
            raise SpecError("--nodes needs one size of a node, and 'hw' is varied: say --gpus")
        if _DOMAIN in (vary or {}):
            raise SpecError(f"--nodes needs one size of a node, and '{_DOMAIN}' is varied: say --gpus")
        device = hardware.load(hw, grammar.Overrides().merged(found).hw)
        if device.scaleup is None or device.scaleup.domain is None:
            raise SpecError(f"{device.where}: no 'links.scaleup.domain', so --nodes has no meaning: say --gpus")
        gpus = int(
            settings.count("--nodes", grammar.read("plan.gpus", nodes))
            * float(np.max(np.asarray(device.scaleup.domain)))
        )
    if gpus is not None:
        if "plan.gpus" in found:
            raise SpecError("'plan.gpus' is set twice: by --set and by --gpus or --nodes")
        found["plan.gpus"] = settings.count("--gpus", grammar.read("plan.gpus", gpus))
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


@_unboxed
def decode(
    model: Model | None = None,
    hw: str | None = None,
    batch: Count | None = None,
    context: Count | None = None,
    set: Sets | None = None,
    vary: Axes | None = None,
    price: float | None = None,
    gpus: Count | None = None,
    nodes: Count | None = None,
    engine: str | None = None,
    prefill_tokens: Count | None = None,
    prefill_past: Count | None = None,
) -> Result:
    """One decode step: `batch` sequences, each attending to `context` tokens with the new one. prefill_tokens: of a prompt that comes in
    beside them on every attention replica, as engines mix them, after `prefill_past` cached ones."""
    sets = _cluster(hw, _sets(set, engine), gpus, nodes, vary)
    return phases.result(_decode(model, hw, batch, context, sets, vary, price, prefill_tokens, prefill_past))


@_unboxed
def prefill(
    model: Model | None = None, hw: str | None = None, isl: Count | None = None, batch: Count | None = None, past: Count | None = None, set: Sets | None = None, vary: Axes | None = None,
    price: float | None = None, gpus: Count | None = None, nodes: Count | None = None, engine: str | None = None,
) -> Result:  # fmt: skip
    """One prefill step: `isl` new tokens of each of `batch` sequences, after `past` cached ones (chunked prefill)."""
    return phases.result(
        _prefill(model, hw, batch, isl, past, _cluster(hw, _sets(set, engine), gpus, nodes, vary), vary, price)
    )


@_unboxed
def compare(
    models: Sequence[Model],
    hw: str,
    batch: Count | None = None,
    context: Count | None = None,
    isl: Count | None = None,
    set: Sets | None = None,
    price: float | None = None,
    gpus: Count | None = None,
    nodes: Count | None = None,
    prefill_batch: Count | None = None,
    engine: str | None = None,
    variants: Sequence[str | Mapping[str, Any]] = (),
) -> Result:
    """Designs side by side, then the terms that differ, largest first. `variants`: of the first model, each a text such as
    "attention=gqa:8,ffn=dense" or a mapping; hw=..., engine=... and plan.tp=... say where it runs, model=... whose variant it is. `prefill_batch`:
    prompts at a time; default: one a replica of the attention and copy of the model."""
    sets = _cluster(hw, _sets(set, engine), gpus, nodes)
    prompts = None if prefill_batch is None else settings.count("--prefill-batch", grammar.read("batch", prefill_batch))
    prompt = {"batch": prompts, "isl": _or(isl, _DEFAULTS["isl"]), "past": 0}
    both = {path: value for path, value in sets.items() if grammar.split(path) == ("phase", "routing")}
    only = both | {path: value for path, value in sets.items() if grammar.split(path)[0] != "phase"}
    first = models[0] if models else ""
    question = _decode(first, hw, batch, context, sets, None, price)
    from simcost.scenarios import compare as scenario

    return scenario.result(
        [zoo.spelled(name) for name in models],
        list(variants),
        question,
        make(first, hw, False, prompt, only, {}, price),
    )


@_unboxed
def explain(
    model: Model, hw: str, phase: str = "decode", batch: Count | None = None, context: Count | None = None, isl: Count | None = None,
    past: Count | None = None, set: Sets | None = None, price: float | None = None, gpus: Count | None = None,
    nodes: Count | None = None, engine: str | None = None, prefill_tokens: Count | None = None, prefill_past: Count | None = None, order: str = "time",
) -> Result:  # fmt: skip
    """Every op of one step of `phase`: "decode" takes `context` (default 4096), and a prompt beside it; "prefill" takes `isl` (4096) and
    `past` (0). `order` of the rows: "time", the longest first, or "execution"."""
    from simcost.scenarios import explain as scenario

    sets = _cluster(hw, _sets(set, engine), gpus, nodes)
    query = _step(phase, model, hw, batch, context, isl, past, sets, price, prefill_tokens, prefill_past)
    return scenario.result(query, order)


@_unboxed
def plans(
    model: Model, hw: str | Sequence[str], gpus: Count | Sequence[Count] | None = None, nodes: Count | None = None, phase: str = "decode",
    batch: Sequence[Count] | None = None, context: Count | None = None, isl: Count | None = None, metric: str | None = None,
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
    devices = _several("--hw", [hardware.spelled(name) for name in ([hw] if isinstance(hw, str) else hw)])
    clusters = [scenario.Cluster(name, _counts(name, sets, gpus, nodes)) for name in devices]
    sets = {path: value for path, value in sets.items() if grammar.full(path) != "plan.gpus"}
    decode_ = phase == "decode"
    stated = {name: value for name, value in (("tpot", tpot), ("ttft", ttft)) if value is not None}
    found = {name: objective.limit(f"--{name}", value) for name, value in stated.items()}
    wrong = "ttft" if decode_ else "tpot"
    if wrong in found:
        raise SpecError(f"a limit on {wrong} means nothing to {phase}")
    if "batch" in sets and batch is not None:
        raise SpecError(f"'batch' is given twice: batch={batch!r}, and in set")
    tried = [sets.pop("batch")] if "batch" in sets else batch
    batches = None if tried is None else tuple(settings.count("--batch", grammar.read("batch", one)) for one in tried)
    if batches == ():
        raise SpecError("--batch names no batch")
    ranked = metric or f"{'output' if decode_ else 'input'}_tokens_per_s_per_gpu"
    wish = objective.Wish(ranked, {f"{name}_s": value for name, value in found.items()}, batches, cp)
    query = (
        _decode(model, devices[0], None, context, sets, None, price)
        if decode_
        else _prefill(model, devices[0], None, isl, None, sets, None, price)
    )
    return scenario.result(query, clusters, wish)


def _counts(hw: str, sets: Sets, gpus: Count | Sequence[Count] | None, nodes: Count | None) -> tuple[int, ...]:
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


@_unboxed
def sensitivity(
    model: Model, hw: str, phase: str = "decode", metric: str | None = None, step: float = 0.05, only: str | None = None, batch: Count | None = None,
    context: Count | None = None, isl: Count | None = None, past: Count | None = None, set: Sets | None = None, price: float | None = None,
    gpus: Count | None = None, nodes: Count | None = None, engine: str | None = None, prefill_tokens: Count | None = None,
    prefill_past: Count | None = None,
) -> Result:  # fmt: skip
    """The elasticity of `metric` (default: the time of the step) to every number of the device, the plan, the step and the model, strongest
    first. `step`: how far to either side, as a share of the number; `only`: "hw", "plan", "phase" or "model"."""
    from simcost.scenarios.goals import sensitivity as scenario

    sets = _cluster(hw, _sets(set, engine), gpus, nodes)
    query = _step(phase, model, hw, batch, context, isl, past, sets, price, prefill_tokens, prefill_past)
    return scenario.result(query, metric, step, only)


@_unboxed
def solve(
    model: Model | None, hw: str | None, path: str, goal: str, phase: str = "decode", batch: Count | None = None, context: Count | None = None, isl: Count | None = None,
    past: Count | None = None, set: Sets | None = None, price: float | None = None, gpus: Count | None = None, nodes: Count | None = None,
    engine: str | None = None, prefill_tokens: Count | None = None, prefill_past: Count | None = None,
) -> Result:  # fmt: skip
    """The value of the number `path` ("hw.memory.bandwidth", "batch") at which `goal` ("tpot=20ms", "mfu>=0.4") is met, with the step there; or
    what keeps it from there."""
    from simcost.scenarios.goals import solve as scenario

    sets = _sets(set, engine)
    if any(grammar.full(each) == grammar.full(path) for each in sets):
        raise SpecError(f"'{path}' is both set and solved for")
    sets = _cluster(hw, sets, gpus, nodes)
    query = _step(phase, model, hw, batch, context, isl, past, sets, price, prefill_tokens, prefill_past)
    return scenario.result(query, path, goal)


@_unboxed
def crossover(model: Model, hw: str = "h200", set: Sets | None = None, engine: str | None = None) -> Result:
    """Where attention overtakes the FFN, and where cache reads overtake weight reads."""
    from simcost.scenarios import crossover as scenario

    return scenario.result(make(model, hw, True, {"batch": 1, "context": 1}, _sets(set, engine), {}, None))


@_unboxed
def show_model(name: Model, set: Sets | None = None, isl: Count | None = None) -> Result:
    """Exact counts of a model by zoo name, Hugging Face repository, config.json or directory, or of a config as a mapping."""
    from simcost.scenarios import show

    return show.show_model(name, _sets(set), settings.count("--isl", grammar.read("isl", _or(isl, _DEFAULTS["isl"]))))


@_unboxed
def show_hardware(name: str, set: Sets | None = None) -> Result:
    """Facts and assumptions of a device profile."""
    from simcost.scenarios import show

    return show.show_hardware(name, _sets(set))


@_unboxed
def show_memory(
    model: Model, hw: str, batch: Count | None = None, context: Count | None = None, set: Sets | None = None, gpus: Count | None = None,
    nodes: Count | None = None, engine: str | None = None,
) -> Result:  # fmt: skip
    """Memory of a GPU term by term, and what the pool of the cache admits, for `batch` requests of `context` tokens."""
    from simcost.scenarios import memory

    sets = _cluster(hw, _sets(set, engine), gpus, nodes)
    return memory.result(_decode(model, hw, batch, context, sets, None, None))


def loss(
    model: str | None = None, tokens: float | str | None = None, training_flops: float | str | None = None, isl: Count | None = None, range: str = "fitted",
    set: Sets | None = None,
) -> Result:  # fmt: skip
    """What published scaling laws say of a model trained on `tokens` (1.4e12, or "1.4T"), or of `training_flops` alone. `range`: "fitted", or "published", as
    far as the sources themselves used their laws. `isl`: tokens of a training sequence, where a law counts FLOPs of attention."""
    from simcost.scenarios.scaling_laws import loss as scenario

    if (model is None) != (tokens is None) or (model is None) == (training_flops is None) or (set and model is None):
        raise SpecError("loss takes --model with --tokens, or --training-flops alone")
    if model is None:
        return scenario.of_compute(_quantity("--training-flops", training_flops, "training_flops"), range)
    length = settings.count("--isl", grammar.read("isl", _or(isl, _DEFAULTS["isl"])))
    return scenario.of_model(model, _quantity("--tokens", tokens, "tokens"), length, range, _sets(set))


def _quantity(name: str, given: Any, dimension: str) -> float:
    """An SI number from "1.4T" or a plain one. Raises SpecError outside of what can be meant."""
    from simcost import units

    value, (low, high) = units.parse(str(given), dimension, name), units.PLAUSIBLE[dimension]
    if not low <= value <= high:
        raise SpecError(f"{name} = {given} is outside {units.show(low, dimension)} to {units.show(high, dimension)}")
    return value


def list_scaling_laws() -> Result:
    """Published scaling laws."""
    from simcost.scenarios.scaling_laws import show

    return show.listed()


def show_scaling_law(name: str) -> Result:
    """Coefficients, ranges, errors and source of a scaling law, by name or file."""
    from simcost.scenarios.scaling_laws import show

    return show.shown(name)


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


_QUESTIONS: dict[str, Callable[..., Result]] = {
    "decode": decode, "prefill": prefill, "compare": compare, "explain": explain, "plans": plans, "crossover": crossover,
    "show model": show_model, "show hardware": show_hardware, "show memory": show_memory,
}  # fmt: skip


def ask(command: str, inputs: Mapping[str, Any]) -> Result:
    """The question of an answer again: `command` and `inputs` of a Result, or of its JSON."""
    from simcost.scenarios.inputs import arguments

    if command not in _QUESTIONS:
        known = ", ".join(_QUESTIONS)
        raise SpecError(f"'{command}' cannot be asked again (only {known}){nearest(command, _QUESTIONS)}")
    question = _QUESTIONS[command]
    return question(**arguments(inputs, list(signature(question).parameters)))
