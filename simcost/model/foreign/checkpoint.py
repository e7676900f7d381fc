"""The checkpoint beside a config, as a check: the bytes that its index or its headers state, against those that are counted here.

No tensor is read, and no pickle is opened: of `pytorch_model.bin` the size on disk is taken, which is larger by the names of its tensors. Most likely to be wrong: a checkpoint that keeps tensors which nothing loads. Sources: safetensors' format (8 bytes of length, a JSON
header with `data_offsets`), `model.safetensors.index.json` of transformers (`metadata.total_size` in bytes, `total_parameters`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from simcost.errors import SpecError
from simcost.model import count
from simcost.model.foreign.tensors import header_bytes, pickle_bytes
from simcost.model.spec import ModelSpec
from simcost.num import is_scalar
from simcost.plan import Plan
from simcost.provenance import Kind, Note
from simcost.texts import json_value, text
from simcost.units import show

INDICES, SINGLE, PICKLE = (
    ("model.safetensors.index.json", "pytorch_model.bin.index.json"),
    "model.safetensors",
    "pytorch_model.bin",
)
_PART = re.compile(r"model-\d{5}-of-(\d{5})\.safetensors")  # of a checkpoint whose index is not there
_CLOSE = 0.005


def files(path: Path) -> list[Path]:
    """The files beside a config.json that say how large its checkpoint is."""
    if path.name != "config.json":
        return []
    named = [file for name in (*INDICES, SINGLE) if (file := path.parent / name).is_file()]
    if named:
        return named[:1]
    parts = sorted(file for file in path.parent.iterdir() if _PART.fullmatch(file.name))
    if parts and len(parts) == int(parts[0].name[15:20]):
        return parts
    pickle = path.parent / PICKLE
    return [pickle] if pickle.is_file() else []


def compared(model: ModelSpec, path: Path) -> tuple[Note, ...]:
    """What the checkpoint beside a config says of the count; () without one."""
    found = files(path)
    if not found or not is_scalar(count.weight_bytes(model)):
        return ()
    try:
        size, counted = _stated(found)
    except (SpecError, OSError) as error:
        return (Note(f"the size of the checkpoint is not checked: {error}", Kind.MISSING),)
    name = found[0].name + (f" and {len(found) - 1} more" if len(found) > 1 else "")
    return (_verdict(model, name, size, counted),)


def _stated(files: Sequence[Path]) -> tuple[float, bool]:
    """(size, whether it is of parameters). Raises SpecError for files that say none."""
    file = files[0]
    if file.suffix == ".safetensors":
        return sum(map(header_bytes, files)), False
    if file.name == PICKLE:
        return pickle_bytes(file), False
    index = json_value(text(file, file.name), file.name)
    metadata = index.get("metadata") if isinstance(index, dict) else None
    for key in ("total_size", "total_parameters"):
        value = metadata.get(key) if isinstance(metadata, dict) else None
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 1e18:
            return float(value), key == "total_parameters"
    raise SpecError(f"{file.name} has no metadata.total_size")


def _parts(model: ModelSpec, counted: bool) -> tuple[float, dict[str, float]]:
    """(size of the model, sizes of what a checkpoint may hold besides), in bytes, or in parameters where `counted`."""
    whole = Plan()

    def size(blocks: Any) -> float:
        weights = [weight for block in blocks for weight in block.weights(whole)]
        return float(sum(w.count if counted else w.stored_bytes(model.storage) for w in weights))

    table = [w for w in model.embedding.weights(whole) if w.name == "embed_tokens"]
    tables = float(sum(w.count if counted else w.stored_bytes(model.storage) for w in table))
    main = sum(n * size((block,)) for n, block in model.blocks())
    mtp, towers = size(model.mtp), size(model.towers)
    beside = {"MTP": mtp, "embedding and head of MTP": 2.0 * tables * len(model.mtp), "its towers": towers}
    beside["a copy of the tied table"] = tables if model.head.tied else 0.0
    return main, {name: each for name, each in beside.items() if each}


def _verdict(model: ModelSpec, name: str, stated: float, counted: bool) -> Note:
    main, beside = _parts(model, counted)
    sums = [
        (abs(stated / (main + sum(beside[part] for part in parts)) - 1.0), parts)
        for n in range(len(beside) + 1)
        for parts in combinations(beside, n)
    ]
    apart, parts = min(sums, key=lambda one: (round(one[0], 6), len(one[1])))
    said, ours = (f"{value:,.0f} parameters" if counted else show(value, "bytes") for value in (stated, main))
    what = " + ".join(("the model", *parts))
    if apart <= _CLOSE:
        return Note(f"{name}: {said}, as counted here for {what} (within {apart:.2%})", Kind.SAID)
    fp32 = main * 32.0 / model.base.bits
    if model.quantisation is None and not counted and abs(stated / fp32 - 1.0) <= _CLOSE:
        return Note(
            f"{name}: {said}: the checkpoint is in fp32, counted here in {model.base.name} as torch_dtype says",
            Kind.ASSUMED,
        )
    return Note(
        f"{name}: {said}, but {ours} are counted here for the model{_besides(beside, counted)}: the config belongs to another checkpoint, or parts "
        "of the checkpoint are not counted",
        Kind.MISSING,
    )


def _besides(beside: dict[str, float], counted: bool) -> str:
    listed = (f"{name} {each:,.0f}" if counted else f"{name} {show(each, 'bytes')}" for name, each in beside.items())
    text = ", ".join(listed)
    return f" (besides: {text})" if text else ""
