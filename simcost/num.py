"""Numbers that are scalars or NumPy arrays: one query and a million-plan sweep run the same code.

Only ufuncs and `where` are used on a `Num`, never a Python branch, so that scalar and array results are bit-identical. Between two Python floats the functions here
compare by hand, which gives the same bits in a tenth of the time that a ufunc takes for one number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:  # numpy.typing costs a query a tenth of its time, and only type checkers need it
    from numpy.typing import NDArray

    Num: TypeAlias = float | NDArray[np.floating[Any]]
    Mask: TypeAlias = bool | NDArray[np.bool_]
    Array: TypeAlias = NDArray[np.float64]
    Singles: TypeAlias = NDArray[np.float32]
    Bools: TypeAlias = NDArray[np.bool_]
    Index: TypeAlias = NDArray[np.intp]
    Ints: TypeAlias = NDArray[np.int64]
    Keys: TypeAlias = NDArray[np.uint64]
else:
    Num = Mask = Array = Singles = Bools = Index = Ints = Keys = Any

_ERFC = np.frompyfunc(math.erfc, 1, 1)
Z90 = 1.6448536269514722  # 90 % of a normal distribution lie within so many sigma
Z90_STATED = 1.645  # the same as profiles and pages state spreads: P90 of |log error| over it


def num(value: Any) -> Num:
    """A Python float, or a float64 array, from any count or rate (counts are exact below 2**53)."""
    if isinstance(value, np.ndarray) and value.ndim:
        return value.astype(np.float64)
    return float(value)


def unboxed(value: Any) -> Any:
    """Numbers and arrays of NumPy as Python's numbers and lists, also inside mappings, lists and tuples; everything else as it is."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if isinstance(value, Mapping):
        return {unboxed(key): unboxed(each) for key, each in value.items()}
    return type(value)(map(unboxed, value)) if type(value) in (list, tuple) else value


def over_arrays(value: Any, act: Callable[[Any], Any]) -> Any:
    """A value of dataclasses, tuples and mappings with `act` applied to every array with dimensions that stands in it; the same value where none does."""
    if isinstance(value, np.ndarray):
        return act(value) if value.ndim else value
    try:
        hash(value)
        return value
    except TypeError:  # an array has no hash, nor has what holds one
        pass
    if isinstance(value, Mapping):
        return {key: over_arrays(each, act) for key, each in value.items()}
    if type(value) is tuple:
        return tuple(over_arrays(each, act) for each in value)
    if is_dataclass(value):
        return replace(value, **{one.name: over_arrays(getattr(value, one.name), act) for one in fields(value)})  # type: ignore[type-var]
    return value


def plain(value: Any) -> Num:
    """A float of a result without dimensions, so that scalars stay scalars; an array with dimensions as it is."""
    if isinstance(value, np.ndarray) and value.ndim:
        return value
    return float(value)


def minimum(a: Num, b: Num) -> Num:
    """The smaller of two, elementwise; NaN where either is."""
    if type(a) is float and type(b) is float:
        return a if a < b or a != a else b
    return plain(np.minimum(a, b))


def maximum(a: Num, b: Num) -> Num:
    """The larger of two, elementwise; NaN where either is."""
    if type(a) is float and type(b) is float:
        return a if a > b or a != a else b
    return plain(np.maximum(a, b))


def ceil(a: Num) -> Num:
    """The smallest whole number not below a, elementwise."""
    if type(a) is float and a - a == 0.0:  # finite
        return -(-a // 1.0)
    return plain(np.ceil(a))


def floor(a: Num) -> Num:
    """The largest whole number not above a, elementwise."""
    if type(a) is float and a - a == 0.0:
        return a // 1.0
    return plain(np.floor(a))


def where(mask: Mask, a: Num, b: Num) -> Num:
    """a where the mask holds, b elsewhere; both are evaluated."""
    if type(a) is float and type(b) is float and isinstance(mask, (bool, np.bool_)):
        return a if mask else b
    return plain(np.where(mask, a, b))


def within(mask: Mask, act: Callable[..., Num], arguments: tuple[Num, ...], elsewhere: Num) -> Num:
    """`act(*arguments)` where the mask holds, `elsewhere` outside; for an `act` that takes long: of arrays it gets the points of
    the mask alone."""
    shape = np.broadcast_shapes(*(np.shape(each) for each in (mask, *arguments, elsewhere)))
    here = np.broadcast_to(np.asarray(mask), shape)
    if not shape or here.all():
        return where(mask, act(*arguments), elsewhere)
    found = np.array(np.broadcast_to(elsewhere, shape), np.float64)
    found[here] = act(*(np.broadcast_to(each, shape)[here] if np.ndim(each) else each for each in arguments))
    return found


def sqrt(a: Num) -> Num:
    """Square root, exactly rounded, unlike `a**0.5`, whose last bit depends on how many there are."""
    return plain(np.sqrt(a))


def exp(a: Num) -> Num:
    """e to the power a, elementwise."""
    return plain(np.exp(a))


def absolute(a: Num) -> Num:
    """The distance from zero, elementwise."""
    return np.abs(a) if isinstance(a, np.ndarray) else abs(a)


def log(a: Num) -> Num:
    """Natural logarithm, elementwise."""
    return plain(np.log(a))


def power(a: Num, exponent: Num) -> Num:
    """a to a power, elementwise; unlike `a**exponent`, with the same last bit for one number and for many."""
    return plain(np.power(a, exponent))


def log1p(a: Num) -> Num:
    """log(1 + a), exact for small a, elementwise."""
    return plain(np.log1p(a))


def normal(z: Num) -> Num:
    """Probability that a standard normal number is below z, elementwise."""
    return plain(np.asarray(_ERFC(-np.asarray(z, np.float64) / math.sqrt(2.0)), np.float64) / 2.0)


def divisors(n: int) -> list[int]:
    """All divisors of a whole number, least first, in as many steps as its square root."""
    low = [d for d in range(1, math.isqrt(n) + 1) if n % d == 0]
    return low + [n // d for d in reversed(low) if d * d != n]


def is_scalar(value: Any) -> bool:
    """Whether a value is one number: anything but an array with dimensions."""
    return not (isinstance(value, np.ndarray) and value.ndim)


def every(mask: Mask) -> bool:
    """Whether a mask holds at every point."""
    if isinstance(mask, (bool, np.bool_)):
        return bool(mask)
    return bool(np.all(mask))


def some(mask: Mask) -> bool:
    """Whether a mask holds at any point."""
    if isinstance(mask, (bool, np.bool_)):
        return bool(mask)
    return bool(np.any(mask))


def occurring(values: Num) -> list[float]:
    """The distinct numbers, ascending. (numpy's `unique` loads its masked arrays, a tenth of numpy's own start.)"""
    return sorted(set(np.ravel(np.asarray(values, np.float64)).tolist()))
