"""`workloads/stacks/<name>.toml`: what a generation of a training framework does, as flags, and how much slower it
runs than its kernels alone.

A flag is a fact of the framework, with its source, or an assumption with a reason; a row or a question may change
one. A coefficient multiplies the seconds of a class of work on one device; a command fitted it, and the file says on
which rows and with which error. Without coefficients for a device the stack is cold: all are 1. Most likely to be
wrong: a flag that a release changed without a line in its notes.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from simcost.errors import SpecError, nearest
from simcost.files import folder, is_file
from simcost.frozen import frozen
from simcost.texts import checked_keys, toml_table, whole

SCHEMA = 1
LIBRARIES = (
    "kernels",
)  # cuBLAS, cuDNN and FlashAttention; experts, exchanges, losses and launches are a stack's own code
STANDS_IN = "megatron-core-te"  # whose coefficients a stack without any takes
LENT = 0.15  # sigma of the log by which coefficients of kernels differ between stacks and devices that have some
MOST = 5  # coefficients of a device: with more a stack would learn its rows
COEFFICIENTS = {
    "kernels": "matrix products and attention",
    "experts": "routed experts",
    "elementwise": "norms, activations, casts and other passes over memory",
    "communication": "what collectives and hops inside a node leave exposed",
    "network": "the same of those between nodes",
    "cross_entropy": "the loss over the vocabulary",
    "host": "launches that the device waits for",
}
ON, OFF = ("on", "true", "yes"), ("off", "false", "no")
DEFAULTS = ("precision", "optimizer", "recompute", "zero_stage")
_FITTED = ("factors", "command", "version", "rows", "n", "error", "half_width")


class Flag(NamedTuple):
    """One flag. kind: `bool`, `int` or `str`; choices: of a text; what: its meaning."""

    kind: type
    what: str
    choices: tuple[str, ...] = ()


FLAGS = {
    "attention": Flag(
        str,
        "flash: scores stay on the chip, by the fastest kernel; flash-2: by FlashAttention-2; unfused: they are written and read again",
        ("flash", "flash-2", "unfused"),
    ),
    "dropout": Flag(
        bool, "dropout of attention scores and of sublayers' outputs, whose masks stay for the backward pass"
    ),
    "elementwise": Flag(
        str,
        "eager: a kernel an operation; fused: by hand, as bias and activation; compiled",
        ("eager", "fused", "compiled"),
    ),
    "fused_cross_entropy": Flag(bool, "logits are read once and no copy of them is kept"),
    "tp_overlap": Flag(bool, "collectives of tensor parallelism run beside its GEMMs"),
    "tp_async_backward": Flag(
        bool, "tensor-parallel sums of gradients of inputs run beside the products of weights' gradients"
    ),
    "ep_overlap": Flag(bool, "the exchange of tokens runs beside another micro-batch"),
    "p2p_overlap": Flag(bool, "hops of interleaved stages run beside them"),
    "grad_overlap": Flag(bool, "gradients are reduced beside the backward of the last micro-batch"),
    "optimizer_post_validation": Flag(
        bool,
        "with schedules that split gradients ranks step before the norm of all gradients is known, and step back where it should not have been",
    ),
    "param_overlap": Flag(bool, "sharded weights are gathered beside the forward"),
    "bucket_parameters": Flag(int, "least parameters of a bucket of gradients; 0: a layer each"),
    "bucket_parameters_per_dp": Flag(int, "the same for each data-parallel rank; the greater of the two holds"),
    "main_grads": Flag(str, "format that gradients accumulate in; same: that of the weights", ("fp32", "same")),
    "reduce_dtype": Flag(str, "format that gradients travel in; same: that of the weights", ("fp32", "same")),
    "no_sync": Flag(
        bool,
        "under ZeRO-2 and 3 a rank keeps whole gradients, in the format they travel in, until the last micro-batch",
    ),
    "dummy_weight_gradients": Flag(
        bool, "a placeholder of each distinct weight's shape stands beside the main gradients (Transformer Engine)"
    ),
    "cuda_graphs": Flag(str, "what is replayed as CUDA graphs: none, full, or modules joined by +"),
    "dispatcher": Flag(str, "what carries tokens to their experts", ("alltoall", "allgather", "deepep", "hybridep")),
    "fp8_scaling": Flag(
        str,
        "delayed: scales from earlier steps; current: from the tensor itself, which is read once more",
        ("delayed", "current"),
    ),
    "fp8_gather": Flag(bool, "sharded weights travel in fp8"),
    "zero_group": Flag(int, "ranks that states are sharded over; 0: all of data parallelism"),
}


@frozen
class Fitted:
    """Coefficients of a device and what made them. factors: by the names of COEFFICIENTS; rows: hash of the rows
    fitted; n: how many; error: median |relative error| of rows left out."""

    factors: Mapping[str, float]
    command: str
    version: str
    rows: str
    n: int
    error: float
    half_width: float


@frozen
class Stack:
    """A generation of a framework. flags: a value for each of FLAGS; sources: where each is from, or why it is
    assumed; fitted: by device."""

    name: str
    title: str
    flags: Mapping[str, Any]
    sources: Mapping[str, str]
    fitted: Mapping[str, Fitted] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def changed(self, flags: Mapping[str, str], where: str = "flags") -> Stack:
        """With other flags, as texts. Raises SpecError for an unknown flag or value."""
        return replace(self, flags={**self.flags, **{key: value(key, text, where) for key, text in flags.items()}})

    def lent(self, devices: Sequence[str]) -> tuple[str, str, Fitted] | None:
        """(stack, device, coefficients) that stand in where there are none of its own: all of this stack's on the first related device that has some, else of `STANDS_IN` those of `LIBRARIES`, whose kernels every
        stack runs."""
        for hw in devices:
            if hw in self.fitted:
                return self.name, hw, self.fitted[hw]
        other = load(STANDS_IN)
        for hw in devices:
            if hw in other.fitted:
                found = other.fitted[hw]
                shared = {name: factor for name, factor in found.factors.items() if name in LIBRARIES}
                return other.name, hw, replace(found, factors=shared)
        return None

    def factors(self, hw: str) -> Mapping[str, float]:
        """Coefficients on a device by name; {} where the stack is cold."""
        return self.fitted[hw].factors if hw in self.fitted else {}


def half_width(errors: Sequence[float], coefficients: int) -> float:
    """Half of a 90 % interval of the log of a step, from |log errors| of rows: their 90 % quantile, wider by what so many coefficients learn of the rows that made them."""
    n = len(errors)
    return float(np.quantile(errors, 0.9)) * math.sqrt(n / max(n - coefficients, 1))


def home() -> Path:
    """The folder of the stacks that ship."""
    return folder("workloads") / "stacks"


def names() -> list[str]:
    """Names of the stacks that ship, sorted."""
    return sorted(path.stem for path in home().glob("*.toml"))


def load(name: str) -> Stack:
    """A stack by name, or by the path of a file. Raises SpecError for an unknown name and a malformed file."""
    path = home() / f"{name.lower()}.toml"
    if os.path.isfile(path):
        return _shipped(path)
    path = Path(name)
    if not is_file(path):
        raise SpecError(f"unknown stack '{name}' (stacks: {', '.join(names())}, or a file){nearest(name, names())}")
    return read(toml_table(path), path.stem, str(path))


@cache
def _shipped(path: Path) -> Stack:
    return read(toml_table(path), path.stem, path.name)


def read(table: Mapping[str, Any], name: str, where: str) -> Stack:
    """The stack of a table; of one that names a `base`, with its flags and defaults, and without its coefficients. Raises SpecError, which names file and key."""
    base = _base(table["base"], where) if "base" in table else None
    needed = ("title", "flags") if base is None else ("title", "base")
    checked_keys(table, ("schema", *needed), ("flags", "base", "coefficients", "defaults"), where, "")
    if table["schema"] != SCHEMA:
        raise SpecError(f"{where}: 'schema' = {table['schema']!r}, and this version reads {SCHEMA}")
    if not isinstance(table["title"], str) or not table["title"].strip():
        raise SpecError(f"{where}: 'title' must be a text, not {table['title']!r}")
    own = table.get("flags", {})
    checked_keys(own, tuple(FLAGS) if base is None else (), tuple(FLAGS), where, "flags.")
    flags, sources, defaults = (
        ({}, {}, {}) if base is None else (dict(base.flags), dict(base.sources), dict(base.defaults))
    )
    for key, entry in own.items():
        flags[key], sources[key] = _flag(key, entry, where)
    stated = table.get("defaults", {})
    checked_keys(stated, (), DEFAULTS, where, "defaults.")
    for key, entry in stated.items():
        said = "reason" if isinstance(entry, Mapping) and "reason" in entry else "source"
        checked_keys(entry, ("value", said), (), where, f"defaults.{key}.")
        defaults[key], sources[f"defaults.{key}"] = entry["value"], entry[said]
    fitted = table.get("coefficients", {})
    if not isinstance(fitted, Mapping):
        raise SpecError(f"{where}: 'coefficients' must be a table of devices")
    return Stack(
        name, table["title"], flags, sources, {hw: _fitted(entry, where, hw) for hw, entry in fitted.items()}, defaults
    )


def _base(name: Any, where: str) -> Stack:
    """The stack whose flags another has. Raises SpecError for one that does not ship."""
    if name not in names():
        raise SpecError(f"{where}: 'base' = {name!r} is not one of {', '.join(names())}{nearest(str(name), names())}")
    return load(name)


def _flag(key: str, entry: Any, where: str) -> tuple[Any, str]:
    said = ("reason",) if isinstance(entry, Mapping) and "reason" in entry else ("source",)
    checked_keys(entry, ("value", *said), (), where, f"flags.{key}.")
    if not isinstance(entry[said[0]], str) or not entry[said[0]].strip():
        raise SpecError(f"{where}: 'flags.{key}.{said[0]}' must be a text, not {entry[said[0]]!r}")
    if type(entry["value"]) is not FLAGS[key].kind:
        raise SpecError(f"{where}: 'flags.{key}.value' = {entry['value']!r} must be {_takes(key)}")
    return value(key, str(entry["value"]), where), entry[said[0]]


def value(key: str, text: str, where: str) -> Any:
    """What a text says of a flag. Raises SpecError for an unknown flag and for a value that it does not take."""
    if key not in FLAGS:
        raise SpecError(f"{where}: unknown flag '{key}' (flags: {', '.join(FLAGS)}){nearest(key, FLAGS)}")
    kind, _, choices = FLAGS[key]
    if kind is bool and text.lower() in (*ON, *OFF):
        return text.lower() in ON
    if kind is int and (count := whole(text)) is not None:
        return count
    if kind is str and text and (not choices or text in choices):
        return text
    raise SpecError(f"{where}: {key} = {text!r} must be {_takes(key)}{nearest(text, choices)}")


def _takes(key: str) -> str:
    kind, _, choices = FLAGS[key]
    return {bool: "true or false", int: "a whole number, not negative"}.get(
        kind, f"one of {', '.join(choices)}" if choices else "a text"
    )


def _fitted(entry: Any, where: str, hw: str) -> Fitted:
    at = f"coefficients.{hw}."
    checked_keys(entry, _FITTED, (), where, at)
    factors = entry["factors"]
    if not isinstance(factors, Mapping) or not 0 < len(factors) <= MOST:
        raise SpecError(f"{where}: '{at}factors' must be a table of 1 to {MOST} coefficients")
    for key, factor in factors.items():
        if key not in COEFFICIENTS:
            raise SpecError(
                f"{where}: unknown coefficient '{at}factors.{key}' (known: {', '.join(COEFFICIENTS)})"
                f"{nearest(key, COEFFICIENTS)}"
            )
        _number(factor, where, f"{at}factors.{key}")
    for key in ("command", "version", "rows"):
        if not isinstance(entry[key], str) or not entry[key].strip():
            raise SpecError(f"{where}: '{at}{key}' must be a text, not {entry[key]!r}")
    if type(entry["n"]) is not int or entry["n"] < 1:
        raise SpecError(f"{where}: '{at}n' must be a whole number above 0, not {entry['n']!r}")
    error = _number(entry["error"], where, f"{at}error")
    return Fitted(
        {key: float(one) for key, one in factors.items()},
        entry["command"],
        entry["version"],
        entry["rows"],
        entry["n"],
        error,
        _number(entry["half_width"], where, f"{at}half_width"),
    )


def _number(found: Any, where: str, key: str) -> float:
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not math.isfinite(found) or found < 0.0:
        raise SpecError(f"{where}: '{key}' must be a number, not negative, not {found!r}")
    return float(found)
