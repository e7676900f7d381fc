"""list and show: what is known of a model or a device, before any question is asked of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from simcost.calibration import coverage
from simcost.dtypes import Dtype, dtype
from simcost.errors import NotModelled, SpecError
from simcost.hardware import engines
from simcost.hardware import load as hardware
from simcost.hardware.prices import KINDS, Price
from simcost.model import count, flops
from simcost.model import load as models
from simcost.model import notes as model_notes
from simcost.model.spec import ModelSpec
from simcost.num import Num
from simcost.ops.attention_core import Mask
from simcost.plan import Plan
from simcost.provenance import Kind, Note
from simcost.query import Query, model_of
from simcost.result import Result, Row, number
from simcost.scenarios import inputs
from simcost.scenarios.inputs import dimensions
from simcost.sharding.shard import Block
from simcost.units import show

_BF16_BYTES = 2.0


def _described(model: ModelSpec) -> tuple[str, str]:
    attention = sorted({type(b).__name__ for _, b in model.blocks() if b.kind == "attention"})
    ffn = sorted({type(b).__name__ for _, b in model.blocks() if b.kind == "ffn"})
    return " + ".join(attention), " + ".join(ffn)


def list_models() -> Result:
    """Every model of the zoo, one row each."""
    rows: list[Row] = []
    said: list[str] = []
    for name in models.names():
        model = models.load(name)
        counts, kv = count.parameters(model), count.kv_elements(model)
        attention, ffn = _described(model)
        if kv["kv_elements_per_token"] != kv["kv_elements_per_token_written"]:
            said.append(
                f"{name}: window layers have K/V of their own shape and are not in kv_bytes_per_token: see show model {name}"
            )
        rows.append(
            {
                "model": name, "attention": attention, "ffn": ffn, "layers": len(model.order),
                "params_total": number(counts["params_total"]), "params_language": number(counts["params_language"]), "params_active_all": number(counts["params_active_all"]),
                "kv_bytes_per_token": number(_BF16_BYTES * kv["kv_elements_per_token"]),
                "weight_bytes": number(count.weight_bytes(model)),
            }
        )  # fmt: skip
    return Result(
        "list models",
        {},
        {"models": len(rows)},
        {"models": rows},
        tuple(said),
        references=("workloads/models/sources.csv",),
    )


def list_hardware() -> Result:
    """Every device profile, one row each; an empty cell is a value without a source."""
    rows: list[Row] = []
    for name in hardware.names():
        device = hardware.load(name)
        rows.append(
            {
                "hardware": name, "title": device.title,
                "bf16_flops_per_s": _maybe(device.peaks.get("bf16")), "fp8_flops_per_s": _maybe(device.peaks.get("fp8")),
                "fp4_flops_per_s": _maybe(device.peaks.get("fp4")),
                "memory_bytes": number(device.capacity), "memory_bytes_per_s": number(device.bandwidth),
                "scaleup_bytes_per_s": _maybe(device.scaleup and device.scaleup.bandwidth),
                "domain": _maybe(device.scaleup and device.scaleup.domain),
                "measured_rows": coverage.total(device) or None, "engines": ", ".join(coverage.engines(device)) or None, "like": device.sibling and device.sibling.name,
                "tdp_w": _maybe(device.tdp), "usd_per_hour": _maybe(device.usd_per_hour),
            }
        )  # fmt: skip
    return Result(
        "list hardware", {}, {"hardware": len(rows)}, {"hardware": rows}, references=("hwprofiles/<name>/profile.toml",)
    )


def list_engines() -> Result:
    """What `engine` may be, one row each: whose kernels, and of which versions, on which hardware, tables ship."""
    rows: list[Row] = [{"engine": engines.ANY, "stands_for": "the mean of all engines, kernel by kernel (default)"}]
    for name, others in engines.substitutes().items():
        versions, devices = coverage.shipped_tables(name)
        rows.append(
            {
                "engine": name, "stands_for": engines.title(name), "versions": ", ".join(versions),
                "stand_ins": ", ".join(others), "hardware": ", ".join(devices),
            }
        )  # fmt: skip
    rows.append({"engine": engines.TORCH, "stands_for": "our own measurements (calibrate run)"})
    libraries = [f"{name} {', '.join(coverage.shipped_tables(name)[0])}" for name in engines.LIBRARIES]
    return Result(
        "list engines", {}, {"engines": len(rows)}, {"engines": rows},
        (f"kernels of libraries are the same for all engines: {'; '.join(libraries)}", "explain names the version whose table is used for a kernel"),
        references=("workloads/engines/<name>.toml",),
    )  # fmt: skip


def _maybe(value: Any) -> Any:
    return None if value is None else number(value)


def show_model(name: str | Mapping[str, Any], sets: dict[str, Any], isl: float = 4096.0) -> Result:
    """Exact counts of a model, its layers, and training FLOPs per token at length `isl` in each convention that defines it."""
    from simcost import grammar

    foreign = [path for path in sets if grammar.split(path)[0] != "model"]
    if foreign:
        raise SpecError(f"'{foreign[0]}' does not apply to show model (it takes model.<key>)")
    query = Query(models.spelled(name), "", True, grammar.Overrides(phase={"context": isl}).merged(sets))
    model = model_of(query)
    kv = count.kv_elements(model)
    stated = model.quantisation and model.quantisation.kv
    cache = stated or dtype("bf16")
    found = {
        **count.parameters(model),
        **kv,
        "kv_bytes_per_token": cache.tensor_bytes(kv["kv_elements_per_token"]),
        "weight_bytes": count.weight_bytes(model),
    }
    rows: list[Row] = []
    for repeat, layer in [(1, (model.embedding,)), *model.stacks, (1, (model.head,))]:
        for block in layer:
            if block.kind == "norm":
                continue
            size = sum((w.count for w in block.weights(Plan())), 0.0)
            rows.append(
                {
                    "block": type(block).__name__, "layers": repeat, "params_per_layer": number(size),
                    "weights": ", ".join(w.name for w in block.weights(Plan())), "source": block.source,
                }
            )  # fmt: skip
    rows += [
        {
            "block": tower.name, "layers": 1, "params_per_layer": number(tower.parameters),
            "weights": ", ".join(dict.fromkeys(w.name for w in tower.weights(Plan()))), "source": tower.source,
        }
        for tower in model.towers
    ]  # fmt: skip
    kept = _kept(model, cache)
    training = [row for name in flops.conventions() if (row := _training(model, isl, name))]
    asked = query.overrides.model
    said = [
        *model_notes.of(model, asked),
        Note(
            f"kv_bytes_per_token is in {cache.name}{', as the config states' if stated else ''}",
            Kind.SAID if stated else Kind.ASSUMED,
        ),
        *model_notes.unused(model, asked),
    ]
    return Result(
        "show model", {"model": inputs.stated(query.model), "isl": number(isl), "set": dict(sets)}, {k: number(v) for k, v in found.items()},
        {"blocks": rows, "cache of a sequence": kept, f"training FLOPs per token at {isl:,.0f} tokens": training}, tuple(said),
        tuple(dict.fromkeys(f"{type(b).__name__}: {b.source}" for _, b in model.blocks())),
        _headline(model),
        dimensions=dimensions(model),
    )  # fmt: skip


def _training(model: ModelSpec, isl: Num, convention: str) -> Row | None:
    """A convention's FLOPs of a token; None where it does not define the model."""
    try:
        return {
            "convention": convention,
            "training_flops_per_token": number(flops.flops_per_token(model, isl, convention)),
        }
    except NotModelled:
        return None


def _kept(model: ModelSpec, cache: Dtype) -> list[Row]:
    """What a sequence keeps, a row for each block that keeps something: its formula, and elements and bytes of all its layers."""
    found: dict[tuple[str, str, str], list[float]] = {}
    for count_, block in model.blocks():
        if not block.state_formula or not np.any(block.state_elements(1.0, Plan())):
            continue
        same = found.setdefault((type(block).__name__, block.state_formula, _tokens(block.mask)), [0.0, 0.0, 0.0])
        for at, more in enumerate((1.0, *_each(block, cache))):
            same[at] += float(count_) * float(np.asarray(more))
    return [
        {
            "block": name, "keeps": formula.split(": ")[0], "of_tokens": tokens, "formula": f"{layers:.0f} layers x ({formula.split(': ')[1]})",
            "kept_elements": number(elements), "kept_bytes": number(size),
        }
        for (name, formula, tokens), (layers, elements, size) in found.items()
    ]  # fmt: skip


def _each(block: Block, cache: Dtype) -> tuple[Num, Num]:
    """(elements, bytes) that one layer keeps: by which it grows with a token, of a token in a window, or of a sequence."""
    if block.mask is None:
        return block.state_elements(1.0, Plan()), block.state_bytes(1.0, Plan(), cache)
    if block.mask.bounded:
        return block.token_elements(Plan()), block.token_bytes(Plan(), cache)
    long = 2.0**20
    grown = (block.state_elements(2.0 * long, Plan()) - block.state_elements(long, Plan())) / long
    return grown, block.token_bytes(Plan(), cache)


def _tokens(mask: Mask | None) -> str:
    """For which tokens of a sequence a block keeps something."""
    if mask is None:
        return "the sequence"
    if mask.chunk is not None:
        return f"each of a chunk of {float(np.asarray(mask.chunk)):,.0f}"
    return "each" if mask.window is None else f"each of the last {float(np.asarray(mask.window)):,.0f}"


def _headline(model: ModelSpec) -> str:
    """Blocks, layers and formats; and of towers how many parameters, or why nobody knows the total."""
    formats = ", ".join(sorted({d.name for d in model.storage.values()}))
    said = [f"{model.name}: {' / '.join(_described(model))}, {len(model.order)} layers, stored in {formats}"]
    said += [f"{tower.name} of {show(float(np.asarray(tower.parameters)), 'parameters')}" for tower in model.towers]
    if model.uncounted:
        said.append(
            f"PARAMS_TOTAL NOT KNOWN, params_language is the language model alone: {'; '.join(model.uncounted)}"
        )
    return "; ".join(said)


def _basis(path: str, entry: Mapping[str, Any]) -> str:
    """A price is a market quotation, no property of the part; a fact may say that it is assumed."""
    if entry.get("assumed"):
        return "assumed"
    return {"assumed": "assumed", "price": "quoted"}.get(path.split(".")[0], "datasheet")


_PRICE = "price.usd_per_hour"


def _price_row(path: str, price: Price) -> Row:
    ends = "one price" if price.low is None or price.high is None else f"{price.low:,.4g} to {price.high:,.4g}"
    source = f"{ends}, {price.words}: {price.source}" if price.words else price.source
    if path == _PRICE and price.kind:
        source = f"{price.words}: hw.price.{price.kind}, the first of the kinds below"
    stated = show(float(price.usd), "usd_per_hour")
    return {"key": f"hw.{path}", "value": number(price.usd), "stated": stated, "basis": "quoted", "source": source}


def show_hardware(name: str, sets: dict[str, Any]) -> Result:
    """Every fact of a profile with its source, every assumption with its reason, and the rows that it answers from."""
    from simcost import grammar

    foreign = [path for path in sets if grammar.split(path)[0] != "hw"]
    if foreign:
        raise SpecError(f"'{foreign[0]}' does not apply to show hardware (it takes hw.<key>)")
    changed = grammar.Overrides().merged(sets).hw
    device = hardware.load(name, changed)
    changed = {path: given for path, given in changed.items() if path not in hardware.CHOICES}  # a choice, no fact
    where, tables = hardware.read(name)
    values = hardware.facts(tables, where)
    for path, given in changed.items():
        values[path] = hardware.override(path, given, values, where)
    stated = dict(hardware.entries(tables, where))
    rows: list[Row] = []
    if device.price is not None and _PRICE in values:
        values[_PRICE] = device.price.usd
    for path, value in values.items():
        entry = stated.get(path, {})
        if path == _PRICE and path not in {**stated, **changed} and device.price is not None:
            rows.append(_price_row(path, device.price))
            continue
        source = tables["sources"].get(entry.get("source"), "") if "source" in entry else entry.get("reason", "")
        source = f"{source}; assumed: {entry['assumed']}" if entry.get("assumed") else source
        rows.append(
            {
                "key": f"hw.{path}", "value": number(value), "stated": f"{float(np.asarray(value)):.6g} (SI, set by hand)" if path in changed else str(entry.get("value")),
                "basis": "set by hand" if path in changed else _basis(path, entry), "source": "" if path in changed else source,
            }
        )  # fmt: skip
    rows += [_price_row(f"price.{key}", price) for key, price in device.prices.items() if key in KINDS]
    metrics = {
        path.replace(".", "_"): number(value) for path, value in values.items() if not path.startswith("assumed.")
    }
    answers = coverage.table(name, device)
    return Result(
        "show hardware", {"hw": name, "set": dict(sets)}, metrics, {"facts": rows, "measurements": answers},
        device.notes, (where,),
        f"{device.title}: {sum(r['basis'] == 'assumed' for r in rows)} of {len(rows)} values are assumptions",
    )  # fmt: skip
