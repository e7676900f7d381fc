"""Tensors that a user passes without a config: what a safetensors file, its index or a PyTorch checkpoint says of them, in one line.

Headers alone are read; a PyTorch checkpoint is a pickle, which may run code, and is never opened: its size on disk is said. Names and shapes do not determine a
model (heads, kinds of layers, ties and activations stand in no tensor), so each line asks for the config. Most likely to be wrong: elements of packed formats, which
hold several weights each. Sources: safetensors' format (8 bytes of length, a JSON header with `dtype`, `shape` and `data_offsets`);
`*.index.json` of transformers (`metadata.total_size`, `weight_map`); PEFT's names (lora_A).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from simcost.errors import SpecError
from simcost.texts import json_value
from simcost.units import show

PASS = "pass the config.json of the model that it holds"
_BASE = "pass its base model"
_POINTER = b"version https://git-lfs"
_HEADER = 1 << 25  # bytes that are read at most
_LAYER = re.compile(r"(?:^|\.)(?:layers|blocks|block|h)\.(\d{1,4})\.")
_TABLES = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "tok_embeddings.weight", "embed_in.weight")


def header(file: Path) -> dict[str, Any]:
    """The header of a safetensors file: what it says of every tensor. Raises SpecError for anything else."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if length > min(_HEADER, size - 8):
            raise SpecError(f"{file.name} has no header of safetensors (a pointer of Git LFS, or cut off)")
        text = opened.read(length)
    try:
        found = json_value(text, file.name)
    except SpecError:
        found = None
    if not isinstance(found, dict):
        raise SpecError(f"{file.name} has no header of safetensors")
    return {name: each for name, each in found.items() if name != "__metadata__"}


def header_bytes(file: Path) -> float:
    """Bytes of all tensors. Raises SpecError for a header that states them wrongly."""
    return float(sum(_size(file, name, each) for name, each in header(file).items()))


def _size(file: Path, name: str, each: Any) -> int:
    ends = each.get("data_offsets") if isinstance(each, dict) else None
    if not isinstance(ends, list) or [type(end) for end in ends] != [int, int] or not 0 <= ends[0] <= ends[1] < 1 << 60:
        raise SpecError(f"{file.name}: data_offsets of {name[:80]!r} are {str(ends)[:80]}")
    return int(ends[1] - ends[0])


def of_safetensors(files: Iterable[Path]) -> str:
    """What safetensors files hold together: elements, bytes by format, the sizes that names and shapes show."""
    shapes: dict[str, list[int]] = {}
    sizes: Counter[str] = Counter()
    files = list(files)
    what = "a safetensors file" if len(files) == 1 else f"{len(files)} safetensors files"
    try:
        for file in files:
            for name, each in header(file).items():
                sizes[str(each.get("dtype"))[:12]] += _size(file, name, each) if isinstance(each, dict) else 0
                shapes[name] = _shape(file, name, each)
    except (SpecError, OSError, AttributeError) as error:
        return f"{what}, whose tensors are not known ({error}): {PASS}"
    elements = sum(math.prod(shape) for shape in shapes.values())
    listed = ", ".join(f"{kind} {show(size, 'bytes')}" for kind, size in sizes.most_common())
    said = f"{what}: {len(shapes):,} tensors of {elements:,} elements ({listed})"
    if any("lora_" in name for name in shapes):
        return f"{said}, those of an adapter (LoRA): {_BASE}"
    return f"{said}{_looks(shapes)}: {PASS}"


def _shape(file: Path, name: str, each: Any) -> list[int]:
    shape = each.get("shape") if isinstance(each, dict) else None
    if not isinstance(shape, list) or not all(type(side) is int and 0 <= side < 1 << 50 for side in shape):
        raise SpecError(f"{file.name}: shape of {name[:80]!r} is {str(shape)[:80]}")
    return shape


def _looks(shapes: Mapping[str, list[int]]) -> str:
    """The sizes that names and shapes show, as a clause; "" for none."""
    layers = [int(found[1]) for name in shapes if (found := _LAYER.search(name))]
    table = next((shape for name, shape in shapes.items() if name.endswith(_TABLES) and len(shape) == 2), None)
    said = [f"num_hidden_layers = {max(layers) + 1}"] if layers else []
    said += [f"vocab_size = {table[0]}, hidden_size = {table[1]}"] if table else []
    return (
        f"; by names and shapes {', '.join(said)}; heads, ties and activations cannot be read from tensors"
        if said
        else ""
    )


def of_index(file: Path, table: Mapping[str, Any]) -> str:
    """What the index of a checkpoint says, with the headers of its files where they lie beside it."""
    places, metadata = table.get("weight_map"), table.get("metadata")
    names = {name for name in places.values() if isinstance(name, str)} if isinstance(places, Mapping) else set()
    here = [each for name in sorted(names) if Path(name).name == name and (each := file.parent / name).is_file()]
    if here and len(here) == len(names) and all(each.suffix == ".safetensors" for each in here):
        return f"the index of a checkpoint of {of_safetensors(here)}"
    said = [f"{len(places):,} tensors in {len(names):,} files" if isinstance(places, Mapping) else "no weight_map"]
    for key, unit in (("total_size", "bytes"), ("total_parameters", "")):
        value = metadata.get(key) if isinstance(metadata, Mapping) else None
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 1e18:
            said.append(show(value, unit) if unit else f"{value:,.0f} parameters")
    return f"the index of a checkpoint ({', '.join(said)}): pass the directory, or its config.json"


def pickle_bytes(file: Path) -> float:
    """The size on disk of a PyTorch checkpoint. Raises SpecError for a pointer to one."""
    with file.open("rb") as opened:
        if opened.read(len(_POINTER)) == _POINTER:
            raise SpecError(f"{file.name} is a pointer of Git LFS")
    return float(file.stat().st_size)


def of_pytorch(files: Collection[Path]) -> str:
    """What PyTorch checkpoints are, by their size on disk."""
    what = "a PyTorch checkpoint" if len(files) == 1 else f"{len(files)} files of a PyTorch checkpoint"
    try:
        size = show(sum(map(pickle_bytes, files)), "bytes")
    except (SpecError, OSError) as error:
        return f"{what} ({error}): {PASS}"
    return f"{what} of {size}, a pickle, which is not opened: {PASS}"
