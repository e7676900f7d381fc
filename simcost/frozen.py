"""Frozen dataclasses with slots, made eight times as fast as the standard library makes them: a query's imports make two hundred.

What a class has of its own is kept; `fields`, `replace` and pickling work. The standard decorator compiles six functions a class and reads each annotation;
here the constructor alone is compiled, when it is first called, and the other methods are shared. Without: `order`, `kw_only`, `InitVar`. Most
likely to be wrong: a later `dataclasses` that keeps its fields elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import MISSING, Field, FrozenInstanceError, dataclass, field, fields
from functools import wraps
from operator import attrgetter
from types import MemberDescriptorType
from typing import Any, ClassVar, TypeVar, dataclass_transform, get_origin

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class _Pattern:
    """What the standard decorator makes of a class, where its own words for it are private."""

    each: int


_PARAMS = _Pattern.__dataclass_params__  # type: ignore[attr-defined]
_OF_INSTANCES = _Pattern.__dataclass_fields__["each"]._field_type  # type: ignore[attr-defined]
_FIELDS = "__dataclass_fields__"
_HASH, _KNOWN = (
    "_hash",
    "_known",
)  # slots of an instance: its hash, which memos ask for again and again, and what `remembered` functions said of it
_MOST = 1_000  # answers that an instance keeps


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: type[T]) -> type[T]:
    """A class decorator: `@frozen` for `@dataclass(frozen=True, slots=True)`. Raises TypeError for a field without a default behind one that has it."""
    kept = {name: value for name, value in cls.__dict__.items() if name not in ("__dict__", "__weakref__")}
    mine = {name: _field(cls, name, kind) for name, kind in cls.__annotations__.items() if not _of_class(kind)}
    for name in mine:
        kept.pop(name, None)
    inherited = {name: one for base in cls.__mro__[:0:-1] for name, one in getattr(base, _FIELDS, {}).items()}
    every = {**inherited, **mine}
    _check(cls, every.values())
    slots = tuple(name for name in mine if name not in inherited)
    keeps = hasattr(cls, _HASH)  # of a class above
    if slots and not keeps:
        slots, keeps = (*slots, _HASH, _KNOWN), True
    shared = {
        "__setattr__": _refuse_set, "__delattr__": _refuse_delete, "__getstate__": _state, "__setstate__": _restore, "__eq__": _equal, "__hash__": _kept_hash if keeps else _hashed,
        "__repr__": _shown, "_compared": staticmethod(_getter([name for name, one in every.items() if one.compare])), "__match_args__": tuple(every),
    }  # fmt: skip
    named = {_FIELDS: every, "__dataclass_params__": _PARAMS, "__slots__": slots, "__qualname__": cls.__qualname__}
    metaclass: Any = type(cls)
    made: Any = metaclass(cls.__name__, cls.__bases__, {**shared, **kept, **named})
    if "__init__" not in kept:
        made.__init__ = _first(made)
    return made  # type: ignore[no-any-return]


def remembered(ask: Callable[..., R]) -> Callable[..., R]:
    """A pure function of a frozen value, and of others: every answer stays with the first value as long as that lives. It is worked out anew where the others have no hash (arrays)."""

    @wraps(ask)
    def asked(first: Any, *others: Any) -> R:
        try:
            known = first._known
        except AttributeError:
            object.__setattr__(first, _KNOWN, known := {})
        try:
            return known[ask, others]  # type: ignore[no-any-return]
        except KeyError:
            pass
        except TypeError:
            return ask(first, *others)
        if len(known) >= _MOST:
            known.clear()
        found = known[ask, others] = ask(first, *others)
        return found

    return asked


def _of_class(kind: Any) -> bool:
    """Whether an annotation, a text where the module has put them off, is of the class and not of its instances."""
    return (
        kind.startswith(("ClassVar", "typing.ClassVar"))
        if isinstance(kind, str)
        else ClassVar in (kind, get_origin(kind))
    )


def _field(cls: type, name: str, kind: Any) -> Field[Any]:
    """The field of an annotation, with what the class states as its default or as its field. Raises ValueError for a default that all instances would share and change."""
    default = getattr(cls, name, MISSING)
    default = MISSING if isinstance(default, MemberDescriptorType) else default  # a slot of a class above
    if default.__class__.__hash__ is None:
        raise ValueError(f"{cls.__qualname__}: the default of {name!r} can be changed: use default_factory")
    one: Any = default if isinstance(default, Field) else field(default=default)
    one.name, one.type, one.kw_only, one._field_type = name, kind, False, _OF_INSTANCES
    return one  # type: ignore[no-any-return]


def _check(cls: type, every: Iterable[Field[Any]]) -> None:
    optional = ""
    for one in every:
        if one.default is not MISSING or one.default_factory is not MISSING:
            optional = one.name
        elif optional:
            raise TypeError(
                f"{cls.__qualname__}: {one.name!r} has no default, and stands behind {optional!r}, which has one"
            )


def _first(cls: Any) -> Callable[..., None]:
    """A constructor that fills the first instance itself, and makes the class its own constructor for the second: of the classes that a question
    imports it needs half, and of a third of these one instance."""
    used = False

    def __init__(self: Any, *values: Any, **named: Any) -> None:
        nonlocal used
        if used or not _filled(self, cls, values, named):
            cls.__init__ = _init(cls, fields(cls))
            cls.__init__(self, *values, **named)
        used = True

    return __init__


def _filled(self: Any, cls: Any, values: tuple[Any, ...], named: dict[str, Any]) -> bool:
    """Fills the slots of an instance; False, and nothing filled, where the arguments are not those of the fields."""
    every = fields(cls)
    given: dict[str, Any] = dict(zip([each.name for each in every], values, strict=False))
    if len(values) > len(every) or not named.keys().isdisjoint(given):
        return False
    given |= named
    for each in every:
        if each.name not in given:
            if each.default is MISSING and each.default_factory is MISSING:
                return False
            given[each.name] = each.default if each.default is not MISSING else MISSING
    if len(given) > len(every):
        return False
    for each in every:
        value: Any = given[each.name]
        if value is MISSING:
            make: Any = each.default_factory
            value = make()
        getattr(cls, each.name).__set__(self, value)
    if hasattr(cls, "__post_init__"):
        self.__post_init__()
    return True


def _init(cls: Any, every: tuple[Field[Any], ...]) -> Callable[..., None]:
    """The constructor: slots are filled by their descriptors, which the refusal to set does not reach."""
    known: dict[str, Any] = {"MISSING": MISSING}
    parameters, body = ["self"], []
    for each in every:
        name = each.name
        known[f"set_{name}"] = getattr(cls, name).__set__
        value = name
        if each.default is not MISSING:
            known[f"default_{name}"] = each.default
            parameters.append(f"{name}=default_{name}")
        elif each.default_factory is not MISSING:
            known[f"make_{name}"] = each.default_factory
            parameters.append(f"{name}=MISSING")
            value = f"make_{name}() if {name} is MISSING else {name}"
        else:
            parameters.append(name)
        body.append(f"  set_{name}(self, {value})")
    if hasattr(cls, "__post_init__"):
        body.append("  self.__post_init__()")
    exec(f"def __init__({', '.join(parameters)}):\n" + "\n".join(body or ["  pass"]), known)
    made: Callable[..., None] = known["__init__"]
    made.__qualname__ = f"{cls.__qualname__}.__init__"
    return made


def _getter(names: list[str]) -> Callable[[Any], Any]:
    return attrgetter(*names) if names else lambda _: ()


def _refuse_set(self: Any, name: str, value: Any) -> None:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_delete(self: Any, name: str) -> None:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _state(self: Any) -> list[Any]:
    return [getattr(self, each.name) for each in fields(self)]


def _restore(self: Any, state: list[Any]) -> None:
    for each, value in zip(fields(self), state, strict=True):
        object.__setattr__(self, each.name, value)


def _equal(self: Any, other: Any) -> Any:
    if other.__class__ is not self.__class__:
        return NotImplemented
    return self._compared(self) == other._compared(other)


def _hashed(self: Any) -> int:
    return hash(self._compared(self))


def _kept_hash(self: Any) -> int:
    try:
        return self._hash  # type: ignore[no-any-return]
    except AttributeError:
        made = hash(self._compared(self))
        object.__setattr__(self, _HASH, made)
        return made


def _shown(self: Any) -> str:
    inside = ", ".join(f"{each.name}={getattr(self, each.name)!r}" for each in fields(self) if each.repr)
    return f"{self.__class__.__qualname__}({inside})"
