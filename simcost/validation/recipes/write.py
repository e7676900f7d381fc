"""Fitted terms into the files of `workloads/rl-stacks`: their lines and the table [fitted] are written anew, the rest of a
file stays as it is.

Most likely to be wrong: that rows of some models speak for all that a framework trains.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from simcost.errors import SpecError
from simcost.files import write_whole
from simcost.learning import stack as frameworks
from simcost.learning.stack import FITTED, Fit
from simcost.texts import toml_text
from simcost.validation import score as figures
from simcost.validation.recipes import fit, rules
from simcost.validation.recipes.fit import Terms
from simcost.validation.recipes.score import Scored

_HEAD = f"\n[{frameworks.FIT}]"
_HASH = 16  # digits


def write(
    rows: Sequence[Scored], names: Mapping[str, str], command: str, version: str, home: Path | None = None
) -> list[Path]:
    """The files that took terms; `names`: framework of rows -> file. Raises SpecError where none has enough rows, and
    where a file cannot be written."""
    found = []
    for framework, name in names.items():
        own = fit.of_framework(rows, framework)
        if len(fit.families(own)) < fit.LEAST:
            continue
        path = (home or frameworks.home()) / f"{name}.toml"
        made = said(rows, framework, command, version)
        write_whole(path, text(path.read_text(encoding="utf-8"), fit.terms(own), made))
        found.append(path)
    if not found:
        raise SpecError(f"no terms: no framework has steps of {fit.LEAST} families of models")
    return found


def said(rows: Sequence[Scored], framework: str, command: str, version: str) -> Fit:
    """What a file keeps of a fit: errors of families that are left out."""
    own = fit.of_framework(rows, framework)
    held, _ = fit.held_out(rows, framework)
    after, before = (
        figures.full([one.figure for one in each])
        for each in (fit.of_framework(held, framework), [fit.cold(one) for one in own])
    )
    return Fit(
        command, version, rows_hash(own), len(own), len(fit.families(own)), float(after["median_abs_error"]),
        float(before["median_abs_error"]), float(after["coverage"]),
    )  # fmt: skip


def rows_hash(rows: Sequence[Scored]) -> str:
    """Of the rows as they are printed, and what rules assume of them: others have another one."""
    found = rules.shipped()
    assumed = {one.row.id: sorted((key, value) for key, (value, _) in found.assumed(one.row).items()) for one in rows}
    lines = sorted(f"{one.row.id} {sorted(one.row.cells.items())} {assumed[one.row.id]}" for one in rows)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:_HASH]


def text(old: str, terms: Terms, made: Fit) -> str:
    """A file with other terms."""
    head = old.partition(_HEAD)[0].rstrip("\n")
    values = dict(zip(FITTED, (terms.decode, terms.kernel, terms.spread), strict=True))
    lines = [_line(line, values) for line in head.split("\n")]
    table = {
        "command": toml_text(made.command), "version": toml_text(made.version), "rows": toml_text(made.rows), "n": made.n,
        "families": made.families, "error": f"{made.error:.4f}", "unfitted": f"{made.unfitted:.4f}", "coverage": f"{made.coverage:.4f}",
    }  # fmt: skip
    return "\n".join([*lines, _HEAD, *(f"{key} = {value}" for key, value in table.items()), ""])


def _line(line: str, values: Mapping[str, float]) -> str:
    key = line.partition(" = ")[0].strip()
    if key not in values:
        return line
    return f'{key} = {{ value = {values[key]:.3g}, source = "{frameworks.FIT}" }}'
