"""Strict reading of the tables that describe towers: keys that were read, defaults of the class that were taken, and what cannot be counted.

A default stands in the rule that reads the key, as the class of Hugging Face transformers has it; each that is taken is printed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from simcost.blocks.tower.tower import Tower
from simcost.errors import SpecError
from simcost.num import Num

_LARGEST = 1e8


class Uncounted(Exception):
    """Why a tower's parameters do not follow from the config, for people."""


class Table:
    """One table of a config, by the name that errors give it. `used`: keys that were read; `ignored`: those of them that change nothing; `lengths`: those of which only
    the number of entries counts; `taken`: class defaults of keys that are absent."""

    def __init__(self, values: Mapping[str, Any], name: str, where: str) -> None:
        self.values, self.name, self.where = values, name, where
        self.used: set[str] = set()
        self.ignored: set[str] = set()
        self.lengths: set[str] = set()
        self.taken: dict[str, Any] = {}

    def raw(self, *keys: str, default: Any = None) -> Any:
        """The value of the first of several spellings that is stated, else the class's default, which counts as taken."""
        self.used.update(keys)
        for key in keys:
            if self.values.get(key) is not None:
                return self.values[key]
        if default is not None:
            self.taken[keys[0]] = default
        return default

    def ignore(self, *keys: str) -> None:
        """Takes keys as known that change nothing of what is counted; those that are stated are named so in the answer."""
        self.used.update(keys)
        self.ignored.update(keys)

    def idle(self) -> list[str]:
        """Keys that change nothing, with the table's name before them: those that no rule asked for, and of the wrapper's own those that it ignores. Text is left out."""
        asked = self.used - self.ignored if self.name else self.values.keys() - self.ignored
        return sorted(
            self._path(k) for k, v in self.values.items() if k not in asked and v is not None and not isinstance(v, str)
        )

    def num(self, *keys: str, default: float | None = None) -> float:
        """A number above 0, to 1e8 at most. Raises SpecError for anything else, and for one that is missing without a default."""
        value = self.raw(*keys, default=default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= _LARGEST:
            raise SpecError(
                f"{self.where}: '{self._path(keys[0])}' must be a number above 0 and at most {_LARGEST:,.0f}, not {value!r}"
            )
        return float(value)

    def side(self, key: str, default: float | None = None) -> float:
        """A number, or two equal ones, as of the sides of a square. Raises Uncounted for a rectangle, SpecError as `num`."""
        value = self.raw(key, default=default)
        if isinstance(value, (list, tuple)) and len(value) == 2:
            if value[0] != value[1]:
                raise Uncounted(f"{self._path(key)} is not a square")
            return Table({key: value[0]}, self.name, self.where).num(key)
        return self.num(key, default=default)

    def flag(self, key: str, default: bool) -> bool:
        """A truth value. Raises SpecError for anything else."""
        value = self.raw(key, default=default)
        if not isinstance(value, bool):
            raise SpecError(f"{self.where}: '{self._path(key)}' must be true or false, not {value!r}")
        return value

    def length(self, key: str, default: int) -> float:
        """Entries of a list; 1 for a plain number. Raises SpecError for anything else."""
        value = self.raw(key)
        self.lengths.add(key)
        if value is None:
            self.taken[key] = f"{default} entries"
            return float(default)
        if isinstance(value, (list, tuple)):
            return float(len(value))
        if isinstance(value, bool) or not isinstance(value, int):
            raise SpecError(f"{self.where}: '{self._path(key)}' must be a number or a list, not {value!r}")
        return 1.0

    def pairs(self, key: str, default: Sequence[Sequence[float]]) -> tuple[tuple[float, float], ...]:
        """A list of pairs of numbers above 0. Raises SpecError for anything else."""
        value = self.raw(key, default=default)
        said = f"{self.where}: '{self._path(key)}' must be a list of pairs of numbers above 0"
        if not isinstance(value, (list, tuple)) or not value:
            raise SpecError(said)
        found = []
        for one in value:
            if not isinstance(one, (list, tuple)) or len(one) != 2:
                raise SpecError(f"{said}, not of {one!r}")
            found.append((Table({key: one[0]}, self.name, self.where).num(key), Table({key: one[1]}, self.name, self.where).num(key)))  # fmt: skip
        return tuple(found)

    def counted(self) -> list[str]:
        """Stated keys of which only the number of entries counts."""
        return sorted(self._path(key) for key in self.lengths if self.values.get(key) is not None)

    def _path(self, key: str) -> str:
        return f"{self.name}.{key}" if self.name else key


class Wrapper:
    """A multimodal config on one level: its own keys, the width of its language model, and its tables, each read once it is asked for. `missing`: what its class holds beside
    them, and no rule counts."""

    def __init__(self, config: Mapping[str, Any], hidden: Num, where: str) -> None:
        self.config, self.hidden, self.where = config, hidden, where
        self.own = Table(config, "", where)
        self.tables: dict[str, Table] = {}
        self.missing: list[str] = []

    def stated(self, key: str) -> bool:
        """Whether the config has this table."""
        return isinstance(self.config.get(key), Mapping) and bool(self.config[key])

    def table(self, key: str) -> Table:
        """A table by its key. Raises Uncounted where the config has none, so that its class would fill in a tower of its own."""
        if not self.stated(key):
            raise Uncounted(f"{key} is absent")
        return self.tables.setdefault(key, Table(self.config[key], key, self.where))


Rule: TypeAlias = Callable[[Wrapper], tuple[Tower, ...]]
