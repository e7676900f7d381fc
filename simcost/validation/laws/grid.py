"""Kernels to judge laws by: the layers of the models that ship, over rows, sequences, contexts and bytes.

A layer's numbers are read off the step of its model, so that a grid holds what users ask. Most likely to be wrong: layers of a
design that nobody ships.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache

import numpy as np

from simcost import lower, query
from simcost.calibration.family import Labels, families
from simcost.frozen import frozen
from simcost.num import Array
from simcost.ops.collective import Collective, Kind
from simcost.ops.fused import Fused
from simcost.ops.work import Op
from simcost.program import Call, Choice, Program, Serial, calls

ROWS = (1, 2, 3, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096, 8192, 16384)
CONTEXTS = (64, 256, 1024, 2048, 4096, 8192, 32768, 131072)
PROMPTS = (16, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)
PROMPT_BATCHES = (1, 2, 4, 8, 16)
CACHED = 2.0**25  # keys of all sequences: more fit no device
PROMPTED = 2.0**18  # queries of all sequences
BYTES = tuple(2.0**power for power in range(10, 33))
GROUPS = (2, 4, 8, 16, 32, 64)
TP = (1, 4, 8)
# One of each structure, and of each size of layer.
MODELS = (
    "llama-3.1-8b", "llama-3.1-70b", "llama-3.1-405b", "qwen3-32b", "opt-30b", "gemma-3-27b", "mixtral-8x7b", "qwen3-235b-a22b",
    "gpt-oss-120b", "deepseek-v3", "llama-4-scout", "mimo-v2-flash", "qwen3-30b-a3b",
)  # fmt: skip


@frozen
class Grid:
    """Kernels of one family and kind (in bf16) on a grid: numbers of [layers, ...] each; `axes`: name of every further dimension."""

    family: str
    labels: Labels
    numbers: Mapping[str, Array]
    axes: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape that its numbers broadcast to: layers, then one dimension for each of `axes`."""
        return np.broadcast_shapes(*(np.shape(value) for value in self.numbers.values()))

    def thinned(self, layers: int, seed: int) -> Grid:
        """The grid with at most `layers` of its layers, drawn by `seed`."""
        count = self.shape[0]
        if count <= layers:
            return self
        keep = np.sort(np.random.default_rng(seed).choice(count, layers, replace=False))
        numbers = {name: np.asarray(v)[keep] if np.shape(v)[:1] == (count,) else v for name, v in self.numbers.items()}
        return Grid(self.family, self.labels, numbers, self.axes)


def grids(models: Sequence[str] = MODELS) -> list[Grid]:
    """A grid for every family and kind of kernels that a step of these models runs, without collectives."""
    return [*_decode(tuple(models)), *_prefill(tuple(models))]


@cache
def _decode(models: tuple[str, ...]) -> list[Grid]:
    """Products by rows, experts by tokens, attention by sequences and context."""
    shape = (len(ROWS), len(CONTEXTS))
    asked = {"batch": list(ROWS), "context": list(CONTEXTS)}
    every = _layers(models, True, asked, shape)
    found = []
    for (family, labels), layers in every.items():
        if family in ("gemm", "batched_gemm", "experts"):
            one = {name: np.stack([layer[name][:, 0] for layer in layers]) for name in layers[0]}
            found.append(Grid(family, dict(labels), one, ("rows",)))
        elif family == "attention_decode":
            found.append(Grid(family, dict(labels), _stacked(layers), ("batch", "context")))
    return found


@cache
def _prefill(models: tuple[str, ...]) -> list[Grid]:
    shape = (len(PROMPT_BATCHES), len(PROMPTS))
    asked = {"batch": list(PROMPT_BATCHES), "isl": list(PROMPTS)}
    every = _layers(models, False, asked, shape)
    return [
        Grid(family, dict(labels), _stacked(layers), ("batch", "isl"))
        for (family, labels), layers in every.items()
        if family == "attention_prefill"
    ]


def _stacked(layers: list[dict[str, Array]]) -> dict[str, Array]:
    return {name: np.stack([layer[name] for layer in layers]) for name in layers[0]}


Key = tuple[str, tuple[tuple[str, str], ...]]


def _layers(
    models: tuple[str, ...], decode: bool, asked: Mapping[str, list[int]], shape: tuple[int, ...]
) -> dict[Key, list[dict[str, Array]]]:
    """(family, labels) -> numbers [shape] of every distinct layer."""
    found: dict[Key, dict[bytes, dict[str, Array]]] = {}
    for name in models:
        for tp in TP:
            for family, labels, numbers in _asked(name, decode, tp, asked):
                full = {key: np.array(np.broadcast_to(np.asarray(v, np.float64), shape)) for key, v in numbers.items()}
                same = found.setdefault((family, tuple(labels.items())), {})
                same.setdefault(b"".join(value.tobytes() for value in full.values()), full)
    return {key: list(each.values()) for key, each in found.items()}


def _asked(
    name: str, decode: bool, tp: int, asked: Mapping[str, list[int]]
) -> Iterator[tuple[str, Labels, Mapping[str, object]]]:
    """(family, labels, numbers) of every kernel of a step in bf16."""
    sets = {"plan.tp": tp, "plan.weight_dtype": "bf16", "plan.kv_dtype": "bf16",
            "plan.mla_form": "absorbed" if decode else "expanded"}  # fmt: skip
    _, (point,) = query.sweep(query.make(name, "h200", decode, {}, sets, dict(asked), None))
    if point.workload is None:
        return
    for op in _ops(lower.step(point.workload.model, point.workload.view)):
        for family_name, family in families().items():
            labels = family.labels(op)
            if labels is not None and np.all(family.covers(op)) and (decode, labels.get("layout")) != (True, "mla"):
                yield family_name, {key: _WIDE.get(value, value) for key, value in labels.items()}, family.numbers(op)


_WIDE = {"fp16": "bf16"}  # whose rates are the same: `kinds` asks for both


def _ops(program: Program) -> Iterator[Op]:
    """Kernels as they are measured."""
    if isinstance(program, Call):
        yield program.op
    elif isinstance(program, Choice):
        for _, option in program.options:
            yield from _ops(option)
    elif isinstance(program, Serial) and program.kernel:
        yield Fused(program.kernel, tuple(call.op for call in calls(program)))
    else:
        for part in program.parts:
            yield from _ops(part)


def collectives(most: float) -> dict[str, tuple[Collective, tuple[int, ...]]]:
    """Kind -> (collective of all groups of at most `most` GPUs by all sizes, its shape)."""
    group = np.asarray([one for one in GROUPS if one <= most], np.float64)[:, None]
    size = np.asarray(BYTES)[None, :]
    return {what: (Collective(what, size, group), (len(group), len(BYTES))) for what in _COLLECTIVES}


_COLLECTIVES: tuple[Kind, ...] = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all")


def kinds(grid: Grid) -> dict[str, Labels]:
    """Formats that a grid's kernels may have: name of the format -> labels."""
    if grid.family.startswith("attention"):
        kv = {"bf16": ("bf16", "bf16", "bf16"), "fp8": ("bf16", "fp8", "fp8"), "fp16": ("fp16", "fp16", "fp16")}
        return {
            name: {**grid.labels, **dict(zip(("x", "kv", "compute"), words, strict=True))} for name, words in kv.items()
        }
    return {kind_: {**grid.labels, "x": x, "w": w, "compute": c} for kind_, (x, w, c) in _FORMATS.items()}


_FORMATS = {
    "bf16": ("bf16", "bf16", "bf16"), "fp16": ("fp16", "fp16", "fp16"), "fp8": ("bf16", "fp8", "fp8"),
    "fp8_block": ("bf16", "fp8_block", "fp8_block"), "nvfp4": ("bf16", "nvfp4", "nvfp4"),
    "mxfp4": ("bf16", "mxfp4", "mxfp8"), "int8": ("bf16", "int8", "int8"),
}  # fmt: skip
