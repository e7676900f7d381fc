"""Which kind of work a kernel's name means, by the rules of `workloads/kernels/classes.toml` and of a user's file before them.

Names are matched by parts of them, in order; what no rule knows stays without a class and is listed. Most likely to be wrong: a kernel that does two things, as an all-reduce with a norm, which goes to
the rule that comes first.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from simcost import files
from simcost.errors import SpecError, nearest
from simcost.frozen import frozen
from simcost.texts import checked_keys, toml_table

SCHEMA = 1
GAPS = "gaps"
BEFORE, AFTER = "of the one before", "of the one after"
_MOST = 1_000  # rules, and parts of a rule


@frozen
class Class:
    """A kind of work: predictions that it holds, by kernel class (`predicted`, with one of the words `within` in the op's name where there are any) and by the rows of training; whether it uses links."""

    name: str
    predicted: tuple[str, ...]
    within: tuple[str, ...]
    train: tuple[str, ...]
    wire: bool
    why: str

    def takes(self, kernel: str, op: str) -> bool:
        """Whether an op of a kernel class is of this kind."""
        return kernel in self.predicted and (not self.within or any(word in op for word in self.within))


@frozen
class Rule:
    """Kernels whose name has a part of `any` and none of `none` are of the class; `part`: each serves the kernel before it, or after it, and is no call of its own."""

    of: str
    any: tuple[str, ...]
    none: tuple[str, ...]
    part: str
    why: str

    def takes(self, name: str) -> bool:
        """Whether a name, in lower case, is meant."""
        return any(each in name for each in self.any) and not any(each in name for each in self.none)


@frozen
class Rules:
    """Classes in the order in which they take predictions, rules in the order in which they take kernels."""

    classes: tuple[Class, ...]
    kernels: tuple[Rule, ...]

    def rule(self, name: str) -> Rule | None:
        """The rule of a kernel's name."""
        lowered = name.lower()
        return next((rule for rule in self.kernels if rule.takes(lowered)), None)

    def of_op(self, kernel: str, op: str) -> str:
        """The class of a predicted op; "" where none takes it."""
        return next((each.name for each in self.classes if each.takes(kernel, op)), "")

    def of_training(self, part: str) -> str:
        """The class of a row of a training step; "" where none takes it."""
        return next((each.name for each in self.classes if part in each.train), "")


def rules(own: Path | None = None) -> Rules:
    """The shipped rules; those of `own` come first. Raises SpecError naming file, rule and key."""
    shipped = _shipped()
    if own is None:
        return shipped
    more = _kernels(toml_table(own), str(own), shipped.classes, alone=True)
    return Rules(shipped.classes, (*more, *shipped.kernels))


@cache
def _shipped() -> Rules:
    path = files.folder("workloads") / "kernels" / "classes.toml"
    table = toml_table(path)
    found = tuple(_class(one, f"{path.name}: class {place}") for place, one in enumerate(table.get("class", []), 1))
    return Rules(found, _kernels(table, path.name, found))


def _class(one: Any, where: str) -> Class:
    checked_keys(one, ("name", "predicted", "why"), ("with", "train", "wire"), where, "")
    return Class(
        str(one["name"]), _words(one, "predicted", where), _words(one, "with", where), _words(one, "train", where),
        bool(one.get("wire", False)), str(one["why"]),
    )  # fmt: skip


def _kernels(table: Mapping[str, Any], where: str, classes: tuple[Class, ...], alone: bool = False) -> tuple[Rule, ...]:
    checked_keys(table, ("schema", "kernel"), () if alone else ("class",), where, "")
    if table["schema"] != SCHEMA:
        raise SpecError(f"{where}: 'schema' = {table['schema']!r}, and this version reads {SCHEMA}")
    listed = table["kernel"]
    if not isinstance(listed, list) or len(listed) > _MOST:
        raise SpecError(f"{where}: 'kernel' must be a list of tables [[kernel]], at most {_MOST:,}")
    known = [each.name for each in classes]
    return tuple(_rule(one, f"{where}: kernel {place}", known) for place, one in enumerate(listed, 1))


def _rule(one: Any, where: str, known: list[str]) -> Rule:
    checked_keys(one, ("class", "any", "why"), ("none", "part"), where, "")
    if one["class"] not in known:
        raise SpecError(
            f"{where}: class = {one['class']!r} is not known (one of {', '.join(known)}){nearest(str(one['class']), known)}"
        )
    if not isinstance(one["why"], str) or not one["why"].strip():
        raise SpecError(f"{where}: 'why' must describe which kernels these are")
    if one.get("part", "") not in ("", BEFORE, AFTER):
        raise SpecError(f"{where}: 'part' must be {BEFORE!r} or {AFTER!r}, not {one['part']!r}")
    some = _words(one, "any", where)
    if not some:
        raise SpecError(f"{where}: 'any' must hold part of a kernel's name")
    return Rule(str(one["class"]), some, _words(one, "none", where), str(one.get("part", "")), one["why"].strip())


def _words(one: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    found = one.get(key, [])
    if not isinstance(found, list) or len(found) > _MOST or not all(isinstance(each, str) and each for each in found):
        raise SpecError(f"{where}: '{key}' must be a list of texts that are not empty")
    return tuple(each.lower() if key in ("any", "none") else each for each in found)
