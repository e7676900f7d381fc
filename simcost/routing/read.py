"""What a user writes of routing -> Routing: a law by name, or a file of tokens per expert."""

from __future__ import annotations

from pathlib import Path

from simcost.errors import SpecError, nearest
from simcost.routing.router import Routing
from simcost.texts import csv_rows, number, text

KINDS = ("balanced", "random", "zipf", "dirichlet")


def parse(text: str) -> Routing:
    """ "random", "zipf:0.5", or a file of tokens per expert. Raises SpecError naming what is allowed."""
    kind, colon, value = text.strip().partition(":")
    if kind in ("balanced", "random") and not colon:
        return Routing(kind)
    if kind in ("zipf", "dirichlet") and colon:
        try:
            parameter = float(value)
        except ValueError:
            parameter = -1.0
        low = 0.0 if kind == "zipf" else 1e-3
        if not low <= parameter <= 1e4:
            raise SpecError(f"routing = {text}: {kind}:<number> takes a number from {low:g} to 10000, not {value!r}")
        return Routing(kind, parameter)
    if text.endswith(".csv"):
        return measured(Path(text))
    known = [*KINDS[:2], "zipf:0.5", "dirichlet:1", "<tokens per expert>.csv"]
    raise SpecError(f"unknown routing '{text}' (one of {', '.join(known)}){nearest(kind, KINDS)}")


def measured(path: Path) -> Routing:
    """Tokens per expert: one line per layer, one number per expert, no header. Raises SpecError naming line and column, both
    from 1."""
    lines = csv_rows(text(path), str(path))
    if not lines:
        raise SpecError(f"{path}: no tokens per expert (one line per layer, one number per expert)")
    first, head = lines[0]
    found = []
    for at, cells in lines:
        if len(cells) != len(head):
            raise SpecError(f"{path}:{at}: {len(cells)} experts, line {first} has {len(head)}")
        values = [_cell(cell, f"{path}:{at}, expert {column}") for column, cell in enumerate(cells, start=1)]
        total = sum(values)
        if total <= 0:
            raise SpecError(f"{path}:{at}: no expert has a token")
        found.append(tuple(value / total for value in values))
    return Routing("measured", 0.0, tuple(found), tuple(f"{path}:{at}" for at, _ in lines))


def _cell(cell: str, where_: str) -> float:
    try:
        value = number(cell)
    except ValueError:
        raise SpecError(f"{where_}: {cell!r} is not a number of tokens") from None
    if not 0 <= value < float("inf"):
        raise SpecError(f"{where_}: {cell!r} must be a number of tokens, 0 or more")
    return value
