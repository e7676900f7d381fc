"""`workloads/optimizers/<name>.toml` -> what an optimizer keeps of a parameter, and what its step reads, writes and
computes.

A step reads the gradient, the master weight and every state once, and writes master weight, states and the weight that
is kept. Most likely to be wrong: optimizers that are no single kernel (torch's foreach forms), whose passes read and
write the same tensors again; clipping, which is counted in every step and runs where the norm is above its limit.
Source: each term of a file has its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from functools import lru_cache
from pathlib import Path

from simcost.dtypes import Dtype, dtype
from simcost.errors import SpecError, nearest
from simcost.files import state
from simcost.frozen import frozen
from simcost.sharding.shard import Weight
from simcost.training import terms
from simcost.training.terms import flag, format_of, number, one_of, role, several, text

BLOCKWISE, DUPLICATED = "blockwise", "duplicated"
_RULE: Mapping[str, terms.Reader] = {"kernel": text, "states": several(format_of), "flops": number}
_MATRICES: Mapping[str, terms.Reader] = {
    **_RULE,
    "roles": several(role),
    "iterations": number,
    "product": format_of,
    "tensor_parallel": one_of((BLOCKWISE, DUPLICATED)),
}
_GRADIENTS: Mapping[str, terms.Reader] = {"norm": flag, "clip": flag}
_TABLES = ("step", "gradients")


@frozen
class Rule:
    """How a parameter is stepped: by which kernel, with which states, in how many FLOPs."""

    kernel: str
    states: tuple[Dtype, ...]
    flops: float

    @property
    def state_bytes(self) -> float:
        """Of all states of a parameter. [B]"""
        return sum(state.bits for state in self.states) / 8.0


@frozen
class Orthogonal:
    """Matrices of `roles` whose momentum is made orthogonal before the update, by Newton-Schulz `iterations` of
    products in the format `product`. `tensor_parallel`: of parts that ranks have, "blockwise" each alone, "duplicated"
    all of them on each rank."""

    rule: Rule
    roles: tuple[str, ...]
    iterations: float
    product: Dtype
    tensor_parallel: str


@frozen
class Average:
    """A moving average of the weights in the format `kind` (EMA), which no product reads. `on_host`: it stands in the
    host's memory, to which each rank that holds a weight sends its part of the master weights once a step, beside the
    next one (DeepSeek-V3, arXiv 2412.19437 §3.2.3); else beside the optimizer's states, and is shared out as they are."""

    kind: Dtype
    on_host: bool


EMA = {"off": None, "device": Average(dtype("fp32"), False), "host": Average(dtype("fp32"), True)}


@frozen
class Optimizer:
    """`rule` is of all parameters but the `matrices`, where there are any. `norm`: the norm of all gradients is taken
    before the step; `clip`: they are scaled by what it asks for."""

    name: str
    title: str
    rule: Rule
    norm: bool
    clip: bool
    matrices: Orthogonal | None = None
    sources: Mapping[str, str] = field(default_factory=dict, compare=False)

    def is_matrix(self, weight: Weight) -> bool:
        """Whether a weight is stepped as a matrix."""
        return self.matrices is not None and weight.inner is not None and weight.role in self.matrices.roles

    def rule_of(self, weight: Weight) -> Rule:
        """How a weight is stepped."""
        return self.matrices.rule if self.matrices is not None and self.is_matrix(weight) else self.rule


def names() -> list[str]:
    """Names of the optimizers that ship, sorted."""
    return terms.names("optimizers")


def load(name: str) -> Optimizer:
    """An optimizer by name, or by the path of a file. Raises SpecError for an unknown name and a malformed file."""
    path = terms.find("optimizers", name)
    return _read(path, state(path))


@lru_cache(maxsize=64)
def _read(path: Path, content: tuple[int, ...]) -> Optimizer:
    """`content`: what tells it from what the file was before."""
    file = terms.file("optimizers", path)
    known = (*_TABLES, "matrices")
    for key in file.table:
        if key not in known:
            raise SpecError(f"{file.where}: unknown key '{key}' (known: {', '.join(known)}){nearest(key, known)}")
    missing = [key for key in _TABLES if key not in file.table]
    if missing:
        raise SpecError(f"{file.where}: has no [{'], ['.join(missing)}]")
    step, sources = terms.read(file.table["step"], _RULE, {}, f"{file.where}: [step]")
    gradients, of_gradients = terms.read(file.table["gradients"], _GRADIENTS, {}, f"{file.where}: [gradients]")
    if gradients["clip"] and not gradients["norm"]:
        raise SpecError(f"{file.where}: [gradients]: clip = true needs the norm of the gradients: set norm = true")
    sources = {**sources, **of_gradients}
    matrices = None
    if "matrices" in file.table:
        found, of_matrices = terms.read(file.table["matrices"], _MATRICES, {}, f"{file.where}: [matrices]")
        sources |= {f"matrices.{key}": said for key, said in of_matrices.items()}
        rule = Rule(*(found.pop(key) for key in _RULE))
        matrices = Orthogonal(rule, **found)
    return Optimizer(file.name, file.title, Rule(**step), **gradients, matrices=matrices, sources=sources)
