"""Measurement runs beside a profile: which are there, of what kind, in which order they answer.

A query must not parse a record of hundreds of lines: as runs are written, their first two lines say what is needed. A record
that begins otherwise (somebody edited it) is parsed whole. Most likely to be wrong: garbage below two good lines, which
only `calibrate report` sees.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from simcost.errors import SpecError, nearest
from simcost.files import folder, state
from simcost.texts import toml_table

SCHEMA = 1
KINDS = ("measured", "imported")  # in the order in which they answer
TABLES = "tables"  # the folder of engines' tables beside a profile
_HEAD = re.compile(rf'schema = {SCHEMA}\nkind = "({"|".join(KINDS)})"\n')
_Z80 = 1.2816  # standard deviations: 80 % of a fixed kernel's times lie within `sentinel_drift`
_LONGEST = 64  # bytes of such a head, and some


def record(home: Path) -> dict[str, Any]:
    """run.toml, read whole. Raises SpecError for a missing or malformed one."""
    path = home / "run.toml"
    found = toml_table(path)
    if found.get("schema") != SCHEMA or isinstance(found["schema"], bool):
        raise SpecError(f"{path}: schema must be {SCHEMA}, not {found.get('schema')!r}")
    if found.get("kind") not in KINDS:
        raise SpecError(f"{path}: kind must be one of {', '.join(KINDS)}, not {found.get('kind')!r}")
    return found


def kind(home: Path) -> str:
    """ "measured" or "imported". Raises SpecError as `record` does."""
    path = home / "run.toml"
    try:
        with path.open("rb") as file:
            head = _HEAD.match(file.read(_LONGEST).decode("utf-8", "replace"))
    except FileNotFoundError:
        raise SpecError(f"{path}: missing: restore it, or move the rows of this folder elsewhere") from None
    except OSError as error:
        raise SpecError(f"{path}: {error.strerror or error}") from None
    return head[1] if head else str(record(home)["kind"])


def drift(homes: tuple[Path, ...], home: Path) -> float:
    """Sigma of the log by which the machine of a run of our own changes with time: what a fixed kernel, timed over and over,
    showed in any such run beside it. 0 for imported rows, whose record cannot say. Raises SpecError as `record` does."""
    if kind(home) != "measured":
        return 0.0
    found = 0.0
    for run in (run for run in homes if kind(run) == "measured"):
        value = _above(run).get("sentinel_drift", 0.0)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 <= value <= 10.0:
            raise SpecError(f"{run / 'run.toml'}: sentinel_drift = {value!r} must be a number in [0, 10]")
        found = max(found, float(value))
    return found / _Z80


def _above(home: Path) -> dict[str, Any]:
    """What stands above the tables of a record: a tenth of it."""
    import tomllib

    try:
        return tomllib.loads((home / "run.toml").read_text(encoding="utf-8").partition("\n[")[0])
    except (OSError, ValueError, RecursionError):
        return record(home)


def tables(profile: Path) -> str:
    """The folder of engines' tables beside a profile.toml; "" where there is none."""
    home = profile.parent / TABLES
    return str(home) if (home / "picks.csv").is_file() else ""


def content(profile: str, homes: Iterable[str]) -> tuple[tuple[int, ...], ...]:
    """What tells a profile.toml and the rows in some folders from what they were; () for a profile that ships, which is read once. Raises SpecError."""
    if folder("hwprofiles") in Path(profile).parents:
        return ()
    walked = ((at, name) for home in homes for at, _, names in os.walk(home) for name in names)
    rows = sorted(f"{at}{os.sep}{name}" for at, name in walked if name.endswith((".csv", ".toml")))
    return tuple(state(path) for path in (profile, *rows))


def beside(profile: Path) -> dict[str, Path]:
    """Runs beside a profile.toml by name: folders with a record, or with rows that lack one."""
    homes = [home for home in sorted(profile.parent.glob("measurements/*")) if not home.name.startswith(".")]
    return {home.name: home for home in homes if (home / "run.toml").exists() or any(home.glob("*/*.csv"))}


def ordered(found: dict[str, Path], wanted: list[str] | None, where: str) -> tuple[str, ...]:
    """Folders in the order in which they answer: as `wanted` says, else own runs before imported ones, each by name.

    Raises SpecError for a run that is not there, or whose record cannot be read."""
    for run in wanted or ():
        if run not in found:
            beside = (
                f"the name of a run ({', '.join(found)})" if found else "the name of a run (there are no runs here)"
            )
            raise SpecError(
                f"{where}: no measurement run '{run}': write tables (only tables of engines), none (only the roofline) or {beside}"
                f"{nearest(str(run), (*found, TABLES, 'none'))}"
            )
    names = list(found) if wanted is None else wanted
    kinds = {name: kind(found[name]) for name in names}
    if wanted is None:
        names = sorted(names, key=lambda name: (KINDS.index(kinds[name]), name))
    return tuple(str(found[name]) for name in names)
