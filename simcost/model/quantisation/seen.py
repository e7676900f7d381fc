"""A `quantization_config` that remembers which of its keys were read, so that the others can be named.

Most likely to be wrong: a key that is read and then decides nothing. Source: none; it is of this reader alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


class Seen(Mapping[str, Any]):
    """A table whose keys are noted in `used` by their paths when their value is asked for; tables in it do the same."""

    def __init__(self, values: Mapping[str, Any], path: str = "", used: set[str] | None = None) -> None:
        self.values_, self.path = values, path
        self.used: set[str] = set() if used is None else used

    def __getitem__(self, key: str) -> Any:
        value = self.values_[key]
        self.used.add(self._of(key))
        return Seen(value, self._of(key), self.used) if isinstance(value, Mapping) else value

    def __contains__(self, key: object) -> bool:
        return key in self.values_

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_)

    def __len__(self) -> int:
        return len(self.values_)

    def __repr__(self) -> str:
        return repr(self.values_)

    def _of(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def unread(self) -> list[str]:
        """Paths of numbers and truth values that nobody asked for."""
        found: list[str] = []
        for key, value in self.values_.items():
            path = self._of(key)
            if isinstance(value, Mapping):
                found += Seen(value, path, self.used).unread()
            elif isinstance(value, (bool, int, float)) and path not in self.used:
                found.append(path)
        return found
