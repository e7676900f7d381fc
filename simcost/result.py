"""Result: the one tidy shape that every report, file and API call reads. Versioned."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

SCHEMA_VERSION = 1
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Result:
    """`metrics`: name -> number (SI, unit in the name). `tables`: name -> rows; the first is the main one.
    `verdict`: one sentence for people; `fits` False makes --strict fail."""

    command: str
    inputs: dict[str, Any]
    metrics: dict[str, Any]
    tables: dict[str, list[Row]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    verdict: str = ""
    fits: bool = True

    @property
    def rows(self) -> list[Row]:
        """All rows; each names its table when there are several."""
        if len(self.tables) <= 1:
            return [row for rows in self.tables.values() for row in rows]
        return [{"table": name, **row} for name, rows in self.tables.items() for row in rows]

    def to_dict(self) -> dict[str, Any]:
        """The JSON document."""
        return {
            "schema_version": SCHEMA_VERSION,
            "inputs": self.inputs,
            "metrics": self.metrics,
            "rows": self.rows,
            "warnings": list(self.warnings),
            "references": list(self.references),
        }

    def to_frame(self) -> Any:
        """The rows as a pandas DataFrame, or the metrics as one row (extra `frame`)."""
        try:
            import pandas
        except ImportError:
            from simcost.errors import SpecError

            raise SpecError("to_frame() needs pandas: pip install 'simcost[frame]'") from None
        return pandas.DataFrame(self.rows or [self.metrics])
