"""Coefficients into the files of `workloads/stacks`: the tables below the flags are written anew, the rest of a file
stays as it is.

Most likely to be wrong: that rows of one source speak for a generation of a framework.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from simcost.errors import SpecError
from simcost.files import write_whole
from simcost.texts import toml_text
from simcost.training import stack as stacks
from simcost.training.stack import Fitted, Stack
from simcost.validation.training.judge import Fit

_HEAD = "\n[coefficients."


def write(fits: Sequence[Fit], command: str, version: str, home: Path | None = None) -> list[Path]:
    """The files that took coefficients. Raises SpecError where two sets of rows are of one stack and device, where
    none has coefficients, and where a file cannot be written."""
    made: dict[tuple[str, str], Fit] = {}
    for one in fits:
        if not one.factors:
            continue
        if other := made.get((one.stack, one.hw)):
            raise SpecError(
                f"{other.name} and {one.name} both have coefficients of {one.stack} on {one.hw}: "
                "name the sources of one"
            )
        made[one.stack, one.hw] = one
    if not made:
        raise SpecError("no coefficients: no source of these has enough rows")
    found = []
    for name in dict.fromkeys(stack for stack, _ in made):
        path = (home or stacks.home()) / f"{name}.toml"
        own = {hw: fitted(one, command, version) for (of, hw), one in made.items() if of == name}
        write_whole(path, _text(path.read_text(encoding="utf-8"), stacks.load(str(path) if home else name), own))
        found.append(path)
    return found


def fitted(one: Fit, command: str, version: str) -> Fitted:
    """What a stack keeps of a fit. Raises SpecError for one whose error is not known."""
    if one.error is None or one.half_width is None:
        raise SpecError(f"{one.name} on {one.hw}: no row judges its coefficients")
    return Fitted(one.factors, command, version, one.rows, one.n, one.error, one.half_width)


def _text(text: str, stack: Stack, own: Mapping[str, Fitted]) -> str:
    head = text.partition(_HEAD)[0].rstrip("\n")
    every = replace(stack, fitted={**stack.fitted, **own}).fitted
    return "\n".join([head, *(_table(hw, every[hw]) for hw in sorted(every)), ""])


def _table(hw: str, one: Fitted) -> str:
    factors = ", ".join(f"{name} = {factor:.4f}" for name, factor in one.factors.items())
    said = {"command": one.command, "version": one.version, "rows": one.rows}
    lines = [
        f"{_HEAD}{hw}]",
        f"factors = {{ {factors} }}",
        *(f"{key} = {toml_text(text)}" for key, text in said.items()),
    ]
    return "\n".join([*lines, f"n = {one.n}", f"error = {one.error:.4f}", f"half_width = {one.half_width:.4f}"])
