"""A number format of a quantised weight, and a scheme that says which modules have it.

Not counted: one scale of a whole matrix (4 bytes), scales of activations, and GPTQ's list of groups, which engines drop without act-order. Most
likely to be wrong: the width of a scale where a tool takes the model's own type for it; it is 16 bits here. Source: the tools named in `methods`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from simcost.dtypes import Dtype, block_scaled, dtype
from simcost.errors import NotModelled, SpecError
from simcost.frozen import frozen
from simcost.model.quantisation.stored import CONVERTED

_WHOLE = 1 << 20  # elements of a tile that is a whole row or column


@frozen
class Format:
    """dtype: elements with the scales of their tiles; compute: what kernels compute in, None for the activations' own format; once, column: bits beside of
    every matrix of the checkpoint, and of every column of it (codebooks, permutations)."""

    dtype: Dtype
    compute: Dtype | None = None
    once: float = 0.0
    column: float = 0.0


@frozen
class Scheme:
    """default: the format of the linear layers of `roles` (None: as the base); rules: formats of the modules that a pattern fits, the first that fits wins;
    own: formats of whole roles, in place of the default."""

    default: Format | None
    roles: tuple[str, ...] = CONVERTED
    rules: tuple[tuple[str, Format | None], ...] = ()
    own: Mapping[str, Format] = field(default_factory=dict)

    def of(self, role: str) -> Format | None:
        """The format of a role, rules apart."""
        return self.own.get(role, self.default)


def integers(bits: int, group: int | None, beside: float, compute: Dtype | None = None) -> Format:
    """Integers in groups along a row, None for the whole row, with `beside` bits a group: scale and zero point."""
    base = dtype(f"int{bits}") if bits in (4, 8) else Dtype(f"int{bits}", bits, "")
    return Format(block_scaled(base, 1, group or _WHOLE, beside), compute)


def packed(name: str, bits: float, rows: int, columns: int, beside: float) -> Dtype:
    """A format that only its own kernels read: elements of `bits`, and `beside` bits a tile; 0 rows or columns: the whole side."""
    return Dtype(name, bits, "", (rows or _WHOLE, columns or _WHOLE) if beside else (0, 0), beside)


def by_row(name: str, scale: float, computes: bool = True) -> Format:
    """A format with one scale a row of the matrix."""
    base = dtype(name)
    return Format(block_scaled(base, 1, _WHOLE, scale), base if computes else None)


def plain(name: str, computes: bool = True) -> Format:
    """A format as `simcost.dtypes` has it."""
    base = dtype(name)
    return Format(base, base if computes else None)


def one_line(text: str, most: int = 160) -> str:
    """A text of a file as a message may hold it."""
    return " ".join(text.split())[:most]


def named(key: str) -> str:
    """A key as messages name it."""
    return f"quantization_config.{one_line(key)}"


def positive(table: Mapping[str, Any], key: str, where: str, default: int | None = None) -> int:
    """A positive integer of a table. Raises SpecError for anything else."""
    value = table.get(key)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _WHOLE:
        raise SpecError(f"{where}: '{named(key)}' must be a positive integer, not {value!r}")
    return value


def tabled(value: Any, key: str, where: str) -> Mapping[str, Any]:
    """A value as the table that it must be. Raises SpecError for anything else."""
    if not isinstance(value, Mapping):
        raise SpecError(f"{where}: '{named(key)}' must be a table, not {value!r}")
    return value


def mapping(table: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    """A table within a table, empty where it is absent. Raises SpecError for anything else."""
    return {} if table.get(key) is None else tabled(table[key], key, where)


def group_size(table: Mapping[str, Any], where: str, default: int | None = None, key: str = "group_size") -> int | None:
    """Elements of a group along a row; None for a whole row (-1)."""
    return None if table.get(key) == -1 else positive(table, key, where, default)


WAY = "--set model.quantization_config=null --set plan.weight_dtype=... takes one format for all"


def refused(where: str, what: str) -> NotModelled:
    """The refusal of a scheme, with the way round."""
    return NotModelled(f"{where}: not modelled yet: {one_line(what, 400)}; {WAY}")
