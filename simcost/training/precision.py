"""`workloads/precisions/<name>.toml` -> in which formats a training stack computes, and what it keeps of weights,
gradients and activations.

Most likely to be wrong: whether low-precision weights are kept or made anew each step, which releases change. Source:
each term of a file has its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from functools import lru_cache
from pathlib import Path

from simcost.dtypes import Dtype
from simcost.files import state
from simcost.frozen import frozen
from simcost.model.spec import ModelSpec
from simcost.num import Num
from simcost.sharding.shard import ROLES, Weight
from simcost.training import terms
from simcost.training.terms import flag, format_of, format_or_none, number, role, several, whole

_NEEDED: Mapping[str, terms.Reader] = {
    "narrow": several(role),
    "activation": format_of,
    "forward": format_of,
    "input_gradient": format_of,
    "weight_gradient": format_of,
    "core": format_of,
    "weight": format_of,
    "wide_weight": format_of,
    "copies": several(format_of),
    "transposed": several(format_of),
    "master": format_or_none,
    "gradient": format_of,
    "reduced": format_of,
    "main_gradient": format_or_none,
    "loss_scaling": flag,
    "saved": format_of,
}
_OPTIONAL: Mapping[str, terms.Reader] = {
    "saved_core_output_bits": number,
    "saved_activation_input": format_of,
    "tensor_scale": flag,
    "wide_first_layers": whole,
    "wide_last_layers": whole,
    "wide_last_share": number,
}


@frozen
class Precision:
    """Formats. `narrow`: roles whose matrices are multiplied in `forward`, `input_gradient` and `weight_gradient`; all
    else, and the attention `core` unless it says otherwise, in `activation`. A rank keeps matrices of narrow roles as
    `weight`, all else as `wide_weight`; `copies` and `transposed`: further copies of these matrices that products read.
    `master`: the weights that the optimizer steps; None: those that are kept. Gradients add up in `gradient` and are
    summed over ranks in `reduced`; `main_gradient`: the copy that the optimizer makes of them, None: none.
    `loss_scaling`: gradients are unscaled and searched for infinities before the step. Linear layers of narrow roles
    keep their inputs for the backward pass as `saved`; `saved_core_output_bits` of an element where the output of the
    attention core is kept otherwise; `saved_activation_input`: what the FFN's activation function keeps, whose output
    is then computed again. `tensor_scale`: beside the scales of blocks one of the whole tensor, which is read once more
    to find it. `wide_first_layers`, `wide_last_layers`: so many at the ends have no narrow roles, nor have the last
    `wide_last_share` of all; `wide_keys`: of these in a model (`parted`)."""

    name: str
    title: str
    narrow: tuple[str, ...]
    activation: Dtype
    forward: Dtype
    input_gradient: Dtype
    weight_gradient: Dtype
    core: Dtype
    weight: Dtype
    wide_weight: Dtype
    copies: tuple[Dtype, ...]
    transposed: tuple[Dtype, ...]
    master: Dtype | None
    gradient: Dtype
    reduced: Dtype
    main_gradient: Dtype | None
    loss_scaling: bool
    saved: Dtype
    saved_core_output_bits: float | None = None
    saved_activation_input: Dtype | None = None
    tensor_scale: bool = False
    wide_first_layers: int = 0
    wide_last_layers: int = 0
    wide_last_share: float = 0.0
    wide_keys: frozenset[str] = frozenset()
    sources: Mapping[str, str] = field(default_factory=dict, compare=False)

    def of(self, key: str) -> Precision:
        """The formats of a module (`lower.Module.key`): those of wide layers where it is one."""
        return replace(self, narrow=(), tensor_scale=False) if key in self.wide_keys else self

    def is_narrow(self, weight: Weight) -> bool:
        """Whether a weight is a matrix of a narrow role."""
        return weight.inner is not None and weight.role in self.narrow

    def kept(self, weight: Weight) -> Dtype:
        """The format in which a rank keeps a weight from step to step."""
        return self.weight if self.is_narrow(weight) else self.wide_weight

    def kept_bytes(self, weight: Weight) -> Num:
        """All of a weight as it is kept, without copies. [B]"""
        return stored_bytes(weight, self.kept(weight))

    def copied(self, weight: Weight) -> tuple[Dtype, ...]:
        """The formats of its copies that products read."""
        return (*self.copies, *self.transposed) if self.is_narrow(weight) else ()

    @property
    def casts_weights(self) -> bool:
        """Whether each product casts the weight that it reads, since no copy of it is kept."""
        return bool(self.narrow) and not self.copies and self.weight is not self.forward

    def storage(self) -> dict[str, Dtype]:
        """Role -> the format in which the forward pass reads weights (`View.storage`)."""
        read = self.copies[0] if self.copies else self.forward
        return {each: read if each in self.narrow else self.wide_weight for each in ROLES}

    def compute(self) -> dict[str, Dtype]:
        """Role -> the format of its products in the forward pass (`View.compute`)."""
        return {each: self.forward if each in self.narrow else self.activation for each in ROLES}


def parted(model: ModelSpec, formats: Precision) -> tuple[ModelSpec, Precision]:
    """(the model with its wide layers as stacks of their own, the precision that knows them); both as they are where
    none are wide. Of a share of the layers the whole number that is nearest."""
    layers = len(model.order)
    last = max(formats.wide_last_layers, round(formats.wide_last_share * layers))
    if not (formats.wide_first_layers or last):
        return model, formats
    wide = [at < formats.wide_first_layers or at >= layers - last for at in range(layers)]
    order = list(zip(model.order, wide, strict=True))
    found = sorted(dict.fromkeys(order), key=lambda each: each[1])  # narrow ones first
    place = {each: index for index, each in enumerate(found)}
    stacks = tuple((order.count(each), model.stacks[each[0]][1]) for each in found)
    keys = frozenset(f"stack {index}" for index, (_, is_wide) in enumerate(found) if is_wide)
    parts = replace(model, stacks=stacks, order=tuple(place[each] for each in order))
    return parts, replace(formats, wide_keys=keys)


def stored_bytes(weight: Weight, kind: Dtype) -> Num:
    """All of a weight in a format, with the scales of its blocks and what pads them. [B]"""
    if weight.inner is None:
        return kind.tensor_bytes(weight.count)
    held = weight.whole(kind)
    assert held.inner is not None
    return held.copies * kind.matrix_bytes(held.out, held.inner)


def names() -> list[str]:
    """Names of the precisions that ship, sorted."""
    return terms.names("precisions")


def load(name: str) -> Precision:
    """A precision by name, or by the path of a file. Raises SpecError for an unknown name and a malformed file."""
    path = terms.find("precisions", name)
    return _read(path, state(path))


@lru_cache(maxsize=64)
def _read(path: Path, content: tuple[int, ...]) -> Precision:
    """`content`: what tells it from what the file was before."""
    file = terms.file("precisions", path)
    values, sources = terms.read(file.table, _NEEDED, _OPTIONAL, file.where)
    return Precision(file.name, file.title, sources=sources, **values)
