"""model x plan x hardware x phase, with every format resolved and every default said aloud."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from simcost import lower, shared_layers
from simcost.blocks.tower.tower import Tower
from simcost.dtypes import Dtype, dtype
from simcost.errors import SpecError
from simcost.frozen import frozen
from simcost.hardware import engine_file, engine_terms, engines, runs
from simcost.hardware.engine_file import NEWEST, VERSION, About, numbers
from simcost.hardware.engine_memory import EngineMemory
from simcost.hardware.engines import ANY, TORCH
from simcost.hardware.profile import Device
from simcost.model import images
from simcost.model.cache import has_states
from simcost.model.quant import CONVERTED
from simcost.model.spec import ModelSpec
from simcost.num import every, is_scalar
from simcost.plan import Phase, Plan
from simcost.provenance import Kind, Note
from simcost.routing.router import check_layers
from simcost.settings import CHOICES, checked, of
from simcost.sharding.shard import ROLES, View
from simcost.sharding.share import Share

NO_STEP = "has no effect on a step: simcost serve uses it"  # how notes on settings that only serving has end


@frozen
class Workload:
    """Everything one question needs. `engine`: whose kernels run; "any" for the middle of engines, kernel by kernel; `memory`: how
    it shares out a GPU's memory; `untimed`: why no kernel of it can be priced, "" where they can; `draft`: what
    proposes tokens to it, None without speculation.
    """

    model: ModelSpec
    device: Device
    plan: Plan
    phase: Phase
    view: View
    notes: tuple[Note, ...]
    engine: str
    memory: EngineMemory
    untimed: str = ""
    draft: Draft | None = None

    def formats(self) -> dict[str, str]:
        """The resolved formats of weights, arithmetic, cache and activations, by the plan's keys, for people."""
        experts = lower.has_experts(self.model)
        return {
            "weight_dtype": _summary(self.view.storage, experts),
            "compute_dtype": _summary(self.view.compute, experts),
            "kv_dtype": self.view.kv.name,
            "activation_dtype": self.view.activation.name,
        }


@frozen
class Draft:
    """What proposes tokens beside a design, on the ranks that sample: `modules` of it are held with a cache each;
    `shared`: embedding and head are the design's own, as of an MTP module."""

    workload: Workload
    modules: float = 1.0
    shared: bool = False


def _summary(table: Mapping[str, Dtype], experts: bool) -> str:
    """The format of experts, where a design has any, else of the FFN; and that of the rest."""
    main, rest = table["experts"], table["head"]
    main = table["ffn"] if main is rest or not experts else main
    return main.name if main.name == rest.name else f"{main.name} (rest {rest.name})"


def about_of(model: ModelSpec) -> About:
    """What terms of engines ask of a model."""
    return About(model.family, lower.has_experts(model), model.has_tower, has_states(model))


def build(
    model: ModelSpec,
    device: Device,
    plan: Plan,
    phase: Phase,
    engine: str = ANY,
    settings: Mapping[str, Any] | None = None,
    timed: bool = True,
) -> Workload:
    """Resolve formats. `settings`: of the engine, by its own names. Raises SpecError for a format that the device cannot compute, naming
    the way out (without `timed` it is said in a note: memory needs no rate), for an unknown engine and for a setting that it has not."""
    engine = engines.checked(engine)
    _check_engine(device, engine)
    for key in CHOICES:
        checked(of("plan")[key], getattr(plan, key), f"plan.{key}")
    tower = images.required(model.name, model.towers, model.uncounted, phase)
    check_layers(phase.routing, sum(n for n, layer in model.stacks if any(b.router is not None for b in layer)))
    activation = _named(plan.activation_dtype, "activation_dtype") or model.base
    kv = _named(plan.kv_dtype, "kv_dtype") or (model.quantisation and model.quantisation.kv) or dtype("bf16")
    storage = lower.storage(model, plan)
    compute = {role: _compute(model, plan, device, role, storage[role], activation) for role in ROLES}
    shares = _shares(model, plan, device, activation, storage, compute)
    formats = [(storage, compute), *((one.storage, one.compute) for each in shares.values() for one in each)]
    untimed = next((why for kept, each in formats if (why := _uncomputable(device, activation, each, kept))), "")
    if untimed and timed:
        raise SpecError(untimed)
    # Kernels for a narrow cache quantise Q and compute in its format where the device can (FlashAttention 3, FlashMLA,
    # TensorRT-LLM); elsewhere they widen K and V.
    core = kv if kv.bits < activation.bits and kv.peak in device.peaks else activation
    about = about_of(model)
    view = View(plan, phase, activation, kv, storage, compute, core, shares)
    found = Workload(
        model,
        device,
        plan,
        phase,
        view,
        (),
        engine,
        engine_terms.terms(engine, settings or {}, device, plan, about),
        untimed,
    )
    notes = (
        _defaults(found),
        *((Note(f"only memory is computed, not times: {untimed}", Kind.MISSING),) if untimed else ()),
        *lower.padding(model, plan, storage),
        *shared_layers.notes(model, plan),
        *_device_notes(device),
        *_serving_notes(settings or {}),
        *_release_notes(found),
        *_image_notes(found, tower),
    )
    return replace(found, notes=notes)


def _serving_notes(settings: Mapping[str, Any]) -> Iterator[Note]:
    """Settings of an engine that a step has no use for."""
    if not settings:  # the names are in the files of all engines
        return
    of_memory = {VERSION, *(name for engine in engines.names() for name in engine_file.setting_names(engine).values())}
    for name in settings:
        if name not in of_memory:
            yield Note(f"engine.{name} {NO_STEP}", Kind.NO_EFFECT)


def _release_notes(w: Workload) -> Iterator[Note]:
    """A release that is newer than all that the engine's files know."""
    asked = w.memory.version
    if asked == NEWEST:
        return
    last = engine_file.newest(w.memory.engine)
    if numbers(asked)[: len(numbers(last))] > numbers(last):
        text = f"engine.version = {asked}: terms are those of {last}, the newest release of {engines.title(w.memory.engine)} that is known"
        yield Note(text, Kind.TRANSFERRED)


def _image_notes(w: Workload, tower: Tower | None) -> Iterator[Note]:
    """What an image is and takes, where a phase has any."""
    if tower is None:
        stated = images.sides(w.phase)
        if stated:
            yield Note(f"{' and '.join(stated)} have no effect: there are no images", Kind.NO_EFFECT)
        return
    around = "without the tokens that a processor adds around them"
    if not every(w.phase.images == 0.0) and is_scalar(taken := tower.taken(w.phase)):
        yield Note(f"{w.model.name}: each image takes {taken:,.0f} tokens of isl, {around}", Kind.ASSUMED)
    film = replace(w.phase, images=0.0)
    if film.sees and is_scalar(taken := tower.prompt_tokens(film)):
        joined = (
            "" if tower.video is None or tower.video.joined == 1.0 else f", {tower.video.joined:.0f} frames to a patch"
        )
        yield Note(
            f"{w.model.name}: the video takes {taken:,.0f} tokens of isl{joined}, {around} and between its frames",
            Kind.ASSUMED,
        )
    if tower.said:
        yield Note(f"{w.model.name}: {tower.said}", Kind.ASSUMED)


def _check_engine(device: Device, engine: str) -> None:
    """Raises SpecError where an engine is asked for by whose kernels nothing is known of this device."""
    own = [device, device.sibling] if device.sibling is not None else [device]
    if engine == TORCH and not any(runs.kind(Path(home)) == "measured" for one in own for home in one.measurements):
        raise SpecError(
            f"engine=torch: {device.where} has no measurements of our own: measure it (simcost calibrate run --device cuda), or ask "
            f"one of {', '.join(engines.names())}"
        )


def _named(name: str | None, key: str) -> Dtype | None:
    return None if name is None else dtype(name, f"plan.{key}")


def _shares(
    model: ModelSpec,
    plan: Plan,
    device: Device,
    activation: Dtype,
    storage: Mapping[str, Dtype],
    compute: Mapping[str, Dtype],
) -> dict[str, tuple[Share, ...]]:
    """The parts of every stack whose roles mix formats, each of whole layers: a stack of which a role has a quarter in bf16 has a quarter of its layers in bf16, whichever
    matrices those are."""
    found = {}
    for index in range(len(model.stacks)) if plan.weight_dtype is None and model.quantisation is not None else ():
        mixed = mixed_formats(model, index)
        if not mixed:
            continue
        ends = sorted({end for parts in mixed.values() for end, _, _ in parts})
        shares = []
        for start, end in zip([0.0, *ends], ends, strict=False):
            here = {
                role: next((kind, own) for last, kind, own in parts if last >= end) for role, parts in mixed.items()
            }
            kept = {**storage, **{role: kind for role, (kind, _) in here.items()}}
            each = {role: _of_part(plan, device, role, kind, own, activation) for role, (kind, own) in here.items()}
            shares.append(Share(end - start, kept, {**compute, **each}))
        found[f"stack {index}"] = tuple(shares)
    return found


def mixed_formats(model: ModelSpec, stack: int) -> dict[str, list[tuple[float, Dtype, Dtype | None]]]:
    """Of every role of a stack that mixes formats over the model: (share of the elements up to and with this one, format, what it computes in)."""
    found = {}
    for role, stored in (model.quantisation.formats if model.quantisation else {}).items():
        own: dict[tuple[str, float], tuple[float, Dtype, Dtype | None]] = {}
        for layer, parts in stored.parts:
            for part in parts if layer < len(model.order) and model.order[layer] == stack else ():
                key = part.dtype.name, part.dtype.bits
                own[key] = own.get(key, (0.0,))[0] + part.elements, part.dtype, part.compute
        whole = sum(elements for elements, _, _ in own.values())
        if whole:
            ends = np.cumsum([elements for elements, _, _ in own.values()]) / whole
            found[role] = [
                (float(end), kind, compute) for end, (_, kind, compute) in zip(ends, own.values(), strict=True)
            ]
            found[role][-1] = 1.0, *found[role][-1][1:]
    return found


def _of_part(plan: Plan, device: Device, role: str, stored: Dtype, own: Dtype | None, activation: Dtype) -> Dtype:
    """What a part of a role computes in: as asked for where it is no wider than that."""
    wanted = _named(plan.compute_dtype, "compute_dtype")
    if wanted is not None and role in CONVERTED and stored.bits <= wanted.bits:
        return wanted
    return _by_format(device, stored, own, False, activation)


def _compute(model: ModelSpec, plan: Plan, device: Device, role: str, stored: Dtype, activation: Dtype) -> Dtype:
    wanted = _named(plan.compute_dtype, "compute_dtype")
    if wanted is not None and role in CONVERTED:
        if stored.bits > wanted.bits:
            raise SpecError(
                f"plan.compute_dtype={wanted.name} is narrower than the weights ({stored.name}): "
                f"set plan.weight_dtype={wanted.name} too"
            )
        return wanted
    chosen = plan.weight_dtype is not None
    own = None if chosen or model.quantisation is None else model.quantisation.compute(role)
    return _by_format(device, stored, own, chosen, activation)


def _by_format(device: Device, stored: Dtype, own: Dtype | None, chosen: bool, activation: Dtype) -> Dtype:
    """What weights of a format compute in. `own`: what their quantisation says; `chosen`: whether the plan chose the format."""
    if stored.bits >= 16:
        return stored if stored.bits > activation.bits else activation
    if own is not None:
        return own
    if stored.name == "mxfp4" and "mxfp8" in device.peaks:
        # vLLM, SGLang and TensorRT-LLM quantise the input of mxfp4 experts to mxfp8 where the arithmetic exists (Blackwell).
        return dtype("mxfp8")
    return stored if chosen and stored.name in ("fp8", "fp8_block", "int8", "nvfp4") else activation


def _uncomputable(device: Device, activation: Dtype, compute: Mapping[str, Dtype], storage: Mapping[str, Dtype]) -> str:
    """Why a device cannot compute in these formats, with the way out; "" where it can."""
    multiplied = {role: kind for role, kind in compute.items() if role not in ("norm", "embedding")}
    for role, kind in {"attention core": activation, **multiplied}.items():
        if not kind.peak or kind.peak not in device.peaks:
            packed = storage.get(role, kind)
            half = next((name for name in ("bf16", "fp16") if name in device.peaks), "...")
            way = f"keep the weights in {packed.name} and compute in a wider format: --set plan.compute_dtype={half}"
            if kind is activation:
                way = f"run it in {half}: --set plan.activation_dtype={half}"
            rates = ", ".join(device.peaks)
            return f"{device.name} cannot compute in {kind.name} ({role}; {device.where} states {rates}): {way}"
    return ""


def _defaults(w: Workload) -> Note:
    """Every format with where it comes from."""
    cached = w.model.quantisation is not None and w.model.quantisation.kv is not None
    origin = {
        "weight_dtype": "from the config",
        "compute_dtype": "from the config" if w.plan.weight_dtype is None else "follows plan.weight_dtype",
        "kv_dtype": "from the config" if cached else "default",
        "activation_dtype": "from the config",
    }
    said = [
        f"plan.{key}={value} ({origin[key] if getattr(w.plan, key) is None else 'set by hand'})"
        for key, value in w.formats().items()
    ]
    return Note(f"{w.model.name}: formats: {', '.join(said)}", Kind.ORIGIN)


def _device_notes(device: Device) -> tuple[Note, ...]:
    notes = []
    if "fp32" not in device.peaks:
        notes.append(f"{device.name}: no vector rate (peak.fp32) is known: elementwise kernels count as memory-bound")
    if device.capacity_assumed:
        notes.append(f"{device.name}: the capacity of its memory is assumed: {device.capacity_assumed}")
    if device.scaleup is not None and device.scaleup.topology == "torus":
        notes.append(
            f"{device.name}: the torus is modelled as a switch of the same bandwidth, which makes All2All too fast"
        )
    return tuple(Note(text, Kind.ASSUMED) for text in notes)
